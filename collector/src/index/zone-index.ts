// A FlowIndex over the zones of batches: a query opens only the batches that overlap its time range, in the order of the answer.

import { type Batch, decodeStoredBatch } from '../core/codec/batch.ts';
import { parseEntry } from '../core/codec/entry.ts';
import { HEADER_BYTES, ROW, ROW_BYTES } from '../core/codec/layout.ts';
import { recordOf, sourceOf } from '../core/codec/record.ts';
import type { FlowRecord } from '../core/record.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import type { FlowIndex, FlowPage, FlowPosition, FlowQuery, Gap, Zone, ZoneStore } from './flow-index.ts';
import { Streams } from './streams.ts';

const DECODED_BATCHES_MAX = 64;
const WRITE_ZONES_MAX = 1024;

export interface ZoneIndexInput {
  readonly log: EvidenceLog;
  readonly store: ZoneStore;
  /** Rows that one query may look at. */
  readonly rowsMax: number;
  /** Time that one query may take. */
  readonly timeMsMax: number;
  /** A monotonic clock in ms. */
  readonly now: () => number;
  /** Told when the index falls behind for good; answers go on with what is indexed. */
  readonly failed: (error: Error) => void;
}

/** Opens the index, catches up with the log, and follows its publications. */
export async function openZoneIndex(input: ZoneIndexInput): Promise<FlowIndex> {
  const index = new ZoneIndex(input);
  await index.open();
  return index;
}

class ZoneIndex implements FlowIndex {
  private readonly input: ZoneIndexInput;
  /** In the order of the log. */
  private zones: Zone[] = [];
  private readonly streams = new Streams();
  private indexedSize = 0;
  private catchingUp: Promise<void> = Promise.resolve();
  private stopListening: () => void = () => undefined;
  private readonly decoded = new Map<number, Batch>();

  constructor(input: ZoneIndexInput) {
    this.input = input;
  }

  get size(): number {
    return this.indexedSize;
  }

  async open(): Promise<void> {
    const { store, log } = this.input;
    const stored = await store.indexed();
    // Another version, or an index of a longer log: it is a cache, so it is made again.
    if (stored === undefined || stored > log.published().size) await store.clear();
    else for await (const zone of store.zones()) this.zones.push(zone);
    this.stopListening = log.onPublished(() => this.follow());
    this.follow();
    await this.idle();
  }

  private follow(): void {
    this.catchingUp = this.catchingUp
      .then(() => this.catchUp(this.input.log.published().size))
      .catch((error: Error) => this.input.failed(error));
  }

  async idle(): Promise<void> {
    await this.catchingUp;
  }

  /** Indexes entries up to a published size. Zones that were stored before are kept; headers are read for the streams' state. */
  private async catchUp(size: number): Promise<void> {
    const known = new Set(this.indexedSize === 0 ? this.zones.map(({ index }) => index) : []);
    let fresh: Zone[] = [];
    for await (const { index, entry } of this.input.log.entries(this.indexedSize, size)) {
      const parsed = parseEntry(entry);
      if (parsed.kind !== 'batch') continue;
      this.streams.note(parsed);
      if (parsed.recordCount === 0 || known.has(index)) continue;
      fresh.push(await this.zoneOf(index));
      if (fresh.length >= WRITE_ZONES_MAX) {
        await this.input.store.write(fresh, index + 1);
        this.zones.push(...fresh);
        fresh = [];
      }
    }
    await this.input.store.write(fresh, size);
    this.zones.push(...fresh);
    this.indexedSize = size;
  }

  private async batchOf(index: number): Promise<Batch> {
    const known = this.decoded.get(index);
    if (known !== undefined) return known;
    const wire = await this.input.log.wireBatch(index);
    if (wire === undefined) throw new Error(`entry ${index} has no body`);
    const batch = decodeStoredBatch(wire);
    this.decoded.set(index, batch);
    if (this.decoded.size > DECODED_BATCHES_MAX) this.decoded.delete(this.decoded.keys().next().value as number);
    return batch;
  }

  private async zoneOf(index: number): Promise<Zone> {
    const batch = await this.batchOf(index);
    let [min, max] = [startOf(batch, 0), startOf(batch, 0)];
    for (let i = 1; i < batch.rowCount; i++) {
      const start = startOf(batch, i);
      if (start < min) min = start;
      if (start > max) max = start;
    }
    return { index, startNsMin: min, startNsMax: max, records: batch.rowCount };
  }

  async record(index: number, row: number): Promise<FlowRecord | undefined> {
    if (index >= this.indexedSize || (await this.input.log.wireBatch(index)) === undefined) return undefined;
    const batch = await this.batchOf(index);
    return row < batch.rowCount ? recordOf(sourceOf(batch, index, row)) : undefined;
  }

  gaps(): readonly Gap[] {
    return this.streams.gaps();
  }

  async search(query: FlowQuery): Promise<FlowPage> {
    return await new Search(query, this.zones, (index) => this.batchOf(index), this.input).run();
  }

  async close(): Promise<void> {
    this.stopListening();
    await this.idle();
    await this.input.store.close();
  }
}

function startOf(batch: Batch, row: number): bigint {
  return batch.view.getBigInt64(HEADER_BYTES + row * ROW_BYTES + ROW.startNs, true);
}

