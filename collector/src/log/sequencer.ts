// Admitted -> sequenced -> acknowledged: group commit with sync, read back, re-hash. The only writer of segments.

import { equalBytes, toHex } from '../core/bytes.ts';
import { decodeStoredBatch } from '../core/codec/batch.ts';
import { type BatchEntry, type ConflictEntry, formatEntry } from '../core/codec/entry.ts';
import { MeshtrailError } from '../core/error.ts';
import { sha256 } from '../core/hash.ts';
import { leafHash } from '../core/tlog/merkle.ts';
import { packBody, unpackBody } from './body.ts';
import type { AdmittedBatch, LogClock, LogEvents } from './evidence-log.ts';
import { RecentStarts } from './starts.ts';
import type { BatchPlace, SegmentStore, StoredEntry, TileStore } from './stores.ts';

/** Batches in one synced write at most: bounds what one write holds in memory and how long the first of a group waits. */
const GROUP_BATCHES_MAX = 64;
const QUEUE_BATCHES_MAX = 8192;
const BODY_BYTES_WITHOUT_HASH = 32;

interface Waiting {
  readonly batch: AdmittedBatch;
  readonly header: BatchEntry;
  readonly entry: Uint8Array;
  readonly key: string;
  readonly sinceMs: number;
  readonly resolve: (place: { readonly index: number; readonly isDuplicate: boolean }) => void;
  readonly reject: (error: Error) => void;
}

/** An entry of the collector's own that waits to be written. */
interface Own {
  readonly bytes: Uint8Array;
  readonly stored: (index: number) => void;
  readonly failed: (error: Error) => void;
}

/** An entry that is stored and not yet integrated. */
export interface PendingEntry {
  readonly index: number;
  /** Hash of the entry's bytes in memory, before they were stored: what is read back must have the same. */
  readonly leaf: Uint8Array;
  /** Of a batch; other kinds are read from the entry. */
  readonly place: BatchPlace | undefined;
  readonly sequencedAtMs: number;
}

export interface SequencerInput {
  readonly segments: SegmentStore;
  readonly tiles: TileStore;
  readonly clock: LogClock;
  readonly events: LogEvents;
  readonly queueBytesMax: number;
  /** Index of the next entry. */
  readonly next: number;
  /** Batches and conflicts that are stored and not yet in the tile store. */
  readonly recent: Recent;
}

/** Where recent batches and conflicts stand, until the tile store knows them. */
export class Recent {
  readonly batches = new Map<string, BatchPlace>();
  readonly conflicts = new Map<
    string,
    { readonly stream: Uint8Array; readonly batchNumber: number; readonly index: number }
  >();

  note(entry: BatchEntry | ConflictEntry, index: number): void {
    const { stream, batchNumber } = entry;
    const key = batchName(stream, batchNumber);
    if (entry.kind === 'batch')
      this.batches.set(key, { stream: stream.slice(), batchNumber, index, hash: entry.bodyHash.slice() });
    else this.conflicts.set(key, { stream: stream.slice(), batchNumber, index });
  }

  /** Forgets what stands below an index: the tile store knows it now. */
  forget(below: number): void {
    for (const map of [this.batches, this.conflicts])
      for (const [key, { index }] of map) if (index < below) map.delete(key);
  }
}

/** Name of a batch: stream in hex, and number. */
export function batchName(stream: Uint8Array, batchNumber: number): string {
  return `${toHex(stream)}/${batchNumber}`;
}

export class Sequencer {
  private readonly input: SequencerInput;
  private queue: Waiting[] = [];
  private queueBytes = 0;
  private running: Promise<void> | undefined;
  private nextIndex: number;
  private failed: Error | undefined;
  private readonly own: Own[] = [];
  /** Conflict entries that are being written. */
  private readonly conflictsUnderWay = new Set<string>();
  pending: PendingEntry[] = [];
  readonly starts = new RecentStarts();

  constructor(input: SequencerInput) {
    this.input = input;
    this.nextIndex = input.next;
  }

  get next(): number {
    return this.nextIndex;
  }

  /** The error that stopped it, if one did. */
  failure(): Error | undefined {
    return this.failed;
  }

