// Opens a log: recovery by the normal path, the refusals, and the loop that integrates, publishes and keeps silence unambiguous.

import { equalBytes } from '../core/bytes.ts';
import { decodeStoredBatch } from '../core/codec/batch.ts';
import { formatEntry } from '../core/codec/entry.ts';
import { MeshtrailError } from '../core/error.ts';
import { openCheckpoint, parseCheckpoint } from '../core/tlog/checkpoint.ts';
import { parseNote, parseVkey, type Signer } from '../core/tlog/note.ts';
import { encodeEntryTile, rootFromTiles, TILE_WIDTH } from '../core/tlog/tile.ts';
import { unpackBody } from './body.ts';
import type {
  Acknowledgement,
  AdmittedBatch,
  EvidenceLog,
  LogClock,
  LogEvents,
  PublishedCheckpoint,
} from './evidence-log.ts';
import { shrank, Tree, tileReaderOf } from './integrate.ts';
import { Recent, Sequencer } from './sequencer.ts';
import type { StartSpan } from './starts.ts';
import type { LastSigned, LockStore, SegmentStore, TileStore, TreeHead } from './stores.ts';

export interface OpenLogInput {
  readonly segments: SegmentStore;
  readonly tiles: TileStore;
  readonly lock: LockStore;
  readonly signer: Signer;
  readonly clock: LogClock;
  readonly events: LogEvents;
  readonly queueBytesMax: number;
  readonly publishIntervalMs: number;
  readonly heartbeatIntervalMs: number;
}

/** The published checkpoint, verified. Throws STORE_FOREIGN when it is of another log, NOTE_NOT_VERIFIED under another key. */
async function publishedHead({ tiles, signer }: OpenLogInput): Promise<TreeHead | undefined> {
  const published = await tiles.published();
  if (published === undefined) return undefined;
  const { origin } = parseCheckpoint(parseNote(published).text);
  if (origin !== signer.name)
    throw new MeshtrailError(
      'STORE_FOREIGN',
      `The directory holds the log ${JSON.stringify(origin)}, and this collector's is ${JSON.stringify(signer.name)}. Name the right directory or --origin.`,
    );
  return openCheckpoint(published, parseVkey(signer.vkey));
}

/** Refuses a tree that does not continue a head that was signed. */
async function checkContinues(tree: Tree, signed: TreeHead): Promise<void> {
  if (signed.size > tree.size) throw shrank(tree.size, signed.size);
  const root = await rootFromTiles(tree.reader, signed.size);
  if (!equalBytes(root, signed.root)) {
    throw new MeshtrailError(
      'STORE_DIVERGED',
      `The stored log has another root at size ${signed.size} than the one that was signed: it is another history, or was changed. Nothing is signed. Run \`meshtrail fsck\`, and keep both copies.`,
    );
  }
}

/** Refuses what must not be signed on, once everything that is stored is integrated. */
async function checkHistory(
  tree: Tree,
  published: TreeHead | undefined,
  lastSigned: LastSigned | undefined,
): Promise<void> {
  if (published !== undefined) await checkContinues(tree, published);
  if (lastSigned === undefined) {
    if (published === undefined && tree.size === 0) return;
    throw new MeshtrailError(
      'LAST_SIGNED_MISSING',
      `The log has ${tree.size} entries${published === undefined ? '' : ' and a checkpoint'}, and no last-signed record: its store was lost, or the log was copied without it. ` +
        'Nothing is signed, since what was signed before is not known. Put the last-signed store back (last_signed_dir), or start a new log with another origin.',
    );
  }
  await checkContinues(tree, lastSigned);
}

/** Opens a log and recovers it. Throws TREE_SHRANK, STORE_DIVERGED, STORE_FOREIGN, LAST_SIGNED_MISSING, STORE_CORRUPT, STORE_FAILED. */
export async function openLog(input: OpenLogInput): Promise<EvidenceLog> {
  const recent = new Recent();
  const tree = new Tree({ ...input, recent });
  const lastSigned = await input.lock.read();
  const published = await publishedHead(input);
  await tree.load(await input.tiles.integrated(), lastSigned);
  const end = await input.segments.end();
  const signed = Math.max(tree.size, lastSigned?.size ?? 0, published?.size ?? 0);
  // Asked first: a directory that is refused is evidence, and is left as it was found.
  if (end < signed) throw shrank(end, signed);
  for (const head of [published, lastSigned])
    if (head !== undefined && head.size <= tree.size) await checkContinues(tree, head);
  await tree.integrate(end);
  await checkHistory(tree, published, lastSigned);
  const sequencer = new Sequencer({ ...input, recent, next: tree.size });
  const log = new Log(input, tree, sequencer, await tree.publish(input.clock.nowMs()));
  log.start();
  return log;
}

