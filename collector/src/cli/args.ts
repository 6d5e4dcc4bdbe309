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

/** Parses a verb's arguments. Throws USAGE, with the verb's name and what is accepted. */
export function parseVerb(name: string, verb: Verb, args: readonly string[]): VerbInput | 'help' {
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...args],
      options: Object.fromEntries(
        [...Object.entries(verb.options), ['help', { type: 'boolean', short: 'h' }] as const].map(([key, o]) => [
          key,
          { type: o.type, ...(o.short === undefined ? {} : { short: o.short }) },
        ]),
      ),
      allowPositionals: true,
      strict: true,
    }) as typeof parsed;
  } catch (cause) {
    const reason = (cause as Error).message.split('. ')[0];
    throw new MeshtrailError('USAGE', `${reason}. See \`meshtrail ${name} --help\`.`, { cause });
  }
  if (parsed.values['help'] === true) return 'help';
  const count = parsed.positionals.length;
  if (count < verb.positionalsMin || count > verb.positionalsMax) {
    const wants = verb.positionals === '' ? 'no arguments' : verb.positionals;
    throw new MeshtrailError(
      'USAGE',
      `meshtrail ${name} takes ${wants}, and was given ${count}. See \`meshtrail ${name} --help\`.`,
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
  return { options: parsed.values, positionals: parsed.positionals };
}

/** Help text of a verb. */
export function verbHelp(name: string, verb: Verb): string {
  const rows = Object.entries(verb.options).map(([key, o]) => {
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
