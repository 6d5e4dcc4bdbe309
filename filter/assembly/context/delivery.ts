// Sealed -> sent -> acknowledged. A batch is sent byte for byte until an answer names it; a collector that does not answer is
// asked ever more rarely.

import { proxy_http_call } from '../abi/env';
import { monotonicClock, readBuffer, readHeader, valueAt, valueBytes } from '../abi/read';
import { BUFFER_CALL_RESPONSE, MAP_CALL_RESPONSE, OK } from '../abi/status';
import { count, knownCheckpointSize, noteCheckpoint, SEND_FAILURES } from '../record/batch';
import { COLLECTOR_AUTHORITY, COLLECTOR_CLUSTER, textValueAt, textValueBytes } from '../record/config';
import { ACK_BATCH_NUMBER, ACK_BYTES, ACK_MAGIC, ACK_STREAM } from '../record/layout';
import { text } from '../record/text';
import {
  bufferAt,
  bufferBytes,
  bufferOf,
  inFlight,
  inFlightBits,
  isNamed,
  knownSizeAtSend,
  LAST_BUFFER,
  markFailed,
  markFree,
  markInFlight,
  NONE,
  nextToSend,
  overdue,
  pauseUntil,
  unacknowledged,
} from './buffers';
import { say } from './say';

const IN_FLIGHT_MAX: u32 = 2;
const CALL_TIMEOUT_MS: u32 = 5000;
/** Envoy ends every call by its timeout; later than this, the root that made it is gone. */
const CALL_OVERDUE_NS: u64 = 10_000_000_000;
const PAUSE_FIRST_NS: u64 = 250_000_000;
const PAUSE_DOUBLINGS_MAX: u32 = 7; // 32 s
/** Failures in a row from which the proxy's own log says it. */
const FAILURES_TOLD: u32 = 3;

const HEADERS: usize = memory.data(1024, 8);
const NO_TRAILERS: usize = memory.data(8, 8); // a count of 0
const TOKEN: usize = memory.data(8, 8);
let headersBytes: usize = 0;

const NAME_METHOD = text(':method');
const VALUE_METHOD = text('POST');
const NAME_PATH = text(':path');
const VALUE_PATH = text('/v1/batches');
const NAME_AUTHORITY = text(':authority');
const NAME_CONTENT_TYPE = text('content-type');
const VALUE_CONTENT_TYPE = text('application/vnd.meshtrail.batch');
const NAME_STATUS = text(':status');
const SILENT = text('the collector does not acknowledge: batches are kept in this proxy and sent again');
const ANSWERS = text('the collector acknowledges again');

let failuresInARow: u32 = 0;
let acknowledged: u64 = 0;
let pausedUntilNs: u64 = 0;

/** Batches acknowledged so far. */
export function batchesAcknowledged(): u64 {
  return acknowledged;
}

let pairAt: usize = 0;
let lengthAt: usize = 0;

function addPair(name: usize, value: usize, valueLength: usize): void {
  const nameBytes = <usize>load<u8>(name);
  store<u32>(lengthAt, <u32>nameBytes);
  store<u32>(lengthAt, <u32>valueLength, 4);
  lengthAt += 8;
  memory.copy(pairAt, name + 1, nameBytes);
  store<u8>(pairAt + nameBytes, 0);
  pairAt += nameBytes + 1;
  memory.copy(pairAt, value, valueLength);
  store<u8>(pairAt + valueLength, 0);
  pairAt += valueLength + 1;
}

function addText(name: usize, value: usize): void {
  addPair(name, value + 1, <usize>load<u8>(value));
}

/** Makes the request headers of a delivery from the configuration. */
export function prepareDelivery(): void {
  store<u32>(HEADERS, 4);
  lengthAt = HEADERS + 4;
  pairAt = HEADERS + 36;
  addText(NAME_METHOD, VALUE_METHOD);
  addText(NAME_PATH, VALUE_PATH);
  addPair(NAME_AUTHORITY, textValueAt(COLLECTOR_AUTHORITY), textValueBytes(COLLECTOR_AUTHORITY));
  addText(NAME_CONTENT_TYPE, VALUE_CONTENT_TYPE);
  headersBytes = pairAt - HEADERS;
}

function call(buffer: u32): u32 {
  store<u32>(TOKEN, 0);
  const cluster = textValueAt(COLLECTOR_CLUSTER);
  const clusterBytes = textValueBytes(COLLECTOR_CLUSTER);
  const body = bufferAt(buffer);
  const bytes = bufferBytes(buffer);
  return proxy_http_call(
    cluster,
    clusterBytes,
    HEADERS,
    headersBytes,
    body,
    bytes,
    NO_TRAILERS,
    4,
    CALL_TIMEOUT_MS,
    TOKEN,
  );
}

