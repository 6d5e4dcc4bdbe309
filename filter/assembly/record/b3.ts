// B3 trace context (openzipkin/b3-propagation): the `b3` header, or the `x-b3-` headers. Parsed or refused, never repaired.

import { isText, isZero, readHex } from './bytes';
import { markCut, rowBits, setBits, setCutText, TRACE, TRACE_TEXT, textBytes } from './facts';
import { SPAN_ID_AT, TRACE_FLAGS_AT } from './identifiers';
import { BIT_TRACE, BIT_TRACE_B3, BIT_TRACE_B3_SHORT, BIT_TRACE_TEXT_B3 } from './layout';
import { text } from './text';

const SINGLE: usize = 0;
const TRACE_ID: usize = 1;
const SPAN_ID: usize = 2;
const PARENT_ID: usize = 3;
const SAMPLED: usize = 4;
const DEBUG: usize = 5;
const FIELDS: usize = 6;
const NAMES: usize = memory.data<u32>([
  <u32>text('b3'),
  <u32>text('x-b3-traceid'),
  <u32>text('x-b3-spanid'),
  <u32>text('x-b3-parentspanid'),
  <u32>text('x-b3-sampled'),
  <u32>text('x-b3-flags'),
]);
const VALUES: usize = memory.data(48, 8); // FIELDS x (u32 pointer, u32 length)

const ID_BYTES: usize = 16;
const DASH: u32 = 45;
// Sampling states as bits of the row's trace flags.
const DENIED: u8 = 0;
const SAMPLED_BIT: u8 = 1;
const DEBUG_BITS: u8 = 3;
const UNDECIDED_BIT: u8 = 4;
const NO_STATE: u8 = 255;

const TEXT_BYTES_MAX: usize = 256;
const TEXT: usize = memory.data(256, 8);

let isPresent: bool = false;

export function beginB3(): void {
  isPresent = false;
  memory.fill(VALUES, 0, 8 * FIELDS);
}

/** Takes a header whose name may be one of B3's. Of a repeated one the first value counts. */
export function takeB3(name: usize, nameBytes: usize, at: usize, bytes: usize): void {
  for (let field: usize = 0; field < FIELDS; field++) {
    if (!isText(name, nameBytes, <usize>load<u32>(NAMES + 4 * field))) continue;
    if (bytesOf(field) > 0) return;
    store<u32>(VALUES + 8 * field, <u32>at);
    store<u32>(VALUES + 8 * field, <u32>bytes, 4);
    isPresent = true;
  }
}

function placeOf(field: usize): usize {
  return <usize>load<u32>(VALUES + 8 * field);
}

function bytesOf(field: usize): usize {
  return <usize>load<u32>(VALUES + 8 * field, 4);
}

/** Reads an id of 8 bytes, not zero; `out` is undefined when it is none. */
function readId(at: usize, bytes: usize, out: usize): bool {
  return bytes == ID_BYTES && readHex(at, 8, out) && !isZero(out, 8);
}

/** Reads a trace id of 16 bytes or of 8, with zeros in front. */
function readTraceId(at: usize, bytes: usize): bool {
  if (bytes == 2 * ID_BYTES) return readHex(at, 16, TRACE) && !isZero(TRACE, 16);
  store<u64>(TRACE, 0);
  return readId(at, bytes, TRACE + 8);
}

/** The state that one character says; `debug` is the character for it. */
function stateOf(at: usize, bytes: usize, debug: u8): u8 {
  if (bytes != 1) return NO_STATE;
  const byte = load<u8>(at);
  if (byte == 48) return DENIED;
  if (byte == 49) return SAMPLED_BIT;
  return byte == debug ? DEBUG_BITS : NO_STATE;
}

// What a parse can find.
const MALFORMED: u32 = 0;
const NO_IDS: u32 = 1; // a sampling decision alone: valid, and nothing to record
const LINK: u32 = 2;

