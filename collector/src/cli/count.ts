// What the counting verbs share: their options, how they ask, and what they say of an answer.

import { MeshtrailError } from '../core/error.ts';
import { API_OPTION, type OptionSpec, OUTPUT_OPTION, textOption, type VerbInput } from './args.ts';
import { apiOf, askJson } from './client.ts';
import { type Column, json, note, visible } from './output.ts';

/** What every counted answer has beside its rows. */
export interface CountAnswer {
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly { readonly kind: string }[];
  readonly approximate?: readonly string[];
  readonly groups?: number;
}

/** Who is at an end of an edge. */
export interface GraphNode {
  readonly name?: string;
  readonly field?: string;
  readonly claimed?: boolean;
}

/** An edge's figures as the API has them. */
export interface Figures {
  readonly requests: number;
  readonly connections: number;
  readonly denied: number;
  readonly errors: number;
  readonly requestBytes: number | string;
  readonly responseBytes: number | string;
  readonly latency: { readonly p50?: string; readonly p99?: string };
  readonly firstSeen: string;
  readonly lastSeen: string;
  readonly mtlsShare?: number;
}

export interface Edge extends Figures {
  readonly source: GraphNode;
  readonly destination: GraphNode;
  readonly filter: string;
}

const FILTER_OPTION: OptionSpec = {
  type: 'string',
  short: 'f',
  value: 'CEL',
  help: 'Only these records, such as \'verdict == "denied"\'; names are in docs/query.md.',
};
export const WINDOW_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  filter: FILTER_OPTION,
  since: { type: 'string', value: 'TIME', help: 'From this time on: RFC 3339 with zone, or relative such as -15m.' },
  until: { type: 'string', value: 'TIME', help: 'Before this time, likewise.' },
};
export const COUNT_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  repeats: {
    type: 'boolean',
    help: 'Count also what another record counts: open and interval records, second sensors.',
  },
  explain: { type: 'boolean', help: 'Say on stderr what was asked, as CEL and for curl.' },
  output: OUTPUT_OPTION,
  api: API_OPTION,
};
export const BY_OPTION: OptionSpec = {
  type: 'string',
  value: 'KIND',
  help: 'What a node is: workload, principal or pod.',
  default: 'workload',
  choices: ['workload', 'principal', 'pod'],
};
export const LIMIT_OPTION: OptionSpec = { type: 'string', value: 'N', help: 'Rows, 1 to 10000.', default: '1000' };
export const GRAPH_OUTPUT_OPTION: OptionSpec = {
  ...OUTPUT_OPTION,
  help: 'table, json, ndjson, csv, mermaid or dot.',
  choices: ['table', 'json', 'ndjson', 'csv', 'mermaid', 'dot'],
};

type Parameters = Readonly<Record<string, string | undefined>>;

/** The parameters that have options of the same name. */
export function parametersOf(input: VerbInput, names: readonly string[]): Parameters {
  const given = ['filter', ...names].map((name) => [name, textOption(input, name)] as const);
  return { ...Object.fromEntries(given), ...(input.options['repeats'] === true ? { repeats: 'true' } : {}) };
}

/** Asks, and with `--explain` says what. Throws the API's codes; where one has a place in a text, the place is shown. */
export async function askCount<T extends CountAnswer>(
  input: VerbInput,
  path: string,
  member: string,
  parameters: Parameters,
): Promise<T> {
  const api = apiOf(input);
  const members = [member, 'asOf', 'complete', 'gaps'] as (keyof T & string)[];
  try {
    const answer = await askJson<T>(api, path, members, parameters);
    if (input.options['explain'] === true)
      explain(api, path, parameters, celOf(answer, member) ?? parameters['filter']);
    return answer;
  } catch (error) {
    notePlace(parameters, error);
    throw error;
  }
}

/** The filter that the API made of a question. */
function celOf(answer: object, member: string): string | undefined {
  const value = (answer as Readonly<Record<string, unknown>>)[member];
  const filter = (value as { readonly filter?: unknown } | undefined)?.filter;
  return typeof filter === 'string' ? filter : undefined;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function explain(api: URL, path: string, parameters: Parameters, cel: string | undefined): void {
  const words = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`--data-urlencode ${quoted(`${name}=${value}`)}`],
  );
  const base = `${api.origin}${api.pathname.replace(/\/$/, '')}${path}`;
  note(`CEL:  ${cel === undefined ? 'true (every record)' : visible(cel)}`);
  note(`curl: ${visible(['curl -sG', quoted(base), ...words].join(' '))}`);
}

/** Shows the place of an error under the text it is in. */
function notePlace(parameters: Parameters, error: unknown): void {
  if (!(error instanceof MeshtrailError) || error.position === undefined) return;
  const name = error.code === 'FILTER_INVALID' ? 'filter' : /^The parameter ([a-z]+) /.exec(error.message)?.[1];
  const text = name === undefined ? undefined : parameters[name];
  if (text === undefined || text.trim() === '' || visible(text) !== text) return;
  const { start, end } = error.position;
  note(`  ${text}\n  ${' '.repeat(start)}${'^'.repeat(Math.max(1, Math.min(end, text.length) - start))}`);
}

