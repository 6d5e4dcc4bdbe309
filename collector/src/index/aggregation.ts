// Answers one aggregate query by looking at the records of every batch in its time range, one after the other.

import { ATTRIBUTES, type FilterRow } from '../core/attributes.ts';
import { recordOf, sourceOf } from '../core/codec/record.ts';
import { timeText } from '../core/codec/text.ts';
import {
  AGGREGATE_LIMITS,
  type AggregateLimits,
  type AggregateQuery,
  type AggregateResult,
  type LimitHit,
  type LimitName,
} from './aggregate.ts';
import { compare, type OpenBatch } from './batch-cache.ts';
import type { Zone } from './flow-index.ts';
import { SampleBudget } from './samples.ts';
import type { ReadBatch, SearchLimits } from './search.ts';
import { halfOf, Twins } from './twins.ts';
import { type Contribution, type OpenGroup, ViewState } from './view-state.ts';

/** After so many records others are let run: ingest must not wait for a count. */
const RECORDS_BETWEEN_PAUSES = 256;
const RECORDS_OF_OPENING = 16;

/** What one record adds to a view that joins twins, while its twin is looked for; of a server's record also where it went. */
interface Part {
  readonly state: ViewState;
  readonly contribution: Contribution;
  readonly group?: OpenGroup | undefined;
}

export class Aggregation {
  readonly #query: AggregateQuery;
  readonly #zones: readonly Zone[];
  readonly #read: ReadBatch;
  readonly #limits: SearchLimits & AggregateLimits;
  readonly #views: readonly ViewState[];
  readonly #joined: readonly ViewState[];
  readonly #hits = new Map<LimitName, string>();
  readonly #twins: Twins<readonly Part[]>;
  readonly #sinceNs: bigint | undefined;
  readonly #untilNs: bigint | undefined;
  readonly #endMs: number;
  /** Oldest first when twins are joined, newest first when not, so that a limit leaves the newest. */
  readonly #isAscending: boolean;
  #rowsSeen = 0;
  #work = 0;
  #distinct = 0;
  #isStopped = false;

