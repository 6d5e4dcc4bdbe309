// Who a caller says it is: `x-forwarded-client-cert`, as Envoy and others write it. Elements are parted by commas and the newest
// comes last; pairs of one are parted by semicolons; a value in quotes may hold either, and quotes behind a backslash.

import { isEqual } from './bytes';
import { CLAIMED_PRINCIPAL, setText } from './facts';

const BACKSLASH: u8 = 92;
const COMMA: u8 = 44;
const EQUALS: u8 = 61;
const QUOTE: u8 = 34;
const SEMICOLON: u8 = 59;
const SPACE: u8 = 32;

/** Whether 4 bytes are `URI=`, in any case. */
function isUriKey(at: usize): bool {
  return (load<u32>(at) | 0x0020_2020) == 0x3d69_7275;
}

let uriAt: usize = 0;
let uriBytes: usize = 0;

/** Finds the first URI of the last element; `uriBytes` 0: there is none. What it means is for readers, so escapes stay. */
function find(at: usize, bytes: usize): void {
  const end = at + bytes;
  let key = at;
  let isQuoted = false;
  uriBytes = 0;
  // A pair ends at its delimiter outside of quotes, and at the end.
  for (let i = at; i <= end; i++) {
    const byte: u8 = i == end ? COMMA : load<u8>(i);
    if (isQuoted && i < end) {
      if (byte == BACKSLASH) i++;
      else if (byte == QUOTE) isQuoted = false;
      continue;
    }
    if (byte == QUOTE && i > key && load<u8>(i - 1) == EQUALS) isQuoted = true;
    if (byte != COMMA && byte != SEMICOLON) {
      if (byte == SPACE && i == key) key++;
      continue;
    }
    if (uriBytes == 0 && i > key + 4 && isUriKey(key)) {
      uriAt = key + 4;
      uriBytes = i - uriAt;
    }
    key = i + 1;
    if (byte == COMMA && i < end) uriBytes = 0;
  }
  if (isQuoted) uriBytes = 0;
  if (uriBytes == 0 || load<u8>(uriAt) != QUOTE) return;
  uriBytes = uriBytes > 2 && load<u8>(uriAt + uriBytes - 1) == QUOTE ? uriBytes - 2 : 0;
  uriAt++;
}

// Callers come again with the same certificate, and looking at each byte of it takes longer than the rest of the record.
const SLOTS: usize = memory.data(4096, 8); // 8 x SLOT_BYTES
const SLOT_BYTES: usize = 512;
const SLOT_LENGTH: usize = 0; // u32, of the header's value
const SLOT_URI_AT: usize = 4; // u32, in the value
const SLOT_URI_BYTES: usize = 8; // u32
const SLOT_VALUE: usize = 12;
const SLOT_VALUE_BYTES_MAX: usize = 500;

/** Takes the first URI of the last element as claimed principal; none: absent. */
export function takeForwardedCertificate(at: usize, bytes: usize): void {
  const isKept = bytes >= 4 && bytes <= SLOT_VALUE_BYTES_MAX;
  const slot = isKept ? SLOTS + SLOT_BYTES * <usize>((load<u32>(at + bytes - 4) * 0x9e37_79b1) >> 29) : SLOTS;
  if (isKept && <usize>load<u32>(slot, SLOT_LENGTH) == bytes && isEqual(slot + SLOT_VALUE, at, bytes)) {
    uriAt = at + <usize>load<u32>(slot, SLOT_URI_AT);
    uriBytes = <usize>load<u32>(slot, SLOT_URI_BYTES);
  } else {
    find(at, bytes);
    if (isKept) {
      store<u32>(slot, <u32>bytes, SLOT_LENGTH);
      store<u32>(slot, <u32>(uriAt - at), SLOT_URI_AT);
      store<u32>(slot, <u32>uriBytes, SLOT_URI_BYTES);
      memory.copy(slot + SLOT_VALUE, at, bytes);
    }
  }
  setText(CLAIMED_PRINCIPAL, uriAt, uriBytes);
}