/** Says on stderr what an answer stands on; returns the exit code: 1 when something is missing. */
export function noteCount(
  { asOf, complete, gaps, approximate = [], groups }: CountAnswer,
  shown: number,
  what: string,
): number {
  const all = groups !== undefined && groups > shown ? ` of ${groups} (--limit shows more)` : '';
  const state = complete ? '' : '; INCOMPLETE:';
  note(`${shown} ${what}${shown === 1 ? '' : 's'}${all}, as of ${visible(asOf.origin)} size ${asOf.size}${state}`);
  for (const gap of gaps) note(`  ${json(gap)}`);
  if (approximate.length > 0) note(`within 1 % of a recorded value: ${approximate.map(visible).join(', ')}`);
  return complete ? 0 : 1;
}

/** How a node stands in a table: what nobody checked in quotes. */
export function nodeText({ name, claimed }: GraphNode): string | undefined {
  return name !== undefined && claimed === true ? `"${name}"` : name;
}

const UNITS: readonly (readonly [seconds: number, unit: string])[] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'm'],
  [1, 's'],
];

/** How long ago a time is, in its largest unit. */
export function ago(time: string | undefined, nowMs: number): string | undefined {
  if (time === undefined) return undefined;
  const seconds = Math.floor((nowMs - Date.parse(time)) / 1000);
  if (seconds < 1) return seconds < 0 ? `in ${-seconds}s` : 'now';
  const [size, unit] = UNITS.find(([unitSeconds]) => seconds >= unitSeconds) ?? [1, 's'];
  return `${Math.floor(seconds / size)}${unit} ago`;
}

export const shortTime = (time: string | undefined): string | undefined =>
  time === undefined ? undefined : `${time.slice(0, 10)} ${time.slice(11, 19)}`;

/** Seconds as a person reads them. */
export function milliseconds(duration: string | undefined): string | undefined {
  if (duration === undefined) return undefined;
  const ms = Number.parseFloat(duration) * 1000;
  return ms < 10 ? `${ms.toFixed(2)}ms` : `${ms.toFixed(0)}ms`;
}

const percent = (share: number | undefined): string | undefined =>
  share === undefined ? undefined : `${(share * 100).toFixed(share === 1 || share === 0 ? 0 : 1)}%`;

/** Columns of an edge's figures. */
export function figureColumns(nowMs: number): readonly Column<Figures>[] {
  const number = (title: string, of: (figures: Figures) => number | string): Column<Figures> => ({
    ...{ title, alignsRight: true },
    of: (figures) => String(of(figures)),
  });
  return [
    number('REQUESTS', ({ requests }) => requests),
    number('CONNS', ({ connections }) => connections),
    number('DENIED', ({ denied }) => denied),
    number('ERRORS', ({ errors }) => errors),
    number('BYTES IN', ({ requestBytes }) => requestBytes),
    number('BYTES OUT', ({ responseBytes }) => responseBytes),
    { title: 'P50', of: ({ latency }) => milliseconds(latency.p50), alignsRight: true },
    { title: 'P99', of: ({ latency }) => milliseconds(latency.p99), alignsRight: true },
    { title: 'MTLS', of: ({ mtlsShare }) => percent(mtlsShare), alignsRight: true },
    { title: 'FIRST (UTC)', of: ({ firstSeen }) => shortTime(firstSeen) },
    { title: 'LAST', of: ({ lastSeen }) => ago(lastSeen, nowMs) },
  ];
}

/** What a narrow terminal goes without, first to last; every other format has it. */
const DISPENSABLE = ['FIRST (UTC)', 'BYTES OUT', 'BYTES IN', 'P50', 'CONNS', 'MTLS', 'LAST', 'SHARE', 'ERRORS'];
const ELASTIC_WIDTH = 12;

/** The columns that a terminal has room for. */
export function fitted<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  width = process.stdout.columns,
): readonly Column<T>[] {
  if (width === undefined) return columns;
  const widthOf = ({ title, of, isElastic }: Column<T>): number => {
    const widest = Math.max(title.length, ...rows.map((row) => visible(of(row) ?? '-').length));
    return isElastic === true ? Math.max(title.length, Math.min(widest, ELASTIC_WIDTH)) : widest;
  };
  let kept = columns;
  for (const title of DISPENSABLE) {
    if (kept.reduce((sum, column) => sum + widthOf(column) + 2, -2) <= width) break;
    kept = kept.filter((column) => column.title !== title);
  }
  return kept;
}

/** CSV columns of an edge's figures. */
export const FIGURE_NAMES: readonly string[] = [
  ...['requests', 'connections', 'denied', 'errors', 'requestBytes', 'responseBytes', 'latency.p50', 'latency.p99'],
  ...['mtlsShare', 'firstSeen', 'lastSeen'],
  ...['reported.source', 'reported.destination', 'reported.gateway', 'reported.waypoint'],
];
const nodeNames = (side: string): readonly string[] => ['name', 'field', 'claimed'].map((part) => `${side}.${part}`);
export const EDGE_NAMES: readonly string[] = [
  ...nodeNames('source'),
  ...nodeNames('destination'),
  ...FIGURE_NAMES,
  'filter',
];
