// The dictionary of the batch that is filling (docs/formats.md 1.3): entries in wire form, found again by kind and bytes.

import { isEqual } from './bytes';
import { BATCH_BYTES_MAX, ENTRIES_MAX, ENTRY_HEAD_BYTES } from './layout';

const TABLE_SLOTS: u32 = 8192; // a power of two, twice ENTRIES_MAX: a free slot is always near
const ENTRIES: usize = memory.data(65536, 16);
const TABLE: usize = memory.data(16384, 16); // u16 entry number in each slot, 0 free
const OFFSETS: usize = memory.data(16384, 16); // u32 for each entry number
const HASHES: usize = memory.data(16384, 16); // u32 for each entry number

let count: u32 = 0;
let bytesUsed: usize = 0;
let hashKey: u64 = 0;

/** Keys the hash, so that no sender of paths can aim at one slot. */
export function keyDictionary(key: u64): void {
  hashKey = key;
}

export function clearDictionary(): void {
  count = 0;
  bytesUsed = 0;
  memory.fill(TABLE, 0, 2 * <usize>TABLE_SLOTS);
}

export function dictionaryCount(): u32 {
  return count;
}

export function dictionaryBytes(): usize {
  return bytesUsed;
}

/** Copies all entries in wire form. */
export function copyDictionary(to: usize): void {
  memory.copy(to, ENTRIES, bytesUsed);
}

function mix(hash: u64, word: u64): u64 {
  const product = (hash ^ word) * 0x9e37_79b9_7f4a_7c15;
  return product ^ (product >> 32);
}

function hashOf(kind: u32, at: usize, bytes: usize): u32 {
  let hash = mix(hashKey, ((<u64>kind) << 32) | <u64>bytes);
  let rest: u64 = 0;
  if (bytes < 8) for (let i: usize = 0; i < bytes; i++) rest = (rest << 8) | <u64>load<u8>(at + i);
  else {
    // The last word overlaps the one before it.
    const last = bytes - 8;
    for (let i: usize = 0; i < last; i += 8) hash = mix(hash, load<u64>(at + i));
    rest = load<u64>(at + last);
  }
  return <u32>(mix(hash, rest) >> 16);
}

/** Number of the entry with this kind and these bytes (1 to 1,024 of them); it is added when it is new. 0: no room. */
export function entryNumber(kind: u32, at: usize, bytes: usize): u32 {
  const hash = hashOf(kind, at, bytes);
  let slot = hash & (TABLE_SLOTS - 1);
  for (let probes: u32 = 0; probes < TABLE_SLOTS; probes++) {
    const number = <u32>load<u16>(TABLE + 2 * <usize>slot);
    if (number == 0) return addEntry(slot, hash, kind, at, bytes);
    if (load<u32>(HASHES + 4 * <usize>number) == hash) {
      const entry = ENTRIES + <usize>load<u32>(OFFSETS + 4 * <usize>number);
      const isSame = load<u8>(entry) == <u8>kind && load<u16>(entry, 1) == <u16>bytes;
      if (isSame && isEqual(entry + ENTRY_HEAD_BYTES, at, bytes)) return number;
    }
    slot = (slot + 1) & (TABLE_SLOTS - 1);
  }
  return 0;
}

function addEntry(slot: u32, hash: u32, kind: u32, at: usize, bytes: usize): u32 {
  if (count >= ENTRIES_MAX || bytesUsed + ENTRY_HEAD_BYTES + bytes > BATCH_BYTES_MAX) return 0;
  const entry = ENTRIES + bytesUsed;
  store<u8>(entry, <u8>kind);
  store<u16>(entry, <u16>bytes, 1);
  memory.copy(entry + ENTRY_HEAD_BYTES, at, bytes);
  count++;
  store<u16>(TABLE + 2 * <usize>slot, <u16>count);
  store<u32>(OFFSETS + 4 * <usize>count, <u32>bytesUsed);
  store<u32>(HASHES + 4 * <usize>count, hash);
  bytesUsed += ENTRY_HEAD_BYTES + bytes;
  return count;
}
