// Reads the configuration: one flat JSON object (docs/filter.md). What is not exactly as it must be is refused, and
// `problemKey...` tell where: a recorder never runs on a guess. What was read holds once it is accepted; until then, and when it
// is refused, what was accepted before goes on holding.

import { isEqual, isText } from './bytes';
import { ALLOWED_NAME_SLOT } from './headers';
import { isScanned, openScan, stringAt, stringBytes, take, takeString, takeWholeNumber, wholeNumber } from './scan';
import { isSecretName } from './secrets';
import { text } from './text';

export const ROLE_SIDECAR: u8 = 1;
export const LAYER_HTTP: u32 = 0;
export const LAYER_CONNECTION: u32 = 1;

export const NAME_BYTES_MAX: usize = 255;
export const HEADERS_MAX: u32 = 16;
export const BUFFERS_MIN: u32 = 2;
export const BUFFERS_MAX: u32 = 32;

/** A text value: u16 length, then the bytes. */
const TEXT_SLOT: usize = 264;
export const COLLECTOR_CLUSTER: u32 = 0;
export const COLLECTOR_AUTHORITY: u32 = 1;
export const MESH_CLUSTER_NAME: u32 = 2;
const NAMES_AT: usize = 792; // behind 3 x TEXT_SLOT, HEADERS_MAX x ALLOWED_NAME_SLOT
const VALUES_BYTES: usize = 1816;
const STAGED: usize = memory.data(1816, 8);
const VALUES: usize = memory.data(1816, 8);

// Numbers and choices as they were read.
const FLUSH_INTERVAL: usize = 0;
const ROLE: usize = 1;
const BUFFERS: usize = 2;
const LAYER: usize = 3;
const OPEN_AFTER: usize = 4;
const INTERVAL: usize = 5;
const ALIVE_INTERVAL: usize = 6;
const DETAIL: usize = 7;
const PEER_METADATA: usize = 8;
const HEADER_COUNT: usize = 9;
const NUMBERS: usize = memory.data(40, 4); // u32 each

export let flushIntervalMs: u32 = 1000;
export let role: u8 = 1; // ROLE_SIDECAR
export let buffers: u32 = 32; // BUFFERS_MAX
/** Age from which a living exchange or connection gets an open record, and how often an interval record then. */
export let openAfterMs: u32 = 5000;
export let intervalMs: u32 = 60000;
export let aliveIntervalMs: u32 = 60000;
/** `detail` is `full`: also what an ordinary outcome does not need is asked for. */
export let isDetailed: bool = false;
/** `peer_metadata` is `istio`. */
export let hasIstioPeers: bool = false;
export let headerCount: u32 = 0;

/** The key at fault and what is wrong with it, text constants or bytes of the configuration. */
export let problemKeyAt: usize = 0;
export let problemKeyBytes: usize = 0;
export let problem: usize = 0;

const KEY_CLUSTER = text('collector_cluster');

const NOT_AN_OBJECT = text('the configuration must be one flat JSON object');
const WANTS_TEXT = text('must be a text of 1 to 255 bytes without escapes or control characters');
const WANTS_HEADERS = text('must be up to 16 lower-case header names of 1 to 63 bytes in one text, parted by commas');

let seenKeys: u32 = 0;

export function textValueAt(which: u32): usize {
  return VALUES + TEXT_SLOT * <usize>which + 2;
}

export function textValueBytes(which: u32): usize {
  return <usize>load<u16>(VALUES + TEXT_SLOT * <usize>which);
}

export function headerNames(): usize {
  return VALUES + NAMES_AT;
}

/** What the root whose configuration was just read logs: LAYER_HTTP or LAYER_CONNECTION. It holds for that root alone. */
export function layerRead(): u32 {
  return staged(LAYER);
}

function staged(which: usize): u32 {
  return load<u32>(NUMBERS + 4 * which);
}

function stage(which: usize, value: u32): bool {
  store<u32>(NUMBERS + 4 * which, value);
  return true;
}

function fail(what: usize): bool {
  problem = what;
  return false;
}

function takeText(which: usize): bool {
  if (!takeString() || stringBytes == 0 || stringBytes > NAME_BYTES_MAX) return fail(WANTS_TEXT);
  const slot = STAGED + TEXT_SLOT * which;
  store<u16>(slot, <u16>stringBytes);
  memory.copy(slot + 2, stringAt, stringBytes);
  return true;
}

function takeNumber(which: usize, min: u32, max: u32, want: usize): bool {
  if (takeWholeNumber() && wholeNumber >= min && wholeNumber <= max) return stage(which, wholeNumber);
  return fail(want);
}

/** Takes one of two or three words, the first as `base`; no third: 0. */
function takeChoice(which: usize, base: u32, first: usize, second: usize, third: usize, want: usize): bool {
  if (!takeString()) return fail(want);
  if (isText(stringAt, stringBytes, first)) return stage(which, base);
  if (isText(stringAt, stringBytes, second)) return stage(which, base + 1);
  if (third != 0 && isText(stringAt, stringBytes, third)) return stage(which, base + 2);
  return fail(want);
}

function isNameByte(byte: u8): bool {
  return (byte >= 97 && byte <= 122) || (byte >= 48 && byte <= 57) || byte == 45 || byte == 95;
}

