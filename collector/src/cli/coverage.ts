// `meshtrail coverage`: which proxies were recorded over which time, what is missing, and who is silent.

import { styleText } from 'node:util';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb, type VerbInput } from './args.ts';
import { apiOf, askJson } from './client.ts';
import { type Column, type Format, note, print, printRows, visible } from './output.ts';

interface StreamCoverage {
  readonly stream: string;
  readonly state: string;
  readonly missing: { readonly batches: number; readonly records: number };
  readonly dropped: Readonly<Record<string, number>>;
  readonly rollbacks_seen: number;
  readonly silent_since?: string;
  readonly lost?: { readonly records_max: number; readonly seconds_max: number };
}

interface ProxyCoverage {
  readonly node?: string;
  readonly cluster?: string;
  readonly proxy_since?: string;
  readonly vms_known?: number;
  readonly vms_alive?: number;
  readonly state: string;
  readonly first?: string;
  readonly last?: string;
  readonly records: number;
  readonly streams: readonly StreamCoverage[];
}

interface Gap {
  readonly kind: string;
  readonly stream?: string;
  readonly node?: string;
  readonly from?: number;
  readonly to?: number;
  readonly count?: number;
  readonly reason?: string;
}

/** What `GET /v1/coverage` answers. */
export interface CoverageAnswer {
  readonly proxies: readonly ProxyCoverage[];
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly Gap[];
}

const STYLES: Readonly<Record<string, 'red' | 'yellow' | 'green'>> = {
  silent: 'red',
  'ended unknown': 'yellow',
  open: 'green',
};

function styledState(padded: string): string {
  const style = STYLES[padded.trim()];
  return style === undefined ? padded : styleText(style, padded, { stream: process.stdout });
}

const total = (streams: readonly StreamCoverage[], of: (stream: StreamCoverage) => number): number =>
  streams.reduce((sum, stream) => sum + of(stream), 0);

const shortTime = (time: string | undefined): string | undefined =>
  time === undefined ? undefined : `${time.slice(0, 10)} ${time.slice(11, 19)}`;

/** What is wrong, the worst first; undefined when nothing is. */
export function troubleOf({ streams }: Pick<ProxyCoverage, 'streams'>): string | undefined {
  const silent = streams.filter(({ state }) => state === 'silent');
  const unknown = streams.filter(({ state }) => state === 'ended unknown');
  const missing = total(streams, (stream) => stream.missing.records);
  const missingBatches = total(streams, (stream) => stream.missing.batches);
  const rollbacks = total(streams, (stream) => stream.rollbacks_seen);
  const parts: string[] = [];
  if (silent.length > 0)
    parts.push(`${silent.length === 1 ? '1 VM is' : `${silent.length} VMs are`} dead: ${lost(silent)}`);
  if (unknown.length > 0) parts.push(`no end: ${lost(unknown)}`);
  if (missing > 0) parts.push(`${missing} record${missing === 1 ? '' : 's'} missing`);
  else if (missingBatches > 0) parts.push(`${missingBatches} batch${missingBatches === 1 ? '' : 'es'} missing`);
  for (const reason of ['buffers_full', 'unreadable', 'no_random']) {
    const dropped = total(streams, (stream) => stream.dropped[reason] ?? 0);
    if (dropped > 0) parts.push(`${dropped} dropped (${reason})`);
  }
  if (rollbacks > 0) parts.push(`${rollbacks} rollback${rollbacks === 1 ? '' : 's'} seen`);
  return parts.length === 0 ? undefined : parts.join('; ');
}

function lost(streams: readonly StreamCoverage[]): string {
  const records = total(streams, (stream) => stream.lost?.records_max ?? 0);
  const seconds = Math.max(...streams.map((stream) => stream.lost?.seconds_max ?? 0));
  return `at most ${records} records or ${seconds} s lost`;
}

const PROXY_COLUMNS: readonly Column<ProxyCoverage>[] = [
  { title: 'STATE', of: (proxy) => proxy.state, style: styledState },
  { title: 'PROXY', of: (proxy) => proxy.node, isElastic: true },
  { title: 'CLUSTER', of: (proxy) => proxy.cluster, isElastic: true },
  { title: 'SINCE (UTC)', of: (proxy) => shortTime(proxy.proxy_since ?? proxy.first) },
  { title: 'LAST (UTC)', of: (proxy) => shortTime(proxy.last) },
  { title: 'STREAMS', of: (proxy) => String(proxy.streams.length), alignsRight: true },
  { title: 'RECORDS', of: (proxy) => String(proxy.records), alignsRight: true },
  { title: 'TROUBLE', of: troubleOf },
];

