// The past in the order in which it happened: what a proxy recorded in the order of its record numbers, proxies among each other
// by their clocks. Planned from batch headers alone, so that going to any instant opens no batch before it.

import { toHex } from '../core/bytes.ts';
import { type BatchEntry, parseEntry } from '../core/codec/entry.ts';
import { ROW, ROW_BYTES } from '../core/codec/layout.ts';
import { recordOf, sourceOf } from '../core/codec/record.ts';
import { u48, viewOf } from '../core/codec/texts.ts';
import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { type BatchCache, compare, type OpenBatch } from './batch-cache.ts';
import type { FlowIndex } from './flow-index.ts';
import { Heap } from './heap.ts';

/** Batches of one replay; a plan takes about 100 bytes for each. */
export const REPLAY_BATCHES_MAX = 100_000;
/** A clock that is ahead of the collector's is corrected by this much at most. */
export const CLOCK_AHEAD_NS_MAX = 600_000_000_000n;
const ZONES_AT_ONCE = 1024;
const HEADERS_BETWEEN_PAUSES = 64;
const NS_PER_MS = 1_000_000n;

export interface ReplayWindow {
  readonly sinceNs: bigint;
  /** Exclusive. */
  readonly untilNs: bigint;
  /** Log entries that the replay stands on. */
  readonly size: number;
}

/** A batch, and the times between which its records were made, by the corrected clock. */
interface PlannedBatch {
  readonly index: number;
  readonly number: number;
  readonly receivedMs: number;
  fromNs: bigint;
  toNs: bigint;
}

interface PlannedStream {
  readonly batches: PlannedBatch[];
  /** How far its clock is known to be ahead of the collector's: a batch cannot arrive before it was sealed. */
  aheadNs: bigint;
}

export interface ReplayPlan {
  readonly window: ReplayWindow;
  readonly streams: readonly PlannedStream[];
}

/** One record in its place. */
export interface ReplayRecord {
  readonly atNs: bigint;
  readonly index: number;
  readonly row: number;
  readonly startNs: bigint;
  readonly receivedMs: number;
  readonly record: FlowRecord;
}

/** Plans a replay. Throws PARAMETER_INVALID when the window holds too much. */
export async function planReplay(
  { log, index }: { readonly log: EvidenceLog; readonly index: FlowIndex },
  window: ReplayWindow,
  batchesMax = REPLAY_BATCHES_MAX,
): Promise<ReplayPlan> {
  const { sinceNs, untilNs, size } = window;
  const streams = new Map<string, PlannedStream>();
  let count = 0;
  // By corrected clocks nothing is received before it happened.
  for (let from = await firstReceived(log, Number(sinceNs / NS_PER_MS), size); from < size; ) {
    const zones = index.zones(from, size, ZONES_AT_ONCE);
    for (const zone of zones) {
      if (zone.startNsMin >= untilNs + CLOCK_AHEAD_NS_MAX) continue;
      const entry = await headerOf(log, zone.index);
      if (entry === undefined) continue;
      if (++count > batchesMax)
        throw new MeshtrailError(
          'PARAMETER_INVALID',
          `There are more than ${batchesMax} batches since and until these times, the limit of a replay; narrow them.`,
        );
      if (count % HEADERS_BETWEEN_PAUSES === 0) await new Promise((done) => setImmediate(done));
      note(streams, zone.index, entry);
    }
    from = (zones.at(-1)?.index ?? size) + 1;
  }
  for (const stream of streams.values()) order(stream);
  return { window, streams: [...streams.values()] };
}