  constructor(
    query: AggregateQuery,
    zones: readonly Zone[],
    read: ReadBatch,
    limits: SearchLimits,
    aggregateLimits: Partial<AggregateLimits> = {},
  ) {
    const { bounds = {} } = query.filter ?? {};
    this.#query = query;
    this.#read = read;
    this.#limits = { ...AGGREGATE_LIMITS, ...aggregateLimits, ...limits };
    this.#endMs = limits.now() + limits.timeMsMax;
    this.#views = this.#states();
    this.#joined = this.#views.filter(({ view }) => view.joinsTwins);
    this.#isAscending = this.#joined.length > 0;
    this.#twins = new Twins({ alone: addAlone, paired: addPaired });
    this.#sinceNs = latest(query.sinceNs, bounds.sinceNs);
    this.#untilNs = earliest(query.untilNs, bounds.untilNs);
    this.#zones = zones
      .filter(
        ({ index, startNsMin, startNsMax }) =>
          index < query.size &&
          (this.#sinceNs === undefined || startNsMax >= this.#sinceNs) &&
          (this.#untilNs === undefined || startNsMin < this.#untilNs),
      )
      .sort((a, b) => (this.#isAscending ? compare(a.startNsMin, b.startNsMin) : compare(b.startNsMax, a.startNsMax)));
  }

  #states(): readonly ViewState[] {
    const { groupsMax, samplesMax, distinctMax } = this.#limits;
    const samples = new SampleBudget(samplesMax);
    const context = {
      groupsMax,
      samples,
      takeDistinct: (): boolean => {
        if (this.#distinct < distinctMax) return this.#distinct++ < distinctMax;
        this.#hit('values', `distinct() counts up to ${distinctMax} values in all, its limit; there are more`);
        return false;
      },
      tooManyGroups: (): void =>
        this.#hit('groups', `there are more than ${groupsMax} groups, the limit; records of others are left out`),
    };
    return this.#query.views.map((view) => new ViewState(view, context));
  }

  async run(): Promise<AggregateResult> {
    for (const zone of this.#zones) {
      if (this.#isAscending) this.#twins.advance(zone.startNsMin);
      const open = await this.#read(zone.index);
      await this.#worked(RECORDS_OF_OPENING, zone);
      if (open !== undefined && !this.#isStopped) await this.#takeBatch(zone, open);
      if (this.#isStopped) break;
    }
    this.#twins.finish();
    const limits = [...this.#hits].map(([limit, reason]): LimitHit => ({ limit, reason }));
    return { views: this.#views.map((state) => state.result()), limits };
  }

  async #takeBatch(zone: Zone, { batch, starts, rows }: OpenBatch): Promise<void> {
    for (let i = 0; i < rows.length && !this.#isStopped; i++) {
      const startNs = starts[i] as bigint;
      if (this.#sinceNs !== undefined && startNs < this.#sinceNs) continue;
      if (this.#untilNs !== undefined && startNs >= this.#untilNs) break;
      if (this.#rowsSeen >= this.#limits.rowsMax) {
        this.#stop('rows', `the query looked at ${this.#rowsSeen} records, its limit`, zone);
        return;
      }
      this.#rowsSeen++;
      const row = rows[i] as number;
      const record = recordOf(sourceOf(batch, zone.index, row));
      const isCounted = this.#query.repeats || record.record.repeat !== true;
      if (isCounted) this.#take({ record, startNs }, zone.index, row);
      if (this.#twins.pending > this.#limits.twinsMax)
        this.#stop('twins', `the query looks for the twins of ${this.#limits.twinsMax} records, its limit`, zone);
      await this.#worked(1, zone);
    }
  }

  #take(row: FilterRow, index: number, rowIndex: number): void {
    const { filter } = this.#query;
    if (filter !== undefined && !filter.matches(row)) return;
    for (const state of this.#views) {
      if (state.view.joinsTwins) continue;
      const contribution = state.contribution(row);
      if (contribution !== undefined) state.add(contribution);
    }
    if (this.#joined.length > 0) this.#takeJoined(row, index, rowIndex);
  }

  #takeJoined(row: FilterRow, index: number, rowIndex: number): void {
    const parts: Part[] = [];
    for (const state of this.#joined) {
      const contribution = state.contribution(row);
      if (contribution !== undefined) parts.push({ state, contribution });
    }
    if (parts.length === 0) return;
    const duration = ATTRIBUTES.get('duration')?.of(row) as bigint | undefined;
    const half = halfOf(row, duration, { index, row: rowIndex }, parts);
    if (half?.isClient === true) this.#twins.add(half);
    else {
      const added = parts.map((part) => ({ ...part, group: part.state.add(part.contribution) }));
      if (half !== undefined) this.#twins.add({ ...half, what: added });
    }
  }

  #hit(limit: LimitName, reason: string): void {
    if (!this.#hits.has(limit)) this.#hits.set(limit, reason);
  }

  /** Ends the work at a zone; what was counted whole until then is told. */
  #stop(limit: LimitName, reason: string, { startNsMin, startNsMax }: Zone): void {
    this.#isStopped = true;
    const missing = this.#isAscending ? `from ${timeText(startNsMin)} on` : `up to ${timeText(startNsMax)}`;
    this.#hit(limit, `${reason}; not all that began ${missing} is counted`);
  }

  async #worked(amount: number, zone: Zone): Promise<void> {
    this.#work += amount;
    if (this.#work < RECORDS_BETWEEN_PAUSES) return;
    this.#work = 0;
    await new Promise((done) => setImmediate(done));
    this.#query.signal?.throwIfAborted();
    if (this.#limits.now() > this.#endMs && !this.#isStopped)
      this.#stop('time', `the query took ${this.#limits.timeMsMax} ms, its limit`, zone);
  }
}

function addAlone(parts: readonly Part[]): void {
  for (const { state, contribution } of parts) state.add(contribution);
}

/** The server's record stands for both: it saw who called, and what it refused. A view that only the client's is of has that one. */
function addPaired(client: readonly Part[], server: readonly Part[]): void {
  for (const { state, contribution } of client) {
    const twin = server.find((part) => part.state === state);
    if (twin === undefined) state.add(contribution);
    else if (twin.group !== undefined) twin.group.twins++;
  }
}

function latest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  return a === undefined || (b !== undefined && b > a) ? b : a;
}

function earliest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  return a === undefined || (b !== undefined && b < a) ? b : a;
}