/** Columns of CSV: a line for each stream, with its proxy in front. */
const STREAM_NAMES: readonly string[] = [
  ...['node', 'node_cluster', 'cluster', 'role', 'filter_version', 'proxy_since', 'alive_interval_ms'],
  ...['vms_known', 'vms_alive', 'stream', 'state', 'first', 'last', 'received', 'batches', 'records', 'interim'],
  ...['missing.batches', 'missing.records', 'dropped.buffers_full', 'dropped.unreadable', 'dropped.no_random'],
  ...['unwatched', 'truncated', 'send_failures', 'rollbacks_seen', 'silent_since'],
  ...['lost.records_max', 'lost.seconds_max', 'lost.from', 'lost.until'],
];

/** A gap in words: what it is, where, and what is known of it. */
function wordsOf({ kind, stream, node, from, to, count, reason }: Gap): string {
  const where = [node, stream === undefined ? undefined : `stream ${stream}`].filter((text) => text !== undefined);
  const facts: string[] = [];
  // Of a stream without its end the reason has the numbers: they are the most that can lack.
  if (count !== undefined && count > 0 && (kind === 'missing' || kind === 'dropped'))
    facts.push(`${count} record${count === 1 ? '' : 's'}${from === undefined ? '' : ` (${from} to ${to})`}`);
  if (reason !== undefined) facts.push(reason);
  return visible(`${[kind, ...where].join(', ')}: ${facts.join(', ')}`);
}

/** Says on stderr what the answer stands on; returns the exit code: 1 when something is missing. */
function noteAnswer({ proxies, asOf, complete, gaps }: CoverageAnswer, format: Format): number {
  const count = `${proxies.length} ${proxies.length === 1 ? 'proxy' : 'proxies'}`;
  note(`${count}, as of ${visible(asOf.origin)} size ${asOf.size}${complete ? '' : '; INCOMPLETE:'}`);
  // The table has a line for each proxy that lacks something; what belongs to none stands here.
  const shown = format === 'table' ? gaps.filter((gap) => !('stream' in gap)) : gaps;
  for (const gap of shown) note(`  ${wordsOf(gap)}`);
  if (shown.length < gaps.length) note(`  gaps in streams: ${gaps.length - shown.length}; -o json has each`);
  return complete ? 0 : 1;
}

function printCoverage(answer: CoverageAnswer, format: Format): void {
  const { proxies } = answer;
  const rows =
    format === 'csv'
      ? proxies.flatMap(({ streams, ...proxy }) => streams.map((stream) => ({ ...proxy, ...stream })))
      : proxies;
  if (format === 'table' && rows.length === 0) print('No proxy was recorded in this time.');
  else
    printRows(format, {
      whole: answer,
      rows: rows as readonly ProxyCoverage[],
      columns: PROXY_COLUMNS,
      names: STREAM_NAMES,
    });
}

async function run(input: VerbInput): Promise<number> {
  const format = (textOption(input, 'output') ?? 'table') as Format;
  const parameters = { since: textOption(input, 'since'), until: textOption(input, 'until') };
  const members = ['proxies', 'asOf', 'complete', 'gaps'] as const;
  const answer = await askJson<CoverageAnswer>(apiOf(input), '/v1/coverage', members, parameters);
  printCoverage(answer, format);
  return noteAnswer(answer, format);
}

export const coverage: Verb = {
  summary: 'Lists the proxies that were recorded, over which time, and what is missing; trouble first.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    since: { type: 'string', value: 'TIME', help: 'From this time on: RFC 3339 with zone, or relative such as -15m.' },
    until: { type: 'string', value: 'TIME', help: 'Before this time, likewise.' },
    output: OUTPUT_OPTION,
    api: API_OPTION,
  },
  examples: [
    'meshtrail coverage --since -1h',
    'meshtrail coverage -o csv --since 2026-11-24T00:00:00Z --until 2026-11-25T00:00:00Z',
  ],
  run,
};
