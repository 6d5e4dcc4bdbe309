// Every limit of the ingest listener, in one place.

import { BATCH_BYTES_MAX } from '../core/codec/layout.ts';

export const BODY_BYTES_MAX = BATCH_BYTES_MAX;
export const MEDIA_TYPE = 'application/vnd.meshtrail.batch';
export const ACK_MEDIA_TYPE = 'application/vnd.meshtrail.ack';
/** Headers of a request of ours are some 300 bytes. */
export const HEADER_BYTES_MAX = 8192;
export const CONNECTIONS_MAX = 4096;
/** A whole request must arrive within this time: a slow sender holds a connection, not more. */
export const REQUEST_TIMEOUT_MS = 15_000;
export const HEADERS_TIMEOUT_MS = 10_000;
/** Longer than the filter's longest tick, so that a quiet proxy keeps its connection warm for the last batch. */
export const KEEP_ALIVE_TIMEOUT_MS = 120_000;
/** What a refused sender is told to wait. */
export const RETRY_AFTER_S = 1;