/** Sends what may be sent now. */
export function sendWaiting(): void {
  if (unacknowledged() == 0) return;
  const now = monotonicClock();
  for (let late = overdue(now); late != NONE; late = overdue(now)) noteFailure(late, now, true);
  if (now < pausedUntilNs) return;
  // After a failure one batch asks whether the collector is back; the others wait for its answer.
  const limit: u32 = failuresInARow > 0 ? 1 : IN_FLIGHT_MAX;
  for (let flying = inFlight(); flying < limit; flying++) {
    const buffer = nextToSend(now, false);
    if (buffer == NONE) return;
    if (call(buffer) != OK) {
      noteFailure(buffer, now, true);
      return;
    }
    markInFlight(buffer, load<u32>(TOKEN), now + CALL_OVERDUE_NS, knownCheckpointSize());
  }
}

function sendNow(buffer: u32, now: u64): void {
  call(buffer);
  markInFlight(buffer, load<u32>(TOKEN), now + CALL_OVERDUE_NS, knownCheckpointSize());
}

/**
 * Sends everything at once. The last batch goes first: there may be a warm connection for one batch only, and it says how many
 * there should be. What is in flight goes once more: nobody will hear of its answer, and a second copy harms nobody.
 */
export function sendAllAtTheEnd(): void {
  const now = monotonicClock();
  const flown = inFlightBits();
  sendNow(LAST_BUFFER, now);
  for (let buffer = nextToSend(now, true); buffer != NONE; buffer = nextToSend(now, true)) sendNow(buffer, now);
  for (let buffer: u32 = 0; buffer < LAST_BUFFER; buffer++) if (((flown >> <u64>buffer) & 1) != 0) sendNow(buffer, now);
  // Nobody waits for them any more, and the gauge of what waits is shared with VMs that go on.
  for (let buffer: u32 = 0; buffer <= LAST_BUFFER; buffer++) markFree(buffer);
}

/** Between half of a pause and the whole: proxies that failed together do not come back together. */
function pauseNs(failures: u32, now: u64): u64 {
  const doublings = failures > PAUSE_DOUBLINGS_MAX ? PAUSE_DOUBLINGS_MAX : failures - 1;
  const whole = PAUSE_FIRST_NS << (<u64>doublings);
  return whole / 2 + (((now >> 10) * 0x9e37_79b9) % (whole / 2));
}

/** `isSilence`: the collector, not this one batch, is at fault. */
function noteFailure(buffer: u32, now: u64, isSilence: bool): void {
  count(SEND_FAILURES, 1);
  const failures = markFailed(buffer);
  if (!isSilence) {
    pauseUntil(buffer, now + pauseNs(failures, now));
    return;
  }
  failuresInARow++;
  pausedUntilNs = now + pauseNs(failuresInARow, now);
  if (failuresInARow == FAILURES_TOLD) say(SILENT);
}

/** Whether the answer that just came names the batch of a buffer; leaves it at `valueAt`. */
function isAcknowledged(buffer: u32, bodyBytes: u32): bool {
  if (readHeader(MAP_CALL_RESPONSE, NAME_STATUS) != OK || valueBytes != 3 || load<u8>(valueAt) != 50) return false;
  if (<usize>bodyBytes != ACK_BYTES) return false;
  if (readBuffer(BUFFER_CALL_RESPONSE, <u32>ACK_BYTES) != OK || valueBytes != ACK_BYTES) return false;
  return load<u32>(valueAt) == ACK_MAGIC && isNamed(buffer, valueAt + ACK_STREAM, load<u64>(valueAt, ACK_BATCH_NUMBER));
}

/** A status of 4xx refuses this batch; everything else that is no acknowledgement says that the collector is away. */
function isRefusal(): bool {
  return readHeader(MAP_CALL_RESPONSE, NAME_STATUS) == OK && valueBytes == 3 && load<u8>(valueAt) == 52;
}

/** The answer to a call. */
export function noteAnswer(token: u32, bodyBytes: u32): void {
  const buffer = bufferOf(token);
  if (buffer == NONE) return;
  if (!isAcknowledged(buffer, bodyBytes)) {
    noteFailure(buffer, monotonicClock(), !isRefusal());
    return;
  }
  noteCheckpoint(valueAt, knownSizeAtSend(buffer));
  markFree(buffer);
  acknowledged++;
  if (failuresInARow >= FAILURES_TOLD) say(ANSWERS);
  failuresInARow = 0;
  pausedUntilNs = 0;
  sendWaiting();
}
