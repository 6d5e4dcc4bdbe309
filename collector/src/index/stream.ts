// One stream, as its batch headers tell of it: which numbers came, what its counters say, how it ended.

import { fromUtf8 } from '../core/bytes.ts';
import { type Counters, NO_COUNTERS } from '../core/codec/batch.ts';
import { type BatchEntry, escapeText } from '../core/codec/entry.ts';
import type { Gap } from './flow-index.ts';
import type { ProxyState } from './proxies.ts';

/** `open`: nothing speaks against it; `ended`: the stream said so; `ended unknown`: its proxy is silent, or lives again, without its having said so; `silent`: its proxy says that this VM is dead. */
export type StreamCondition = 'open' | 'ended' | 'ended unknown' | 'silent';

/** Batches without a hole between them; `to` is the number after the last. */
interface Run {
  from: number;
  to: number;
  readonly fromRecord: number;
  toRecord: number;
}

/** What a filter holds that nobody has acknowledged: 32 buffers and one for the end of the stream (docs/filter.md), 700 rows each. */
const FILTER_BUFFERS_MAX = 33;
const BUFFER_RECORDS_MAX = 700;

/** What a VM says of others is as old as its last tick: the longest flush interval there is. */
const TICK_NS_MAX = 60_000_000_000n;
/** Deliveries of a VM that can be under way when it dies. */
const IN_FLIGHT_MAX = 2;

const textOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : (fromUtf8(bytes) ?? escapeText(bytes));

export class Stream {
  /** Hex. */
  readonly name: string;
  node: string | undefined;
  nodeCluster: string | undefined;
  meshCluster: string | undefined;
  role: BatchEntry['role'] | undefined;
  filterVersion: string | undefined;
  batches = 0;
  records = 0;
  counters: Counters = NO_COUNTERS;
  /** When the first batch was opened and the last one sealed: Unix ns by the proxy's clock. */
  firstNs: bigint | undefined;
  lastNs: bigint | undefined;
  #lastMonoNs = 0n;
  /** When a batch last came, by the collector's clock. */
  receivedMs: number | undefined;
  hasFin = false;
  /** Another VM of the proxy said that this one is dead: which, and when by the proxy's clocks. */
  silence: { readonly by: string; readonly wallNs: bigint; readonly monoNs: bigint; batches: number } | undefined;
  /** Undefined in version 1, whose proxies promise no sign of life. */
  proxy: ProxyState | undefined;
  #runs: Run[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Takes a header; true for the newest batch so far. A batch is in the log once, so no number is counted twice. */
  take(entry: BatchEntry): boolean {
    const { clock } = entry;
    if (this.batches === 0) {
      this.node = textOf(entry.nodeId);
      this.nodeCluster = textOf(entry.nodeCluster);
      this.meshCluster = textOf(entry.meshCluster);
    }
    const isNewest = entry.batchNumber >= this.batchesEnd;
    this.batches++;
    this.records += entry.recordCount;
    if (this.firstNs === undefined || clock.openedWallNs < this.firstNs) this.firstNs = clock.openedWallNs;
    this.receivedMs = Math.max(this.receivedMs ?? 0, entry.receivedMs);
    this.#place(entry);
    if (!isNewest) return false;
    this.hasFin = entry.isFin;
    this.counters = entry.counters;
    this.role = entry.role;
    this.filterVersion = entry.filterVersion;
    this.lastNs = clock.sealedWallNs;
    this.#lastMonoNs = clock.sealedMonoNs;
    // It was only slow: it sealed a batch after it was given up. More than were under way show it too, whatever the clocks say.
    if (
      this.silence !== undefined &&
      (clock.sealedMonoNs > this.silence.monoNs || ++this.silence.batches > IN_FLIGHT_MAX)
    )
      this.silence = undefined;
    return true;
  }

