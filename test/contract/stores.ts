// The contract of the log's and the index's stores, as suites that take a factory: every driver proves the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8 } from '../../collector/src/core/bytes.ts';
import type { ZoneStore } from '../../collector/src/index/flow-index.ts';
import type { LockStore, SegmentStore, StoredEntry, TileStore } from '../../collector/src/log/stores.ts';

/** Opens a store on something that outlives it: opened again, it must hold what was stored. */
export interface Factory<T> {
  readonly open: () => Promise<T>;
  readonly remove: () => Promise<void>;
}
type Make<T> = () => Promise<Factory<T>>;

const hash = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const stream = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const entryOf = (index: number, isBatch = index % 3 !== 0): StoredEntry => ({
  index,
  entry: utf8(`entry ${index}`),
  ...(isBatch ? { body: utf8(`body ${index}`.repeat(20)) } : {}),
});

async function withStore<T extends { close(): Promise<void> }>(
  make: Make<T>,
  ...steps: ((store: T) => Promise<void>)[]
): Promise<void> {
  const factory = await make();
  try {
    for (const step of steps) {
      const store = await factory.open();
      try {
        await step(store);
      } finally {
        await store.close();
      }
    }
  } finally {
    await factory.remove();
  }
}

export function segmentStoreContract(name: string, make: Make<SegmentStore>): void {
  test(`${name}: groups are kept, in order, across segments and openings`, async () => {
    const group = (from: number, to: number): StoredEntry[] =>
      Array.from({ length: to - from }, (_, i) => entryOf(from + i));
    const check = async (store: SegmentStore, end: number): Promise<void> => {
      assert.equal(await store.end(), end);
      for (const index of [0, 1, 255, 256, 511, 512, end - 1]) {
        assert.deepEqual(await store.entry(index), entryOf(index).entry);
        assert.deepEqual(await store.body(index), entryOf(index).body);
      }
      const found = await store.group(200, end + 2);
      const want = Array.from({ length: end - 200 }, (_, i) => entryOf(200 + i));
      assert.deepEqual(found, [
        ...want.map(({ entry, body }) => ({ entry, body })),
        { entry: undefined, body: undefined },
        { entry: undefined, body: undefined },
      ]);
      assert.equal(await store.entry(end), undefined);
      assert.equal(await store.body(end), undefined);
      for (const index of [0, 256, 700, end - 1]) assert.equal(await store.following(index), index);
      assert.equal(await store.following(end), undefined);
      const bodies = Array.from({ length: end }, (_, i) => entryOf(i).body).filter((body) => body !== undefined).length;
      assert.deepEqual(await store.census(), { entries: end, bodies, others: 0 });
      const read: number[] = [];
      for await (const { index, entry } of store.entries(250, 2000)) {
        assert.deepEqual(entry, entryOf(index).entry);
        read.push(index);
      }
      assert.deepEqual(
        read,
        Array.from({ length: end - 250 }, (_, i) => 250 + i),
      );
    };
    await withStore(
      make,
      async (store) => {
        assert.equal(await store.end(), 0);
        assert.equal(await store.following(0), undefined);
        await store.append([]);
        await store.append(group(0, 1));
        await store.append(group(1, 700));
        await store.append(group(700, 1300));
        await check(store, 1300);
      },
      async (store) => {
        await check(store, 1300);
        await store.append(group(1300, 1301));
        await check(store, 1301);
      },
    );
  });

  test(`${name}: a group that does not follow is refused`, async () => {
    await withStore(make, async (store) => {
      await store.append([entryOf(0)]);
      await assert.rejects(store.append([entryOf(2)]), { code: 'STORE_CORRUPT' });
      await assert.rejects(store.append([entryOf(0)]), { code: 'STORE_CORRUPT' });
      assert.equal(await store.end(), 1);
    });
  });
}

export function tileStoreContract(name: string, make: Make<TileStore>): void {
  test(`${name}: what one step wrote is there, and the next writes over it`, async () => {
    const step = (size: number) => ({
      tiles: [
        { level: 0, index: 0, bytes: hash(size) },
        { level: 63, index: 2 ** 40, bytes: hash(2) },
      ],
      entryTiles: [{ index: 7, bytes: utf8(`entries ${size}`) }],
      batches: [{ stream: stream(1), batchNumber: size, index: 40 + size, hash: hash(9) }],
      conflicts: [{ stream: stream(1), batchNumber: size, index: 99 }],
      integrated: { size, root: hash(size) },
    });
    await withStore(
      make,
      async (store) => {
        assert.equal(await store.integrated(), undefined);
        assert.equal(await store.published(), undefined);
        await store.write(step(1));
        await store.write(step(2));
        await store.publish('a note\n');
      },
      async (store) => {
        assert.deepEqual(await store.integrated(), { size: 2, root: hash(2) });
        assert.equal(await store.published(), 'a note\n');
        assert.deepEqual(await store.tile(0, 0), hash(2));
        assert.deepEqual(await store.tile(63, 2 ** 40), hash(2));
        assert.equal(await store.tile(0, 1), undefined);
        assert.deepEqual(await store.entryTile(7), utf8('entries 2'));
        assert.deepEqual(await store.batch(stream(1), 1), { index: 41, hash: hash(9) });
        assert.equal(await store.batch(stream(2), 1), undefined);
        assert.deepEqual(await store.placesOf([2, 3, 1].map((batchNumber) => ({ stream: stream(1), batchNumber }))), [
          { index: 42, hash: hash(9) },
          undefined,
          { index: 41, hash: hash(9) },
        ]);
        assert.equal(await store.conflict(stream(1), 2), 99);
        assert.equal(await store.conflict(stream(1), 3), undefined);
        assert.deepEqual(await store.census(), { tiles: 2, entryTiles: 1, batches: 2, conflicts: 2, others: 0 });
      },
    );
  });
}

export function lockStoreContract(name: string, make: Make<LockStore>): void {
  test(`${name}: moves only from what is expected`, async () => {
    const [a, b] = [
      { size: 1, root: hash(1), atMs: 5 },
      { size: 2, root: hash(2), atMs: 6 },
    ];
    await withStore(
      make,
      async (store) => {
        assert.equal(await store.read(), undefined);
        await assert.rejects(store.replace(a, b), { code: 'LAST_SIGNED_MOVED' });
        await store.replace(undefined, a);
        await assert.rejects(store.replace(undefined, b), { code: 'LAST_SIGNED_MOVED' });
        await assert.rejects(store.replace({ ...a, root: hash(3) }, b), { code: 'LAST_SIGNED_MOVED' });
      },
      async (store) => {
        assert.deepEqual(await store.read(), a);
        await store.replace(a, b);
        assert.deepEqual(await store.read(), b);
      },
    );
  });
}

export function zoneStoreContract(name: string, make: Make<ZoneStore>): void {
  test(`${name}: zones come back in order of the log`, async () => {
    const zone = (index: number) => ({
      index,
      startNsMin: BigInt(index) - 5n,
      startNsMax: 1_795_521_600_000_000_000n + BigInt(index),
      records: 3,
    });
    await withStore(
      make,
      async (store) => {
        assert.equal(await store.indexed(), undefined);
        await store.write([zone(300), zone(2)], 301);
        await store.write([], 305);
      },
      async (store) => {
        assert.equal(await store.indexed(), 305);
        const zones = [];
        for await (const z of store.zones()) zones.push(z);
        assert.deepEqual(zones, [zone(2), zone(300)]);
        await store.clear();
        assert.equal(await store.indexed(), undefined);
      },
    );
  });
}
