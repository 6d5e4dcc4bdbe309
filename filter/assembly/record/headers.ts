// From the request's header map to facts: what is always recorded, and what the configuration allows.

import { beginB3, endB3, takeB3 } from './b3';
import { isText } from './bytes';
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

const NAME_METHOD = text(':method');
const NAME_PATH = text(':path');
const NAME_AUTHORITY = text(':authority');
const NAME_USER_AGENT = text('user-agent');
const NAME_REQUEST_ID = text('x-request-id');
const NAME_TRACEPARENT = text('traceparent');
const NAME_CONTENT_TYPE = text('content-type');
const NAME_FORWARDED_FOR = text('x-forwarded-for');
const NAME_CONTENT_ENCODING = text('content-encoding');
const NAME_ATTEMPT_COUNT = text('x-envoy-attempt-count');
const NAME_CLIENT_CERT = text('x-forwarded-client-cert');

/** Names to ask for one by one where the map as a whole cannot be had. */
const NAMES: usize = memory.data<u32>([
  <u32>NAME_METHOD,
  <u32>NAME_AUTHORITY,
  <u32>NAME_PATH,
  <u32>NAME_USER_AGENT,
  <u32>NAME_REQUEST_ID,
  <u32>NAME_TRACEPARENT,
  <u32>NAME_CONTENT_TYPE,
  <u32>NAME_CONTENT_ENCODING,
  <u32>NAME_FORWARDED_FOR,
  <u32>NAME_ATTEMPT_COUNT,
  <u32>NAME_CLIENT_CERT,
  <u32>text('b3'),
  <u32>text('x-b3-traceid'),
  <u32>text('x-b3-spanid'),
  <u32>text('x-b3-parentspanid'),
  <u32>text('x-b3-sampled'),
  <u32>text('x-b3-flags'),
]);
export const HEADER_NAMES: u32 = 17;

/** The name of a header that is always recorded, a text constant; `which` is below HEADER_NAMES. */
export function headerName(which: u32): usize {
  return <usize>load<u32>(NAMES + 4 * <usize>which);
}

/** `x-b3`, as the four bytes are read. */
const X_B3: u32 = 0x3362_2d78;
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
  if (bytes == 0) return;
  if (nameBytes == 2 || (nameBytes > 9 && nameBytes < 18 && load<u32>(name) == X_B3)) {
    takeB3(name, nameBytes, at, bytes);
  } else if (nameBytes == 5) {
    if (isText(name, nameBytes, NAME_PATH)) takeFirst(PATH, at, bytes);
  } else if (nameBytes == 7) {
    if (isText(name, nameBytes, NAME_METHOD)) takeFirst(METHOD, at, bytes);
  } else if (nameBytes == 10) {
    if (isText(name, nameBytes, NAME_AUTHORITY)) takeFirst(AUTHORITY, at, bytes);
    else if (isText(name, nameBytes, NAME_USER_AGENT)) takeFirst(USER_AGENT, at, bytes);
  } else if (nameBytes == 11) {
    if (isText(name, nameBytes, NAME_TRACEPARENT)) takeTrace(at, bytes);
  } else if (nameBytes == 12) {
    if (isText(name, nameBytes, NAME_REQUEST_ID)) takeRequestId(at, bytes);
    else if (isText(name, nameBytes, NAME_CONTENT_TYPE)) takeFirst(REQUEST_CONTENT_TYPE, at, bytes);
  } else if (nameBytes == 15) {
    if (isText(name, nameBytes, NAME_FORWARDED_FOR)) setCutText(FORWARDED_FOR, at, bytes);
  } else if (nameBytes == 16) {
    if (isText(name, nameBytes, NAME_CONTENT_ENCODING)) takeFirst(REQUEST_ENCODING, at, bytes);
  } else if (nameBytes == 21) {
    if (isText(name, nameBytes, NAME_ATTEMPT_COUNT)) isSaidOnce = bytes == 1 && load<u8>(at) == 49;
  } else if (nameBytes == 23) {
    if (isText(name, nameBytes, NAME_CLIENT_CERT)) takeForwardedCertificate(at, bytes);
  }
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
