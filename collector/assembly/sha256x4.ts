// SHA-256 (FIPS 180-4) of four messages at once, one in each 32-bit lane of a vector. The messages are padded already and have
// the same number of blocks; a lane that nobody needs hashes what happens to lie there.

export const BLOCK_BYTES: usize = 64;
export const HASH_BYTES: usize = 32;
export const LANES: usize = 4;

const K: usize = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
]);
/** The message schedule of a block: 64 vectors. */
const SCHEDULE: usize = memory.data(1024, 16);

function rotated(x: v128, bits: i32): v128 {
  return v128.or(i32x4.shr_u(x, bits), i32x4.shl(x, 32 - bits));
}

function small0(x: v128): v128 {
  return v128.xor(v128.xor(rotated(x, 7), rotated(x, 18)), i32x4.shr_u(x, 3));
}

function small1(x: v128): v128 {
  return v128.xor(v128.xor(rotated(x, 17), rotated(x, 19)), i32x4.shr_u(x, 10));
}

function big0(x: v128): v128 {
  return v128.xor(v128.xor(rotated(x, 2), rotated(x, 13)), rotated(x, 22));
}

function big1(x: v128): v128 {
  return v128.xor(v128.xor(rotated(x, 6), rotated(x, 11)), rotated(x, 25));
}

function majority(x: v128, y: v128, z: v128): v128 {
  return v128.bitselect(v128.or(x, y), v128.and(x, y), z);
}

function step(e: v128, f: v128, g: v128, h: v128, i: usize): v128 {
  const keyed = i32x4.add(v128.load(SCHEDULE + 16 * i), v128.load32_splat(K + 4 * i));
  return i32x4.add(i32x4.add(h, big1(e)), i32x4.add(v128.bitselect(f, g, e), keyed));
}

function bigEndian(words: v128): v128 {
  return i8x16.shuffle(words, words, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/** Takes four words of each lane into four vectors of the schedule. */
function takeWords(at: usize, stride: usize, to: usize): void {
  const w0 = bigEndian(v128.load(at));
  const w1 = bigEndian(v128.load(at + stride));
  const w2 = bigEndian(v128.load(at + 2 * stride));
  const w3 = bigEndian(v128.load(at + 3 * stride));
  const low01 = i8x16.shuffle(w0, w1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const low23 = i8x16.shuffle(w2, w3, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const high01 = i8x16.shuffle(w0, w1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const high23 = i8x16.shuffle(w2, w3, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  v128.store(to, i8x16.shuffle(low01, low23, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23));
  v128.store(to + 16, i8x16.shuffle(low01, low23, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
  v128.store(to + 32, i8x16.shuffle(high01, high23, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23));
  v128.store(to + 48, i8x16.shuffle(high01, high23, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
}

function schedule(at: usize, stride: usize): void {
  for (let i: usize = 0; i < 4; i++) takeWords(at + 16 * i, stride, SCHEDULE + 64 * i);
  for (let i: usize = SCHEDULE + 256; i < SCHEDULE + 1024; i += 16) {
    const older = i32x4.add(v128.load(i - 256), v128.load(i - 112));
    v128.store(i, i32x4.add(older, i32x4.add(small0(v128.load(i - 240)), small1(v128.load(i - 32)))));
  }
}

/** The eight words of one lane's digest, big-endian. */
function put(to: usize, lane: usize, state: usize): void {
  for (let i: usize = 0; i < 8; i++) store<u32>(to + 4 * i, bswap(load<u32>(state + 16 * i + 4 * lane)));
}

const STATE: usize = memory.data(128, 16);

/** Hashes four padded messages of `blocks` blocks, the first at `at`, each `stride` bytes behind the one before. */
export function hashFour(at: usize, stride: usize, blocks: usize): void {
  let s0 = i32x4.splat(0x6a09e667);
  let s1 = i32x4.splat(0xbb67ae85);
  let s2 = i32x4.splat(0x3c6ef372);
  let s3 = i32x4.splat(0xa54ff53a);
  let s4 = i32x4.splat(0x510e527f);
  let s5 = i32x4.splat(0x9b05688c);
  let s6 = i32x4.splat(0x1f83d9ab);
  let s7 = i32x4.splat(0x5be0cd19);
  for (let block: usize = 0; block < blocks; block++) {
    schedule(at + BLOCK_BYTES * block, stride);
    let a = s0;
    let b = s1;
    let c = s2;
    let d = s3;
    let e = s4;
    let f = s5;
    let g = s6;
    let h = s7;
    for (let i: usize = 0; i < 64; i += 8) {
      let t = step(e, f, g, h, i);
      d = i32x4.add(d, t);
      h = i32x4.add(t, i32x4.add(big0(a), majority(a, b, c)));
      t = step(d, e, f, g, i + 1);
      c = i32x4.add(c, t);
      g = i32x4.add(t, i32x4.add(big0(h), majority(h, a, b)));
      t = step(c, d, e, f, i + 2);
      b = i32x4.add(b, t);
      f = i32x4.add(t, i32x4.add(big0(g), majority(g, h, a)));
      t = step(b, c, d, e, i + 3);
      a = i32x4.add(a, t);
      e = i32x4.add(t, i32x4.add(big0(f), majority(f, g, h)));
      t = step(a, b, c, d, i + 4);
      h = i32x4.add(h, t);
      d = i32x4.add(t, i32x4.add(big0(e), majority(e, f, g)));
      t = step(h, a, b, c, i + 5);
      g = i32x4.add(g, t);
      c = i32x4.add(t, i32x4.add(big0(d), majority(d, e, f)));
      t = step(g, h, a, b, i + 6);
      f = i32x4.add(f, t);
      b = i32x4.add(t, i32x4.add(big0(c), majority(c, d, e)));
      t = step(f, g, h, a, i + 7);
      e = i32x4.add(e, t);
      a = i32x4.add(t, i32x4.add(big0(b), majority(b, c, d)));
    }
    s0 = i32x4.add(s0, a);
    s1 = i32x4.add(s1, b);
    s2 = i32x4.add(s2, c);
    s3 = i32x4.add(s3, d);
    s4 = i32x4.add(s4, e);
    s5 = i32x4.add(s5, f);
    s6 = i32x4.add(s6, g);
    s7 = i32x4.add(s7, h);
  }
  v128.store(STATE, s0);
  v128.store(STATE + 16, s1);
  v128.store(STATE + 32, s2);
  v128.store(STATE + 48, s3);
  v128.store(STATE + 64, s4);
  v128.store(STATE + 80, s5);
  v128.store(STATE + 96, s6);
  v128.store(STATE + 112, s7);
}

/** Writes the digest of one of the four messages hashed last. */
export function putDigest(to: usize, lane: usize): void {
  put(to, lane, STATE);
}
