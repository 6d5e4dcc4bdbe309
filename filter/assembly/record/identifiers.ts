// Request ids (UUID, RFC 9562 text form) and `traceparent` (W3C Trace Context, section 3.2): parsed or refused, never repaired.

import { isZero, readHex } from './bytes';

const DASH: u8 = 45;
const UUID_TEXT_BYTES: usize = 36;
const UUID_GROUPS: usize = memory.data<u8>([4, 2, 2, 2, 6]);
const TRACE_TEXT_BYTES: usize = 55;
const TRACE_GROUPS: usize = memory.data<u8>([1, 16, 8, 1]);
const VERSION_INVALID: u8 = 255;

/** Reads lower-case hex in groups of so many bytes, parted by dashes, into `out`; false where the text is something else. */
function readGroups(at: usize, groups: usize, count: usize, out: usize): bool {
  for (let i: usize = 0; i < count; i++) {
    if (i > 0 && load<u8>(at++) != DASH) return false;
    const bytes = <usize>load<u8>(groups + i);
    if (!readHex(at, bytes, out)) return false;
    at += 2 * bytes;
    out += bytes;
  }
  return true;
}

/** Reads a UUID in canonical lower-case form into 16 bytes; false for every other text. */
export function readUuid(at: usize, bytes: usize, out: usize): bool {
  return bytes == UUID_TEXT_BYTES && readGroups(at, UUID_GROUPS, 5, out);
}

// A parsed trace: trace id, parent id, flags. In front of it is a byte for the version.
export const TRACE_ID_AT: usize = 0;
export const SPAN_ID_AT: usize = 16;
export const TRACE_FLAGS_AT: usize = 24;

function isBlank(byte: u8): bool {
  return byte == 32 || byte == 9;
}

/** Reads one `traceparent`, with any blanks around it, behind the byte in front of `out`; false when it is malformed. */
export function readTraceParent(at: usize, bytes: usize, out: usize): bool {
  while (bytes > 0 && isBlank(load<u8>(at + bytes - 1))) bytes--;
  while (bytes > 0 && isBlank(load<u8>(at))) {
    at++;
    bytes--;
  }
  if (bytes < TRACE_TEXT_BYTES || !readGroups(at, TRACE_GROUPS, 4, out - 1)) return false;
  const version = load<u8>(out - 1);
  // Version 00 ends here; later versions may go on behind a dash.
  if (bytes > TRACE_TEXT_BYTES && (version == 0 || load<u8>(at, 55) != DASH)) return false;
  return version != VERSION_INVALID && !isZero(out + TRACE_ID_AT, 16) && !isZero(out + SPAN_ID_AT, 8);
}