function keepHeaderName(name: usize, bytes: usize): bool {
  const count = staged(HEADER_COUNT);
  if (bytes == 0 || bytes >= ALLOWED_NAME_SLOT || count >= HEADERS_MAX) return fail(WANTS_HEADERS);
  if (isSecretName(name, bytes)) return fail(text('names a header that carries secrets, which is never recorded'));
  let slot = STAGED + NAMES_AT;
  for (let i: u32 = 0; i < count; i++) {
    if (<usize>load<u8>(slot) == bytes && isEqual(slot + 1, name, bytes)) return fail(WANTS_HEADERS);
    slot += ALLOWED_NAME_SLOT;
  }
  store<u8>(slot, <u8>bytes);
  memory.copy(slot + 1, name, bytes);
  return stage(HEADER_COUNT, count + 1);
}

function takeHeaderNames(): bool {
  if (!takeString()) return fail(WANTS_HEADERS);
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

/** Whether the key at hand is this one; then it is marked as seen. */
function isKey(key: usize, bit: u32): bool {
  if (!isText(problemKeyAt, problemKeyBytes, key)) return false;
  keyBit = 1 << bit;
  return true;
}

let keyBit: u32 = 0;

function takeValueOf(): bool {
  if (isKey(KEY_CLUSTER, 0)) return takeText(COLLECTOR_CLUSTER);
  if (isKey(text('collector_authority'), 1)) return takeText(COLLECTOR_AUTHORITY);
  if (isKey(text('cluster'), 2)) return takeText(MESH_CLUSTER_NAME);
  if (isKey(text('role'), 3)) {
    const want = text('must be "sidecar", "gateway" or "waypoint"');
    return takeChoice(ROLE, ROLE_SIDECAR, text('sidecar'), text('gateway'), text('waypoint'), want);
  }
  if (isKey(text('request_headers'), 4)) return takeHeaderNames();
  if (isKey(text('flush_interval_ms'), 5))
    return takeNumber(FLUSH_INTERVAL, 50, 60000, text('must be a whole number from 50 to 60000'));
  if (isKey(text('buffers_max'), 6))
    return takeNumber(BUFFERS, BUFFERS_MIN, BUFFERS_MAX, text('must be a whole number from 2 to 32'));
  if (isKey(text('layer'), 7))
    return takeChoice(LAYER, 0, text('http'), text('connection'), 0, text('must be "http" or "connection"'));
  if (isKey(text('open_after_ms'), 8))
    return takeNumber(OPEN_AFTER, 0, 3600000, text('must be a whole number from 0 to 3600000'));
  if (isKey(text('interval_ms'), 9))
    return takeNumber(INTERVAL, 1000, 3600000, text('must be a whole number from 1000 to 3600000'));
  if (isKey(text('alive_interval_ms'), 10))
    return takeNumber(ALIVE_INTERVAL, 1000, 600000, text('must be a whole number from 1000 to 600000'));
  if (isKey(text('detail'), 11))
    return takeChoice(DETAIL, 0, text('ordinary'), text('full'), 0, text('must be "ordinary" or "full"'));
  if (isKey(text('peer_metadata'), 12))
    return takeChoice(PEER_METADATA, 0, text('none'), text('istio'), 0, text('must be "none" or "istio"'));
  return fail(text('is not an option; docs/filter.md lists them'));
}

function takeValue(): bool {
  keyBit = 0;
  if (!takeValueOf()) return false;
  if ((seenKeys & keyBit) != 0) return fail(text('stands in the configuration twice'));
  seenKeys |= keyBit;
  return true;
}

function takePairs(): bool {
  if (!take(123)) return false;
  if (take(125)) return true;
  // Thirteen options, each once: a fourteenth pair is refused as unknown or repeated.
  for (let pairs = 0; pairs < 14; pairs++) {
    problemKeyBytes = 0;
    if (!takeString()) return false;
    const key = stringAt;
    const bytes = stringBytes;
    if (!take(58)) return false;
    problemKeyAt = key;
    problemKeyBytes = bytes;
    if (!takeValue()) return false;
    problemKeyBytes = 0;
    if (take(125)) return true;
    if (!take(44)) return false;
  }
  return false;
}

/** Reads a configuration; false when it is refused. Nothing of it holds before `acceptConfig`, save `layerRead`. */
export function readConfig(from: usize, bytes: usize): bool {
  openScan(from, bytes);
  seenKeys = 0;
  problemKeyBytes = 0;
  problem = NOT_AN_OBJECT;
  memory.fill(STAGED, 0, VALUES_BYTES);
  memory.fill(NUMBERS, 0, 40);
  stage(FLUSH_INTERVAL, 1000);
  stage(ROLE, ROLE_SIDECAR);
  stage(BUFFERS, BUFFERS_MAX);
  stage(OPEN_AFTER, 5000);
  stage(INTERVAL, 60000);
  stage(ALIVE_INTERVAL, 60000);
  if (!takePairs()) return false;
  if (!isScanned()) return false;
  const cluster = load<u16>(STAGED);
  if (cluster == 0) {
    problemKeyAt = KEY_CLUSTER + 1;
    problemKeyBytes = <usize>load<u8>(KEY_CLUSTER);
    return fail(text('is missing, and has no default'));
  }
  if (load<u16>(STAGED + TEXT_SLOT) == 0) memory.copy(STAGED + TEXT_SLOT, STAGED, TEXT_SLOT);
  return true;
}

/** Lets the configuration that was read hold. */
export function acceptConfig(): void {
  memory.copy(VALUES, STAGED, VALUES_BYTES);
  flushIntervalMs = staged(FLUSH_INTERVAL);
  role = <u8>staged(ROLE);
  buffers = staged(BUFFERS);
  openAfterMs = staged(OPEN_AFTER);
  intervalMs = staged(INTERVAL);
  aliveIntervalMs = staged(ALIVE_INTERVAL);
  isDetailed = staged(DETAIL) != 0;
  hasIstioPeers = staged(PEER_METADATA) != 0;
  headerCount = staged(HEADER_COUNT);
}