class Log implements EvidenceLog {
  readonly origin: string;
  readonly vkey: string;
  readonly tiles;
  private readonly input: OpenLogInput;
  private readonly tree: Tree;
  private readonly sequencer: Sequencer;
  private current: PublishedCheckpoint;
  private readonly listeners = new Set<(checkpoint: PublishedCheckpoint) => void>();
  private cancelTimer: () => void = () => undefined;
  private publishing: Promise<PublishedCheckpoint> | undefined;
  private lastEntryMs: number;
  private failed: Error | undefined;
  private isClosing = false;

  constructor(input: OpenLogInput, tree: Tree, sequencer: Sequencer, current: PublishedCheckpoint) {
    this.input = input;
    this.tree = tree;
    this.sequencer = sequencer;
    this.current = current;
    this.origin = input.signer.name;
    this.vkey = input.signer.vkey;
    this.tiles = tileReaderOf(input.tiles);
    this.lastEntryMs = input.clock.nowMs();
  }

  /** Starts the loop: publishes a grown log at the interval, and puts a heartbeat into an idle one. */
  start(): void {
    this.cancelTimer = this.input.clock.after(this.input.publishIntervalMs, () => {
      this.turn()
        .catch((error: Error) => this.fail(error))
        .finally(() => {
          if (!this.isClosing && this.failed === undefined) this.start();
        });
    });
  }

  private async turn(): Promise<void> {
    const now = this.input.clock.nowMs();
    if (this.sequencer.next > this.tree.size) this.lastEntryMs = now;
    else if (now - this.lastEntryMs >= this.input.heartbeatIntervalMs) {
      await this.sequencer.appendEntry(formatEntry({ kind: 'heartbeat', timeMs: now }));
      this.lastEntryMs = now;
    }
    if (this.sequencer.next > this.tree.size) await this.publishNow();
  }

  private fail(error: Error): void {
    if (this.failed !== undefined) return;
    this.failed = error;
    this.input.events.fatal(error);
  }

  failure(): Error | undefined {
    return this.failed ?? this.sequencer.failure();
  }

  async append(batch: AdmittedBatch): Promise<Acknowledgement> {
    if (this.failed !== undefined)
      throw new MeshtrailError('STORE_FAILED', `The log stopped: ${this.failed.message}`, { cause: this.failed });
    if (this.isClosing)
      throw new MeshtrailError('INGEST_OVERLOADED', 'The collector is stopping; send the batch again later.');
    const { index, isDuplicate } = await this.sequencer.append(batch);
    return { index, isDuplicate, checkpoint: this.current };
  }

  published(): PublishedCheckpoint {
    return this.current;
  }

  onPublished(listener: (checkpoint: PublishedCheckpoint) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  publishNow(): Promise<PublishedCheckpoint> {
    // One after the other: what was stored while one publication ran is the next one's.
    const before = this.publishing;
    const run = (async (): Promise<PublishedCheckpoint> => {
      await before?.catch(() => undefined);
      if (this.failed !== undefined) throw this.failed;
      try {
        return await this.publishOnce();
      } catch (error) {
        this.fail(error as Error);
        throw error;
      }
    })();
    this.publishing = run;
    return run;
  }

  private async publishOnce(): Promise<PublishedCheckpoint> {
    const { sequencer, tree, input } = this;
    const end = sequencer.next;
    if (end === this.current.size) return this.current;
    const pending = sequencer.pending.filter(({ index }) => index < end);
    await tree.integrate(end, pending);
    this.current = await tree.publish(input.clock.nowMs());
    sequencer.pending = sequencer.pending.filter(({ index }) => index >= end);
    const oldest = pending[0];
    input.events.published({
      size: end,
      exposureMs: oldest === undefined ? 0 : input.clock.nowMs() - oldest.sequencedAtMs,
    });
    for (const listener of this.listeners) listener(this.current);
    return this.current;
  }

  async entry(index: number): Promise<Uint8Array | undefined> {
    return await this.input.segments.entry(index);
  }

  entries(from: number, to: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }> {
    return this.input.segments.entries(from, to);
  }

  async wireBatch(index: number): Promise<Uint8Array | undefined> {
    const body = await this.input.segments.body(index);
    if (body === undefined) return undefined;
    const wire = unpackBody(body);
    decodeStoredBatch(wire);
    return wire;
  }

  startsOf(index: number): StartSpan | undefined {
    return this.sequencer.starts.of(index);
  }

  async entryTile(index: number, width: number): Promise<Uint8Array | undefined> {
    const start = index * TILE_WIDTH;
    if (start + width > this.current.size) return undefined;
    if (width === TILE_WIDTH) return await this.input.tiles.entryTile(index);
    const entries: Uint8Array[] = [];
    for await (const { entry } of this.input.segments.entries(start, start + width)) entries.push(entry);
    return entries.length === width ? encodeEntryTile(entries) : undefined;
  }

  async close(): Promise<void> {
    if (this.isClosing) return;
    this.isClosing = true;
    this.cancelTimer();
    await this.sequencer.idle();
    if (this.failed === undefined) await this.publishNow().catch((error: Error) => this.fail(error));
    for (const store of [this.input.segments, this.input.tiles, this.input.lock]) await store.close();
  }
}
