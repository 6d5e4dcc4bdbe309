// What the other rooms may ask of the log. The life of a batch in here: admitted -> sequenced -> acknowledged -> integrated -> published.

import type { TileReader } from '../core/tlog/tile.ts';
import type { TreeHead } from './stores.ts';

/** A batch that ingest has checked: formats.md section 1 holds for its bytes. */
export interface AdmittedBatch {
  readonly wire: Uint8Array;
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly hash: Uint8Array;
  /** The batch header of formats.md 3.1, complete but for `received`, which the log's clock adds when the batch is sequenced. */
  readonly header: (receivedMs: number) => Uint8Array;
}

/** What an acknowledgement says (formats.md section 2). */
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
  readonly atMs: number;
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
  /** Entry text by index; undefined beyond what is stored. */
  entry(index: number): Promise<Uint8Array | undefined>;
  /** The wire batch, exactly as received; undefined for an entry that has no body. */
  wireBatch(index: number): Promise<Uint8Array | undefined>;
  readonly tiles: TileReader;
  entryTile(index: number, width: number): Promise<Uint8Array | undefined>;
  /** Writes what is waiting, publishes a last time, and closes the stores. */
  close(): Promise<void>;
}

/** How the log reports what happens; telemetry stays outside. */
export interface LogEvents {
  sequenced(event: { readonly batches: number; readonly records: number; readonly bytes: number; readonly durationMs: number }): void;
  published(event: { readonly size: number; readonly exposureMs: number }): void;
  duplicate(): void;
  conflict(event: { readonly stream: string; readonly batchNumber: number; readonly index: number }): void;
  /** The log stopped signing; the process should end with this error. */
  fatal(error: Error): void;
}
