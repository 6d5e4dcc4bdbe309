// The Merkle kernel gives the roots that core's own way gives, for every batch that a decoder takes.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Batch } from '../../collector/src/core/codec/batch.ts';
import { dictionaryRoot, type RootsKernel, recordRoot, useRootsKernel } from '../../collector/src/core/codec/roots.ts';
import { loadRootsKernel } from '../../collector/src/kernel.ts';

const loaded = loadRootsKernel();
assert.ok(loaded !== undefined, 'this engine runs the kernel');
const kernel: RootsKernel = loaded;

const sha256 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** RFC 6962 section 2.1, as it is written: split at the largest power of two below the count. */
function treeHash(leaves: readonly Uint8Array[]): Buffer {
  const [first] = leaves;
  if (leaves.length === 1 && first !== undefined) return sha256(Uint8Array.of(0), first);
  let k = 1;
  while (2 * k < leaves.length) k *= 2;
  return sha256(Uint8Array.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

interface Entry {
  readonly kind: number;
  readonly bytes: Uint8Array;
}

function wireOf(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ kind, bytes }) => {
    const head = Buffer.alloc(3);
    head.writeUInt8(kind);
    head.writeUInt16LE(bytes.length, 1);
    return [head, bytes];
  });
  return Buffer.concat(parts);
}

function leavesOf(entries: readonly Entry[], secret: Uint8Array): Buffer[] {
  return entries.map(({ kind, bytes }, i) => {
    const number = Buffer.alloc(4);
    number.writeUInt32LE(i + 1);
    const salt = kind === 2 ? sha256(secret, number).subarray(0, 16) : Buffer.alloc(0);
    return Buffer.concat([Uint8Array.of(kind), salt, bytes]);
  });
}

const entryOf = fc.record({
  kind: fc.integer({ min: 1, max: 4 }),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 80 }),
    // Where the number of blocks of 64 bytes changes, with and without a salt.
    fc.integer({ min: 0, max: 15 }).chain((blocks) =>
      fc.integer({ min: -12, max: 12 }).map((by) => {
        const length = Math.min(1024, Math.max(1, 64 * blocks + 37 + by));
        return new Uint8Array(randomBytes(length));
      }),
    ),
    fc.constant(new Uint8Array(1024).fill(255)),
  ),
});

describe('the Merkle kernel', () => {
  after(() => useRootsKernel(undefined));

  it('gives the root of any number of rows', () => {
    for (const count of [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 63, 64, 65, 430, 699, 700]) {
      const rows = randomBytes(88 * count);
      const leaves = Array.from({ length: count }, (_, i) => rows.subarray(88 * i, 88 * (i + 1)));
      assert.deepEqual(Buffer.from(kernel.recordRoot(rows, count) ?? []), treeHash(leaves), `${count} rows`);
    }
  });

  it('gives the root of any dictionary, private entries salted', () => {
    fc.assert(
      fc.property(
        fc.array(entryOf, { minLength: 1, maxLength: 60 }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (entries, secret) => {
          const root = kernel.dictionaryRoot(wireOf(entries), entries.length, secret);
          assert.deepEqual(Buffer.from(root ?? []), treeHash(leavesOf(entries, secret)));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('gives the root of the most entries and of the most bytes that a batch can hold', () => {
    const secret = randomBytes(32);
    const many = Array.from({ length: 4095 }, (_, i) => ({ kind: 1 + (i % 4), bytes: randomBytes(12) }));
    const large = Array.from({ length: 63 }, () => ({ kind: 2, bytes: randomBytes(1024) }));
    for (const entries of [many, large]) {
      const root = kernel.dictionaryRoot(wireOf(entries), entries.length, secret);
      assert.deepEqual(Buffer.from(root ?? []), treeHash(leavesOf(entries, secret)));
    }
  });

  it('takes no bytes that are not what their count says', () => {
    const entries = [{ kind: 1, bytes: randomBytes(10) }];
    assert.equal(kernel.dictionaryRoot(wireOf(entries), 2, randomBytes(32)), undefined);
    assert.equal(kernel.dictionaryRoot(wireOf(entries).subarray(0, 12), 1, randomBytes(32)), undefined);
    assert.equal(kernel.dictionaryRoot(Buffer.from([1, 255, 255, 0]), 1, randomBytes(32)), undefined);
    assert.equal(kernel.recordRoot(new Uint8Array(0), 0), undefined);
  });

  it('is what core uses once it is told to, and no root changes', () => {
    const secret = randomBytes(32);
    const entries = [1, 2, 3].map((i) => ({ kind: 1 + (i % 2), bytes: randomBytes(20 * i) }));
    const rows = randomBytes(3 * 88);
    const dictionary = {
      count: entries.length,
      kind: (number: number) => entries[number - 1]?.kind ?? 0,
      bytes: (number: number) => entries[number - 1]?.bytes ?? new Uint8Array(0),
    };
    const wire = Buffer.concat([Buffer.alloc(320), rows, wireOf(entries), Buffer.alloc(32)]);
    const batch = { wire, headerBytes: 320, rowCount: 3, dictionary, secret } as unknown as Batch;
    let asked = 0;
    const plain = [recordRoot(batch), dictionaryRoot(batch)];
    useRootsKernel({
      recordRoot: (...args) => {
        asked++;
        return kernel.recordRoot(...args);
      },
      dictionaryRoot: (...args) => {
        asked++;
        return kernel.dictionaryRoot(...args);
      },
    });
    assert.deepEqual([recordRoot(batch), dictionaryRoot(batch)], plain);
    assert.equal(asked, 2);
  });
});