  /** Another VM named it as dead; false when it is known to have lived later, or to have ended. */
  giveUp(by: string, { sealedWallNs, sealedMonoNs }: BatchEntry['clock']): boolean {
    if (this.hasFin || this.silence !== undefined || this.#lastMonoNs > sealedMonoNs) return false;
    this.silence = { by, wallNs: sealedWallNs, monoNs: sealedMonoNs, batches: 0 };
    return true;
  }

  /** A VM of its proxy says that all of them tick: it ticks again, if that VM looked after it was named. */
  comeBack(by: string, { sealedMonoNs }: BatchEntry['clock']): boolean {
    if (this.silence === undefined) return false;
    const afterNs = this.silence.monoNs + (by === this.silence.by ? 0n : TICK_NS_MAX);
    if (sealedMonoNs <= afterNs) return false;
    this.silence = undefined;
    return true;
  }

  get condition(): StreamCondition {
    if (this.hasFin) return 'ended';
    if (this.proxy?.isOver === true) return 'ended unknown';
    return this.silence === undefined ? 'open' : 'silent';
  }

  /** Number after the newest batch. */
  get batchesEnd(): number {
    return this.#runs.at(-1)?.to ?? 0;
  }

  get holes(): number {
    return this.#runs.length === 0 ? 0 : this.#runs.length - ((this.#runs[0] as Run).from === 0 ? 1 : 0);
  }

  get missingBatches(): number {
    return Math.max(0, this.batchesEnd - this.batches);
  }

  /** Records before the newest batch that did not come. */
  get missingRecords(): number {
    return Math.max(0, (this.#runs.at(-1)?.toRecord ?? 0) - this.records);
  }

  /** Records that it can have held when it was last heard, and that nobody knows of: each batch that is missing took a buffer. */
  get recordsHeldMax(): number {
    return Math.max(0, FILTER_BUFFERS_MAX - this.missingBatches) * BUFFER_RECORDS_MAX;
  }

  /** Whether nothing is missing and nothing more will come. */
  get isComplete(): boolean {
    return this.hasFin && this.missingBatches === 0;
  }

  #place({ batchNumber, firstRecord, recordCount }: BatchEntry): void {
    const runs = this.#runs;
    let at = this.#runsFrom(batchNumber);
    const before = runs[at - 1];
    const end = firstRecord + recordCount;
    // The hole that it was in is not held any more.
    if (before !== undefined && before.to > batchNumber) return;
    if (before?.to === batchNumber) {
      before.to++;
      before.toRecord = end;
    } else {
      const run: Run = { from: batchNumber, to: batchNumber + 1, fromRecord: firstRecord, toRecord: end };
      // An array that grows is given room for more, and most streams have one run for ever.
      if (runs.length === 0) {
        this.#runs = [run];
        return;
      }
      runs.splice(at, 0, run);
      at++;
    }
    const [run, next] = [runs[at - 1] as Run, runs[at]];
    if (next === undefined || next.from !== run.to) return;
    run.to = next.to;
    run.toRecord = next.toRecord;
    runs.splice(at, 1);
  }

  /** How many runs begin at a number or before it. */
  #runsFrom(batchNumber: number): number {
    let [low, high] = [0, this.#runs.length];
    // Mostly it is the number that comes next.
    if (high > 0 && (this.#runs[high - 1] as Run).from <= batchNumber) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#runs[middle] as Run).from <= batchNumber) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Forgets where its first hole is, not how many batches and records are missing. */
  forgetHole(): void {
    const [first, second] = this.#runs;
    if (first === undefined) return;
    if (first.from > 0) this.#runs[0] = { ...first, from: 0, fromRecord: 0 };
    else if (second !== undefined) this.#runs.splice(0, 2, { ...second, from: 0, fromRecord: 0 });
  }

  get hasDropped(): boolean {
    const { droppedBuffersFull, droppedUnreadable, droppedNoRandom } = this.counters;
    return droppedBuffersFull > 0 || droppedUnreadable > 0 || droppedNoRandom > 0;
  }

  /** Its holes, and what its proxy gave up. */
  gaps(): Gap[] {
    if (this.missingRecords === 0 && !this.hasDropped) return [];
    const of = { stream: this.name, ...(this.node === undefined ? {} : { node: this.node }) };
    const gaps: Gap[] = [];
    let from = 0;
    let listed = 0;
    for (const { fromRecord, toRecord } of this.#runs) {
      if (fromRecord > from) {
        gaps.push({ kind: 'missing', ...of, from, to: fromRecord - 1, count: fromRecord - from });
        listed += fromRecord - from;
      }
      from = toRecord;
    }
    if (this.missingRecords > listed)
      gaps.push({
        kind: 'missing',
        ...of,
        count: this.missingRecords - listed,
        reason: 'where they are missing is no longer held',
      });
    for (const [reason, count] of Object.entries(droppedOf(this.counters)))
      if (count > 0) gaps.push({ kind: 'dropped', ...of, count, reason });
    return gaps;
  }
}

/** What a proxy gave up, by reason. */
export function droppedOf({ droppedBuffersFull, droppedUnreadable, droppedNoRandom }: Counters): {
  readonly buffers_full: number;
  readonly unreadable: number;
  readonly no_random: number;
} {
  return { buffers_full: droppedBuffersFull, unreadable: droppedUnreadable, no_random: droppedNoRandom };
}
