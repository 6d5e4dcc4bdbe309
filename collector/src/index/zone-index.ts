// A FlowIndex over the zones of batches: a query opens only the batches that overlap its time range, in the order of the answer.

import { type Entry, parseEntry } from '../core/codec/entry.ts';
import { recordOf, sourceOf } from '../core/codec/record.ts';
import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import type { EvidenceLog, LogClock } from '../log/evidence-log.ts';
import type { AggregateLimits, AggregateQuery, AggregateResult } from './aggregate.ts';
import { Aggregation } from './aggregation.ts';
import { BatchCache, type OpenBatch } from './batch-cache.ts';
import { type Coverage, type CoverageQuery, coverageOf } from './coverage.ts';
import type { Conditions, FlowIndex, FlowPage, FlowQuery, Gap, Zone, ZoneStore } from './flow-index.ts';
import { Gate } from './gate.ts';
import type { ProxyEvents } from './proxies.ts';
import { Search, type SearchLimits } from './search.ts';
import { SilenceWatch } from './silence-watch.ts';
import { Streams, type StreamsLimits } from './streams.ts';

const ENTRIES_PER_WRITE_MAX = 1024;
const SEARCHES_RUNNING_MAX = 4;
const SEARCHES_WAITING_MAX = 512;
/** Damaged entries that are remembered; a log that is damaged all over needs no longer list. */
const DAMAGED_MAX = 1000;

export interface ZoneIndexInput extends SearchLimits {
  readonly log: EvidenceLog;
  readonly store: ZoneStore;
  /** Told when the index stops following the log, once for each stop; it tries again at the next publication. */
  readonly failed: (error: Error) => void;
  readonly streams?: StreamsLimits;
  readonly aggregate?: Partial<AggregateLimits>;
}

/** Opens the index, catches up with the log, and follows its publications. */
export async function openZoneIndex(input: ZoneIndexInput): Promise<FlowIndex> {
  const index = new ZoneIndex(input);
  await index.open();
  return index;
}

/** What was read of the log and is not yet written. */
interface Step {
  readonly zones: Zone[];
  readonly fresh: Zone[];
  readonly entries: Entry[];
}

class ZoneIndex implements FlowIndex {
  readonly #input: ZoneIndexInput;
  readonly #batches: BatchCache;
  readonly #gate = new Gate(SEARCHES_RUNNING_MAX, SEARCHES_WAITING_MAX);
  readonly #streams: Streams;
  /** In the order of the log. */
  readonly #zones: Zone[] = [];
  /** Entries that could not be read, and why. */
  readonly #damaged = new Map<number, string>();
  /** Zones that an earlier life of the index stored, until the log's own headers confirm them. */
  readonly #stored = new Map<number, Zone>();
  #size = 0;
  #catchingUp: Promise<void> = Promise.resolve();
  #failure: Error | undefined;
  #stopListening: () => void = () => undefined;
  #watch: SilenceWatch | undefined;

  constructor(input: ZoneIndexInput) {
    this.#input = input;
    this.#batches = new BatchCache(input.log);
    this.#streams = new Streams(input.streams);
  }

  get size(): number {
    return this.#size;
  }

  async open(): Promise<void> {
    const { store, log } = this.#input;
    const stored = await store.indexed();
    // Another version, or an index of a longer log: it is a cache, so it is made again.
    if (stored === undefined || stored > log.published().size) await store.clear();
    else for await (const zone of store.zones()) this.#stored.set(zone.index, zone);
    this.#stopListening = log.onPublished(() => this.#follow());
    this.#follow();
    await this.idle();
    this.#stored.clear();
  }

