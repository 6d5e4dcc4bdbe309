// Reads the configuration: one flat JSON object (docs/filter.md), in place, without building anything. What is not exactly as it
// must be is refused, and `problemKey...` tell where: a recorder never runs on a guess.

import { isEqual, isText } from './bytes';
import { ALLOWED_NAME_SLOT } from './headers';
import { text } from './text';

export const ROLE_SIDECAR: u8 = 1;
export const ROLE_GATEWAY: u8 = 2;
export const ROLE_WAYPOINT: u8 = 3;

export const NAME_BYTES_MAX: usize = 255;
export const HEADERS_MAX: u32 = 16;
export const FLUSH_INTERVAL_MS_MIN: u32 = 50;
export const FLUSH_INTERVAL_MS_MAX: u32 = 60000;
export const BUFFERS_MIN: u32 = 2;
export const BUFFERS_MAX: u32 = 32;

/** A text value: u16 length, then the bytes. */
const TEXT_SLOT: usize = 264;
const TEXTS: usize = memory.data(792, 8); // 3 x TEXT_SLOT
const HEADER_NAMES: usize = memory.data(1024, 8); // HEADERS_MAX x ALLOWED_NAME_SLOT
export const COLLECTOR_CLUSTER: u32 = 0;
export const COLLECTOR_AUTHORITY: u32 = 1;
export const MESH_CLUSTER_NAME: u32 = 2;

export let flushIntervalMs: u32 = 1000;
export let role: u8 = ROLE_SIDECAR;
export let buffers: u32 = BUFFERS_MAX;
export let headerCount: u32 = 0;

/** The key at fault and what is wrong with it, text constants or bytes of the configuration. */
export let problemKeyAt: usize = 0;
export let problemKeyBytes: usize = 0;
export let problem: usize = 0;

const KEY_CLUSTER = text('collector_cluster');
const KEY_AUTHORITY = text('collector_authority');
const KEY_FLUSH = text('flush_interval_ms');
const KEY_ROLE = text('role');
const KEY_MESH = text('cluster');
const KEY_BUFFERS = text('buffers_max');
const KEY_HEADERS = text('request_headers');
const SIDECAR = text('sidecar');
const GATEWAY = text('gateway');
const WAYPOINT = text('waypoint');

const NOT_AN_OBJECT = text('the configuration must be one flat JSON object');
const UNKNOWN_KEY = text('is not an option; docs/filter.md lists them');
const TWICE = text('stands in the configuration twice');
const WANTS_TEXT = text('must be a text of 1 to 255 bytes without escapes or control characters');
const WANTS_FLUSH = text('must be a whole number from 50 to 60000');
const WANTS_BUFFERS = text('must be a whole number from 2 to 32');
const WANTS_ROLE = text('must be "sidecar", "gateway" or "waypoint"');
const WANTS_HEADERS = text('must be up to 16 lower-case header names of 1 to 63 bytes in one text, parted by commas');
const SECRET_HEADER = text('names a header that carries secrets, which is never recorded');
const MISSING = text('is missing, and has no default');

/** Headers that carry credentials by their definition. */
const SECRETS = memory.data(64, 4);
const SECRET_COUNT: usize = 10;
store<u32>(SECRETS, <u32>text('authorization'));
store<u32>(SECRETS + 4, <u32>text('proxy-authorization'));
store<u32>(SECRETS + 8, <u32>text('cookie'));
store<u32>(SECRETS + 12, <u32>text('set-cookie'));
store<u32>(SECRETS + 16, <u32>text('x-api-key'));
store<u32>(SECRETS + 20, <u32>text('x-auth-token'));
store<u32>(SECRETS + 24, <u32>text('x-csrf-token'));
store<u32>(SECRETS + 28, <u32>text('x-forwarded-client-cert'));
store<u32>(SECRETS + 32, <u32>text('x-amz-security-token'));
store<u32>(SECRETS + 36, <u32>text('x-vault-token'));

let at: usize = 0;
let end: usize = 0;
let seenKeys: u32 = 0;
let stringAt: usize = 0;
let stringBytes: usize = 0;
let wholeNumber: u32 = 0;

