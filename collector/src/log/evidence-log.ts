// What the other rooms may ask of the log. The life of a batch in here: admitted -> sequenced -> acknowledged -> integrated -> published.

import type { BatchEntry } from '../core/codec/entry.ts';
import type { TileReader } from '../core/tlog/tile.ts';
import type { StartSpan } from './starts.ts';
import type { TreeHead } from './stores.ts';

/** A batch that ingest has checked: docs/formats.md section 1 holds for its bytes. */
export interface AdmittedBatch {
  readonly wire: Uint8Array;
  /** The batch header, complete but for the collector's clock, which the log adds when the batch is sequenced. */
  readonly header: (receivedMs: number) => BatchEntry;
}

/** What an acknowledgement says (docs/formats.md section 2). */
export interface Acknowledgement {
  readonly index: number;
  readonly checkpoint: TreeHead;
  /** The batch was stored already; `index` is its first place. */
  readonly isDuplicate: boolean;
}

export interface PublishedCheckpoint extends TreeHead {
  readonly origin: string;
  /** The signed note, as served under /log/checkpoint. */
  readonly note: string;
}

export interface EvidenceLog {
  readonly origin: string;
  readonly vkey: string;
  /** Resolves when the batch is durable, read back and re-hashed. Errors: BATCH_CONFLICT, INGEST_OVERLOADED, STORE_FAILED. */
  append(batch: AdmittedBatch): Promise<Acknowledgement>;
  /** The newest checkpoint that anybody may see. */
  published(): PublishedCheckpoint;
  /** Called after each publication, in order; returns the way to stop it. */
  onPublished(listener: (checkpoint: PublishedCheckpoint) => void): () => void;
  /** Integrates and publishes what is stored now, instead of at the next interval. */
  publishNow(): Promise<PublishedCheckpoint>;
  /** Entry text by index; undefined beyond what is stored. */
  entry(index: number): Promise<Uint8Array | undefined>;
  entries(from: number, to: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }>;
  /** The wire batch, exactly as received; undefined for an entry that has no body. Throws STORE_CORRUPT. */
  wireBatch(index: number): Promise<Uint8Array | undefined>;
  /** When the records of a batch started, if it was sequenced lately; undefined: its body tells. */
  startsOf(index: number): StartSpan | undefined;
  /** Hash tiles of the integrated tree. */
  readonly tiles: TileReader;
  /** An entry tile of the published tree; undefined for one that it does not have. */
  entryTile(index: number, width: number): Promise<Uint8Array | undefined>;
  /** The error that stopped the log from signing, if one did. */
  failure(): Error | undefined;
  /** Writes what is waiting, publishes a last time, and closes the stores. */
  close(): Promise<void>;
}

/** How the log reports what happens; telemetry stays outside. */
export interface LogEvents {
  sequenced(event: {
    readonly batches: number;
    readonly records: number;
    readonly bytes: number;
    readonly durationMs: number;
  }): void;
  published(event: { readonly size: number; readonly exposureMs: number }): void;
  duplicate(): void;
  conflict(event: { readonly stream: string; readonly batchNumber: number; readonly index: number }): void;
  /** A conflict entry could not be written; the refusal itself was given. */
  conflictLost(error: Error): void;
  /** The log stopped signing; the process should end with this error. */
  fatal(error: Error): void;
}

/** Time as the log sees it; handed in, so that tests own it. */
export interface LogClock {
  nowMs(): number;
  /** Calls back once after a delay; returns the way to cancel it. */
  after(delayMs: number, work: () => void): () => void;
}