/** The first entry that was received at a time or later. */
async function firstReceived(log: EvidenceLog, ms: number, size: number): Promise<number> {
  let [low, high] = [0, size];
  while (low < high) {
    const middle = (low + high) >> 1;
    const bytes = await log.entry(middle);
    const entry = bytes === undefined ? undefined : parseEntry(bytes);
    const at = entry === undefined ? ms : entry.kind === 'heartbeat' ? entry.timeMs : entry.receivedMs;
    if (at < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function headerOf(log: EvidenceLog, index: number): Promise<BatchEntry | undefined> {
  const bytes = await log.entry(index);
  const entry = bytes === undefined ? undefined : parseEntry(bytes);
  return entry?.kind === 'batch' ? entry : undefined;
}

function note(streams: Map<string, PlannedStream>, index: number, entry: BatchEntry): void {
  const { batchNumber: number, receivedMs, clock } = entry;
  const name = toHex(entry.stream);
  const stream = streams.get(name) ?? { batches: [], aheadNs: 0n };
  streams.set(name, stream);
  stream.batches.push({ index, number, receivedMs, fromNs: clock.openedWallNs, toNs: clock.sealedWallNs });
  // Whole milliseconds are known of the collector's clock: the next one had not begun.
  const aheadNs = clock.sealedWallNs - BigInt(receivedMs + 1) * NS_PER_MS;
  if (aheadNs > stream.aheadNs) stream.aheadNs = aheadNs < CLOCK_AHEAD_NS_MAX ? aheadNs : CLOCK_AHEAD_NS_MAX;
}

/** Batches of a stream follow each other, whatever its clock did meanwhile. */
function order({ batches, aheadNs }: PlannedStream): void {
  batches.sort((a, b) => a.number - b.number);
  let behindNs = -1n << 63n;
  for (const batch of batches) {
    batch.fromNs = later(batch.fromNs - aheadNs, behindNs);
    batch.toNs = later(batch.toNs - aheadNs, batch.fromNs);
    // Strictly: a later batch may have come first, and stand in front of this one in the log.
    behindNs = batch.toNs + 1n;
  }
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** Where one stream is. */
interface Cursor {
  readonly stream: PlannedStream;
  batch: number;
  /** Of the batch's rows; undefined until it is opened. */
  times: BigInt64Array | undefined;
  row: number;
  atNs: bigint;
}

/** Goes through a plan once. */
export class ReplayOrder {
  readonly #cache: BatchCache;
  readonly #damaged: (index: number, reason: string) => void;
  readonly #heap = new Heap<Cursor>(
    (a, b) => compare(a.atNs, b.atNs) || placeOf(a).index - placeOf(b).index || a.row - b.row,
  );

  /** From a time on; `damaged` is told of batches that cannot be read. */
  constructor(cache: BatchCache, plan: ReplayPlan, fromNs: bigint, damaged: (index: number, reason: string) => void) {
    this.#cache = cache;
    this.#damaged = damaged;
    for (const stream of plan.streams) {
      const batch = stream.batches.findIndex(({ toNs }) => toNs >= fromNs);
      if (batch >= 0) this.#push({ stream, batch, times: undefined, row: 0, atNs: 0n });
    }
  }

  /** The next record, or undefined behind the last. */
  async next(): Promise<ReplayRecord | undefined> {
    for (;;) {
      const cursor = this.#heap.pop();
      if (cursor === undefined) return undefined;
      const { index, receivedMs } = placeOf(cursor);
      const open = await this.#read(index);
      if (open === undefined) {
        this.#advance(cursor, 0);
        continue;
      }
      if (cursor.times === undefined) {
        cursor.times = timesOf(open, cursor);
        cursor.atNs = cursor.times[0] ?? cursor.atNs;
        // The time of its first record may be behind that of other streams.
        if (cursor.times.length > 0) this.#heap.push(cursor);
        else this.#advance(cursor, 0);
        continue;
      }
      const { row, atNs, times } = cursor;
      this.#advance(cursor, times.length);
      const startNs = open.batch.view.getBigInt64(open.batch.headerBytes + row * ROW_BYTES + ROW.startNs, true);
      return { atNs, index, row, startNs, receivedMs, record: recordOf(sourceOf(open.batch, index, row)) };
    }
  }

  #advance(cursor: Cursor, rows: number): void {
    if (++cursor.row < rows) {
      cursor.atNs = cursor.times?.[cursor.row] ?? cursor.atNs;
      this.#heap.push(cursor);
    } else {
      cursor.batch++;
      cursor.row = 0;
      cursor.times = undefined;
      this.#push(cursor);
    }
  }

  #push(cursor: Cursor): void {
    const batch = cursor.stream.batches[cursor.batch];
    if (batch === undefined) return;
    cursor.atNs = batch.fromNs;
    this.#heap.push(cursor);
  }

  async #read(index: number): Promise<OpenBatch | undefined> {
    try {
      return await this.#cache.get(index);
    } catch (error) {
      if (!(error instanceof MeshtrailError) || error.code === 'STORE_FAILED') throw error;
      this.#damaged(index, error.message);
      return undefined;
    }
  }
}

const placeOf = ({ stream, batch }: Cursor): PlannedBatch => stream.batches[batch] as PlannedBatch;

/** When each record of a batch was made: at the end of what it tells of, not before the record in front of it, not behind the batch's sealing. */
function timesOf({ batch: { wire, headerBytes, rowCount } }: OpenBatch, cursor: Cursor): BigInt64Array {
  const { fromNs, toNs } = placeOf(cursor);
  const { aheadNs } = cursor.stream;
  const times = new BigInt64Array(rowCount);
  let atNs = fromNs;
  for (let row = 0; row < rowCount; row++) {
    const at = headerBytes + row * ROW_BYTES;
    const view = viewOf(wire.subarray(at, at + ROW_BYTES));
    const endNs = view.getBigInt64(ROW.startNs, true) + BigInt(u48(view, ROW.durationUs)) * 1000n - aheadNs;
    atNs = later(atNs, endNs < toNs ? endNs : toNs);
    times[row] = atNs;
  }
  return times;
}
