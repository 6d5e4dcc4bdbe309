// `meshtrail flows`: recorded exchanges by filter and time.

import type { FlowRecord, Peer } from '../core/record.ts';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb, type VerbInput } from './args.ts';
import { apiOf, askJson } from './client.ts';
import { type Column, type Format, note, printRows, styledVerdict } from './output.ts';

/** What `GET /v1/flows` answers. */
export interface FlowsAnswer {
  readonly flows: readonly FlowRecord[];
  readonly nextCursor?: string | null;
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly object[];
}

/** The shortest name that still tells who it was: service account, workload, or address. */
function nameOf(peer: Peer): string | undefined {
  if (peer.service_account !== undefined)
    return peer.namespace === undefined ? peer.service_account : `${peer.service_account}.${peer.namespace}`;
  return peer.workload ?? peer.principal ?? peer.address;
}

function milliseconds(duration: string | undefined): string | undefined {
  if (duration === undefined) return undefined;
  const ms = Number.parseFloat(duration) * 1000;
  return ms < 10 ? `${ms.toFixed(2)}ms` : `${ms.toFixed(0)}ms`;
}

export const FLOW_COLUMNS: readonly Column<FlowRecord>[] = [
  { title: 'ID', of: (r) => r.id },
  { title: 'TIME (UTC)', of: (r) => `${r.time.slice(0, 10)} ${r.time.slice(11, 23)}` },
  { title: 'VERDICT', of: (r) => r.verdict, style: styledVerdict },
  { title: 'REPORTER', of: (r) => r.reporter },
  { title: 'SOURCE', of: (r) => nameOf(r.source), isElastic: true },
  { title: 'DESTINATION', of: (r) => nameOf(r.destination) ?? r.upstream.cluster ?? r.request.host, isElastic: true },
  { title: 'METHOD', of: (r) => r.request.method },
  { title: 'PATH', of: (r) => r.request.path, isElastic: true },
  { title: 'CODE', of: (r) => r.response.code?.toString(), alignsRight: true },
  { title: 'TOOK', of: (r) => milliseconds(r.duration), alignsRight: true },
  { title: 'POLICY', of: (r) => r.policy, isElastic: true },
];

/** Says on stderr what an answer stands on; returns the exit code: 1 when something is missing. */
export function noteAnswer(answer: FlowsAnswer): number {
  const { asOf, complete, gaps, nextCursor, flows } = answer;
  note(
    `${flows.length} record${flows.length === 1 ? '' : 's'}, as of ${asOf.origin} size ${asOf.size}${complete ? '' : '; INCOMPLETE:'}`,
  );
  if (!complete) for (const gap of gaps) note(`  ${JSON.stringify(gap)}`);
  if (nextCursor !== undefined && nextCursor !== null)
    note(`more: add --cursor ${nextCursor}, or --all for every page`);
  return complete ? 0 : 1;
}

async function pages(input: VerbInput): Promise<FlowsAnswer> {
  const api = apiOf(input);
  const parameters = Object.fromEntries(
    ['filter', 'since', 'until', 'limit', 'cursor', 'order'].map((name) => [name, textOption(input, name)]),
  );
  if (input.options['all'] !== true) return await askJson<FlowsAnswer>(api, '/v1/flows', parameters);
  let answer = await askJson<FlowsAnswer>(api, '/v1/flows', { ...parameters, limit: parameters['limit'] ?? '1000' });
  const flows = [...answer.flows];
  let isComplete = answer.complete;
  while (answer.nextCursor !== undefined && answer.nextCursor !== null) {
    answer = await askJson<FlowsAnswer>(api, '/v1/flows', {
      ...parameters,
      limit: parameters['limit'] ?? '1000',
      cursor: answer.nextCursor,
    });
    flows.push(...answer.flows);
    isComplete &&= answer.complete;
  }
  return { ...answer, flows, complete: isComplete };
}

export const flows: Verb = {
  summary: "Lists recorded exchanges, newest first, filtered by a CEL expression over Envoy's attribute names.",
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    filter: {
      type: 'string',
      short: 'f',
      value: 'CEL',
      help: 'Which records, such as \'verdict == "denied"\'; names are in docs/query.md.',
    },
    since: { type: 'string', value: 'TIME', help: 'From this time on: RFC 3339 with zone, or relative such as -15m.' },
    until: { type: 'string', value: 'TIME', help: 'Before this time, likewise.' },
    limit: { type: 'string', value: 'N', help: 'Records in a page, 1 to 1000.', default: '100' },
    order: {
      type: 'string',
      value: 'ORDER',
      help: 'desc (newest first) or asc.',
      default: 'desc',
      choices: ['asc', 'desc'],
    },
    cursor: { type: 'string', value: 'CURSOR', help: 'The page after another, as that answer said.' },
    all: { type: 'boolean', help: 'Every page.' },
    output: OUTPUT_OPTION,
    api: API_OPTION,
  },
  examples: [
    'meshtrail flows --since -15m',
    'meshtrail flows -f \'verdict == "denied"\' --order asc',
    'meshtrail flows -f \'source.service_account == "inventory" && response.code >= 400\' -o ndjson --all',
  ],
  async run(input) {
    const answer = await pages(input);
    printRows((textOption(input, 'output') ?? 'table') as Format, answer, answer.flows, FLOW_COLUMNS);
    return noteAnswer(answer);
  },
};