  /** Queues a batch; resolves when it is durable and read back. Throws INGEST_OVERLOADED beyond the queue's limits. */
  append(batch: AdmittedBatch): Promise<{ readonly index: number; readonly isDuplicate: boolean }> {
    if (this.failed !== undefined) return Promise.reject(this.failed);
    if (this.queueBytes + batch.wire.length > this.input.queueBytesMax || this.queue.length >= QUEUE_BATCHES_MAX) {
      return Promise.reject(
        new MeshtrailError(
          'INGEST_OVERLOADED',
          `${this.queue.length} batches with ${this.queueBytes} bytes wait to be written; send this one again later.`,
        ),
      );
    }
    const now = this.input.clock.nowMs();
    const header = batch.header(now);
    // Made here, so that a header which cannot be written fails its own batch and not the group it would be in.
    const entry = formatEntry(header);
    this.queueBytes += batch.wire.length;
    return new Promise((resolve, reject) => {
      this.queue.push({
        batch,
        header,
        entry,
        key: batchName(header.stream, header.batchNumber),
        sinceMs: now,
        resolve,
        reject,
      });
      this.start();
    });
  }

  /** Appends an entry of the collector's own; resolves with its index when it is durable. */
  appendEntry(bytes: Uint8Array): Promise<number> {
    if (this.failed !== undefined) return Promise.reject(this.failed);
    return new Promise((stored, failed) => {
      this.own.push({ bytes, stored, failed });
      this.start();
    });
  }

  /** Resolves when nothing waits or is being written. */
  async idle(): Promise<void> {
    while (this.running !== undefined) await this.running;
  }

  private start(): void {
    if (this.running !== undefined || this.queue.length + this.own.length === 0) return;
    this.running = this.run().finally(() => {
      this.running = undefined;
      this.start();
    });
  }

  private async run(): Promise<void> {
    const group = this.queue.splice(0, GROUP_BATCHES_MAX);
    const own = this.own.splice(0, GROUP_BATCHES_MAX);
    for (const { batch } of group) this.queueBytes -= batch.wire.length;
    try {
      await this.commit(group, own);
    } catch (error) {
      for (const { reject } of group) reject(error as Error);
      for (const { failed } of own) failed(error as Error);
    }
  }

  private async commit(group: readonly Waiting[], own: readonly Own[]): Promise<void> {
    const fresh: Waiting[] = [];
    const inGroup = new Map<string, Waiting>();
    const followers: { readonly waiting: Waiting; readonly leader: Waiting }[] = [];
    const places = await this.placesOf(group);
    for (const [i, waiting] of group.entries()) {
      const known = places[i];
      const leader = inGroup.get(waiting.key);
      if (known !== undefined) this.answerKnown(waiting, known);
      else if (leader !== undefined) followers.push({ waiting, leader });
      else {
        inGroup.set(waiting.key, waiting);
        fresh.push(waiting);
      }
    }
    if (fresh.length + own.length === 0) return;
    const first = await this.write(
      [
        ...fresh.map(({ batch, entry }) => ({ entry, body: packBody(batch.wire) })),
        ...own.map(({ bytes }) => ({ entry: bytes })),
      ],
      fresh,
    );
    for (const [i, waiting] of fresh.entries()) waiting.resolve({ index: first + i, isDuplicate: false });
    for (const [i, { stored }] of own.entries()) stored(first + fresh.length + i);
    for (const { waiting, leader } of followers)
      this.answerKnown(waiting, this.input.recent.batches.get(leader.key) as BatchPlace);
    this.report(fresh);
  }

  private report(fresh: readonly Waiting[]): void {
    if (fresh.length === 0) return;
    const records = fresh.reduce((sum, { header }) => sum + header.recordCount, 0);
    const bytes = fresh.reduce((sum, { batch }) => sum + batch.wire.length, 0);
    const since = Math.min(...fresh.map(({ sinceMs }) => sinceMs));
    this.input.events.sequenced({
      batches: fresh.length,
      records,
      bytes,
      durationMs: this.input.clock.nowMs() - since,
    });
  }

  /** Where each batch of a group stands, if it is stored already. */
  private async placesOf(
    group: readonly Waiting[],
  ): Promise<readonly (Pick<BatchPlace, 'index' | 'hash'> | undefined)[]> {
    const { recent, tiles } = this.input;
    const known = group.map(({ key }) => recent.batches.get(key));
    const others = group.filter((_, i) => known[i] === undefined);
    // One call for all: each has its price, whatever it looks up.
    const stored = others.length === 0 ? [] : await tiles.placesOf(others.map(({ header }) => header));
    let next = 0;
    return known.map((place) => place ?? stored[next++]);
  }

  /** A number that is taken: the same bytes get their first answer, others a conflict entry and a refusal. */
  private answerKnown(waiting: Waiting, known: { readonly index: number; readonly hash: Uint8Array }): void {
    const { header, key } = waiting;
    if (equalBytes(known.hash, header.bodyHash)) {
      this.input.events.duplicate();
      waiting.resolve({ index: known.index, isDuplicate: true });
      return;
    }
    waiting.reject(
      new MeshtrailError(
        'BATCH_CONFLICT',
        `Batch ${header.batchNumber} of stream ${toHex(header.stream)} is stored as entry ${known.index} with other bytes; the first are kept.`,
      ),
    );
    this.recordConflict(header, known, key).catch((error: Error) => this.input.events.conflictLost(error));
  }

