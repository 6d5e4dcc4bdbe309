// Goal: trees grown through tiles equal the plain RFC 6962 tree, and their proofs verify and cannot be bent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromBase64, toBase64, utf8 } from '../../../collector/src/core/bytes.ts';
import {
  auditPath,
  leafHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../../collector/src/core/tlog/merkle.ts';
import {
  ed25519Signer,
  formatPrivateKey,
  parseNote,
  parsePrivateKey,
  parseVkey,
  signNote,
  verifyNote,
} from '../../../collector/src/core/tlog/note.ts';
import {
  consistencyProof,
  inclusionProof,
  parseTilePath,
  rootFromTiles,
  type TileReader,
  TreeEdge,
  tilePath,
  tilesOf,
  widthInTree,
} from '../../../collector/src/core/tlog/tile.ts';

/** Tiles in a map, every partial one kept. */
class Tiles implements TileReader {
  readonly map = new Map<string, Uint8Array>();
  async tile(level: number, index: number, width: number): Promise<Uint8Array | undefined> {
    return this.map.get(tilePath({ level, index, width }));
  }
}

const LEAVES = Array.from({ length: 70_000 }, (_, i) => leafHash(utf8(`leaf ${i}`)));

async function grow(tiles: Tiles, from: number, to: number): Promise<TreeEdge> {
  const edge = await TreeEdge.of(from, tiles);
  for (const leaf of LEAVES.slice(from, to)) edge.append(leaf, (at, bytes) => tiles.map.set(tilePath(at), bytes));
  for (const { bytes, ...at } of edge.partials()) tiles.map.set(tilePath(at), bytes);
  return edge;
}

test('a tree grown in any steps is the plain tree, and its tiles are those of its size', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 8 }), async (steps) => {
      const tiles = new Tiles();
      let size = 0;
      for (const step of steps) {
        const edge = await grow(tiles, size, size + step);
        size += step;
        const root = rootOf(LEAVES.slice(0, size));
        assert.deepEqual(edge.root(), root);
        assert.deepEqual(await rootFromTiles(tiles, size), root);
        for (const at of tilesOf(size)) assert.ok(tiles.map.has(tilePath(at)), tilePath(at));
      }
    }),
    { numRuns: 25 },
  );
});

test('sizes around the edges of tiles, up to three levels', async () => {
  const tiles = new Tiles();
  let size = 0;
  for (const next of [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000]) {
    const edge = await grow(tiles, size, next);
    size = next;
    assert.deepEqual(edge.root(), rootOf(LEAVES.slice(0, size)), `size ${size}`);
    assert.deepEqual(await rootFromTiles(tiles, size), edge.root());
  }
  assert.equal(widthInTree(70_000, 0, 273), 112);
  assert.equal(widthInTree(70_000, 1, 1), 17);
  assert.equal(widthInTree(70_000, 2, 0), 1);
});

test('proofs of random places verify, and any bent one fails', async () => {
  const tiles = new Tiles();
  const sizes = [1, 3, 200, 256, 257, 700];
  let last = 0;
  for (const size of sizes) {
    await grow(tiles, last, size);
    last = size;
  }
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...sizes), fc.nat(), fc.nat(), fc.nat(), async (size, a, b, bit) => {
      const index = a % size;
      const root = rootOf(LEAVES.slice(0, size));
      const path = await inclusionProof(tiles, index, size);
      assert.deepEqual(path, auditPath(LEAVES.slice(0, size), index));
      verifyInclusion(LEAVES[index] as Uint8Array, index, size, path, root);
      assert.throws(() => verifyInclusion(LEAVES[index + 1] as Uint8Array, index, size, path, root), {
        code: 'PROOF_NOT_VERIFIED',
      });
      const older = 1 + (b % size);
      const consistency = await consistencyProof(tiles, older, size);
      const oldRoot = rootOf(LEAVES.slice(0, older));
      verifyConsistency(older, size, consistency, oldRoot, root);
      for (const [proof, check] of [
        [path, (p: Uint8Array[]) => verifyInclusion(LEAVES[index] as Uint8Array, index, size, p, root)],
        [consistency, (p: Uint8Array[]) => verifyConsistency(older, size, p, oldRoot, root)],
      ] as const) {
        if (proof.length === 0) continue;
        const bent = proof.map((hash) => Uint8Array.from(hash));
        const hash = bent[bit % bent.length] as Uint8Array;
        hash[bit % 32] = (hash[bit % 32] as number) ^ (1 << (bit % 8));
        assert.throws(() => check(bent), { code: 'PROOF_NOT_VERIFIED' });
        assert.throws(() => check(proof.slice(1)), { code: 'PROOF_NOT_VERIFIED' });
        assert.throws(() => check([...proof, hash]), { code: 'PROOF_NOT_VERIFIED' });
      }
    }),
    { numRuns: 100 },
  );
});

