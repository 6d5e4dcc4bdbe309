// From the request's header map to facts: what is always recorded, and what the configuration allows.

import { beginB3, endB3, takeB3 } from './b3';
import { isEqual, isText } from './bytes';
import { takeForwardedCertificate } from './claims';
import {
  AUTHORITY,
  FORWARDED_FOR,
  HEADERS,
  METHOD,
  markCut,
  PATH,
  REQUEST_CONTENT_TYPE,
  REQUEST_ENCODING,
  REQUEST_ID,
  REQUEST_UUID,
  rowBits,
  setBits,
  setCutText,
  setText,
  TRACE,
  TRACE_TEXT,
  textBytes,
  USER_AGENT,
} from './facts';
import { readTraceParent, readUuid } from './identifiers';
import { BIT_REQUEST_ID, BIT_REQUEST_ID_TEXT, BIT_TRACE } from './layout';
import { isBroken, keyAt, keyBytes, nextPair, openPairs, pairValueAt, pairValueBytes } from './pairs';
import { text } from './text';

/** Names of headers that are always recorded, in the order of their lengths. */
const NAMES: usize = memory.data<u32>([
  <u32>text('b3'),
  <u32>text(':path'),
  <u32>text(':method'),
  <u32>text(':authority'),
  <u32>text('user-agent'),
  <u32>text('x-b3-flags'),
  <u32>text('traceparent'),
  <u32>text('x-b3-spanid'),
  <u32>text('content-type'),
  <u32>text('x-b3-sampled'),
  <u32>text('x-b3-traceid'),
  <u32>text('x-request-id'),
  <u32>text('x-forwarded-for'),
  <u32>text('content-encoding'),
  <u32>text('x-b3-parentspanid'),
  <u32>text('x-envoy-attempt-count'),
  <u32>text('x-forwarded-client-cert'),
]);
export const HEADER_NAMES: u32 = 17;
const NAME_BYTES_MAX: usize = 23;
/** For each length the first of NAMES that has it, or HEADER_NAMES. */
const FIRST: usize = memory.data<u8>([
  17, 17, 0, 17, 17, 1, 17, 2, 17, 17, 3, 6, 8, 17, 17, 12, 13, 14, 17, 17, 17, 15, 17, 16,
]);
// What is done with each of NAMES: the number of a fact takes the first value as it is.
const B3_FIELD: u32 = 64; // and the field's number
const TAKE_TRACE: u32 = 80;
const TAKE_REQUEST_ID: u32 = 81;
const TAKE_FORWARDED_FOR: u32 = 82;
const TAKE_ATTEMPT: u32 = 83;
const TAKE_CERTIFICATE: u32 = 84;
const ACTIONS: usize = memory.data<u8>([
  <u8>B3_FIELD,
  <u8>PATH,
  <u8>METHOD,
  <u8>AUTHORITY,
  <u8>USER_AGENT,
  <u8>(B3_FIELD + 5),
  <u8>TAKE_TRACE,
  <u8>(B3_FIELD + 2),
  <u8>REQUEST_CONTENT_TYPE,
  <u8>(B3_FIELD + 3),
  <u8>(B3_FIELD + 1),
  <u8>TAKE_REQUEST_ID,
  <u8>TAKE_FORWARDED_FOR,
  <u8>REQUEST_ENCODING,
  <u8>(B3_FIELD + 4),
  <u8>TAKE_ATTEMPT,
  <u8>TAKE_CERTIFICATE,
]);

/** The name of a header that is always recorded, a text constant; `which` is below HEADER_NAMES. */
export function headerName(which: u32): usize {
  return <usize>load<u32>(NAMES + 4 * <usize>which);
}

const BLOCK_BYTES_MAX: usize = 1024;
const BLOCK: usize = memory.data(1024, 8);
const TRACE_JOINED_BYTES_MAX: usize = 256;
const TRACE_JOINED: usize = memory.data(256, 8);
const WALK: usize = memory.data(64, 8);

let allowed: usize = 0;
let allowedCount: u32 = 0;
let blockBytes: usize = 0;
// One value is one cut, however many of its parts find no room.
let isBlockCut: bool = false;
let isJoinedCut: bool = false;
let traceAt: usize = 0;
let traceBytes: usize = 0;
let traceCount: u32 = 0;

/** Room that the list of allowed names takes for one name: a length byte and the name. */
export const ALLOWED_NAME_SLOT: usize = 64;

/** Sets the names of further headers to record: `count` slots at `at`, lower case. */
export function allowHeaders(at: usize, count: u32): void {
  allowed = at;
  allowedCount = count;
}

/** Whether the request's header map says that Envoy tried once (it says so where `include_request_attempt_count` is on). */
export function isFirstAttempt(): bool {
  return isSaidOnce;
}

let isSaidOnce: bool = false;

