// The stream of this VM: observed -> recorded -> batched and chained. All roots of the VM share it, in all roles.

import { monotonicClock, random, wallClock } from '../abi/read';
import {
  batchesSealed,
  beginStream,
  count,
  DROPPED_BUFFERS_FULL,
  DROPPED_NO_RANDOM,
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
import { number, PROTOCOL } from '../record/facts';
import {
  BIT_REPEAT,
  FLAG_ALIVE,
  FLAG_FIN,
  HASH_BYTES,
  KIND_CONNECTION,
  KIND_HTTP,
  SENSOR_HTTP_FILTER,
  SENSOR_NETWORK_FILTER,
} from '../record/layout';
import { isPriority, writeRow } from '../record/row';
import { UNKNOWN, verdictOf, verdictOfConnection } from '../record/verdict';
import { bufferAt, freeBuffer, freeBuffers, LAST_BUFFER, markSealed, NONE, unacknowledged } from './buffers';
import { connectionKey, connectionReference } from './connection';
import { takeClosedConnection, takeLiving } from './connections';
import { sendAllAtTheEnd, sendWaiting } from './delivery';
import { takeExchange } from './exchange';
import { isNaming, leaveProxy, noteSealed } from './life';
import { isRepeatedConnection, isRepeatedExchange, noteConnectionRow, noteExchange } from './repeats';

/** The last free buffer is for what was denied or failed. */
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

function sealInto(buffer: u32, flags: u16): void {
  if (isNaming()) flags |= FLAG_ALIVE;
  markSealed(buffer, sealBatch(bufferAt(buffer), flags, wallClock(), monotonicClock()));
  noteSealed((flags & FLAG_ALIVE) != 0);
}

function seal(flags: u16): void {
  const buffer = freeBuffer();
  // There is one: a batch is opened only while one is free, and only sealing takes one.
  if (buffer != NONE) sealInto(buffer, flags);
}

function drop(reason: u32): bool {
  count(reason, 1);
  return false;
}

/** Writes the facts at hand as a record; false when they are given up, and counted. */
function write(kind: u8, verdict: u8, mark: u32): bool {
  if (freeBuffers() <= RESERVE && !isPriority(verdict)) return drop(DROPPED_BUFFERS_FULL);
  return writeRow(kind, connectionReference(), verdict, mark) || drop(DROPPED_UNREADABLE);
}

/** Counts a report, and sees to a batch that has room for it; false when there is none, whatever it is. */
function begin(): bool {
  count(SEEN, 1);
  if (isFilling() && !hasRoom()) seal(0);
  if (freeBuffers() == 0) return drop(DROPPED_BUFFERS_FULL);
  return isFilling() || open() || drop(DROPPED_NO_RANDOM);
}

/** A full batch does not wait for the tick. */
function sendFull(): void {
  if (!isSealable()) return;
  seal(0);
  sendWaiting();
}

/** Records the exchange at hand, or counts that it could not. */
export function recordExchange(sensor: u32): void {
  if (!begin()) return;
  const mark = takeExchange();
  const isRepeat = isRepeatedExchange(connectionKey, mark, sensor);
  const isWritten = write(KIND_HTTP, verdictOf(), isRepeat ? sensor | BIT_REPEAT : sensor);
  if (isWritten && !isRepeat) noteExchange(connectionKey, mark, sensor);
  sendFull();
}

/** Records the connection at hand, or counts that it could not. */
export function recordConnection(sensor: u32): void {
  if (!begin()) return;
  takeClosedConnection();
  const hasProtocol = number(PROTOCOL) != 0;
  const isRepeat = isRepeatedConnection(connectionKey, hasProtocol);
  const isWritten = write(KIND_CONNECTION, verdictOfConnection(), isRepeat ? sensor | BIT_REPEAT : sensor);
  if (isWritten) noteConnectionRow(connectionKey, hasProtocol, isSealable());
  sendFull();
}

/** Whether an open or interval record may be made: the reserve is not for them. */
export function hasRoomForLiving(): bool {
  return freeBuffers() > RESERVE;
}

/** Records the exchange or connection at hand, which lives; false when it could not be. Sends nothing. */
export function recordLiving(isNetwork: bool, phase: u32): bool {
  if (!takeLiving(isNetwork) || !begin()) return false;
  const isTold = isNetwork
    ? write(KIND_CONNECTION, UNKNOWN, SENSOR_NETWORK_FILTER | phase)
    : write(KIND_HTTP, UNKNOWN, SENSOR_HTTP_FILTER | phase);
  if (isSealable()) seal(0);
  return isTold;
}

/** What a tick does: what waits is sealed and sent. `isAliveDue`: also a batch without records, as a sign of life. */
export function flush(isAliveDue: bool): void {
  const isCalm = unacknowledged() < WAITING_MAX;
  if (isAliveDue && isCalm && freeBuffers() > RESERVE && (isFilling() || open())) seal(FLAG_ALIVE);
  else if (isFilling() && rowCount() > 0 && isCalm) seal(0);
  sendWaiting();
}

/** Ends the stream: its last batch says so, and everything is sent. A VM that said nothing has nothing to end. */
export function endStream(): void {
  if (!isRunning) return;
  leaveProxy();
  isRunning = false;
  if (total(SEEN) == 0 && batchesSealed() == 0) return;
  if (!isFilling() && !open()) {
    // Without records there is nothing that a secret would protect.
    memory.fill(RANDOM, 0, HASH_BYTES);
    openBatch(role, RANDOM, wallClock(), monotonicClock());
  }
  sealInto(LAST_BUFFER, FLAG_FIN);
  sendAllAtTheEnd();
}
