// `meshtrail tail`: records as they are published, from history on, until Ctrl-C.

import type { FlowRecord } from '../core/record.ts';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb, type VerbInput } from './args.ts';
import { apiOf, notACollector } from './client.ts';
import { FLOW_COLUMNS } from './flow-table.ts';
import { notePlace } from './flows.ts';
import { follow, type ServerEvent, untilSignal } from './follow.ts';
import { LiveTable } from './live-table.ts';
import { json, note, print, visible } from './output.ts';

/** Columns that would jump with the first rows otherwise. */
export const FLOW_WIDTHS = { ID: 9, VERDICT: 8, REPORTER: 11, METHOD: 6, TOOK: 7 };

interface Missed {
  readonly records: number;
  readonly flows: string;
}

class TailOutput {
  readonly #show: (flow: FlowRecord) => void;
  #origin: string | undefined;
  #isWhole = true;

  constructor(isTable: boolean) {
    const table = new LiveTable(FLOW_COLUMNS, FLOW_WIDTHS);
    this.#show = isTable ? (flow) => table.row(flow) : (flow) => print(json(flow));
  }

  /** 1 when something was missed. */
  get exitCode(): number {
    return this.#isWhole ? 0 : 1;
  }

  take(api: URL, { event, data }: ServerEvent): void {
    if (event === 'flow') this.#show((data as { flow: FlowRecord }).flow);
    else if (event === 'hello') this.#hello(api, data as { asOf: { origin: string; size: number }; since?: string });
    else if (event === 'missed') {
      const { records, flows } = data as Missed;
      this.#isWhole = false;
      note(`meshtrail: too slow: ${records} records were passed over; they are at ${visible(`${api.origin}${flows}`)}`);
    } else if (event === 'damaged') {
      this.#isWhole = false;
      note(`meshtrail: damaged: ${json(data)}`);
    } else if (event === 'end') note(`meshtrail: ${visible(String((data as { reason: unknown }).reason))}`);
  }

  #hello(api: URL, { asOf, since }: { asOf: { origin: string; size: number }; since?: string }): void {
    if (this.#origin !== undefined && this.#origin !== asOf.origin)
      throw notACollector(api, `it has another log now, ${visible(asOf.origin)}`);
    if (this.#origin === undefined)
      note(
        `following ${visible(asOf.origin)} from size ${asOf.size}${since === undefined ? '' : `, since ${visible(since)}`}; Ctrl-C ends`,
      );
    this.#origin = asOf.origin;
  }
}

async function run(input: VerbInput): Promise<number> {
  const api = apiOf(input);
  const parameters = { filter: textOption(input, 'filter'), since: textOption(input, 'since') };
  const output = new TailOutput((textOption(input, 'output') ?? 'table') === 'table');
  const { signal, release } = untilSignal();
  try {
    await follow({
      api,
      path: '/v1/tail',
      parameters: () => parameters,
      after: textOption(input, 'after'),
      signal,
      take: (event) => {
        output.take(api, event);
        return false;
      },
    });
    return output.exitCode;
  } catch (error) {
    notePlace(parameters.filter, error);
    throw error;
  } finally {
    release();
  }
}

export const tail: Verb = {
  summary: 'Shows records as they are published, until Ctrl-C. With --since, history first, without a hole between.',
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
    since: {
      type: 'string',
      value: 'TIME',
      help: 'Records that started from this time on: RFC 3339 with zone, or relative such as -5m.',
    },
    after: { type: 'string', value: 'ID', help: 'Go on behind an event, as GET /v1/tail names it.' },
    output: { ...OUTPUT_OPTION, help: 'table or ndjson.', choices: ['table', 'ndjson'] },
    api: API_OPTION,
  },
  examples: ['meshtrail tail', 'meshtrail tail --since -5m -f \'verdict == "denied"\'', 'meshtrail tail -o ndjson'],
  run,
};
