// The stores that the log needs, declared by their consumer. Drivers live in store/; one contract suite proves them all.
// Layout and order of writes: docs/formats.md section 7.

/** One entry as it goes into a segment: its text and, for a batch, the stored body (codec byte and payload). */
export interface StoredEntry {
  readonly index: number;
  readonly entry: Uint8Array;
  readonly body?: Uint8Array;
}

/** What a segment has of one entry; undefined: nothing. */
export interface StoredGroupEntry {
  readonly entry: Uint8Array | undefined;
  readonly body: Uint8Array | undefined;
}

/** How many keys of each kind are stored. */
export interface SegmentCensus {
  readonly entries: number;
  readonly bodies: number;
  /** Keys that the format does not have. */
  readonly others: number;
}

/** Bodies and entries in segments, append-only. After a failed `append` only `close` is defined. */
export interface SegmentStore {
  /** Makes a group durable in one piece: all of it is synced to disk when this resolves, or none of it is kept. Indices are dense and ascending. */
  append(group: readonly StoredEntry[]): Promise<void>;
  /** The stored entry text, or undefined where there is none. Reads from the store, never from a buffer of `append`. */
  entry(index: number): Promise<Uint8Array | undefined>;
  /** The stored body (codec byte and payload), or undefined for an entry without one. */
  body(index: number): Promise<Uint8Array | undefined>;
  /** Entry text and stored body of each index from `from` (inclusive) to `to` (exclusive), read like one of them, in one go. */
  group(from: number, to: number): Promise<readonly StoredGroupEntry[]>;
  /** Entries from `from` (inclusive) to `to` (exclusive), in order; stops early at the first hole. */
  entries(from: number, to: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }>;
  /** Index after the last entry stored, 0 for none. */
  end(): Promise<number>;
  /** Index of the first entry stored at or behind an index: where a hole ends. */
  following(index: number): Promise<number | undefined>;
  census(): Promise<SegmentCensus>;
  close(): Promise<void>;
}

/** What one integration step writes, in one piece. */
export interface TreeWrite {
  /** Hash tiles with all hashes they have so far; a tile that grows is written over by its longer self. */
  readonly tiles: readonly { readonly level: number; readonly index: number; readonly bytes: Uint8Array }[];
  /** Full entry tiles, as tlog-tiles frames them. */
  readonly entryTiles: readonly { readonly index: number; readonly bytes: Uint8Array }[];
  readonly batches: readonly BatchPlace[];
  readonly conflicts: readonly { readonly stream: Uint8Array; readonly batchNumber: number; readonly index: number }[];
  readonly integrated: TreeHead;
}

/** How many of each kind are stored: what shows keys that no entry accounts for. */
export interface TreeCensus {
  readonly tiles: number;
  readonly entryTiles: number;
  readonly batches: number;
  readonly conflicts: number;
  /** Keys that the format does not have. */
  readonly others: number;
}

/** Where a batch stands in the log: what makes duplicates answerable and forgeries visible. */
export interface BatchPlace {
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly index: number;
  readonly hash: Uint8Array;
}

/** Which batch of which stream. */
export type BatchName = Pick<BatchPlace, 'stream' | 'batchNumber'>;

export interface TreeHead {
  readonly size: number;
  readonly root: Uint8Array;
}

/** Tiles, stream state and the published checkpoint. */
export interface TileStore {
  /** Durable when it resolves: all of the step, or nothing of it. */
  write(step: TreeWrite): Promise<void>;
  /** All hashes of a tile so far. */
  tile(level: number, index: number): Promise<Uint8Array | undefined>;
  /** A full entry tile. */
  entryTile(index: number): Promise<Uint8Array | undefined>;
  integrated(): Promise<TreeHead | undefined>;
  batch(
    stream: Uint8Array,
    batchNumber: number,
  ): Promise<{ readonly index: number; readonly hash: Uint8Array } | undefined>;
  /** What `batch` says of each, in one go. */
  placesOf(batches: readonly BatchName[]): Promise<readonly (Pick<BatchPlace, 'index' | 'hash'> | undefined)[]>;
  conflict(stream: Uint8Array, batchNumber: number): Promise<number | undefined>;
  /** The newest published signed note, as text. */
  published(): Promise<string | undefined>;
  /** Durable when it resolves. */
  publish(note: string): Promise<void>;
  census(): Promise<TreeCensus>;
  close(): Promise<void>;
}

/** The largest tree head that was ever given to a signer. */
export interface LastSigned extends TreeHead {
  readonly atMs: number;
}

/** The last-signed record, in a store of its own, moved by compare-and-swap; never restored from a backup. */
export interface LockStore {
  read(): Promise<LastSigned | undefined>;
  /** Replaces `expected` (undefined: nothing stored yet) by `next`, durably. Throws LAST_SIGNED_MOVED when something else is stored. */
  replace(expected: LastSigned | undefined, next: LastSigned): Promise<void>;
  close(): Promise<void>;
}
