// Integrated -> published: the tree is extended by what was sequenced, checked against what is stored, and signed.

import { equalBytes } from '../core/bytes.ts';
import { parseEntry } from '../core/codec/entry.ts';
import { MeshtrailError } from '../core/error.ts';
import { openCheckpoint, signCheckpoint } from '../core/tlog/checkpoint.ts';
import { leafHash } from '../core/tlog/merkle.ts';
import { parseVkey, type Signer, type Verifier } from '../core/tlog/note.ts';
import { encodeEntryTile, rootFromTiles, TILE_WIDTH, type TileReader, TreeEdge } from '../core/tlog/tile.ts';
import type { PublishedCheckpoint } from './evidence-log.ts';
import type { PendingEntry, Recent } from './sequencer.ts';
import type { LastSigned, LockStore, SegmentStore, TileStore, TreeHead, TreeWrite } from './stores.ts';

/** Entries that one step integrates at most: bounds memory after a long pause. */
const STEP_ENTRIES_MAX = 8192;
const HASH_BYTES = 32;

/** Hash tiles of a store, cut to the width asked for: a partial tile is the beginning of its longer self. */
export function tileReaderOf(tiles: TileStore): TileReader {
  return {
    async tile(level, index, width) {
      const bytes = await tiles.tile(level, index);
      return bytes === undefined || bytes.length < width * HASH_BYTES
        ? undefined
        : bytes.subarray(0, width * HASH_BYTES);
    },
  };
}

export interface TreeInput {
  readonly segments: SegmentStore;
  readonly tiles: TileStore;
  readonly lock: LockStore;
  readonly signer: Signer;
  readonly recent: Recent;
}

/** The tree and its checkpoints. Not safe for two calls at once: its owner calls one after the other. */
export class Tree {
  private readonly input: TreeInput;
  private readonly verifier: Verifier;
  private edge = new TreeEdge();
  private lastSigned: LastSigned | undefined;
  readonly reader: TileReader;

  constructor(input: TreeInput) {
    this.input = input;
    this.verifier = parseVkey(input.signer.vkey);
    this.reader = tileReaderOf(input.tiles);
  }

  get size(): number {
    return this.edge.size;
  }

  /** Takes up a stored tree. */
  async load(integrated: TreeHead | undefined, lastSigned: LastSigned | undefined): Promise<void> {
    this.edge = await TreeEdge.of(integrated?.size ?? 0, this.reader);
    this.lastSigned = lastSigned;
    if (integrated !== undefined && !equalBytes(this.edge.root(), integrated.root)) {
      throw new MeshtrailError(
        'STORE_CORRUPT',
        `The tree's tiles of size ${integrated.size} do not lead to the root that was stored with them. Run \`meshtrail fsck\`. If it finds damage in the tree alone, move the directory "tree" away: it is made anew from the segments, and checked against the last-signed record.`,
      );
    }
  }

  /**
   * Integrates stored entries up to `end` (exclusive). Entries are read from the store again; one that does not hash to
   * what it hashed to before it was written stops the log (`expected`, by index; recovery has none).
   * A crash in here leaves the older tree and entries beyond it, which recovery integrates by this same path.
   */
  async integrate(end: number, expected: readonly PendingEntry[] = []): Promise<void> {
    const known = new Map(expected.map((pending) => [pending.index, pending]));
    while (this.edge.size < end) await this.step(Math.min(end, this.edge.size + STEP_ENTRIES_MAX), known);
  }

  private async step(end: number, expected: ReadonlyMap<number, PendingEntry>): Promise<void> {
    const start = this.edge.size;
    const tiles: { level: number; index: number; bytes: Uint8Array }[] = [];
    const entryTiles: { index: number; bytes: Uint8Array }[] = [];
    const batches: TreeWrite['batches'][number][] = [];
    const conflicts: TreeWrite['conflicts'][number][] = [];
    // The last tile's earlier entries are needed again when this step fills it.
    let tail: Uint8Array[] = [];
    for await (const { index, entry } of this.input.segments.entries(start - (start % TILE_WIDTH), end)) {
      if (index % TILE_WIDTH === 0) tail = [];
      tail.push(entry);
      if (tail.length === TILE_WIDTH)
        entryTiles.push({ index: Math.floor(index / TILE_WIDTH), bytes: encodeEntryTile(tail) });
      if (index < start) continue;
      const leaf = leafHash(entry);
      const before = expected.get(index);
      if (before !== undefined && !equalBytes(before.leaf, leaf))
        throw new MeshtrailError(
          'STORE_CORRUPT',
          `Entry ${index} is not what was written: the disk or the memory of this machine is not to be trusted. Nothing was signed.`,
        );
      // Of bytes with this hash it is known what they say.
      const parsed = before?.place === undefined ? parseEntry(entry) : undefined;
      if (before?.place !== undefined) batches.push(before.place);
      else if (parsed?.kind === 'batch')
        batches.push({ stream: parsed.stream, batchNumber: parsed.batchNumber, index, hash: parsed.bodyHash });
      else if (parsed?.kind === 'conflict')
        conflicts.push({ stream: parsed.stream, batchNumber: parsed.batchNumber, index });
      this.edge.append(leaf, (at, bytes) => tiles.push({ level: at.level, index: at.index, bytes }));
    }
    if (this.edge.size !== end)
      throw new MeshtrailError(
        'STORE_CORRUPT',
        `Entry ${this.edge.size} is missing; the store says that it ends at ${end}. Run \`meshtrail fsck\`.`,
      );
    for (const { level, index, bytes } of this.edge.partials()) tiles.push({ level, index, bytes });
    await this.input.tiles.write({
      tiles,
      entryTiles,
      batches,
      conflicts,
      integrated: { size: end, root: this.edge.root() },
    });
    this.input.recent.forget(end);
  }

  /** Signs the integrated tree, in the order that no crash can turn into two histories: tiles durable, last-signed moved, signature, published. */
  async publish(nowMs: number): Promise<PublishedCheckpoint> {
    const { tiles, lock, signer } = this.input;
    const { size } = this.edge;
    const root = this.edge.root();
    if (!equalBytes(await rootFromTiles(this.reader, size), root)) {
      throw new MeshtrailError(
        'STORE_CORRUPT',
        `The stored tiles of size ${size} do not lead to the root computed from the entries. Nothing was signed.`,
      );
    }
    if (this.lastSigned !== undefined && size < this.lastSigned.size) throw shrank(size, this.lastSigned.size);
    const next: LastSigned = { size, root, atMs: nowMs };
    // Written even when only the time changes: the store must still hold what this process believes.
    await lock.replace(this.lastSigned, next);
    this.lastSigned = next;
    const origin = signer.name;
    const note = await signCheckpoint({ origin, size, root }, signer);
    openCheckpoint(note, this.verifier);
    await tiles.publish(note);
    return { origin, size, root, note };
  }
}

/** The error of a tree that is shorter than what was signed. */
export function shrank(size: number, signed: number): MeshtrailError {
  return new MeshtrailError(
    'TREE_SHRANK',
    `The stored log has ${size} entries, and ${signed} were signed: entries are gone, or an older copy was put in place. Nothing is signed. ` +
      'Put the newest copy of the directory back, or keep this one as evidence and start a new log with another origin.',
  );
}
