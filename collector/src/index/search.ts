// One query: batches are opened when the answer reaches their zone, and their rows merged, newest or oldest first.

import { recordOf, sourceOf } from '../core/codec/record.ts';
import type { FlowRecord } from '../core/record.ts';
import { compare, type OpenBatch } from './batch-cache.ts';
import type { FlowPage, FlowPosition, FlowQuery, Zone } from './flow-index.ts';
import { Heap } from './heap.ts';

export interface SearchLimits {
  /** Rows that one query may look at. */
  readonly rowsMax: number;
  /** Time that one query may take. */
  readonly timeMsMax: number;
  /** A monotonic clock in ms. */
  readonly now: () => number;
}

/** Reads the batch of an entry; undefined when it is damaged, which the reader takes note of. */
export type ReadBatch = (index: number) => Promise<OpenBatch | undefined>;

/** Rows of one batch in the order of the answer. */
interface Run {
  readonly index: number;
  readonly starts: BigInt64Array;
  readonly rows: Uint16Array;
  at: number;
}

/** After so much work a search looks at the clock and lets others run: ingest must not wait for it. */
const WORK_BETWEEN_PAUSES = 256;
const WORK_OF_OPENING = 16;

export class Search {
  readonly #query: FlowQuery;
  readonly #zones: readonly Zone[];
  readonly #read: ReadBatch;
  readonly #limits: SearchLimits;
  readonly #direction: 1 | -1;
  readonly #runs: Heap<Run>;
  readonly #sinceNs: bigint | undefined;
  readonly #untilNs: bigint | undefined;
  readonly #endMs: number;
  #nextZone = 0;
  #rowsSeen = 0;
  #work = 0;
  #isOutOfTime = false;

  constructor(query: FlowQuery, zones: readonly Zone[], read: ReadBatch, limits: SearchLimits) {
    const isAscending = query.order === 'asc';
    const { bounds = {} } = query.filter ?? {};
    const { after } = query;
    this.#query = query;
    this.#read = read;
    this.#limits = limits;
    this.#endMs = limits.now() + limits.timeMsMax;
    this.#direction = isAscending ? 1 : -1;
    this.#runs = new Heap((a, b) => this.#direction * compareHeads(a, b));
    this.#sinceNs = extreme(1, query.sinceNs, bounds.sinceNs, isAscending ? after?.startNs : undefined);
    this.#untilNs = extreme(
      -1,
      query.untilNs,
      bounds.untilNs,
      isAscending || after === undefined ? undefined : after.startNs + 1n,
    );
    this.#zones = zones
      .filter(
        ({ index, startNsMin, startNsMax }) =>
          index < query.size &&
          (this.#sinceNs === undefined || startNsMax >= this.#sinceNs) &&
          (this.#untilNs === undefined || startNsMin < this.#untilNs),
      )
      .sort((a, b) => (isAscending ? compare(a.startNsMin, b.startNsMin) : compare(b.startNsMax, a.startNsMax)));
  }

  async run(): Promise<FlowPage> {
    const { filter, limit } = this.#query;
    const { rowsMax, timeMsMax } = this.#limits;
    const flows: FlowRecord[] = [];
    let last: FlowPosition | undefined;
    for (;;) {
      const run = await this.#nextRun();
      if (this.#isOutOfTime) return { flows, next: last, partial: `the query took ${timeMsMax} ms, its limit` };
      if (run === undefined) return { flows, next: undefined, partial: undefined };
      const position = positionOf(run);
      const open = await this.#read(run.index);
      this.#advance(run);
      if (open !== undefined) {
        const record = recordOf(sourceOf(open.batch, position.index, position.row));
        if (filter === undefined || filter.matches({ record, startNs: position.startNs })) {
          // One more than the page holds tells that there is another page.
          if (flows.length === limit) return { flows, next: last, partial: undefined };
          flows.push(record);
        }
      }
      last = position;
      if (++this.#rowsSeen >= rowsMax)
        return { flows, next: last, partial: `the query looked at ${this.#rowsSeen} records, its limit` };
      await this.#worked(1);
    }
  }

  /** The run whose next row comes first; opens every batch whose zone could hold an earlier one. */
  async #nextRun(): Promise<Run | undefined> {
    for (;;) {
      const first = this.#runs.first();
      const zone = this.#zones[this.#nextZone];
      if (zone === undefined || this.#isOutOfTime) return first;
      const at = first?.starts[first.at];
      const isBehind = at !== undefined && (this.#direction === 1 ? zone.startNsMin > at : zone.startNsMax < at);
      if (isBehind) return first;
      this.#nextZone++;
      const open = await this.#read(zone.index);
      if (open !== undefined) this.#start(zone.index, open);
      await this.#worked(WORK_OF_OPENING);
    }
  }

  #start(index: number, { starts, rows }: OpenBatch): void {
    const [since, until] = [this.#sinceNs, this.#untilNs];
    const from = since === undefined ? 0 : starts.findIndex((start) => start >= since);
    const behind = until === undefined ? -1 : starts.findIndex((start) => start >= until);
    const to = behind === -1 ? starts.length : behind;
    if (from === -1 || from >= to) return;
    const run: Run = { index, starts: starts.slice(from, to), rows: rows.slice(from, to), at: 0 };
    if (this.#direction === -1) {
      run.starts.reverse();
      run.rows.reverse();
    }
    const { after } = this.#query;
    while (after !== undefined && run.at < run.rows.length && this.#order(positionOf(run), after) <= 0) run.at++;
    if (run.at < run.rows.length) this.#runs.push(run);
  }

  #advance(run: Run): void {
    if (++run.at < run.rows.length) this.#runs.sinkFirst();
    else this.#runs.pop();
  }

  /** Negative when a comes before b in the answer. */
  #order(a: FlowPosition, b: FlowPosition): number {
    return this.#direction * (compare(a.startNs, b.startNs) || a.index - b.index || a.row - b.row);
  }

  async #worked(amount: number): Promise<void> {
    this.#work += amount;
    if (this.#work < WORK_BETWEEN_PAUSES) return;
    this.#work = 0;
    await new Promise((done) => setImmediate(done));
    this.#query.signal?.throwIfAborted();
    this.#isOutOfTime = this.#limits.now() > this.#endMs;
  }
}

function positionOf({ starts, rows, index, at }: Run): FlowPosition {
  return { startNs: starts[at] as bigint, index, row: rows[at] as number };
}

function compareHeads(a: Run, b: Run): number {
  const order = compare(a.starts[a.at] as bigint, b.starts[b.at] as bigint);
  return order || a.index - b.index || (a.rows[a.at] as number) - (b.rows[b.at] as number);
}

/** The largest (1) or smallest (-1) of the values that are there. */
function extreme(sign: 1 | -1, ...values: readonly (bigint | undefined)[]): bigint | undefined {
  let best: bigint | undefined;
  for (const value of values)
    if (value !== undefined && (best === undefined || sign * compare(value, best) > 0)) best = value;
  return best;
}