/** Rows of one batch in the order of the answer. */
interface Run {
  readonly index: number;
  readonly batch: Batch;
  readonly rows: readonly FlowPosition[];
  at: number;
}

/** One query: batches are opened when the answer reaches their zone, and their rows merged. */
class Search {
  private readonly query: FlowQuery;
  private readonly zones: Zone[];
  private readonly batchOf: (index: number) => Promise<Batch>;
  private readonly limits: Pick<ZoneIndexInput, 'rowsMax' | 'timeMsMax' | 'now'>;
  private readonly runs: Run[] = [];
  private readonly sinceNs: bigint | undefined;
  private readonly untilNs: bigint | undefined;
  private rowsSeen = 0;

  constructor(
    query: FlowQuery,
    zones: readonly Zone[],
    batchOf: (index: number) => Promise<Batch>,
    limits: Pick<ZoneIndexInput, 'rowsMax' | 'timeMsMax' | 'now'>,
  ) {
    this.query = query;
    this.batchOf = batchOf;
    this.limits = limits;
    const bounds = query.filter?.bounds ?? {};
    const { after } = query;
    const isAscending = query.order === 'asc';
    this.sinceNs = largest(query.sinceNs, bounds.sinceNs, isAscending ? after?.startNs : undefined);
    this.untilNs = smallest(
      query.untilNs,
      bounds.untilNs,
      isAscending || after === undefined ? undefined : after.startNs + 1n,
    );
    this.zones = zones
      .filter(
        ({ index, startNsMin, startNsMax }) =>
          index < query.size &&
          (this.sinceNs === undefined || startNsMax >= this.sinceNs) &&
          (this.untilNs === undefined || startNsMin < this.untilNs),
      )
      .sort(
        (a, b) =>
          (isAscending ? compare(a.startNsMin, b.startNsMin) : compare(b.startNsMax, a.startNsMax)) ||
          a.index - b.index,
      );
  }

  /** Negative when a comes before b in the answer. */
  private order(a: FlowPosition, b: FlowPosition): number {
    const order = compare(a.startNs, b.startNs) || a.index - b.index || a.row - b.row;
    return this.query.order === 'asc' ? order : -order;
  }

  async run(): Promise<FlowPage> {
    const { filter, limit } = this.query;
    const flows: FlowRecord[] = [];
    const until = this.limits.now() + this.limits.timeMsMax;
    let last: FlowPosition | undefined;
    for (let run = await this.nextRun(); run !== undefined; run = await this.nextRun()) {
      const position = run.rows[run.at++] as FlowPosition;
      if (run.at === run.rows.length) this.runs.splice(this.runs.indexOf(run), 1);
      const record = recordOf(sourceOf(run.batch, position.index, position.row));
      if (filter === undefined || filter.matches({ record, startNs: position.startNs })) {
        if (flows.length === limit) return { flows, next: last, partial: undefined };
        flows.push(record);
      }
      last = position;
      if (++this.rowsSeen >= this.limits.rowsMax)
        return { flows, next: last, partial: `the query looked at ${this.rowsSeen} records, its limit` };
      if (this.rowsSeen % 256 === 0) {
        if (this.limits.now() > until)
          return { flows, next: last, partial: `the query took ${this.limits.timeMsMax} ms, its limit` };
        // A long scan must not keep ingest waiting.
        await new Promise((done) => setImmediate(done));
      }
    }
    return { flows, next: undefined, partial: undefined };
  }

  /** The run whose next row comes first; opens every batch whose zone could hold an earlier one. */
  private async nextRun(): Promise<Run | undefined> {
    for (;;) {
      let first: Run | undefined;
      for (const run of this.runs) {
        if (
          first === undefined ||
          this.order(run.rows[run.at] as FlowPosition, first.rows[first.at] as FlowPosition) < 0
        )
          first = run;
      }
      const zone = this.zones[0];
      if (zone === undefined) return first;
      const at = first?.rows[first.at]?.startNs;
      const isBehind = at !== undefined && (this.query.order === 'asc' ? zone.startNsMin > at : zone.startNsMax < at);
      if (isBehind) return first;
      this.zones.shift();
      await this.open(zone.index);
    }
  }

  private async open(index: number): Promise<void> {
    const batch = await this.batchOf(index);
    const { after } = this.query;
    const rows: FlowPosition[] = [];
    for (let row = 0; row < batch.rowCount; row++) {
      const startNs = startOf(batch, row);
      if (
        (this.sinceNs !== undefined && startNs < this.sinceNs) ||
        (this.untilNs !== undefined && startNs >= this.untilNs)
      )
        continue;
      const position = { startNs, index, row };
      if (after === undefined || this.order(after, position) < 0) rows.push(position);
    }
    rows.sort((a, b) => this.order(a, b));
    if (rows.length > 0) this.runs.push({ index, batch, rows, at: 0 });
  }
}

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

function largest(...values: (bigint | undefined)[]): bigint | undefined {
  return values
    .filter((v) => v !== undefined)
    .reduce<bigint | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined);
}

function smallest(...values: (bigint | undefined)[]): bigint | undefined {
  return values
    .filter((v) => v !== undefined)
    .reduce<bigint | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined);
}
