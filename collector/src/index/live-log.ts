// The log as those see it who follow it: what is published and indexed, entry by entry in the order of the log.
// A batch is read and its records are written as JSON once for all followers; followers keep no records, only their place.

import { recordOf, sourceOf } from '../core/codec/record.ts';
import type { FlowRecord } from '../core/record.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { BatchCache, type OpenBatch } from './batch-cache.ts';
import type { FlowIndex } from './flow-index.ts';

/** Batches whose records are kept; followers that are level with each other share them. At most about 3 MB each. */
const BATCHES_MAX = 8;
/** While somebody watches, a grown log is published this often, if it is configured to be published less often. */
const PUBLISH_MS = 200;
/** Whoever else has work gets so many times what a follower took, before the next follower has its turn. */
const SHARE_OF_OTHERS = 3;
/** A turn of the event loop that is shorter had nothing else to do. */
const IDLE_MS = 0.2;
/** How long it is known when an entry was published, and how exactly. */
const MEMORY_MS = 60_000;
const MEMORY_STEP_MS = 100;

export interface LiveLogInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly publishMs?: number;
  /** A monotonic clock in ms. */
  readonly now: () => number;
}

/** A batch, and its records as far as anybody has asked for them. */
export class LiveBatch {
  readonly index: number;
  readonly rowCount: number;
  readonly #batch: OpenBatch['batch'];
  readonly #starts: BigInt64Array;
  readonly #records: (FlowRecord | undefined)[] = [];
  readonly #texts: (string | undefined)[] = [];

  constructor(index: number, { batch, starts, rows }: OpenBatch) {
    this.index = index;
    this.rowCount = batch.rowCount;
    this.#batch = batch;
    this.#starts = new BigInt64Array(batch.rowCount);
    for (let i = 0; i < rows.length; i++) this.#starts[rows[i] as number] = starts[i] as bigint;
  }

  startNs(row: number): bigint {
    return this.#starts[row] as bigint;
  }

  record(row: number): FlowRecord {
    this.#records[row] ??= recordOf(sourceOf(this.#batch, this.index, row));
    return this.#records[row];
  }

  json(row: number): string {
    this.#texts[row] ??= JSON.stringify(this.record(row));
    return this.#texts[row];
  }
}

/** One for a collector. */
export class LiveLog {
  readonly index: FlowIndex;
  readonly log: EvidenceLog;
  readonly #cache: BatchCache;
  readonly #publishMs: number;
  /** Least recently used first. */
  readonly #batches = new Map<number, LiveBatch>();
  readonly #waiting = new Set<() => void>();
  readonly #now: () => number;
  /** Sizes that the log had, and since when; oldest first. */
  #sizes: { size: number; readonly ms: number }[] = [];
  #stopListening: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #followers = 0;
  #resting: Promise<void> = Promise.resolve();

  constructor({ log, index, now, publishMs = PUBLISH_MS }: LiveLogInput) {
    this.log = log;
    this.index = index;
    this.#cache = new BatchCache(log);
    this.#publishMs = publishMs;
    this.#now = now;
  }

  /** Entries that may be shown: a signed checkpoint covers them, and the index knows them. */
  get size(): number {
    return Math.min(this.index.size, this.log.published().size);
  }

  /** Counts a follower in, until the returned function is called. */
  enter(): () => void {
    if (this.#followers++ === 0) {
      this.#sizes = [{ size: this.size, ms: this.#now() }];
      this.#stopListening = this.log.onPublished(() => void this.#published());
      // Who watches waits for a signature; a failure of the log is told of by the log.
      this.#timer = setInterval(() => void this.log.publishNow().catch(() => undefined), this.#publishMs);
    }
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      if (--this.#followers > 0) return;
      this.#stopListening?.();
      clearInterval(this.#timer);
    };
  }

  async #published(): Promise<void> {
    await this.index.idle();
    this.#remember();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #remember(): void {
    const ms = this.#now();
    const last = this.#sizes.at(-1);
    if (last !== undefined && this.#sizes.length > 1 && ms - last.ms < MEMORY_STEP_MS) last.size = this.size;
    else this.#sizes.push({ size: this.size, ms });
    while ((this.#sizes[1]?.ms ?? ms) < ms - MEMORY_MS) this.#sizes.shift();
  }

  /** When an entry came to be shown; of one that was shown before what is remembered, long ago. */
  shownMs(index: number): number {
    const [oldest, ...others] = this.#sizes;
    if (oldest === undefined || index < oldest.size) return Number.NEGATIVE_INFINITY;
    return others.find(({ size }) => size > index)?.ms ?? this.#now();
  }

  /** Resolves when there may be more than `size` entries to show, or when the signal says that nobody waits any more. */
  async grown(size: number, signal: AbortSignal): Promise<void> {
    if (this.size > size || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake);
    await promise;
    signal.removeEventListener('abort', wake);
    this.#waiting.delete(wake);
  }

  /** Lets others run after work that took so long: ingest must not wait for followers, however many there are. */
  async rest(usedMs: number): Promise<void> {
    const turn = this.#restAfter(this.#resting, usedMs);
    this.#resting = turn;
    await turn;
  }

  async #restAfter(before: Promise<void>, usedMs: number): Promise<void> {
    await before;
    await nextTurn();
    for (let othersMs = 0; othersMs < SHARE_OF_OTHERS * usedMs; ) {
      const startedMs = this.#now();
      await nextTurn();
      const tookMs = this.#now() - startedMs;
      if (tookMs < IDLE_MS) return;
      othersMs += tookMs;
    }
  }

  /** The batch of an entry; undefined for an entry without one. Throws STORE_CORRUPT. */
  async batch(index: number): Promise<LiveBatch | undefined> {
    const known = this.#batches.get(index);
    if (known !== undefined) {
      this.#batches.delete(index);
      this.#batches.set(index, known);
      return known;
    }
    const open = await this.#cache.get(index);
    if (open === undefined) return undefined;
    // Another follower may have read it meanwhile.
    const batch = this.#batches.get(index) ?? new LiveBatch(index, open);
    this.#batches.set(index, batch);
    for (const oldest of this.#batches.keys()) {
      if (this.#batches.size <= BATCHES_MAX) break;
      this.#batches.delete(oldest);
    }
    return batch;
  }
}

const nextTurn = async (): Promise<void> => await new Promise((done) => setImmediate(done));
