// Every driver through the one contract; and what only LevelDB has: a lock.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { key64 } from '../../collector/src/store/keys.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelSegments } from '../../collector/src/store/level-segments.ts';
import { openLevelLock, openLevelTiles } from '../../collector/src/store/level-tree.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { MemoryTree, memoryLock, memorySegments, memoryTiles, memoryZones } from '../../collector/src/store/memory.ts';
import {
  type Factory,
  lockStoreContract,
  segmentStoreContract,
  tileStoreContract,
  zoneStoreContract,
} from '../contract/stores.ts';

const onDisk =
  <T>(open: (path: string) => Promise<T>) =>
  async (): Promise<Factory<T>> => {
    const directory = await mkdtemp(join(tmpdir(), 'meshtrail store '));
    return {
      open: async () => await open(join(directory, 'db')),
      remove: async () => await rm(directory, { recursive: true }),
    };
  };
const inMemory =
  <T>(make: () => () => T) =>
  async (): Promise<Factory<T>> => {
    const open = make();
    return { open: async () => open(), remove: async () => undefined };
  };

segmentStoreContract(
  'level segments',
  onDisk(async (path) => await openLevelSegments(path, 256)),
);
segmentStoreContract(
  'memory segments',
  inMemory(() => {
    const entries: Parameters<typeof memorySegments>[0] = [];
    return () => memorySegments(entries);
  }),
);
tileStoreContract('level tiles', onDisk(openLevelTiles));
tileStoreContract(
  'memory tiles',
  inMemory(() => {
    const tree = new MemoryTree();
    return () => memoryTiles(tree);
  }),
);
lockStoreContract('level lock', onDisk(openLevelLock));
lockStoreContract(
  'memory lock',
  inMemory(() => {
    const cell = {};
    return () => memoryLock(cell);
  }),
);
zoneStoreContract('level zones', onDisk(openLevelZones));
zoneStoreContract(
  'memory zones',
  inMemory(() => {
    const store = memoryZones();
    return () => store;
  }),
);

test('a zone that is damaged is not given, so that the index makes it again', async () => {
  const path = await mkdtemp(join(tmpdir(), 'meshtrail store '));
  const zone = (index: number) => ({ index, startNsMin: 5n, startNsMax: 9n, records: 3 });
  const store = await openLevelZones(path);
  await store.write([zone(1), zone(2), zone(3)], 4);
  await store.close();
  const database = await openLevel(path, 65_536);
  const bent = Uint8Array.from((await database.get(key64('z', 2))) as Uint8Array);
  bent[7] = (bent[7] as number) ^ 0x10;
  await database.put(key64('z', 2), bent);
  await database.put(key64('z', 3), (await database.get(key64('z', 1))) as Uint8Array);
  await database.put(key64('z', 4), new Uint8Array(3));
  await database.close();
  const again = await openLevelZones(path);
  const zones = [];
  for await (const found of again.zones()) zones.push(found);
  assert.deepEqual(zones, [zone(1)]);
  assert.equal(await again.indexed(), 4);
  await again.close();
  await rm(path, { recursive: true });
});

test('segments are read by many at once, more of them than stay open', async () => {
  const path = await mkdtemp(join(tmpdir(), 'meshtrail store '));
  const store = await openLevelSegments(path, 256);
  const entries = Array.from({ length: 256 * 12 }, (_, index) => ({ index, entry: Uint8Array.of(index >> 8, index) }));
  await store.append(entries);
  const read = Array.from({ length: 400 }, (_, i) => (i * 1031) % entries.length);
  assert.deepEqual(
    await Promise.all(read.map(async (index) => await store.entry(index))),
    read.map((index) => entries[index]?.entry),
  );
  await store.close();
  await assert.rejects(store.entry(0), { code: 'STORE_FAILED' });
  await rm(path, { recursive: true });
});

test('data files without CURRENT are refused, and left as they are', async () => {
  const path = await mkdtemp(join(tmpdir(), 'meshtrail store '));
  await (await openLevelLock(path)).close();
  await rm(join(path, 'CURRENT'));
  const before = await readdir(path);
  await assert.rejects(openLevelLock(path), { code: 'STORE_CORRUPT' });
  assert.deepEqual(await readdir(path), before);
  await rm(path, { recursive: true });
});

test('a directory that is open is refused, by name', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshtrail store '));
  const first = await openLevelSegments(directory, 256);
  await assert.rejects(
    openLevelSegments(directory, 256),
    (error: Error & { code: string }) => error.code === 'STORE_LOCKED' && error.message.includes(directory),
  );
  await first.close();
  await rm(directory, { recursive: true });
});
