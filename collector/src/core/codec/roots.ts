// The two Merkle trees of a batch (docs/formats.md 1.2 and 1.3): records, and dictionary entries with their salts.

import { concatBytes } from '../bytes.ts';
import { sha256 } from '../hash.ts';
import { auditPath, leafHash, rootOf } from '../tlog/merkle.ts';
import { type Batch, rowOf } from './batch.ts';
import { ENTRY_PRIVATE, SALT_BYTES } from './layout.ts';

/** Salt of a private dictionary entry: the first 16 bytes of `SHA-256(secret || u32 number)`. */
export function saltOf(secret: Uint8Array, number: number): Uint8Array {
  const input = new Uint8Array(secret.length + 4);
  input.set(secret);
  new DataView(input.buffer).setUint32(secret.length, number, true);
  return sha256(input).subarray(0, SALT_BYTES);
}

/** Entry of the dictionary tree: kind, salt when private, bytes. */
export function dictionaryLeafEntry(kind: number, salt: Uint8Array | undefined, bytes: Uint8Array): Uint8Array {
  return salt === undefined ? concatBytes(Uint8Array.of(kind), bytes) : concatBytes(Uint8Array.of(kind), salt, bytes);
}

function recordHashes(batch: Batch): Uint8Array[] {
  return Array.from({ length: batch.rowCount }, (_, i) => leafHash(rowOf(batch, i)));
}

function dictionaryHashes(batch: Batch): Uint8Array[] {
  const { dictionary, secret } = batch;
  return Array.from({ length: dictionary.count }, (_, i) => {
    const kind = dictionary.kind(i + 1);
    return leafHash(
      dictionaryLeafEntry(kind, kind === ENTRY_PRIVATE ? saltOf(secret, i + 1) : undefined, dictionary.bytes(i + 1)),
    );
  });
}

/** Root over the rows, as received. */
export function recordRoot(batch: Batch): Uint8Array {
  return rootOf(recordHashes(batch));
}

/** Root over the dictionary entries. */
export function dictionaryRoot(batch: Batch): Uint8Array {
  return rootOf(dictionaryHashes(batch));
}

/** Audit path of a row in the record tree. */
export function recordPath(batch: Batch, index: number): Uint8Array[] {
  return auditPath(recordHashes(batch), index);
}

/** Audit paths of dictionary entries, by number. */
export function dictionaryPaths(batch: Batch, numbers: readonly number[]): Uint8Array[][] {
  const hashes = dictionaryHashes(batch);
  return numbers.map((number) => auditPath(hashes, number - 1));
}
