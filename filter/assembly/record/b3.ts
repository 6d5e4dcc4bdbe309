// B3 trace context (openzipkin/b3-propagation): the `b3` header, or the `x-b3-` headers. Parsed or refused, never repaired.

import { isZero, readHex } from './bytes';
import { markCut, rowBits, setBits, setCutText, TRACE, TRACE_TEXT, textBytes } from './facts';
import { SPAN_ID_AT, TRACE_FLAGS_AT } from './identifiers';
import { BIT_TRACE, BIT_TRACE_B3, BIT_TRACE_B3_SHORT, BIT_TRACE_TEXT_B3 } from './layout';
import { text } from './text';

// Headers, and parts of a context, in the order of the parts in the one header.
const SINGLE: u32 = 0;
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const SAMPLED: u32 = 3;
const PARENT_ID: u32 = 4;
const DEBUG: u32 = 5;
const FIELDS: u32 = 6;
const NAMES: usize = memory.data<u32>([
  <u32>text('b3'),
  <u32>text('x-b3-traceid'),
  <u32>text('x-b3-spanid'),
  <u32>text('x-b3-sampled'),
  <u32>text('x-b3-parentspanid'),
  <u32>text('x-b3-flags'),
]);
// FIELDS x (u32 pointer, u32 length) each: as the headers came, and as they are understood.
const HEADERS: usize = memory.data(48, 8);
const PARTS: usize = memory.data(48, 8);

const ID_BYTES: usize = 16;
const DASH: u8 = 45;
// Sampling states as bits of the row's trace flags.
const DEBUG_BITS: u32 = 3;
const UNDECIDED_BIT: u32 = 4;
const NO_STATE: u32 = 255;

const TEXT_BYTES_MAX: usize = 256;
const TEXT: usize = memory.data(256, 8);

let isPresent: bool = false;

export function beginB3(): void {
  isPresent = false;
  memory.fill(HEADERS, 0, 48);
}

/** Takes the value of one of B3's headers, by its place among them. Of a repeated one the first value counts. */
export function takeB3(header: u32, at: usize, bytes: usize): void {
  if (bytesOf(HEADERS, header) > 0) return;
  setPart(HEADERS, header, at, bytes);
  isPresent = true;
}

function setPart(parts: usize, field: u32, at: usize, bytes: usize): void {
  store<u32>(parts + 8 * <usize>field, <u32>at);
  store<u32>(parts + 8 * <usize>field, <u32>bytes, 4);
}

function placeOf(parts: usize, field: u32): usize {
  return <usize>load<u32>(parts + 8 * <usize>field);
}

function bytesOf(parts: usize, field: u32): usize {
  return <usize>load<u32>(parts + 8 * <usize>field, 4);
}

/** `{TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}`, the last two optional, or a sampling state alone. */
function takeApart(): bool {
  memory.fill(PARTS, 0, 48);
  let from = placeOf(HEADERS, SINGLE);
  const end = from + bytesOf(HEADERS, SINGLE);
  let field = end - from == 1 ? SAMPLED : TRACE_ID;
  for (let i = from; i <= end; i++) {
    if (i < end && load<u8>(i) != DASH) continue;
    const bytes = i - from;
    if (field == SAMPLED && bytes != 1) field = PARENT_ID;
    if (field > PARENT_ID || bytes == 0) return false;
    setPart(PARTS, field, from, bytes);
    from = i + 1;
    field++;
  }
  return true;
}

/** Reads an id of so many bytes, not zero; `out` is undefined when it is none. */
function readId(field: u32, bytes: usize, out: usize): bool {
  return bytesOf(PARTS, field) == 2 * bytes && readHex(placeOf(PARTS, field), bytes, out) && !isZero(out, bytes);
}

/** The sampling state; only the one header spells debug with a letter. */
function readState(isSingle: bool): u32 {
  // Debug is a 1 there; what else stands there says nothing.
  if (bytesOf(PARTS, DEBUG) == 1 && load<u8>(placeOf(PARTS, DEBUG)) == 49) return DEBUG_BITS;
  const bytes = bytesOf(PARTS, SAMPLED);
  if (bytes == 0) return UNDECIDED_BIT;
  const state = <u32>load<u8>(placeOf(PARTS, SAMPLED)) - 48;
  if (bytes == 1 && state < 2) return state;
  return bytes == 1 && isSingle && state == 100 - 48 ? DEBUG_BITS : NO_STATE;
}

/** Reads the parts; false when they are malformed. A sampling state alone is valid, and there is nothing to record. */
function readParts(isSingle: bool): bool {
  const state = readState(isSingle);
  if (state == NO_STATE) return false;
  if (bytesOf(PARTS, TRACE_ID) + bytesOf(PARTS, SPAN_ID) + bytesOf(PARTS, PARENT_ID) == 0) return true;
  // Where the parent's id is read to, nothing is kept.
  if (bytesOf(PARTS, PARENT_ID) > 0 && !readId(PARENT_ID, 8, TEXT)) return false;
  store<u64>(TRACE, 0);
  const isShort = bytesOf(PARTS, TRACE_ID) == ID_BYTES;
  if (isShort ? !readId(TRACE_ID, 8, TRACE + 8) : !readId(TRACE_ID, 16, TRACE)) return false;
  if (!readId(SPAN_ID, 8, TRACE + SPAN_ID_AT)) return false;
  store<u8>(TRACE, <u8>state, TRACE_FLAGS_AT);
  setBits(BIT_TRACE | BIT_TRACE_B3 | (isShort ? BIT_TRACE_B3_SHORT : 0));
  return true;
}

let textUsed: usize = 0;

function append(at: usize, bytes: usize): bool {
  const room = TEXT_BYTES_MAX - textUsed;
  const kept = bytes > room ? room : bytes;
  memory.copy(TEXT + textUsed, at, kept);
  textUsed += kept;
  return kept < bytes;
}

/** Keeps every B3 header there is, as a line each. */
function keepText(): void {
  textUsed = 0;
  let isCut = false;
  for (let header: u32 = 0; header < FIELDS; header++) {
    const bytes = bytesOf(HEADERS, header);
    if (bytes == 0) continue;
    const name = <usize>load<u32>(NAMES + 4 * <usize>header);
    append(name + 1, <usize>load<u8>(name));
    append(text(': ') + 1, 2);
    append(placeOf(HEADERS, header), bytes);
    isCut = append(text('\n') + 1, 1);
  }
  setCutText(TRACE_TEXT, TEXT, textUsed);
  if (isCut) markCut(TRACE_TEXT);
  setBits(BIT_TRACE_TEXT_B3);
}

/** Settles the B3 context, once it is known what `traceparent` said: a valid one wins, and a malformed one stays as text. */
export function endB3(): void {
  if (!isPresent || (rowBits() & BIT_TRACE) != 0) return;
  const isSingle = bytesOf(HEADERS, SINGLE) > 0;
  if (!isSingle) memory.copy(PARTS, HEADERS, 48);
  if ((!isSingle || takeApart()) && readParts(isSingle)) return;
  if (textBytes(TRACE_TEXT) == 0) keepText();
}
