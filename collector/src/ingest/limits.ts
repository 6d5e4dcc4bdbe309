// Every limit of the ingest listener, in one place.

import { BATCH_BYTES_MAX } from '../core/codec/layout.ts';

export const BODY_BYTES_MAX = BATCH_BYTES_MAX;
export const MEDIA_TYPE = 'application/vnd.meshtrail.batch';
export const ACK_MEDIA_TYPE = 'application/vnd.meshtrail.ack';
/** Headers of a request of ours are some 300 bytes. */
export const HEADER_BYTES_MAX = 8192;
export const CONNECTIONS_MAX = 4096;
/** Longer than the filter's longest tick, so that a quiet proxy keeps its connection warm for the last batch. */
export const KEEP_ALIVE_TIMEOUT_MS = 120_000;

/** How long a sender may take: a slow one holds a connection, not more. Handed in by tests that will not wait. */
export interface IngestPatience {
  /** For a whole request. */
  readonly requestMs: number;
  readonly headersMs: number;
  /** How often slow connections are looked for. */
  readonly checkMs: number;
}

export const PATIENCE: IngestPatience = { requestMs: 15_000, headersMs: 10_000, checkMs: 5000 };