  #follow(): void {
    this.#catchingUp = this.#catchingUp
      .then(() => this.#catchUp(this.#input.log.published().size))
      .then(() => {
        this.#failure = undefined;
      })
      .catch((error: Error) => {
        if (this.#failure === undefined) this.#input.failed(error);
        this.#failure = error;
      });
  }

  async idle(): Promise<void> {
    await this.#catchingUp;
  }

  failure(): Error | undefined {
    return this.#failure;
  }

  /** Indexes entries up to a published size, some at a time; what fails is done again from the last write on. */
  async #catchUp(size: number): Promise<void> {
    let step: Step = { zones: [], fresh: [], entries: [] };
    let next = this.#size;
    for await (const { index, entry } of this.#input.log.entries(next, size)) {
      await this.#take(index, entry, step);
      next = index + 1;
      if (next - this.#size < ENTRIES_PER_WRITE_MAX) continue;
      await this.#write(step, next);
      step = { zones: [], fresh: [], entries: [] };
    }
    if (next < size)
      throw new MeshtrailError('STORE_CORRUPT', `Entry ${next} of ${size} is missing; run \`meshtrail fsck\`.`);
    if (next > this.#size) await this.#write(step, next);
  }

  async #take(index: number, bytes: Uint8Array, step: Step): Promise<void> {
    const entry = await this.#guarded(index, () => parseEntry(bytes));
    if (entry === undefined) return;
    step.entries.push(entry);
    if (entry.kind !== 'batch' || entry.recordCount === 0) return;
    const stored = this.#stored.get(index);
    if (stored?.records === entry.recordCount) step.zones.push(stored);
    else {
      const span = this.#input.log.startsOf(index);
      const zone =
        span === undefined ? zoneOf(index, await this.#read(index)) : { index, ...span, records: entry.recordCount };
      if (zone === undefined) return;
      step.zones.push(zone);
      step.fresh.push(zone);
    }
  }

  async #write({ zones, fresh, entries }: Step, size: number): Promise<void> {
    await this.#input.store.write(fresh, size);
    for (const entry of entries) this.#streams.note(entry);
    this.#zones.push(...zones);
    this.#size = size;
  }

  /** The batch of an entry, or undefined when it is damaged: one bad entry must not hide all others. */
  async #read(index: number): Promise<OpenBatch | undefined> {
    return (
      this.#batches.peek(index) ??
      (await this.#guarded(index, async () => {
        const open = await this.#batches.get(index);
        if (open === undefined) throw new MeshtrailError('STORE_CORRUPT', `The body of entry ${index} is missing.`);
        return open;
      }))
    );
  }

  /** Does what damage of an entry can make fail, and remembers that damage. A store that fails is no damage. */
  async #guarded<T>(index: number, work: () => T | Promise<T>): Promise<T | undefined> {
    try {
      const result = await work();
      this.#damaged.delete(index);
      return result;
    } catch (error) {
      if (!(error instanceof MeshtrailError) || error.code === 'STORE_FAILED') throw error;
      if (this.#damaged.size < DAMAGED_MAX) this.#damaged.set(index, error.message);
      return undefined;
    }
  }

  zones(from: number, to: number, limit: number): readonly Zone[] {
    const [first, end] = [this.#zoneAt(from), this.#zoneAt(to)];
    return this.#zones.slice(first, Math.min(end, first + limit));
  }

  /** Place of the first zone whose entry is `index` or behind it. */
  #zoneAt(index: number): number {
    let [low, high] = [0, this.#zones.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#zones[middle] as Zone).index < index) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async record(index: number, row: number): Promise<FlowRecord | undefined> {
    if (index >= this.#size) return undefined;
    const open = await this.#batches.get(index);
    return open === undefined || row >= open.batch.rowCount ? undefined : recordOf(sourceOf(open.batch, index, row));
  }

  gaps(): readonly Gap[] {
    const gaps = this.#streams.gaps();
    return this.#damaged.size === 0 ? gaps : [...gaps, ...this.#damagedGaps()];
  }

  #damagedGaps(): Gap[] {
    return [...this.#damaged].map(([entry, reason]) => ({ kind: 'damaged', entry, reason }));
  }

  coverage(query: CoverageQuery): Coverage {
    const { proxies, gaps } = coverageOf(this.#streams, query);
    return { proxies, gaps: [...gaps, ...this.#damagedGaps()] };
  }

  conditions(nowMs: number): Conditions {
    return { streams: this.#streams.counts(), proxiesSilent: this.#streams.proxies.silentCount(nowMs) };
  }

  watchSilence(clock: LogClock, events: ProxyEvents): void {
    const { log } = this.#input;
    const size = (): number | undefined => (this.#failure === undefined ? this.#size : undefined);
    this.#watch = new SilenceWatch({ log, streams: this.#streams, size, clock, events });
  }

  async search(query: FlowQuery): Promise<FlowPage> {
    return await this.#gate.run(async () => {
      query.signal?.throwIfAborted();
      return await new Search(query, this.#zones, (index) => this.#read(index), this.#input).run();
    });
  }

  async aggregate(query: AggregateQuery): Promise<AggregateResult> {
    return await this.#gate.run(async () => {
      query.signal?.throwIfAborted();
      const { aggregate } = this.#input;
      return await new Aggregation(query, this.#zones, (index) => this.#read(index), this.#input, aggregate).run();
    });
  }

  async close(): Promise<void> {
    this.#stopListening();
    await this.#watch?.stop();
    await this.idle();
    await this.#input.store.close();
  }
}

function zoneOf(index: number, open: OpenBatch | undefined): Zone | undefined {
  const startNsMin = open?.starts.at(0);
  const startNsMax = open?.starts.at(-1);
  return startNsMin === undefined || startNsMax === undefined
    ? undefined
    : { index, startNsMin, startNsMax, records: open?.rows.length ?? 0 };
}
