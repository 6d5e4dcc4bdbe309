// From the response's header map to facts, and to the size that Envoy would count for the response.

import { isText } from './bytes';
import {
  CODE,
  METHOD,
  number,
  RESPONSE_CONTENT_TYPE,
  RESPONSE_ENCODING,
  RESPONSE_FLAGS,
  setNumber,
  setText,
  textAt,
  textBytes,
} from './facts';
import { NUMBER_MAX } from './layout';
import { isBroken, keyAt, keyBytes, nextPair, openPairs, pairValueAt, pairValueBytes } from './pairs';
import { text } from './text';

const WALK: usize = memory.data(64, 8);
/** No size: the response's end has to be asked for. */
export const NOT_KNOWN: u64 = 0xffff_ffff_ffff_ffff;

let headerBytes: u64 = 0;
let contentLength: u64 = NOT_KNOWN;
let lengths: u32 = 0;

/** The number that a canonical decimal says, up to 16 digits without a sign or zeros in front; else NOT_KNOWN. */
function decimalOf(at: usize, bytes: usize): u64 {
  if (bytes == 0 || bytes > 16 || (bytes > 1 && load<u8>(at) == 48)) return NOT_KNOWN;
  let value: u64 = 0;
  for (let i: usize = 0; i < bytes; i++) {
    const digit = <u64>load<u8>(at + i) - 48;
    if (digit > 9) return NOT_KNOWN;
    value = 10 * value + digit;
  }
  return value;
}

function takeFirst(fact: u32, at: usize, bytes: usize): void {
  if (textBytes(fact) == 0) setText(fact, at, bytes);
}

function takeResponseHeader(name: usize, nameBytes: usize, at: usize, bytes: usize): void {
  if (nameBytes == 7) {
    if (!isText(name, nameBytes, text(':status')) || bytes != 3) return;
    const code = decimalOf(at, bytes);
    if (code != NOT_KNOWN) setNumber(CODE, code);
  } else if (nameBytes == 12) {
    if (bytes > 0 && isText(name, nameBytes, text('content-type'))) takeFirst(RESPONSE_CONTENT_TYPE, at, bytes);
  } else if (nameBytes == 14) {
    if (!isText(name, nameBytes, text('content-length'))) return;
    contentLength = decimalOf(at, bytes);
    lengths++;
  } else if (nameBytes == 16) {
    if (bytes > 0 && isText(name, nameBytes, text('content-encoding'))) takeFirst(RESPONSE_ENCODING, at, bytes);
  }
}

/** Takes the response's header map: status, content type, encoding. `bytes` 0: there was no response. */
export function takeAnswer(at: usize, bytes: usize): void {
  headerBytes = 0;
  contentLength = NOT_KNOWN;
  lengths = 0;
  openPairs(WALK, at, bytes);
  while (nextPair(WALK)) {
    headerBytes += <u64>keyBytes(WALK) + <u64>pairValueBytes(WALK);
    takeResponseHeader(keyAt(WALK), keyBytes(WALK), pairValueAt(WALK), pairValueBytes(WALK));
  }
  if (isBroken(WALK)) lengths = 0;
}

/**
 * What Envoy counts as the response's size, header map and body, where the header map says it: the exchange ended well (the facts
 * have its flags), and its one content-length is the body's. NOT_KNOWN: ask the proxy.
 */
export function answerBytes(): u64 {
  const code = number(CODE);
  if (number(RESPONSE_FLAGS) != 0 || code - 200 >= 200 || code == 204 || code == 304) return NOT_KNOWN;
  if (lengths != 1 || contentLength > NUMBER_MAX) return NOT_KNOWN;
  // The length that answers HEAD is of no body, and behind the answer to CONNECT there is more than a body.
  const method = textAt(METHOD);
  const bytes = textBytes(METHOD);
  const isOther = isText(method, bytes, text('HEAD')) || isText(method, bytes, text('CONNECT'));
  return isOther ? NOT_KNOWN : headerBytes + contentLength;
}
