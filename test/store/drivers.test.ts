// Every driver through the one contract; and what only LevelDB has: a lock.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
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
