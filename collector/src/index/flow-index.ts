// What the query side needs of an index, and what the index needs of a store. The index is a cache: it can be rebuilt from the log at any time.

/** When the records of one batch started: what lets a time range skip the batch. */
export interface Zone {
  readonly index: number;
  /** Unix ns. */
  readonly startNsMin: bigint;
  readonly startNsMax: bigint;
  readonly records: number;
}

/** Durable zones; declared here, driven in store/. */
export interface ZoneStore {
  /** Writes zones and moves `indexed` in one piece; durability may lag, since the index is rebuildable. */
  write(zones: readonly Zone[], indexed: number): Promise<void>;
  zones(): AsyncIterable<Zone>;
  /** Number of log entries indexed so far; undefined: never, or of another version. */
  indexed(): Promise<number | undefined>;
  clear(): Promise<void>;
  close(): Promise<void>;
}