/** `{TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}`, the last two optional, or a sampling state alone. */
function parseSingle(): u32 {
  const at = placeOf(SINGLE);
  const bytes = bytesOf(SINGLE);
  if (bytes == 1) return stateOf(at, 1, 100) == NO_STATE ? MALFORMED : NO_IDS;
  const traceBytes: usize = bytes > 32 && load<u8>(at, 32) == DASH ? 32 : ID_BYTES;
  const spanAt = traceBytes + 1;
  const spanEnd = spanAt + ID_BYTES;
  if (bytes < spanEnd || load<u8>(at + traceBytes) != DASH) return MALFORMED;
  if (!readTraceId(at, traceBytes) || !readId(at + spanAt, ID_BYTES, TRACE + SPAN_ID_AT)) return MALFORMED;
  store<u8>(TRACE, UNDECIDED_BIT, TRACE_FLAGS_AT);
  let next = spanEnd;
  if (bytes == next + 2 || (bytes > next + 2 && load<u8>(at + next + 2) == DASH)) {
    const state = stateOf(at + next + 1, 1, 100);
    if (load<u8>(at + next) != DASH || state == NO_STATE) return MALFORMED;
    store<u8>(TRACE, state, TRACE_FLAGS_AT);
    next += 2;
  }
  if (bytes == next) return LINK;
  // Where the parent's id is read to, nothing is kept.
  if (load<u8>(at + next) != DASH || !readId(at + next + 1, bytes - next - 1, TEXT)) return MALFORMED;
  return LINK;
}

function parseMulti(): u32 {
  let state = UNDECIDED_BIT;
  if (bytesOf(SAMPLED) > 0) {
    state = stateOf(placeOf(SAMPLED), bytesOf(SAMPLED), 48);
    if (state == NO_STATE) return MALFORMED;
  }
  // Debug is a 1 there; what else stands there says nothing.
  if (stateOf(placeOf(DEBUG), bytesOf(DEBUG), 48) == SAMPLED_BIT) state = DEBUG_BITS;
  if (bytesOf(TRACE_ID) + bytesOf(SPAN_ID) + bytesOf(PARENT_ID) == 0) return NO_IDS;
  if (bytesOf(PARENT_ID) > 0 && !readId(placeOf(PARENT_ID), bytesOf(PARENT_ID), TEXT)) return MALFORMED;
  if (!readTraceId(placeOf(TRACE_ID), bytesOf(TRACE_ID))) return MALFORMED;
  if (!readId(placeOf(SPAN_ID), bytesOf(SPAN_ID), TRACE + SPAN_ID_AT)) return MALFORMED;
  store<u8>(TRACE, state, TRACE_FLAGS_AT);
  return LINK;
}

let textUsed: usize = 0;
let isCut: bool = false;

function append(at: usize, bytes: usize): void {
  const room = TEXT_BYTES_MAX - textUsed;
  isCut = isCut || bytes > room;
  const kept = bytes > room ? room : bytes;
  memory.copy(TEXT + textUsed, at, kept);
  textUsed += kept;
}

/** Keeps every B3 header there is, as a line each. */
function keepText(): void {
  textUsed = 0;
  isCut = false;
  for (let field: usize = 0; field < FIELDS; field++) {
    if (bytesOf(field) == 0) continue;
    const name = <usize>load<u32>(NAMES + 4 * field);
    append(name + 1, <usize>load<u8>(name));
    append(text(': ') + 1, 2);
    append(placeOf(field), bytesOf(field));
    append(text('\n') + 1, 1);
  }
  setCutText(TRACE_TEXT, TEXT, textUsed);
  if (isCut) markCut(TRACE_TEXT);
  setBits(BIT_TRACE_TEXT_B3);
}

/** Settles the B3 context, once it is known what `traceparent` said: a valid one wins, and a malformed one stays as text. */
export function endB3(): void {
  if (!isPresent || (rowBits() & BIT_TRACE) != 0) return;
  const isSingle = bytesOf(SINGLE) > 0;
  const found = isSingle ? parseSingle() : parseMulti();
  if (found == LINK) {
    const idBytes = isSingle
      ? load<u8>(placeOf(SINGLE), ID_BYTES) == DASH
        ? ID_BYTES
        : 2 * ID_BYTES
      : bytesOf(TRACE_ID);
    setBits(BIT_TRACE | BIT_TRACE_B3 | (idBytes == ID_BYTES ? BIT_TRACE_B3_SHORT : 0));
  } else if (found == MALFORMED && textBytes(TRACE_TEXT) == 0) keepText();
}
