// The collector's configuration: one table of options, read from defaults, a JSON file, the environment and flags,
// in this order; the result is frozen, and knows where each value came from.

import { readFileSync } from 'node:fs';
import { MeshtrailError } from './core/error.ts';

export type Source = 'default' | 'file' | 'environment' | 'flag';

interface OptionBase {
  /** What it is for, one sentence; also the text of `--help`. */
  readonly help: string;
}
interface IntegerOption extends OptionBase {
  readonly type: 'integer';
  readonly default: number;
  readonly min: number;
  readonly max: number;
}
interface TextOption extends OptionBase {
  readonly type: 'text' | 'address' | 'origin' | 'path' | 'secret';
  readonly default: string;
  /** Accepted values, where there are few. */
  readonly choices?: readonly string[];
}
type Option = IntegerOption | TextOption;

/** Every option of `meshtrail serve`. In a file: the key; in the environment: `MESHTRAIL_` and the key in capitals; as a flag: `--` and the key with dashes. */
export const OPTIONS = {
  dir: { type: 'path', default: '', help: 'Directory of the log; made when it does not exist.' },
  origin: {
    type: 'origin',
    default: 'meshtrail.local/log',
    help: 'Name of the log: a schema-less URL without spaces or "+". Fixed when the directory is made.',
  },
  api: {
    type: 'address',
    default: '127.0.0.1:4600',
    help: 'HOST:PORT of queries and the log; port 0 takes a free one.',
  },
  ingest: { type: 'address', default: '127.0.0.1:4601', help: 'HOST:PORT that proxies send batches to.' },
  grpc: {
    type: 'address',
    default: '127.0.0.1:4602',
    help: 'HOST:PORT of sensors over gRPC. This version has none: the option is accepted, and nothing listens there.',
  },
  ready_file: { type: 'path', default: '', help: 'Written in one piece when all listeners answer.' },
  last_signed_dir: {
    type: 'path',
    default: '',
    help: 'Where the last-signed record lives; default DIR/last-signed. Another volume is safer.',
  },
  key_file: { type: 'path', default: '', help: 'Private key of the log; default DIR/keys/log.key.' },
  key: {
    type: 'secret',
    default: '',
    help: 'Private key of the log as text, instead of a file; rather in the environment than as a flag.',
  },
  publish_interval_ms: {
    type: 'integer',
    default: 1000,
    min: 50,
    max: 60_000,
    help: 'A grown log is published this often.',
  },
  heartbeat_interval_ms: {
    type: 'integer',
    default: 60_000,
    min: 1000,
    max: 3_600_000,
    help: 'An idle log gets a heartbeat entry this often.',
  },
  segment_entries_min: {
    type: 'integer',
    default: 16_384,
    min: 256,
    max: 1_048_576,
    help: 'A segment closes at the first multiple of 256 entries from here on.',
  },
  queue_bytes_max: {
    type: 'integer',
    default: 67_108_864,
    min: 1_048_576,
    max: 4_294_967_296,
    help: 'Admitted batches that wait to be written; beyond it ingest answers 503.',
  },
  query_rows_max: {
    type: 'integer',
    default: 5_000_000,
    min: 1000,
    max: 1_000_000_000,
    help: 'Rows that one query may look at; beyond it the answer says that it is partial.',
  },
  query_time_ms_max: {
    type: 'integer',
    default: 5000,
    min: 10,
    max: 600_000,
    help: 'Time that one query may take; likewise.',
  },
  log_level: {
    type: 'text',
    default: 'info',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    help: 'trace, debug, info, warn, error, fatal or silent.',
  },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof OPTIONS;
type ValueOf<O> = O extends { readonly type: 'integer' } ? number : string;
export type ConfigValues = { readonly [K in OptionName]: ValueOf<(typeof OPTIONS)[K]> };

/** A frozen configuration: the values, and the source of each. */
export interface Config {
  readonly values: ConfigValues;
  readonly sources: Readonly<Record<OptionName, Source>>;
}

const NAMES = Object.keys(OPTIONS) as OptionName[];
const FILE_SIZE_BYTES_MAX = 1_048_576;

/** The flag of an option, without dashes in front: `publish-interval-ms`. */
export function flagOf(name: OptionName): string {
  return name.replaceAll('_', '-');
}

/** The environment variable of an option. */
export function variableOf(name: OptionName): string {
  return `MESHTRAIL_${name.toUpperCase()}`;
}

function invalid(name: string, value: unknown, want: string): MeshtrailError {
  return new MeshtrailError('CONFIG_INVALID', `${name} is ${JSON.stringify(value)}; it must be ${want}.`);
}

function integerOf(name: string, raw: unknown, option: IntegerOption): number {
  const want = `a whole number from ${option.min} to ${option.max}`;
  const value = typeof raw === 'string' && /^\d{1,15}$/.test(raw) ? Number(raw) : raw;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < option.min || value > option.max)
    throw invalid(name, raw, want);
  return value;
}

