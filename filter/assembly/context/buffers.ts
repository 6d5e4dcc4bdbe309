// Buffers of sealed batches and what becomes of each: free -> sealed -> in flight -> free, or back to sealed.

import { isEqual } from '../record/bytes';
import { BUFFERS_MAX, buffers } from '../record/config';
import { BATCH_BYTES_MAX, HEADER_BATCH_NUMBER, HEADER_ROW_COUNT, HEADER_STREAM, STREAM_BYTES } from '../record/layout';

const ROOM: usize = memory.data(2097152, 16); // BUFFERS_MAX x BATCH_BYTES_MAX
const SLOTS: usize = memory.data(1280, 8); // BUFFERS_MAX x SLOT_BYTES
const SLOT_BYTES: usize = 40;

const STATE: usize = 0; // u32
const LENGTH: usize = 4; // u32
const TOKEN: usize = 8; // u32
const FAILURES: usize = 12; // u32
const DEADLINE_NS: usize = 16; // u64, of the call in flight
const NOT_BEFORE_NS: usize = 24; // u64, of the next try
const KNOWN_SIZE: usize = 32; // u64, checkpoint known when it was sent

const FREE: u32 = 0;
const SEALED: u32 = 1;
const IN_FLIGHT: u32 = 2;

export const NONE: u32 = 0xffff_ffff;

function slotOf(buffer: u32): usize {
  return SLOTS + SLOT_BYTES * <usize>buffer;
}

function state(buffer: u32): u32 {
  return load<u32>(slotOf(buffer), STATE);
}

export function bufferAt(buffer: u32): usize {
  return ROOM + BATCH_BYTES_MAX * <usize>buffer;
}

export function bufferBytes(buffer: u32): usize {
  return <usize>load<u32>(slotOf(buffer), LENGTH);
}

function batchNumberOf(buffer: u32): u64 {
  return load<u64>(bufferAt(buffer), HEADER_BATCH_NUMBER);
}

function countOf(wanted: u32, below: u32): u32 {
  let count: u32 = 0;
  for (let buffer: u32 = 0; buffer < below; buffer++) if (state(buffer) == wanted) count++;
  return count;
}

/** Free buffers among those that the configuration gives. */
export function freeBuffers(): u32 {
  return countOf(FREE, buffers);
}

export function inFlight(): u32 {
  return countOf(IN_FLIGHT, BUFFERS_MAX);
}

/** Batches that wait for an acknowledgement, sent or not. */
export function unacknowledged(): u32 {
  return BUFFERS_MAX - countOf(FREE, BUFFERS_MAX);
}

/** Records in batches that wait for an acknowledgement. */
export function recordsUnacknowledged(): u64 {
  let records: u64 = 0;
  for (let buffer: u32 = 0; buffer < BUFFERS_MAX; buffer++)
    if (state(buffer) != FREE) records += <u64>load<u32>(bufferAt(buffer), HEADER_ROW_COUNT);
  return records;
}

/** A free buffer, or NONE. */
export function freeBuffer(): u32 {
  for (let buffer: u32 = 0; buffer < buffers; buffer++) if (state(buffer) == FREE) return buffer;
  return NONE;
}

export function markSealed(buffer: u32, bytes: usize): void {
  memory.fill(slotOf(buffer), 0, SLOT_BYTES);
  store<u32>(slotOf(buffer), SEALED, STATE);
  store<u32>(slotOf(buffer), <u32>bytes, LENGTH);
}

/** The oldest sealed batch that may be tried at this time, or NONE. `isLast` ignores the pauses. */
export function nextToSend(nowNs: u64, isLast: bool): u32 {
  let best = NONE;
  for (let buffer: u32 = 0; buffer < BUFFERS_MAX; buffer++) {
    if (state(buffer) != SEALED || (!isLast && load<u64>(slotOf(buffer), NOT_BEFORE_NS) > nowNs)) continue;
    if (best == NONE || batchNumberOf(buffer) < batchNumberOf(best)) best = buffer;
  }
  return best;
}

export function markInFlight(buffer: u32, token: u32, deadlineNs: u64, knownSize: u64): void {
  const slot = slotOf(buffer);
  store<u32>(slot, IN_FLIGHT, STATE);
  store<u32>(slot, token, TOKEN);
  store<u64>(slot, deadlineNs, DEADLINE_NS);
  store<u64>(slot, knownSize, KNOWN_SIZE);
}

/** The batch that a call carries, or NONE. */
export function bufferOf(token: u32): u32 {
  for (let buffer: u32 = 0; buffer < BUFFERS_MAX; buffer++)
    if (state(buffer) == IN_FLIGHT && load<u32>(slotOf(buffer), TOKEN) == token) return buffer;
  return NONE;
}

/** A batch whose call should have ended long ago, or NONE: the root that made it is gone, and its answer with it. */
export function overdue(nowNs: u64): u32 {
  for (let buffer: u32 = 0; buffer < BUFFERS_MAX; buffer++)
    if (state(buffer) == IN_FLIGHT && load<u64>(slotOf(buffer), DEADLINE_NS) < nowNs) return buffer;
  return NONE;
}

export function knownSizeAtSend(buffer: u32): u64 {
  return load<u64>(slotOf(buffer), KNOWN_SIZE);
}

/** Whether `ack` (stream, then batch number, as docs/formats.md 2 has them) names the batch of a buffer. */
export function isNamed(buffer: u32, stream: usize, batchNumber: u64): bool {
  return batchNumberOf(buffer) == batchNumber && isEqual(bufferAt(buffer) + HEADER_STREAM, stream, STREAM_BYTES);
}

export function markFree(buffer: u32): void {
  store<u32>(slotOf(buffer), FREE, STATE);
}

/** Back to sealed; returns how often this batch has failed. */
export function markFailed(buffer: u32): u32 {
  const slot = slotOf(buffer);
  const failures = load<u32>(slot, FAILURES) + 1;
  store<u32>(slot, SEALED, STATE);
  store<u32>(slot, failures, FAILURES);
  return failures;
}

export function pauseUntil(buffer: u32, ns: u64): void {
  store<u64>(slotOf(buffer), ns, NOT_BEFORE_NS);
}

/** All calls in flight count as not made: at the end of a VM nobody would answer them. */
export function recallAll(): void {
  for (let buffer: u32 = 0; buffer < BUFFERS_MAX; buffer++)
    if (state(buffer) == IN_FLIGHT) store<u32>(slotOf(buffer), SEALED, STATE);
}