  /** One conflict entry for each batch number, however often it is tried: an attacker cannot grow the log with it. */
  private async recordConflict(
    header: BatchEntry,
    known: { readonly index: number; readonly hash: Uint8Array },
    key: string,
  ): Promise<void> {
    const { recent, tiles, events } = this.input;
    const { stream, nodeId, batchNumber, peer, receivedMs } = header;
    if (this.conflictsUnderWay.has(key) || recent.conflicts.has(key)) return;
    this.conflictsUnderWay.add(key);
    try {
      if ((await tiles.conflict(stream, batchNumber)) !== undefined) return;
      const entry: ConflictEntry = {
        kind: 'conflict',
        stream,
        nodeId,
        batchNumber,
        firstIndex: known.index,
        firstHash: known.hash,
        refusedBytes: header.bodyBytes,
        refusedHash: header.bodyHash,
        peer,
        receivedMs,
      };
      recent.note(entry, await this.appendEntry(formatEntry(entry)));
      events.conflict({ stream: toHex(stream), batchNumber, index: known.index });
    } finally {
      this.conflictsUnderWay.delete(key);
    }
  }

  /** Writes entries durably, reads them back and hashes them again. Returns the index of the first. */
  private async write(
    parts: readonly { readonly entry: Uint8Array; readonly body?: Uint8Array }[],
    fresh: readonly Waiting[] = [],
  ): Promise<number> {
    const first = this.nextIndex;
    const group: StoredEntry[] = parts.map((part, i) => ({ index: first + i, ...part }));
    try {
      await this.input.segments.append(group);
      await this.readBack(group, fresh);
    } catch (cause) {
      // What of it is on disk nobody knows, and LevelDB's log may end in the middle of it: only recovery can tell.
      throw this.stop(first, first + group.length - 1, cause as Error);
    }
    this.nextIndex = first + group.length;
    const sequencedAtMs = this.input.clock.nowMs();
    for (const [i, { index, entry }] of group.entries()) {
      const one = fresh[i];
      if (one !== undefined) {
        this.input.recent.note(one.header, index);
        this.starts.note(index, one.batch.wire);
      }
      const place = one && this.input.recent.batches.get(one.key);
      this.pending.push({ index, leaf: leafHash(entry), place, sequencedAtMs });
    }
    return first;
  }

  private async readBack(group: readonly StoredEntry[], fresh: readonly Waiting[]): Promise<void> {
    const first = group[0]?.index ?? 0;
    const stored = await this.input.segments.group(first, first + group.length);
    const corrupt = (what: string): MeshtrailError =>
      new MeshtrailError(
        'STORE_CORRUPT',
        `${what} does not read back as it was written: the disk or the memory of this machine is not to be trusted`,
      );
    for (const [i, { index, entry }] of group.entries()) {
      const back = stored[i]?.entry;
      if (back === undefined || !equalBytes(back, entry)) throw corrupt(`entry ${index}`);
    }
    for (const [i, { header }] of fresh.entries()) {
      const back = stored[i]?.body;
      if (back === undefined || !isBody(unpackBody(back), header)) throw corrupt(`the body of entry ${first + i}`);
    }
  }

  /** Takes and writes nothing more; what waits is refused, so that its senders keep it. */
  private stop(first: number, last: number, cause: Error): MeshtrailError {
    const error = new MeshtrailError(
      cause instanceof MeshtrailError ? cause.code : 'STORE_FAILED',
      `Entries ${first} to ${last} were not stored: ${cause.message}. None of them was acknowledged; the collector stops, and recovers when it is started again.`,
      { cause },
    );
    this.failed = error;
    for (const { reject } of this.queue.splice(0)) reject(error);
    for (const { failed } of this.own.splice(0)) failed(error);
    this.queueBytes = 0;
    this.input.events.fatal(error);
    return error;
  }
}

/** Whether wire bytes are those that a header names: frame, batch number and hash, computed anew. */
function isBody(wire: Uint8Array, header: BatchEntry): boolean {
  const hash = sha256(wire.subarray(0, wire.length - BODY_BYTES_WITHOUT_HASH));
  return (
    wire.length === header.bodyBytes &&
    equalBytes(hash, header.bodyHash) &&
    decodeStoredBatch(wire).batchNumber === header.batchNumber
  );
}
