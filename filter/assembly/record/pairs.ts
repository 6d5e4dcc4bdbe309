// The host's pairs format: u32 count, then u32 key length and u32 value length for each pair, then `key NUL value NUL` for each.
// A walk believes no length: one that leads outside ends it, and `isBroken` tells.

const PAIRS_MAX: u32 = 4096;

/** State of one walk, in room of the caller's. */
export const WALK_BYTES: usize = 36;
const LEFT: usize = 0;
const LENGTHS: usize = 4;
const NEXT: usize = 8;
const END: usize = 12;
const KEY_AT: usize = 16;
const KEY_BYTES: usize = 20;
const VALUE_AT: usize = 24;
const VALUE_BYTES: usize = 28;
const BROKEN: usize = 32;

/** Begins a walk over `bytes` bytes at `at`. */
export function openPairs(walk: usize, at: usize, bytes: usize): void {
  memory.fill(walk, 0, WALK_BYTES);
  if (bytes == 0) return;
  const count = bytes < 4 ? PAIRS_MAX + 1 : load<u32>(at);
  if (count > PAIRS_MAX || <usize>count > (bytes - 4) >> 3) {
    store<u32>(walk, 1, BROKEN);
    return;
  }
  store<u32>(walk, count, LEFT);
  store<u32>(walk, <u32>(at + 4), LENGTHS);
  store<u32>(walk, <u32>(at + 4 + 8 * <usize>count), NEXT);
  store<u32>(walk, <u32>(at + bytes), END);
}

/** Goes to the next pair; false at the end, or where the bytes are not pairs. */
export function nextPair(walk: usize): bool {
  const left = load<u32>(walk, LEFT);
  if (left == 0) return false;
  const lengths = <usize>load<u32>(walk, LENGTHS);
  const keyBytes = load<u32>(lengths);
  const valueBytes = load<u32>(lengths, 4);
  const keyAt = load<u32>(walk, NEXT);
  const room = <u64>(load<u32>(walk, END) - keyAt);
  if (<u64>keyBytes + <u64>valueBytes + 2 > room) {
    store<u32>(walk, 1, BROKEN);
    store<u32>(walk, 0, LEFT);
    return false;
  }
  store<u32>(walk, left - 1, LEFT);
  store<u32>(walk, <u32>lengths + 8, LENGTHS);
  store<u32>(walk, keyAt, KEY_AT);
  store<u32>(walk, keyBytes, KEY_BYTES);
  store<u32>(walk, keyAt + keyBytes + 1, VALUE_AT);
  store<u32>(walk, valueBytes, VALUE_BYTES);
  store<u32>(walk, keyAt + keyBytes + 1 + valueBytes + 1, NEXT);
  return true;
}

export function keyAt(walk: usize): usize {
  return <usize>load<u32>(walk, KEY_AT);
}

export function keyBytes(walk: usize): usize {
  return <usize>load<u32>(walk, KEY_BYTES);
}

export function pairValueAt(walk: usize): usize {
  return <usize>load<u32>(walk, VALUE_AT);
}

export function pairValueBytes(walk: usize): usize {
  return <usize>load<u32>(walk, VALUE_BYTES);
}

/** Whether the bytes stopped being pairs before their count was reached. */
export function isBroken(walk: usize): bool {
  return load<u32>(walk, BROKEN) != 0;
}
