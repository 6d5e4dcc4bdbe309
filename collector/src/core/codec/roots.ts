// The two Merkle trees of a batch (docs/formats.md 1.2 and 1.3): records, and dictionary entries with their salts.
// Ingest computes both for every batch, so hashes go into one buffer and inputs into a few that are used again.

import { concatBytes } from '../bytes.ts';
import { HASH_BYTES, sha256, sha256Into } from '../hash.ts';
import { auditPath, EMPTY_ROOT } from '../tlog/merkle.ts';
import type { Batch } from './batch.ts';
import { ENTRY_PRIVATE, ROW_BYTES, SALT_BYTES, STRING_BYTES_MAX } from './layout.ts';

const SECRET_BYTES = 32;

const recordInput = new Uint8Array(1 + ROW_BYTES);
const entryInput = new Uint8Array(1 + 1 + HASH_BYTES + STRING_BYTES_MAX);
const nodeInput = new Uint8Array(1 + 2 * HASH_BYTES);
nodeInput[0] = 1;
const saltInput = new Uint8Array(SECRET_BYTES + 4);
const saltInputView = new DataView(saltInput.buffer);

/** Salt of a private dictionary entry: the first 16 bytes of `SHA-256(secret || u32 number)`. */
export function saltOf(secret: Uint8Array, number: number): Uint8Array {
  saltInput.set(secret);
  saltInputView.setUint32(SECRET_BYTES, number, true);
  return sha256(saltInput).subarray(0, SALT_BYTES);
}

/** Entry of the dictionary tree: kind, salt when private, bytes. */
export function dictionaryLeafEntry(kind: number, salt: Uint8Array | undefined, bytes: Uint8Array): Uint8Array {
  return salt === undefined ? concatBytes(Uint8Array.of(kind), bytes) : concatBytes(Uint8Array.of(kind), salt, bytes);
}

/** Leaf hashes of all records, one behind the other. */
function recordHashes({ wire, headerBytes, rowCount }: Batch): Uint8Array {
  const hashes = new Uint8Array(rowCount * HASH_BYTES);
  for (let i = 0; i < rowCount; i++) {
    const at = headerBytes + i * ROW_BYTES;
    recordInput.set(wire.subarray(at, at + ROW_BYTES), 1);
    sha256Into(recordInput, hashes, i * HASH_BYTES);
  }
  return hashes;
}

/** Leaf hashes of all dictionary entries, one behind the other. */
function dictionaryHashes({ dictionary, secret }: Batch): Uint8Array {
  const hashes = new Uint8Array(dictionary.count * HASH_BYTES);
  saltInput.set(secret);
  for (let number = 1; number <= dictionary.count; number++) {
    const kind = dictionary.kind(number);
    entryInput[1] = kind;
    let at = 2;
    if (kind === ENTRY_PRIVATE) {
      saltInputView.setUint32(SECRET_BYTES, number, true);
      // The second half of the digest is overwritten by the value.
      sha256Into(saltInput, entryInput, at);
      at += SALT_BYTES;
    }
    const bytes = dictionary.bytes(number);
    entryInput.set(bytes, at);
    sha256Into(entryInput.subarray(0, at + bytes.length), hashes, (number - 1) * HASH_BYTES);
  }
  return hashes;
}

/** Root over leaf hashes; the buffer is used up. Pairing from the left and carrying an odd last node up gives RFC 6962's tree. */
function rootOver(hashes: Uint8Array): Uint8Array {
  let count = hashes.length / HASH_BYTES;
  if (count === 0) return EMPTY_ROOT;
  while (count > 1) {
    const pairs = count >>> 1;
    for (let i = 0; i < pairs; i++) {
      nodeInput.set(hashes.subarray(2 * i * HASH_BYTES, (2 * i + 2) * HASH_BYTES), 1);
      sha256Into(nodeInput, hashes, i * HASH_BYTES);
    }
    if (count % 2 === 1) hashes.copyWithin(pairs * HASH_BYTES, (count - 1) * HASH_BYTES, count * HASH_BYTES);
    count -= pairs;
  }
  return hashes.slice(0, HASH_BYTES);
}

function listOf(hashes: Uint8Array): Uint8Array[] {
  return Array.from({ length: hashes.length / HASH_BYTES }, (_, i) =>
    hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
  );
}

/** A faster way to the same roots; undefined where it cannot take these bytes. */
export interface RootsKernel {
  /** Root over `count` rows of one length, which are all of `rows`. */
  recordRoot(rows: Uint8Array, count: number): Uint8Array | undefined;
  /** Root over `count` dictionary entries in wire form, which are all of `entries`. */
  dictionaryRoot(entries: Uint8Array, count: number, secret: Uint8Array): Uint8Array | undefined;
}

let kernel: RootsKernel | undefined;

/** Takes roots from a kernel from now on; undefined goes back to this file's own way. */
export function useRootsKernel(next: RootsKernel | undefined): void {
  kernel = next;
}

function rowsEnd({ headerBytes, rowCount }: Batch): number {
  return headerBytes + rowCount * ROW_BYTES;
}

/** Root over the rows, as received. */
export function recordRoot(batch: Batch): Uint8Array {
  const { wire, headerBytes, rowCount } = batch;
  const rows = wire.subarray(headerBytes, rowsEnd(batch));
  return kernel?.recordRoot(rows, rowCount) ?? rootOver(recordHashes(batch));
}

/** Root over the dictionary entries. */
export function dictionaryRoot(batch: Batch): Uint8Array {
  const { wire, dictionary, secret } = batch;
  const entries = wire.subarray(rowsEnd(batch), wire.length - HASH_BYTES);
  return kernel?.dictionaryRoot(entries, dictionary.count, secret) ?? rootOver(dictionaryHashes(batch));
}

/** Audit path of a row in the record tree. Throws PROOF_NOT_VERIFIED when the batch has no such row. */
export function recordPath(batch: Batch, index: number): Uint8Array[] {
  return auditPath(listOf(recordHashes(batch)), index);
}

/** Audit paths of dictionary entries, by number. Throws PROOF_NOT_VERIFIED when the dictionary has no such entry. */
export function dictionaryPaths(batch: Batch, numbers: readonly number[]): Uint8Array[][] {
  const hashes = listOf(dictionaryHashes(batch));
  return numbers.map((number) => auditPath(hashes, number - 1));
}