export function beginHeaders(): void {
  isSaidOnce = false;
  beginB3();
  blockBytes = 0;
  isBlockCut = false;
  isJoinedCut = false;
  traceCount = 0;
}

/** Takes one header of the request. */
export function takeHeader(name: usize, nameBytes: usize, at: usize, bytes: usize): void {
  for (let i: u32 = 0; i < allowedCount; i++) {
    if (isText(name, nameBytes, allowed + ALLOWED_NAME_SLOT * <usize>i)) appendLine(name, nameBytes, at, bytes);
  }
  if (bytes == 0 || nameBytes > NAME_BYTES_MAX) return;
  for (let i = <u32>load<u8>(FIRST + nameBytes); i < HEADER_NAMES; i++) {
    const known = headerName(i);
    if (<usize>load<u8>(known) != nameBytes) return;
    if (isEqual(name, known + 1, nameBytes)) {
      takeKnown(<u32>load<u8>(ACTIONS + i), at, bytes);
      return;
    }
  }
}

function takeKnown(action: u32, at: usize, bytes: usize): void {
  if (action < B3_FIELD) takeFirst(action, at, bytes);
  else if (action < TAKE_TRACE) takeB3(action - B3_FIELD, at, bytes);
  else if (action == TAKE_TRACE) takeTrace(at, bytes);
  else if (action == TAKE_REQUEST_ID) takeRequestId(at, bytes);
  else if (action == TAKE_FORWARDED_FOR) setCutText(FORWARDED_FOR, at, bytes);
  else if (action == TAKE_ATTEMPT) isSaidOnce = bytes == 1 && load<u8>(at) == 49;
  else takeForwardedCertificate(at, bytes);
}

/** Of a repeated header the first value counts, as for Envoy and its single reads. */
function takeFirst(fact: u32, at: usize, bytes: usize): void {
  if (textBytes(fact) == 0) setText(fact, at, bytes);
}

/** Takes a whole map; false when it is not in the pairs format to its end. */
export function takeHeaders(at: usize, bytes: usize): bool {
  openPairs(WALK, at, bytes);
  while (nextPair(WALK)) takeHeader(keyAt(WALK), keyBytes(WALK), pairValueAt(WALK), pairValueBytes(WALK));
  return !isBroken(WALK);
}

/** Settles what more than one header decides. */
export function endHeaders(): void {
  if (blockBytes > 0) setCutText(HEADERS, BLOCK, blockBytes);
  if (traceCount == 1) {
    if (readTraceParent(traceAt, traceBytes, TRACE)) setBits(BIT_TRACE);
    else setText(TRACE_TEXT, traceAt, traceBytes);
  } else if (traceCount > 1) setCutText(TRACE_TEXT, TRACE_JOINED, joinedBytes);
  endB3();
}

let joinedBytes: usize = 0;

/** More than one `traceparent` is malformed: all are kept, joined as HTTP joins repeated headers. */
function takeTrace(at: usize, bytes: usize): void {
  traceCount++;
  if (traceCount == 1) {
    traceAt = at;
    traceBytes = bytes;
    return;
  }
  if (traceCount == 2) {
    joinedBytes = 0;
    joinTrace(traceAt, traceBytes);
  }
  joinTrace(COMMA + 1, 2);
  joinTrace(at, bytes);
}

const COMMA = text(', ');

function joinTrace(at: usize, bytes: usize): void {
  const room = TRACE_JOINED_BYTES_MAX - joinedBytes;
  if (bytes > room) {
    bytes = room;
    if (!isJoinedCut) markCut(TRACE_TEXT);
    isJoinedCut = true;
  }
  memory.copy(TRACE_JOINED + joinedBytes, at, bytes);
  joinedBytes += bytes;
}

function takeRequestId(at: usize, bytes: usize): void {
  // The row has room for one form of it.
  if ((rowBits() & (BIT_REQUEST_ID | BIT_REQUEST_ID_TEXT)) != 0) return;
  if (readUuid(at, bytes, REQUEST_UUID)) {
    setBits(BIT_REQUEST_ID);
    return;
  }
  setText(REQUEST_ID, at, bytes);
  setBits(BIT_REQUEST_ID_TEXT);
}

function appendLine(name: usize, nameBytes: usize, at: usize, bytes: usize): void {
  append(name, nameBytes);
  append(LINE_PARTS + 1, 2);
  append(at, bytes);
  append(LINE_PARTS + 3, 1);
}

const LINE_PARTS = text(': \n');

function append(at: usize, bytes: usize): void {
  const room = BLOCK_BYTES_MAX - blockBytes;
  if (bytes > room) {
    bytes = room;
    if (!isBlockCut) markCut(HEADERS);
    isBlockCut = true;
  }
  memory.copy(BLOCK + blockBytes, at, bytes);
  blockBytes += bytes;
}
