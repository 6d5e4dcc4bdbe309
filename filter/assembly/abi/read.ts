// Reads from the host. The answer of the newest read is at `valueAt`, `valueBytes` long, and lies inside the arena.

import {
  proxy_get_buffer_bytes,
  proxy_get_current_time_nanoseconds,
  proxy_get_header_map_pairs,
  proxy_get_header_map_value,
  proxy_get_property,
  proxy_get_shared_data,
} from './env';
import { arenaMark, holdBack, isInArena, releaseTo } from './memory';
import { CLOCK_MONOTONIC, NOT_FOUND, OK, OUTSIDE_ARENA } from './status';
import { clock_time_get, random_get } from './wasi_snapshot_preview1';

const OUT: usize = memory.data(16, 8); // address and length, as the host writes them; then the number of shared data

export let valueAt: usize = 0;
export let valueBytes: usize = 0;

function clearOut(): void {
  store<u64>(OUT, 0);
  valueAt = 0;
  valueBytes = 0;
}

/** Takes over the host's answer. An empty one is no value, so it counts as not found. */
function take(status: u32): u32 {
  if (status != OK) return status;
  const at = <usize>load<u32>(OUT);
  const bytes = <usize>load<u32>(OUT, 4);
  if (bytes == 0) return NOT_FOUND;
  if (!isInArena(at, bytes)) return OUTSIDE_ARENA;
  valueAt = at;
  valueBytes = bytes;
  return OK;
}

/** Reads a property by its path, a text constant whose parts are parted by NUL. */
export function readProperty(path: usize): u32 {
  clearOut();
  return take(proxy_get_property(path + 1, <usize>load<u8>(path), OUT, OUT + 4));
}

let wordValue: u64 = 0;

/** Reads a property that is a number of 8 bytes into `word()`; gives its room in the arena back. */
export function readWord(path: usize): u32 {
  const mark = arenaMark();
  let status = readProperty(path);
  if (status == OK) {
    if (valueBytes == 8) wordValue = load<u64>(valueAt);
    else status = OUTSIDE_ARENA;
  }
  releaseTo(mark);
  return status;
}

/** The number that `readWord` read. */
export function word(): u64 {
  return wordValue;
}

/** Reads a property that is one byte: 0 or 1; 255 when it is not there. */
export function readFlag(path: usize): u32 {
  const mark = arenaMark();
  const isThere = readProperty(path) == OK && valueBytes == 1;
  const value: u32 = isThere ? <u32>load<u8>(valueAt) : 255;
  releaseTo(mark);
  return value;
}

/** Reads a whole header map in the host's pairs format (record/pairs.ts). */
export function readMap(map: u32): u32 {
  clearOut();
  holdBack(true);
  const status = proxy_get_header_map_pairs(map, OUT, OUT + 4);
  holdBack(false);
  return take(status);
}

/** Reads the first value of one header; `name` is a text constant. */
export function readHeader(map: u32, name: usize): u32 {
  clearOut();
  holdBack(true);
  const status = proxy_get_header_map_value(map, name + 1, <usize>load<u8>(name), OUT, OUT + 4);
  holdBack(false);
  return take(status);
}

/** Reads the first `bytes` bytes of a buffer. */
export function readBuffer(buffer: u32, bytes: u32): u32 {
  clearOut();
  return take(proxy_get_buffer_bytes(buffer, 0, bytes, OUT, OUT + 4));
}

/** Reads the shared data of a key, a text constant; `sharedDataCas()` is its number then. */
export function readSharedData(key: usize): u32 {
  clearOut();
  store<u32>(OUT, 0, 8);
  return take(proxy_get_shared_data(key + 1, <usize>load<u8>(key), OUT, OUT + 4, OUT + 8));
}

/** The compare-and-swap number of what `readSharedData` read; 0 when nothing was there. */
export function sharedDataCas(): u32 {
  return load<u32>(OUT, 8);
}

/** Unix time in ns; 0 when the host does not tell, or tells a time before 1970, which no batch can hold. */
export function wallClock(): u64 {
  store<i64>(OUT, 0);
  if (proxy_get_current_time_nanoseconds(OUT) != OK || load<i64>(OUT) < 0) return 0;
  return load<u64>(OUT);
}

/** The monotonic clock in ns; 0 when the host does not tell. */
export function monotonicClock(): u64 {
  store<u64>(OUT, 0);
  return clock_time_get(CLOCK_MONOTONIC, 1, OUT) == OK ? load<u64>(OUT) : 0;
}

/** Fills `bytes` bytes at random; false when the host cannot. */
export function random(at: usize, bytes: usize): bool {
  return random_get(at, bytes) == 0;
}
