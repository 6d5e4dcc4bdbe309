// The stream of this VM: observed -> recorded -> batched and chained. All roots of the VM share it.

import { monotonicClock, random, wallClock } from '../abi/read';
import {
  batchesSealed,
  beginStream,
  count,
  DROPPED_BUFFERS_FULL,
  DROPPED_UNREADABLE,
  hasRoom,
  isFilling,
  isSealable,
  openBatch,
  rowCount,
  SEEN,
  sealBatch,
  total,
} from '../record/batch';
import { role } from '../record/config';
import { FLAG_FIN, KIND_HTTP, SENSOR_HTTP_FILTER } from '../record/layout';
import { isPriority, writeRow } from '../record/row';
import { verdictOf } from '../record/verdict';
import { bufferAt, freeBuffer, freeBuffers, markSealed, NONE, unacknowledged } from './buffers';
import { connectionReference } from './connection';
import { sendAllAtTheEnd, sendWaiting } from './delivery';
import { takeExchange } from './exchange';

/** The last free buffer is for denied and failed exchanges. */
const RESERVE: u32 = 1;
/** While this many batches wait, a tick seals no further one: records gather in full batches, and the buffers last longer. */
const WAITING_MAX: u32 = 2;

const RANDOM: usize = memory.data(32, 8);
let isRunning: bool = false;

/** Begins a stream when none runs; false when the host has no random numbers. */
export function ensureStream(): bool {
  if (isRunning) return true;
  if (!random(RANDOM, 16)) return false;
  beginStream(RANDOM);
  isRunning = true;
  return true;
}

function open(): bool {
  if (!random(RANDOM, 32)) return false;
  openBatch(role, RANDOM, wallClock(), monotonicClock());
  return true;
}

function seal(flags: u16): void {
  const buffer = freeBuffer();
  // There is one: a batch is opened only while one is free, and only sealing takes one.
  if (buffer == NONE) return;
  markSealed(buffer, sealBatch(bufferAt(buffer), flags, wallClock(), monotonicClock()));
}

/** Records the exchange at hand, or counts that it could not. */
export function record(): void {
  count(SEEN, 1);
  const free = freeBuffers();
  if (free == 0) {
    count(DROPPED_BUFFERS_FULL, 1);
    return;
  }
  takeExchange();
  const verdict = verdictOf();
  if (free <= RESERVE && !isPriority(verdict)) {
    count(DROPPED_BUFFERS_FULL, 1);
    return;
  }
  if (isFilling() && !hasRoom()) seal(0);
  if ((!isFilling() && freeBuffer() == NONE) || (!isFilling() && !open())) {
    count(DROPPED_BUFFERS_FULL, 1);
    return;
  }
  if (!writeRow(KIND_HTTP, connectionReference(), verdict, SENSOR_HTTP_FILTER)) {
    count(DROPPED_UNREADABLE, 1);
    return;
  }
  if (isSealable()) {
    seal(0);
    sendWaiting();
  }
}

/** What a tick does: what waits is sealed and sent. */
export function flush(): void {
  if (isFilling() && rowCount() > 0 && unacknowledged() < WAITING_MAX) seal(0);
  sendWaiting();
}

/** Ends the stream: its last batch says so, and everything is sent. A VM that saw no exchange has nothing to say. */
export function endStream(): void {
  if (!isRunning) return;
  isRunning = false;
  if (total(SEEN) == 0 && batchesSealed() == 0) return;
  if (isFilling() || (freeBuffer() != NONE && open())) seal(FLAG_FIN);
  sendAllAtTheEnd();
}
