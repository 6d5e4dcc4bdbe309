// Goal: proofs and roots agree with x/mod, transparency-dev/merkle and RFC 6962, up to trees of 2^53 - 1 leaves.
// Method: every vector judged; for valid ones the proof is also made from tiles and must be the very same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, fromHex, toBase64, toHex, utf8 } from '../../../collector/src/core/bytes.ts';
import {
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../../collector/src/core/tlog/merkle.ts';
import {
  consistencyProof,
  inclusionProof,
  rootFromTiles,
  type TileReader,
  TreeEdge,
} from '../../../collector/src/core/tlog/tile.ts';
import { b64, type Case, judge, list, load, read, sizeOf, text, type Vectors } from './vectors.ts';

/** A tree that is computed where it is read: every leaf is "b" but the special ones. */
class SparseTree implements TileReader {
  private readonly special: ReadonlyMap<number, string>;
  private readonly plain: Uint8Array[] = [leafHash(utf8('b'))];

  constructor(special: Readonly<Record<number, string>>) {
    this.special = new Map(Object.entries(special).map(([at, leaf]) => [Number(at), leaf]));
  }

  /** Root of 2^height leaves from `low` on. */
  node(low: number, height: number): Uint8Array {
    const end = low + 2 ** height;
    if ([...this.special.keys()].some((at) => at >= low && at < end)) {
      if (height === 0) return leafHash(utf8(text(this.special.get(low))));
      return nodeHash(this.node(low, height - 1), this.node(low + 2 ** (height - 1), height - 1));
    }
    for (let h = this.plain.length; h <= height; h++) {
      const below = this.plain[h - 1] as Uint8Array;
      this.plain[h] = nodeHash(below, below);
    }
    return this.plain[height] as Uint8Array;
  }

  async tile(level: number, index: number, width: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(32 * width);
    for (let i = 0; i < width; i++) bytes.set(this.node((index * 256 + i) * 256 ** level, 8 * level), 32 * i);
    return bytes;
  }
}

// The trees of the vectors have more special leaves, at 2^53 and beyond, where no tree that is supported reaches.
const proven = new SparseTree({ 0: 'a', 1: 'a1', 5: 'c', 100: 'x', 299: 'y', [2 ** 20]: 'z', [2 ** 40]: 'd' });
const sparse = new SparseTree({ 0: 'a', 5: 'c', [2 ** 40]: 'd' });

test('inclusion proofs: judged, and the valid ones made from tiles', async () => {
  const { cases } = load('inclusion');
  judge(cases, { cases: 278, validBeyond: 7 }, (c) =>
    verifyInclusion(b64(c['leaf_hash']), sizeOf(c['index']), sizeOf(c['size']), list(c['proof']), b64(c['root'])),
  );
  let made = 0;
  for (const c of cases.filter(({ name, size }) => /-good$/.test(text(name)) && BigInt(text(size)) < 2n ** 53n)) {
    const [index, size] = [sizeOf(c['index']), sizeOf(c['size'])];
    assert.deepEqual(await inclusionProof(proven, index, size), list(c['proof']), text(c['name']));
    assert.deepEqual(await rootFromTiles(proven, size), b64(c['root']), text(c['name']));
    made++;
  }
  assert.equal(made, 20);
});

test('consistency proofs: judged, and the valid ones made from tiles', async () => {
  const { cases } = load('consistency');
  judge(cases, { cases: 346, validBeyond: 9 }, (c) =>
    verifyConsistency(sizeOf(c['size1']), sizeOf(c['size2']), list(c['proof']), b64(c['root1']), b64(c['root2'])),
  );
  let made = 0;
  for (const c of cases.filter(({ name, size2 }) => /-good$/.test(text(name)) && BigInt(text(size2)) < 2n ** 53n)) {
    const [size1, size2] = [sizeOf(c['size1']), sizeOf(c['size2'])];
    assert.deepEqual(await consistencyProof(proven, size1, size2), list(c['proof']), text(c['name']));
    made++;
  }
  assert.equal(made, 22);
});

test('roots: RFC 6962 leaves, formula logs to 70,000 entries, sparse trees to 2^53 - 1', async () => {
  const vectors = load('merkle-roots');
  assert.equal(toBase64(leafHash(new Uint8Array(0))), vectors['leaf_hash_of_empty']);
  const empty = leafHash(new Uint8Array(0));
  assert.equal(toBase64(nodeHash(empty, empty)), vectors['node_hash_of_two_empty_leaves']);
  const rfcLeaves = (vectors['rfc_leaves_hex'] as string[]).map((hex) => leafHash(fromHex(hex)));
  for (const { size, root_hex } of vectors['rfc'] as { size: number; root_hex: string }[])
    assert.equal(toHex(rootOf(rfcLeaves.slice(0, size))), root_hex);

  const edge = new TreeEdge();
  for (const { size, root } of vectors.cases) {
    while (edge.size < sizeOf(size)) edge.append(leafHash(utf8(`meshtrail reference entry ${edge.size}\n`)), () => {});
    assert.equal(toBase64(edge.root()), root, `size ${text(size)}`);
  }
  let beyond = 0;
  for (const { size, root } of vectors['sparse'] as Case[]) {
    if (BigInt(text(size)) < 2n ** 53n)
      assert.equal(toBase64(await rootFromTiles(sparse, sizeOf(size))), root, `size ${text(size)}`);
    else {
      beyond++;
      await assert.rejects(rootFromTiles(sparse, Number(size)), { code: 'TREE_SIZE_UNSUPPORTED' });
    }
  }
  assert.equal(beyond, 3);
});

test('every pair of sizes to 70: proofs made, verified, and no other pair satisfied', async () => {
  const leaves = Array.from({ length: 70 }, (_, i) => proven.node(i, 0));
  const roots = Array.from({ length: 71 }, (_, size) => rootOf(leaves.slice(0, size)));
  for (let size2 = 1; size2 <= 70; size2++) {
    for (let size1 = 1; size1 <= size2; size1++) {
      const [root1, root2] = [roots[size1] as Uint8Array, roots[size2] as Uint8Array];
      const proof = await consistencyProof(proven, size1, size2);
      verifyConsistency(size1, size2, proof, root1, root2);
      const other = roots[size1 - 1] as Uint8Array;
      assert.throws(() => verifyConsistency(size1, size2, proof, other, root2), { code: 'PROOF_NOT_VERIFIED' });
      const path = await inclusionProof(proven, size1 - 1, size2);
      const leaf = leaves[size1 - 1] as Uint8Array;
      verifyInclusion(leaf, size1 - 1, size2, path, root2);
      const elsewhere = size1 % size2;
      if (elsewhere === size1 - 1 || equalBytes(leaf, leaves[elsewhere] as Uint8Array)) continue;
      assert.throws(() => verifyInclusion(leaf, elsewhere, size2, path, root2), { code: 'PROOF_NOT_VERIFIED' });
    }
  }
});

test('a proof longer than the tree is deep is refused, even where the hashes lead to the roots given', () => {
  const leaf = (name: string): Uint8Array => leafHash(utf8(name));
  const [a, c, d, x] = [leaf('a'), leaf('c'), leaf('d'), leaf('x')];
  assert.throws(() => verifyInclusion(a, 0, 1, [x], nodeHash(x, a)), { code: 'PROOF_NOT_VERIFIED' });
  const ab = nodeHash(a, leaf('b'));
  const [root3, root4] = [nodeHash(ab, c), nodeHash(ab, nodeHash(c, d))];
  verifyConsistency(3, 4, [c, d, ab], root3, root4);
  assert.throws(() => verifyConsistency(3, 4, [c, d, ab, x], nodeHash(x, root3), nodeHash(x, root4)), {
    code: 'PROOF_NOT_VERIFIED',
  });
});

test('proofs of transparency-dev/merkle', () => {
  // These files hold sizes over 2^53 as JSON numbers, so integers are read as text.
  const parse = (name: string): readonly Case[] => {
    const raw = read(`log-integrity/${name}.json`)
      .toString()
      .replace(/:\s*(\d+)(?=\s*[,}\]])/g, ': "$1"');
    const parsed = JSON.parse(raw) as Case[] | Vectors;
    return Array.isArray(parsed) ? parsed : (parsed as Vectors).cases;
  };
  const want = (c: Case): string => (c['wantErr'] === true ? 'reject' : 'accept');
  judge(
    parse('merkle_inclusion'),
    { cases: 53, validBeyond: 0 },
    (c) =>
      verifyInclusion(
        b64(c['leafHash'] ?? ''),
        sizeOf(c['leafIdx']),
        sizeOf(c['treeSize']),
        list(c['proof']),
        b64(c['root'] ?? ''),
      ),
    want,
  );
  judge(
    parse('merkle_consistency'),
    { cases: 43, validBeyond: 0 },
    (c) =>
      verifyConsistency(
        sizeOf(c['size1']),
        sizeOf(c['size2']),
        list(c['proof']),
        b64(c['root1'] ?? ''),
        b64(c['root2'] ?? ''),
      ),
    want,
  );
});
