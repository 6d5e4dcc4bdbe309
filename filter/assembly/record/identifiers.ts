// Request ids (UUID, RFC 9562 text form) and `traceparent` (W3C Trace Context, section 3.2): parsed or refused, never repaired.

import { isZero, readHex } from './bytes';

const UUID_TEXT_BYTES: usize = 36;
const DASH: u8 = 45;

/** Reads a UUID in canonical lower-case form into 16 bytes; false for every other text. */
export function readUuid(at: usize, bytes: usize, out: usize): bool {
  if (bytes != UUID_TEXT_BYTES) return false;
  if (load<u8>(at, 8) != DASH || load<u8>(at, 13) != DASH) return false;
  if (load<u8>(at, 18) != DASH || load<u8>(at, 23) != DASH) return false;
  return (
    readHex(at, 4, out) &&
    readHex(at + 9, 2, out + 4) &&
    readHex(at + 14, 2, out + 6) &&
    readHex(at + 19, 2, out + 8) &&
    readHex(at + 24, 6, out + 10)
  );
}

export const TRACE_ID_AT: usize = 0;
export const SPAN_ID_AT: usize = 16;
export const TRACE_FLAGS_AT: usize = 24;
/** Bytes of a parsed `traceparent`: trace id, parent id, flags. */
export const TRACE_BYTES: usize = 25;
const TRACE_TEXT_BYTES: usize = 55;
const VERSION_INVALID: u8 = 255;

/** Length without the spaces and tabs behind the value; HTTP allows them around it. */
export function trimmedEnd(at: usize, bytes: usize): usize {
  while (bytes > 0 && isBlank(load<u8>(at + bytes - 1))) bytes--;
  return bytes;
}

/** Number of spaces and tabs before the value. */
export function blanksBefore(at: usize, bytes: usize): usize {
  let blanks: usize = 0;
  while (blanks < bytes && isBlank(load<u8>(at + blanks))) blanks++;
  return blanks;
}

function isBlank(byte: u8): bool {
  return byte == 32 || byte == 9;
}

/** Reads one `traceparent` into TRACE_BYTES bytes; false when it is malformed. `out` is undefined then. */
export function readTraceParent(text: usize, length: usize, out: usize): bool {
  const blanks = blanksBefore(text, length);
  const at = text + blanks;
  const bytes = trimmedEnd(at, length - blanks);
  if (bytes < TRACE_TEXT_BYTES) return false;
  // The version is read where the flags will stand.
  if (!readHex(at, 1, out + TRACE_FLAGS_AT)) return false;
  const version = load<u8>(out, TRACE_FLAGS_AT);
  if (version == VERSION_INVALID) return false;
  // Version 00 ends here; later versions may go on behind a dash.
  if (bytes > TRACE_TEXT_BYTES && (version == 0 || load<u8>(at, 55) != DASH)) return false;
  if (load<u8>(at, 2) != DASH || load<u8>(at, 35) != DASH || load<u8>(at, 52) != DASH) return false;
  if (!readHex(at + 3, 16, out + TRACE_ID_AT) || isZero(out + TRACE_ID_AT, 16)) return false;
  if (!readHex(at + 36, 8, out + SPAN_ID_AT) || isZero(out + SPAN_ID_AT, 8)) return false;
  return readHex(at + 53, 1, out + TRACE_FLAGS_AT);
}