test('tile paths come back, and have one spelling', () => {
  fc.assert(
    fc.property(fc.nat({ max: 63 }), fc.maxSafeNat(), fc.integer({ min: 1, max: 256 }), (level, index, width) => {
      assert.deepEqual(parseTilePath(tilePath({ level, index, width })), { level, index, width });
    }),
  );
  for (const path of [
    'tile/0/0',
    'tile/00/000',
    'tile/0/x000/000',
    'tile/0/000.p/256',
    'tile/0/000.p/0',
    'tile/0/000.p/01',
    'tile/64/000',
    'tile/0/000/',
    'tile/-1/000',
  ]) {
    assert.equal(parseTilePath(path), undefined, path);
  }
});

test('base64 has one spelling', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
      assert.equal(toBase64(bytes), Buffer.from(bytes).toString('base64'));
    }),
  );
  for (const text of ['QUI', 'QUJ=', '-_-_', 'QUJD!!', 'Q===', '====', 'QU I', 'QUI=\n', 'QQ==QQ=='])
    assert.throws(() => fromBase64(text), { code: 'ENCODING_INVALID' }, text);
});

test('notes and keys come back', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.stringMatching(/^[a-z./]{1,30}$/),
      fc.stringMatching(/^[ -~\n]{0,50}$/),
      async (seed, name, body) => {
        const signer = ed25519Signer(name, seed);
        const note = parseNote(await signNote(`${body}\n`, [signer]));
        assert.equal(note.text, `${body}\n`);
        assert.equal(verifyNote(note, [parseVkey(signer.vkey)]).length, 1);
        const key = parsePrivateKey(formatPrivateKey(name, seed));
        assert.deepEqual([key.name, key.seed], [name, seed]);
      },
    ),
    { numRuns: 50 },
  );
});

test('what the strict base64 decoder takes, it would write the same way', () => {
  const nearly = fc
    .tuple(fc.uint8Array({ maxLength: 12 }), fc.nat(), fc.constantFrom(...'AQgw=+/-_ \n'))
    .map(([bytes, at, letter]) => {
      const whole = toBase64(bytes);
      const cut = at % (whole.length + 1);
      return whole.slice(0, cut) + letter + whole.slice(cut + (at % 2));
    });
  fc.assert(
    fc.property(fc.oneof(nearly, fc.string({ maxLength: 12 })), (text) => {
      let bytes: Uint8Array;
      try {
        bytes = fromBase64(text);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ENCODING_INVALID');
        return;
      }
      assert.equal(toBase64(bytes), text);
    }),
    { numRuns: 2000 },
  );
});

test('100,000 leaves are appended through tiles, and proven, in less than a second', async (t) => {
  const leaves = Array.from({ length: 100_000 }, (_, i) => LEAVES[i % LEAVES.length] as Uint8Array);
  const tiles = new Tiles();
  const start = performance.now();
  const edge = new TreeEdge();
  for (const leaf of leaves) edge.append(leaf, (at, bytes) => tiles.map.set(tilePath(at), bytes));
  for (const { bytes, ...at } of edge.partials()) tiles.map.set(tilePath(at), bytes);
  const root = edge.root();
  const path = await inclusionProof(tiles, 77_777, leaves.length);
  const elapsedMs = performance.now() - start;
  verifyInclusion(leaves[77_777] as Uint8Array, 77_777, leaves.length, path, root);
  assert.deepEqual(root, rootOf(leaves));
  t.diagnostic(`${Math.round(elapsedMs)} ms`);
  assert.ok(elapsedMs < 1000, `${elapsedMs} ms`);
});

test('an audit path outside the tree is refused, not empty', () => {
  for (const index of [3, 7]) assert.throws(() => auditPath(LEAVES.slice(0, 3), index), { code: 'PROOF_NOT_VERIFIED' });
  for (const index of [-1, 0.5, 2 ** 53])
    assert.throws(() => auditPath(LEAVES.slice(0, 3), index), { code: 'TREE_SIZE_UNSUPPORTED' });
});
