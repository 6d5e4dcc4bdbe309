// Buffers of sealed batches and what becomes of each: free -> sealed -> in flight -> free, or back to sealed.

import { isEqual } from '../record/bytes';
import { BUFFERS_MAX, buffers } from '../record/config';
import { BATCH_BYTES_MAX, HEADER_BATCH_NUMBER, HEADER_ROW_COUNT, HEADER_STREAM, STREAM_BYTES } from '../record/layout';

/** One more than there can be at most, for the batch that ends the stream: there is always room for it. */
const ALL: u32 = BUFFERS_MAX + 1;
export const LAST_BUFFER: u32 = BUFFERS_MAX;

const ROOM: usize = memory.data(2162688, 16); // ALL x BATCH_BYTES_MAX
const SLOTS: usize = memory.data(1320, 8); // ALL x SLOT_BYTES
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

// Kept as states change, since every exchange asks.
let free: u32 = BUFFERS_MAX;
let unfree: u32 = 0;
let flying: u32 = 0;

function setState(buffer: u32, next: u32): void {
  const before = state(buffer);
  if (before == IN_FLIGHT) flying--;
  if (next == IN_FLIGHT) flying++;
  if (before != FREE) unfree--;
  if (next != FREE) unfree++;
  store<u32>(slotOf(buffer), next, STATE);
  if (buffer >= buffers) return;
  if (before == FREE) free--;
  if (next == FREE) free++;
}

/** Counts anew after the configuration changed how many there are. */
export function countBuffers(): void {
  free = 0;
  for (let buffer: u32 = 0; buffer < buffers; buffer++) if (state(buffer) == FREE) free++;
}

/** Free buffers among those that the configuration gives. */
export function freeBuffers(): u32 {
  return free;
}

export function inFlight(): u32 {
  return flying;
}

/** Batches that wait for an acknowledgement, sent or not. */
export function unacknowledged(): u32 {
  return unfree;
}

/** Records in batches that wait for an acknowledgement. */
export function recordsUnacknowledged(): u64 {
  let records: u64 = 0;
  for (let buffer: u32 = 0; buffer < ALL; buffer++)
    if (state(buffer) != FREE) records += <u64>load<u32>(bufferAt(buffer), HEADER_ROW_COUNT);
  return records;
}

/** A free buffer, or NONE. */
export function freeBuffer(): u32 {
  for (let buffer: u32 = 0; buffer < buffers; buffer++) if (state(buffer) == FREE) return buffer;
  return NONE;
}

export function markSealed(buffer: u32, bytes: usize): void {
  setState(buffer, SEALED);
  memory.fill(slotOf(buffer) + LENGTH, 0, SLOT_BYTES - LENGTH);
  store<u32>(slotOf(buffer), <u32>bytes, LENGTH);
}

/** The oldest sealed batch that may be tried at this time, or NONE. `isLast` ignores the pauses. */
export function nextToSend(nowNs: u64, isLast: bool): u32 {
  let best = NONE;
  for (let buffer: u32 = 0; buffer < ALL; buffer++) {
    if (state(buffer) != SEALED || (!isLast && load<u64>(slotOf(buffer), NOT_BEFORE_NS) > nowNs)) continue;
    if (best == NONE || batchNumberOf(buffer) < batchNumberOf(best)) best = buffer;
  }
  return best;
}

export function markInFlight(buffer: u32, token: u32, deadlineNs: u64, knownSize: u64): void {
  const slot = slotOf(buffer);
  setState(buffer, IN_FLIGHT);
  store<u32>(slot, token, TOKEN);
  store<u64>(slot, deadlineNs, DEADLINE_NS);
  store<u64>(slot, knownSize, KNOWN_SIZE);
}

/** The batch that a call carries, or NONE. */
export function bufferOf(token: u32): u32 {
  for (let buffer: u32 = 0; buffer < ALL; buffer++)
    if (state(buffer) == IN_FLIGHT && load<u32>(slotOf(buffer), TOKEN) == token) return buffer;
  return NONE;
}

/** A batch whose call should have ended long ago, or NONE: the root that made it is gone, and its answer with it. */
export function overdue(nowNs: u64): u32 {
  for (let buffer: u32 = 0; buffer < ALL; buffer++)
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
  setState(buffer, FREE);
}

/** Back to sealed; returns how often this batch has failed. */
export function markFailed(buffer: u32): u32 {
  const slot = slotOf(buffer);
  const failures = load<u32>(slot, FAILURES) + 1;
  setState(buffer, SEALED);
  store<u32>(slot, failures, FAILURES);
  return failures;
}

export function pauseUntil(buffer: u32, ns: u64): void {
  store<u64>(slotOf(buffer), ns, NOT_BEFORE_NS);
}

/** Bit n: buffer n is in flight. */
export function inFlightBits(): u64 {
  let bits: u64 = 0;
  for (let buffer: u32 = 0; buffer < ALL; buffer++) if (state(buffer) == IN_FLIGHT) bits |= (<u64>1) << (<u64>buffer);
  return bits;
}