/** Splits `HOST:PORT`; an IPv6 host stands in brackets. `http://` in front is taken too, since MESHTRAIL_API also names the API to clients. Throws CONFIG_INVALID. */
export function addressOf(name: string, text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:http:\/\/)?(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})\/?$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw invalid(name, text, 'HOST:PORT, such as 127.0.0.1:4600 or [::1]:0');
  return { host: match[1] ?? match[2] ?? '', port };
}

function textOf(name: string, raw: unknown, option: TextOption): string {
  if (typeof raw !== 'string' || raw.length > 4096 || raw.includes('\0'))
    throw invalid(name, raw, 'a text of at most 4096 characters');
  if (option.type === 'address') addressOf(name, raw);
  if (option.type === 'origin' && !/^[\x21-\x2a\x2c-\x7e]{1,255}$/.test(raw)) {
    throw invalid(name, raw, 'a name of 1 to 255 visible ASCII characters without "+", such as mesh.example.com/log');
  }
  if (option.choices !== undefined && !option.choices.includes(raw))
    throw invalid(name, raw, `one of ${option.choices.join(', ')}`);
  return raw;
}

function checkedValue(shown: string, name: OptionName, raw: unknown): string | number {
  const option: Option = OPTIONS[name];
  return option.type === 'integer'
    ? integerOf(shown, raw, option)
    : textOf(shown === name ? name : `${shown} (${name})`, raw, option);
}

function readFile(path: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length > FILE_SIZE_BYTES_MAX) throw new Error(`it is longer than ${FILE_SIZE_BYTES_MAX} bytes`);
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new MeshtrailError(
      'CONFIG_INVALID',
      `The configuration file ${path} cannot be read: ${(cause as Error).message}.`,
      { cause },
    );
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw invalid(path, parsed, 'a JSON object');
  return parsed as Record<string, unknown>;
}

/** What configuration is made from; `flags` has option names as keys. */
export interface ConfigInput {
  readonly flags?: Readonly<Partial<Record<OptionName, string>>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file with option names as keys. */
  readonly file?: string | undefined;
}

/** Reads and checks a configuration. Throws CONFIG_INVALID, which names the option, its value and what it must be; an unknown key in the file is refused, not skipped. */
export function loadConfig({ flags = {}, env = {}, file }: ConfigInput): Config {
  const inFile = file === undefined ? {} : readFile(file);
  for (const key of Object.keys(inFile)) {
    if (!Object.hasOwn(OPTIONS, key))
      throw new MeshtrailError(
        'CONFIG_INVALID',
        `${file} has the unknown key ${JSON.stringify(key)}; known keys: ${NAMES.join(', ')}.`,
      );
  }
  const values: Record<string, string | number> = {};
  const sources: Record<string, Source> = {};
  for (const name of NAMES) {
    const variable = variableOf(name);
    const flag = flags[name];
    if (flag !== undefined) [values[name], sources[name]] = [checkedValue(`--${flagOf(name)}`, name, flag), 'flag'];
    else if (env[variable] !== undefined)
      [values[name], sources[name]] = [checkedValue(variable, name, env[variable]), 'environment'];
    else if (Object.hasOwn(inFile, name))
      [values[name], sources[name]] = [checkedValue(name, name, inFile[name]), 'file'];
    else [values[name], sources[name]] = [OPTIONS[name].default, 'default'];
  }
  return Object.freeze({
    values: Object.freeze(values) as ConfigValues,
    sources: Object.freeze(sources) as Record<OptionName, Source>,
  });
}

/** The effective configuration as rows for people: name, value (redacted), source. */
export function describeConfig(
  config: Config,
): { readonly name: OptionName; readonly value: string | number; readonly source: Source }[] {
  return NAMES.map((name) => ({
    name,
    value: OPTIONS[name].type === 'secret' && config.values[name] !== '' ? '(set)' : config.values[name],
    source: config.sources[name],
  }));
}
