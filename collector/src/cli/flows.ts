// `meshtrail flows`: recorded exchanges by filter and time.

import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb, type VerbInput } from './args.ts';
import { apiOf, askJson } from './client.ts';
import { FLOW_COLUMNS, FLOW_NAMES } from './flow-table.ts';
import { csv, type Format, isUnread, json, note, print, printRows, visible } from './output.ts';

const ALL_PAGE_LIMIT = '1000';

interface Gap {
  readonly kind: string;
}

/** What `GET /v1/flows` answers. */
export interface FlowsAnswer {
  readonly flows: readonly FlowRecord[];
  readonly nextCursor: string | null;
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly Gap[];
}

/** Says on stderr what an answer stands on; returns the exit code: 1 when something is missing. */
function noteAnswer({ asOf, complete, gaps, nextCursor }: FlowsAnswer, count: number): number {
  note(
    `${count} record${count === 1 ? '' : 's'}, as of ${visible(asOf.origin)} size ${asOf.size}${complete ? '' : '; INCOMPLETE:'}`,
  );
  if (!complete) for (const gap of gaps) note(`  ${json(gap)}`);
  if (nextCursor !== null) note(`more: --all for every page, or the next one with --cursor ${visible(nextCursor)}`);
  return complete ? 0 : 1;
}

function parametersOf(input: VerbInput): Record<string, string | undefined> {
  return Object.fromEntries(
    ['filter', 'since', 'until', 'limit', 'cursor', 'order'].map((name) => [name, textOption(input, name)]),
  );
}

async function page(api: URL, parameters: Readonly<Record<string, string | undefined>>): Promise<FlowsAnswer> {
  const members = ['flows', 'nextCursor', 'asOf', 'complete', 'gaps'] as const;
  return await askJson<FlowsAnswer>(api, '/v1/flows', members, parameters);
}

/** Asks for page after page. A limit that ended one page is no gap when the next page went on from there. */
async function everyPage(input: VerbInput, take: (flows: readonly FlowRecord[]) => void): Promise<FlowsAnswer> {
  const api = apiOf(input);
  const parameters = parametersOf(input);
  const limit = parameters['limit'] ?? ALL_PAGE_LIMIT;
  let answer = await page(api, { ...parameters, limit });
  take(answer.flows);
  while (answer.nextCursor !== null && !isUnread()) {
    answer = await page(api, { ...parameters, limit, cursor: answer.nextCursor });
    take(answer.flows);
  }
  return answer;
}

async function printAll(input: VerbInput, format: Format): Promise<number> {
  const kept: FlowRecord[] = [];
  let count = 0;
  let isFirst = true;
  const last = await everyPage(input, (flows) => {
    if (format === 'ndjson' && flows.length > 0) print(flows.map((record) => json(record)).join('\n'));
    else if (format === 'csv') print(csv(FLOW_NAMES, flows, isFirst));
    else if (format !== 'ndjson') kept.push(...flows);
    isFirst = false;
    count += flows.length;
  });
  const isStreamed = format === 'ndjson' || format === 'csv';
  const whole = { ...last, flows: kept };
  if (!isStreamed) printRows(format, { whole, rows: kept, columns: FLOW_COLUMNS, names: FLOW_NAMES });
  return noteAnswer(last, count);
}

/** Shows the place of an error under the filter's own text. */
export function notePlace(filter: string | undefined, error: unknown): void {
  if (filter === undefined || !(error instanceof MeshtrailError) || error.position === undefined) return;
  if (error.code !== 'FILTER_INVALID' || filter.trim() === '' || visible(filter) !== filter) return;
  const { start, end } = error.position;
  note(`  ${filter}\n  ${' '.repeat(start)}${'^'.repeat(Math.max(1, Math.min(end, filter.length) - start))}`);
}

export const flows: Verb = {
  summary: "Lists recorded exchanges, newest first, filtered by a CEL expression over Envoy's attribute names.",
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  tooMany: 'a filter stands behind --filter or -f',
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
    const format = (textOption(input, 'output') ?? 'table') as Format;
    try {
      if (input.options['all'] === true) return await printAll(input, format);
      const answer = await page(apiOf(input), parametersOf(input));
      printRows(format, { whole: answer, rows: answer.flows, columns: FLOW_COLUMNS, names: FLOW_NAMES });
      return noteAnswer(answer, answer.flows.length);
    } catch (error) {
      notePlace(textOption(input, 'filter'), error);
      throw error;
    }
  },
};
