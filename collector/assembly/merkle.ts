// Roots of a batch's two Merkle trees (docs/formats.md 1.2 and 1.3) in one call each. Ingest makes some 1,700 hashes for a batch,
// and a call into the runtime's own hash for each costs more than the hash.

import { BLOCK_BYTES, HASH_BYTES, hashFour, LANES, putDigest } from './sha256x4';

/** A batch has at most 65,536 bytes, and at most 4,095 entries. */
const BATCH_BYTES_MAX: usize = 65536;
const LEAVES_MAX: usize = 4096;
const BATCH: usize = memory.data(65536, 16);
const SECRET: usize = memory.data(32, 16);
const ROOT: usize = memory.data(32, 16);
const HASHES: usize = memory.data(131072, 16); // LEAVES_MAX x HASH_BYTES
const SALTS: usize = memory.data(131072, 16); // salt of entry i at i x HASH_BYTES; the digest's second half means nothing

/** The longest message: prefix, kind, salt, 1,024 bytes of value, and padding. */
const BLOCKS_MAX: usize = 17;
/** Messages that wait for three others of their length in blocks. */
const LANE_BYTES: usize = 1088; // BLOCKS_MAX x BLOCK_BYTES
const WAITING: usize = memory.data(73984, 16); // BLOCKS_MAX x LANES x LANE_BYTES
const COUNTS: usize = memory.data(72, 8); // u32 for each number of blocks
const TARGETS: usize = memory.data(288, 8); // u32 x LANES for each number of blocks

const ENTRY_PRIVATE: u8 = 2;
const SALT_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const ENTRY_HEAD_BYTES: usize = 3;

/** Where the host puts the bytes of a batch. */
export function batch(): usize {
  return BATCH;
}

/** Where the host puts the batch's secret. */
export function secret(): usize {
  return SECRET;
}

/** Where the newest root stands. */
export function root(): usize {
  return ROOT;
}

function blocksOf(bytes: usize): usize {
  return (bytes + 9 + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

/** Room for the next message of `bytes` bytes. */
function placeOf(bytes: usize): usize {
  const blocks = blocksOf(bytes);
  const lane = <usize>load<u32>(COUNTS + 4 * blocks);
  return WAITING + ((blocks - 1) * LANES + lane) * LANE_BYTES;
}

function hashWaiting(blocks: usize): void {
  const count = <usize>load<u32>(COUNTS + 4 * blocks);
  if (count == 0) return;
  hashFour(WAITING + (blocks - 1) * LANES * LANE_BYTES, LANE_BYTES, blocks);
  for (let lane: usize = 0; lane < count; lane++) putDigest(<usize>load<u32>(TARGETS + 16 * blocks + 4 * lane), lane);
  store<u32>(COUNTS + 4 * blocks, 0);
}

/** Takes the message of `bytes` bytes at its place; its digest will stand at `target`. */
function take(bytes: usize, target: usize): void {
  const blocks = blocksOf(bytes);
  const at = placeOf(bytes);
  const end = at + blocks * BLOCK_BYTES;
  memory.fill(at + bytes, 0, end - at - bytes);
  store<u8>(at + bytes, 0x80);
  store<u64>(end - 8, bswap((<u64>bytes) << 3));
  const lane = load<u32>(COUNTS + 4 * blocks);
  store<u32>(TARGETS + 16 * blocks + 4 * <usize>lane, <u32>target);
  store<u32>(COUNTS + 4 * blocks, lane + 1);
  if (<usize>lane + 1 == LANES) hashWaiting(blocks);
}

function finish(): void {
  for (let blocks: usize = 1; blocks <= BLOCKS_MAX; blocks++) hashWaiting(blocks);
}

/** Pairing from the left and carrying an odd last node up gives RFC 6962's tree. */
function climb(count: usize): void {
  while (count > 1) {
    const pairs = count >> 1;
    for (let i: usize = 0; i < pairs; i++) {
      const at = placeOf(1 + 2 * HASH_BYTES);
      store<u8>(at, 1);
      memory.copy(at + 1, HASHES + 2 * i * HASH_BYTES, 2 * HASH_BYTES);
      // The digest goes below what is still to be read: pair i is read before any digest of a later group is written.
      take(1 + 2 * HASH_BYTES, HASHES + i * HASH_BYTES);
    }
    finish();
    if ((count & 1) == 1) memory.copy(HASHES + pairs * HASH_BYTES, HASHES + (count - 1) * HASH_BYTES, HASH_BYTES);
    count -= pairs;
  }
  memory.copy(ROOT, HASHES, HASH_BYTES);
}

/** Root over `count` (1 to 4,096) rows of `rowBytes` bytes at `from` of the batch. False when they do not lie in it. */
export function recordRoot(from: usize, count: usize, rowBytes: usize): bool {
  if (count == 0 || count > LEAVES_MAX || rowBytes > 1024 || from > BATCH_BYTES_MAX) return false;
  if (count * rowBytes > BATCH_BYTES_MAX - from) return false;
  for (let i: usize = 0; i < count; i++) {
    const at = placeOf(1 + rowBytes);
    store<u8>(at, 0);
    memory.copy(at + 1, BATCH + from + i * rowBytes, rowBytes);
    take(1 + rowBytes, HASHES + i * HASH_BYTES);
  }
  finish();
  climb(count);
  return true;
}

function salts(from: usize, count: usize, end: usize): bool {
  let at = from;
  for (let i: usize = 0; i < count; i++) {
    if (at + ENTRY_HEAD_BYTES > end) return false;
    const bytes = <usize>load<u16>(BATCH + at, 1);
    if (bytes > 1024 || at + ENTRY_HEAD_BYTES + bytes > end) return false;
    if (load<u8>(BATCH + at) == ENTRY_PRIVATE) {
      const place = placeOf(SECRET_BYTES + 4);
      memory.copy(place, SECRET, SECRET_BYTES);
      store<u32>(place + SECRET_BYTES, <u32>(i + 1));
      take(SECRET_BYTES + 4, SALTS + i * HASH_BYTES);
    }
    at += ENTRY_HEAD_BYTES + bytes;
  }
  return true;
}

/** Root over the `count` (1 to 4,096) dictionary entries in the `bytes` bytes at `from` of the batch. False when they do not lie in it. */
export function dictionaryRoot(from: usize, bytes: usize, count: usize): bool {
  if (count == 0 || count > LEAVES_MAX || from > BATCH_BYTES_MAX || bytes > BATCH_BYTES_MAX - from) return false;
  memory.fill(COUNTS, 0, 72);
  if (!salts(from, count, from + bytes)) return false;
  finish();
  let at = BATCH + from;
  for (let i: usize = 0; i < count; i++) {
    const kind = load<u8>(at);
    const length = <usize>load<u16>(at, 1);
    const salt: usize = kind == ENTRY_PRIVATE ? SALT_BYTES : 0;
    const place = placeOf(2 + salt + length);
    store<u8>(place, 0);
    store<u8>(place, kind, 1);
    if (salt != 0) memory.copy(place + 2, SALTS + i * HASH_BYTES, SALT_BYTES);
    memory.copy(place + 2 + salt, at + ENTRY_HEAD_BYTES, length);
    take(2 + salt + length, HASHES + i * HASH_BYTES);
    at += ENTRY_HEAD_BYTES + length;
  }
  finish();
  climb(count);
  return true;
}