export function textValueAt(which: u32): usize {
  return TEXTS + TEXT_SLOT * <usize>which + 2;
}

export function textValueBytes(which: u32): usize {
  return <usize>load<u16>(TEXTS + TEXT_SLOT * <usize>which);
}

export function headerNames(): usize {
  return HEADER_NAMES;
}

function keepText(which: u32, from: usize, bytes: usize): void {
  const slot = TEXTS + TEXT_SLOT * <usize>which;
  store<u16>(slot, <u16>bytes);
  memory.copy(slot + 2, from, bytes);
}

function fail(what: usize): bool {
  problem = what;
  return false;
}

function skipBlanks(): void {
  while (at < end) {
    const byte = load<u8>(at);
    if (byte != 32 && byte != 10 && byte != 13 && byte != 9) return;
    at++;
  }
}

function take(byte: u8): bool {
  skipBlanks();
  if (at >= end || load<u8>(at) != byte) return false;
  at++;
  return true;
}

/** A JSON string without escapes: none of the options needs them, and what needs decoding could be read two ways. */
function takeString(): bool {
  if (!take(34)) return false;
  stringAt = at;
  while (at < end) {
    const byte = load<u8>(at);
    if (byte == 34) {
      stringBytes = at - stringAt;
      at++;
      return true;
    }
    if (byte == 92 || byte < 32) return false;
    at++;
  }
  return false;
}

function takeWholeNumber(): bool {
  skipBlanks();
  wholeNumber = 0;
  let digits: u32 = 0;
  while (at < end && digits < 9) {
    const digit = <u32>load<u8>(at) - 48;
    if (digit > 9) break;
    if (digits == 1 && wholeNumber == 0) return false;
    wholeNumber = wholeNumber * 10 + digit;
    digits++;
    at++;
  }
  if (digits == 0) return false;
  skipBlanks();
  return at < end && (load<u8>(at) == 44 || load<u8>(at) == 125);
}

function takeText(which: u32): bool {
  if (!takeString() || stringBytes == 0 || stringBytes > NAME_BYTES_MAX) return fail(WANTS_TEXT);
  keepText(which, stringAt, stringBytes);
  return true;
}

function takeNumber(min: u32, max: u32, want: usize): bool {
  if (takeWholeNumber() && wholeNumber >= min && wholeNumber <= max) return true;
  return fail(want);
}

function takeRole(): bool {
  if (!takeString()) return fail(WANTS_ROLE);
  if (isText(stringAt, stringBytes, SIDECAR)) role = ROLE_SIDECAR;
  else if (isText(stringAt, stringBytes, GATEWAY)) role = ROLE_GATEWAY;
  else if (isText(stringAt, stringBytes, WAYPOINT)) role = ROLE_WAYPOINT;
  else return fail(WANTS_ROLE);
  return true;
}

function isNameByte(byte: u8): bool {
  return (byte >= 97 && byte <= 122) || (byte >= 48 && byte <= 57) || byte == 45 || byte == 95;
}

function isSecret(name: usize, bytes: usize): bool {
  for (let i: usize = 0; i < SECRET_COUNT; i++) if (isText(name, bytes, <usize>load<u32>(SECRETS + 4 * i))) return true;
  return false;
}

function keepHeaderName(name: usize, bytes: usize): bool {
  if (bytes == 0 || bytes >= ALLOWED_NAME_SLOT || headerCount >= HEADERS_MAX) return fail(WANTS_HEADERS);
  if (isSecret(name, bytes)) return fail(SECRET_HEADER);
  for (let i: u32 = 0; i < headerCount; i++) {
    const slot = HEADER_NAMES + ALLOWED_NAME_SLOT * <usize>i;
    if (<usize>load<u8>(slot) == bytes && isEqual(slot + 1, name, bytes)) return fail(WANTS_HEADERS);
  }
  const slot = HEADER_NAMES + ALLOWED_NAME_SLOT * <usize>headerCount;
  store<u8>(slot, <u8>bytes);
  memory.copy(slot + 1, name, bytes);
  headerCount++;
  return true;
}

