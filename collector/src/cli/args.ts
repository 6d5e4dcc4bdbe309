// Arguments of a verb: a table of options in, checked values and help text out, on node:util's parseArgs.

import { parseArgs } from 'node:util';
import { MeshtrailError } from '../core/error.ts';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** Name of the value in help: `FILE`, `HOST:PORT`. */
  readonly value?: string;
  readonly help: string;
  /** What applies without the option; shown in help. */
  readonly default?: string;
  /** Accepted values, where there are few. */
  readonly choices?: readonly string[];
}

/** A verb of the command: what help says of it, and what it does. */
export interface Verb {
  readonly summary: string;
  /** Positional arguments as help shows them, such as `ID`. */
  readonly positionals: string;
  readonly positionalsMin: number;
  readonly positionalsMax: number;
  /** What to say to somebody who gives an argument too many. */
  readonly tooMany?: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly string[];
  /** Does the work; the number is the exit code. */
  run(input: VerbInput): Promise<number>;
}

export interface VerbInput {
  readonly positionals: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
}

/** The value of a text option, or undefined. */
export function textOption(input: VerbInput, name: string): string | undefined {
  const value = input.options[name];
  return typeof value === 'string' ? value : undefined;
}

/** Options that every reading verb takes. */
export const API_OPTION: OptionSpec = {
  type: 'string',
  value: 'URL',
  help: 'The collector to ask; also MESHTRAIL_API.',
  default: 'http://127.0.0.1:4600',
};
export const OUTPUT_OPTION: OptionSpec = {
  type: 'string',
  short: 'o',
  value: 'FORMAT',
  help: 'table, json, ndjson or csv.',
  default: 'table',
  choices: ['table', 'json', 'ndjson', 'csv'],
};

const JSON_OPTION: OptionSpec = { type: 'boolean', help: 'The same as -o json.' };

/** The options of a verb and those that come with them. */
function optionsOf(verb: Verb): Readonly<Record<string, OptionSpec>> {
  return {
    ...verb.options,
    ...(verb.options['output'] === undefined ? {} : { json: JSON_OPTION }),
    help: { type: 'boolean', short: 'h', help: 'This text.' },
  };
}

/** The accepted name nearest to another, when it is near enough to be what was meant. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const near = known.filter((candidate) => candidate.startsWith(name) || name.startsWith(candidate));
  return near[0] ?? known.find((candidate) => isOneSlipAway(name, candidate));
}

/** Whether two words differ in one letter that is missing, too many, another one, or swapped with its neighbour. */
function isOneSlipAway(a: string, b: string): boolean {
  let from = 0;
  while (from < a.length && from < b.length && a[from] === b[from]) from++;
  const [restA, restB] = [a.slice(from), b.slice(from)];
  return (
    restA.slice(1) === restB.slice(1) ||
    restA.slice(1) === restB ||
    restA === restB.slice(1) ||
    (restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2))
  );
}

/** Parses a verb's arguments. Throws USAGE, with the verb's name and what is accepted. */
export function parseVerb(name: string, verb: Verb, args: readonly string[]): VerbInput | 'help' {
  const specs = optionsOf(verb);
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: joinTimes(args, specs),
      options: Object.fromEntries(
        Object.entries(specs).map(([key, { type, short }]) => [
          key,
          { type, ...(short === undefined ? {} : { short }) },
        ]),
      ),
      allowPositionals: true,
      strict: true,
    }) as typeof parsed;
  } catch (cause) {
    throw usageError(name, specs, cause as Error);
  }
  if (parsed.values['help'] === true) return 'help';
  const count = parsed.positionals.length;
  if (count < verb.positionalsMin || count > verb.positionalsMax) {
    const wants = verb.positionals === '' ? 'no arguments' : verb.positionals;
    const hint = count > verb.positionalsMax && verb.tooMany !== undefined ? `; ${verb.tooMany}` : '';
    throw new MeshtrailError(
      'USAGE',
      `meshtrail ${name} takes ${wants}, and was given ${count}${hint}. See \`meshtrail ${name} --help\`.`,
    );
  }
  for (const [key, spec] of Object.entries(verb.options)) {
    const value = parsed.values[key];
    if (spec.choices !== undefined && typeof value === 'string' && !spec.choices.includes(value)) {
      throw new MeshtrailError(
        'USAGE',
        `--${key} is ${JSON.stringify(value)}; it must be one of ${spec.choices.join(', ')}.`,
      );
    }
  }
  if (parsed.values['json'] === true) {
    const { output = 'json' } = parsed.values;
    if (output !== 'json')
      throw new MeshtrailError('USAGE', `--json and --output ${output} ask for different formats.`);
    parsed.values['output'] = output;
  }
  return { options: parsed.values, positionals: parsed.positionals };
}

/** Joins `--since -15m` to `--since=-15m`: parseArgs takes every dash for an option, and a time in the past begins with one. */
function joinTimes(args: readonly string[], specs: Readonly<Record<string, OptionSpec>>): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1) ?? '';
    const isValue = /^-\d/.test(arg) && specs[before.slice(2)]?.type === 'string' && before.startsWith('--');
    if (isValue) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function usageError(name: string, specs: Readonly<Record<string, OptionSpec>>, cause: Error): MeshtrailError {
  const reason = cause.message.split('. ')[0];
  const unknown = /^Unknown option '--([^']+)'/.exec(cause.message)?.[1];
  const nearest = unknown === undefined ? undefined : nearestName(unknown, Object.keys(specs));
  const hint = nearest === undefined ? '' : `; did you mean --${nearest}?`;
  return new MeshtrailError('USAGE', `${reason}${hint === '' ? '.' : hint} See \`meshtrail ${name} --help\`.`, {
    cause,
  });
}

/** Help text of a verb. */
export function verbHelp(name: string, verb: Verb): string {
  const rows = Object.entries(optionsOf(verb)).map(([key, o]) => {
    const flag = `${o.short === undefined ? '    ' : `-${o.short}, `}--${key}${o.value === undefined ? '' : ` ${o.value}`}`;
    return [flag, o.help + (o.default === undefined || o.default === '' ? '' : ` Default: ${o.default}.`)] as const;
  });
  const width = Math.max(0, ...rows.map(([flag]) => flag.length));
  return [
    `${verb.summary}\n`,
    `usage: meshtrail ${name}${verb.positionals === '' ? '' : ` ${verb.positionals}`}${rows.length > 0 ? ' [options]' : ''}\n`,
    ...rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`),
    '\nexamples:',
    ...verb.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}
