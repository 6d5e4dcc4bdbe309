// Who a caller says it is: `x-forwarded-client-cert`, as Envoy and others write it. Elements are parted by commas and the newest
// comes last; pairs of one are parted by semicolons; a value in quotes may hold either, and quotes behind a backslash.

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

/** Takes the first URI of the last element as claimed principal; none: absent. What it means is for readers, so escapes stay. */
export function takeForwardedCertificate(at: usize, bytes: usize): void {
  const end = at + bytes;
  let uriAt: usize = 0;
  let uriBytes: usize = 0;
  let hasUri = false;
  let key = at;
  let isQuoted = false;
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
    if (!hasUri && i > key + 4 && isUriKey(key)) {
      hasUri = true;
      uriAt = key + 4;
      uriBytes = i - uriAt;
    }
    key = i + 1;
    if (byte == COMMA && i < end) hasUri = false;
  }
  if (isQuoted) hasUri = false;
  if (hasUri && load<u8>(uriAt) == QUOTE) {
    const isClosed = uriBytes > 2 && load<u8>(uriAt + uriBytes - 1) == QUOTE;
    uriAt++;
    uriBytes = isClosed ? uriBytes - 2 : 0;
  }
  setText(CLAIMED_PRINCIPAL, uriAt, hasUri ? uriBytes : 0);
}