function takeHeaderNames(): bool {
  if (!takeString()) return fail(WANTS_HEADERS);
  headerCount = 0;
  if (stringBytes == 0) return true;
  const stop = stringAt + stringBytes;
  let from = stringAt;
  for (let i = stringAt; i <= stop; i++) {
    const isEnd = i == stop || load<u8>(i) == 44;
    if (isEnd) {
      if (!keepHeaderName(from, i - from)) return false;
      from = i + 1;
    } else if (!isNameByte(load<u8>(i))) return fail(WANTS_HEADERS);
  }
  return true;
}

function isKey(key: usize): bool {
  return isText(problemKeyAt, problemKeyBytes, key);
}

/** Marks a key as seen; false when it was seen before. */
function isFirst(bit: u32): bool {
  if ((seenKeys & (1 << bit)) != 0) return fail(TWICE);
  seenKeys |= 1 << bit;
  return true;
}

function takeValue(): bool {
  if (isKey(KEY_CLUSTER)) return isFirst(0) && takeText(COLLECTOR_CLUSTER);
  if (isKey(KEY_AUTHORITY)) return isFirst(1) && takeText(COLLECTOR_AUTHORITY);
  if (isKey(KEY_MESH)) return isFirst(2) && takeText(MESH_CLUSTER_NAME);
  if (isKey(KEY_ROLE)) return isFirst(3) && takeRole();
  if (isKey(KEY_HEADERS)) return isFirst(4) && takeHeaderNames();
  if (isKey(KEY_FLUSH)) {
    if (!isFirst(5) || !takeNumber(FLUSH_INTERVAL_MS_MIN, FLUSH_INTERVAL_MS_MAX, WANTS_FLUSH)) return false;
    flushIntervalMs = wholeNumber;
    return true;
  }
  if (isKey(KEY_BUFFERS)) {
    if (!isFirst(6) || !takeNumber(BUFFERS_MIN, BUFFERS_MAX, WANTS_BUFFERS)) return false;
    buffers = wholeNumber;
    return true;
  }
  return fail(UNKNOWN_KEY);
}

function takePairs(): bool {
  if (!take(123)) return fail(NOT_AN_OBJECT);
  if (take(125)) return true;
  // Seven options, each once: an eighth pair is refused as unknown or repeated.
  for (let pairs = 0; pairs < 8; pairs++) {
    problemKeyBytes = 0;
    if (!takeString()) return fail(NOT_AN_OBJECT);
    const key = stringAt;
    const bytes = stringBytes;
    if (!take(58)) return fail(NOT_AN_OBJECT);
    problemKeyAt = key;
    problemKeyBytes = bytes;
    if (!takeValue()) return false;
    problemKeyBytes = 0;
    if (take(125)) return true;
    if (!take(44)) return fail(NOT_AN_OBJECT);
  }
  return fail(NOT_AN_OBJECT);
}

/** Reads the configuration; false when it is refused. Nothing of it may be used then. */
export function readConfig(from: usize, bytes: usize): bool {
  at = from;
  end = from + bytes;
  seenKeys = 0;
  problemKeyBytes = 0;
  problem = NOT_AN_OBJECT;
  flushIntervalMs = 1000;
  role = ROLE_SIDECAR;
  buffers = BUFFERS_MAX;
  headerCount = 0;
  memory.fill(TEXTS, 0, 3 * TEXT_SLOT);
  if (!takePairs()) return false;
  skipBlanks();
  if (at != end) return fail(NOT_AN_OBJECT);
  if (textValueBytes(COLLECTOR_CLUSTER) == 0) {
    problemKeyAt = KEY_CLUSTER + 1;
    problemKeyBytes = <usize>load<u8>(KEY_CLUSTER);
    return fail(MISSING);
  }
  if (textValueBytes(COLLECTOR_AUTHORITY) == 0)
    keepText(COLLECTOR_AUTHORITY, textValueAt(COLLECTOR_CLUSTER), textValueBytes(COLLECTOR_CLUSTER));
  return true;
}
