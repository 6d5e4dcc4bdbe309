// RFC 6962 Merkle trees: hashes, roots, audit paths, and the verification of proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

import { equalBytes } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';
import { HASH_BYTES, sha256 } from '../hash.ts';

export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array(0));

/** Hash of a leaf: `SHA-256(0x00 || entry)`. */
export function leafHash(entry: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + entry.length);
  bytes.set(entry, 1);
  return sha256(bytes);
}

const nodeInput = new Uint8Array(1 + 2 * HASH_BYTES);
nodeInput[0] = 1;

/** Hash of an inner node: `SHA-256(0x01 || left || right)`. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  nodeInput.set(left, 1);
  nodeInput.set(right, 1 + HASH_BYTES);
  return sha256(nodeInput);
}

/** Refuses a size or index that arithmetic on doubles could not carry. Throws TREE_SIZE_UNSUPPORTED. */
export function checkSize(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new MeshtrailError(
      'TREE_SIZE_UNSUPPORTED',
      `${name} is ${value}; it must be a whole number from 0 to 2^53 - 1.`,
    );
  }
}

/** Root of the tree over leaf hashes. */
export function rootOf(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return EMPTY_ROOT;
  let level = hashes;
  // Pairing from the left and carrying an odd last node up gives RFC 6962's tree.
  while (level.length > 1) level = nextLevel(level);
  return level[0] as Uint8Array;
}

function nextLevel(level: readonly Uint8Array[]): Uint8Array[] {
  const up: Uint8Array[] = [];
  for (let i = 0; i + 1 < level.length; i += 2) up.push(nodeHash(level[i] as Uint8Array, level[i + 1] as Uint8Array));
  if (level.length % 2 === 1) up.push(level[level.length - 1] as Uint8Array);
  return up;
}

/** Audit path of one leaf (RFC 6962 section 2.1.1), leaf sibling first. Throws PROOF_NOT_VERIFIED when the index is not in the tree. */
export function auditPath(hashes: readonly Uint8Array[], index: number): Uint8Array[] {
  checkSize('The index', index);
  if (index >= hashes.length) refuse(`Index ${index} is not in a tree of size ${hashes.length}.`);
  const path: Uint8Array[] = [];
  let at = index;
  for (let level = hashes; level.length > 1; level = nextLevel(level)) {
    const sibling = level[at ^ 1];
    if (sibling !== undefined) path.push(sibling);
    at >>= 1;
  }
  return path;
}

function refuse(message: string): never {
  throw new MeshtrailError('PROOF_NOT_VERIFIED', message);
}

function checkHashes(hashes: readonly Uint8Array[]): void {
  // Sizes are below 2^53, so no path is longer; this also bounds the loops below.
  if (hashes.length > 64) refuse(`The proof has ${hashes.length} hashes; no tree needs more than 64.`);
  for (const hash of hashes)
    if (hash.length !== HASH_BYTES) refuse(`A hash of the proof has ${hash.length} bytes, not ${HASH_BYTES}.`);
}

const half = (n: number): number => Math.floor(n / 2);
const isOdd = (n: number): boolean => n % 2 === 1;

/** Checks that a leaf stands at `index` in the tree (RFC 9162 section 2.1.3.2). Throws PROOF_NOT_VERIFIED or TREE_SIZE_UNSUPPORTED. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): void {
  checkSize('The index', index);
  checkSize('The tree size', size);
  checkHashes([leaf, root, ...path]);
  if (index >= size) refuse(`Index ${index} is not in a tree of size ${size}.`);
  let fn = index;
  let sn = size - 1;
  let hash = leaf;
  for (const sibling of path) {
    if (sn === 0) refuse('The inclusion proof is too long.');
    if (isOdd(fn) || fn === sn) {
      hash = nodeHash(sibling, hash);
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) refuse('The inclusion proof is too short.');
  if (!equalBytes(hash, root)) refuse('The inclusion proof leads to another root.');
}

/** Checks that the tree of `size1` is a prefix of that of `size2` (RFC 9162 section 2.1.4.2). `size1` 0 is refused: nothing is proven by it. */
export function verifyConsistency(
  size1: number,
  size2: number,
  path: readonly Uint8Array[],
  root1: Uint8Array,
  root2: Uint8Array,
): void {
  checkSize('The older size', size1);
  checkSize('The newer size', size2);
  checkHashes([root1, root2, ...path]);
  if (size1 === 0) refuse('A consistency proof from size 0 proves nothing.');
  if (size1 > size2) refuse(`Size ${size1} is not before size ${size2}.`);
  if (size1 === size2) {
    if (path.length > 0) refuse('A consistency proof between equal sizes is empty.');
    if (!equalBytes(root1, root2)) refuse(`Two roots for size ${size1}: the log forked.`);
    return;
  }
  let fn = size1 - 1;
  let sn = size2 - 1;
  while (isOdd(fn)) [fn, sn] = [half(fn), half(sn)];
  // All ones, so size1 is a power of two: its tree is one node of the newer one, and the proof leaves that node out.
  const [first, ...rest] = fn === 0 ? [root1, ...path] : path;
  if (first === undefined || path.length === 0) refuse('The consistency proof is too short.');
  let [older, newer] = [first, first];
  for (const hash of rest) {
    if (sn === 0) refuse('The consistency proof is too long.');
    if (isOdd(fn) || fn === sn) {
      older = nodeHash(hash, older);
      newer = nodeHash(hash, newer);
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      newer = nodeHash(newer, hash);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) refuse('The consistency proof is too short.');
  if (!equalBytes(older, root1)) refuse(`The consistency proof does not lead to the root of size ${size1}.`);
  if (!equalBytes(newer, root2)) refuse(`The consistency proof does not lead to the root of size ${size2}.`);
}
