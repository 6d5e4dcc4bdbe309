// Goal: a disk that fails gets nothing acknowledged that it does not hold, and stops the log instead of being guessed at.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshtrailError } from '../../collector/src/core/error.ts';
import type { LogEvents } from '../../collector/src/log/evidence-log.ts';
import type { SegmentStore, StoredEntry, TileStore } from '../../collector/src/log/stores.ts';
import { memorySegments, memoryTiles } from '../../collector/src/store/memory.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted, fsckDisk, MemoryDisk, openMemoryLog, quiet } from '../support/logs.ts';

const ioError = (): MeshtrailError => new MeshtrailError('STORE_FAILED', 'No space left on device');

/** Events that keep the fatal ones. */
function watched(): { readonly events: LogEvents; readonly fatal: Error[] } {
  const fatal: Error[] = [];
  return { fatal, events: { ...quiet, fatal: (error) => fatal.push(error) } };
}

/** A store whose writes fail when told to, before or after they reach the disk. */
function failing(disk: MemoryDisk): { readonly segments: SegmentStore; fail: 'never' | 'before' | 'after' } {
  const inner = memorySegments(disk.entries);
  const state = {
    fail: 'never' as 'never' | 'before' | 'after',
    segments: {
      ...inner,
      async append(group: readonly StoredEntry[]) {
        if (state.fail === 'before') throw ioError();
        await inner.append(group);
        if (state.fail === 'after') throw ioError();
      },
    },
  };
  return state;
}

for (const moment of ['before', 'after'] as const) {
  test(`a write that fails ${moment} it reaches the disk: nothing acknowledged, the log stops, a restart recovers`, async () => {
    const disk = new MemoryDisk();
    const store = failing(disk);
    const { events, fatal } = watched();
    const log = await openMemoryLog(disk, { segments: store.segments, events });
    const maker = new StreamMaker(31);
    const wires = Array.from({ length: 200 }, () => maker.batch(1));
    await log.append(admitted(wires[0] as Uint8Array));
    store.fail = moment;
    const results = await Promise.allSettled(wires.slice(1).map((wire) => log.append(admitted(wire))));
    for (const result of results)
      assert.equal(result.status === 'rejected' && result.reason.code, 'STORE_FAILED', 'acknowledged, and not stored');
    assert.equal(fatal.length, 1);
    assert.match((fatal[0] as Error).message, /No space left on device/);
    assert.equal((log.failure() as MeshtrailError).code, 'STORE_FAILED');
    // Space is back, but what the failed write left is not known before recovery.
    store.fail = 'never';
    await assert.rejects(log.append(admitted(wires[1] as Uint8Array)), { code: 'STORE_FAILED' });
    await log.close();

    const again = await openMemoryLog(disk);
    const acks = await Promise.all(wires.map((wire) => again.append(admitted(wire))));
    assert.deepEqual(
      acks.map(({ index }) => index),
      wires.map((_, i) => i),
    );
    await again.close();
    assert.deepEqual((await fsckDisk(disk)).findings, []);
  });
}

test('what does not read back as it was written is not acknowledged, and stops the log', async () => {
  for (const part of ['entry', 'body'] as const) {
    const disk = new MemoryDisk();
    const inner = memorySegments(disk.entries);
    const { events, fatal } = watched();
    const bent = (bytes: Uint8Array | undefined): Uint8Array | undefined => bytes?.with(40, (bytes[40] as number) ^ 4);
    const segments: SegmentStore = {
      ...inner,
      group: async (from, to) => (await inner.group(from, to)).map((one) => ({ ...one, [part]: bent(one[part]) })),
    };
    const log = await openMemoryLog(disk, { segments, events });
    await assert.rejects(log.append(admitted(new StreamMaker(32).batch(1))), { code: 'STORE_CORRUPT' });
    assert.equal(fatal.length, 1);
    await assert.rejects(log.append(admitted(new StreamMaker(33).batch(1))), { code: 'STORE_CORRUPT' });
    await log.close();
  }
});

test('a tree that cannot be written is not signed, and what was acknowledged is there after a restart', async () => {
  for (const step of ['write', 'publish'] as const) {
    const disk = new MemoryDisk();
    const inner = memoryTiles(disk.tree);
    const { events, fatal } = watched();
    let isFull = false;
    const tiles: TileStore = {
      ...inner,
      [step]: async (value: never) => {
        if (isFull) throw ioError();
        await inner[step](value);
      },
    };
    const log = await openMemoryLog(disk, { tiles, events });
    const note = log.published().note;
    const wire = new StreamMaker(34).batch(2);
    await log.append(admitted(wire));
    isFull = true;
    await assert.rejects(log.publishNow(), { code: 'STORE_FAILED' });
    assert.equal(fatal.length, 1);
    assert.equal(log.published().note, note, 'published, and not stored');
    await assert.rejects(log.append(admitted(new StreamMaker(35).batch(1))), { code: 'STORE_FAILED' });
    await log.close();
    const again = await openMemoryLog(disk);
    assert.deepEqual([again.published().size, (await again.append(admitted(wire))).isDuplicate], [1, true]);
    await again.close();
    assert.deepEqual((await fsckDisk(disk)).findings, []);
  }
});

test('a lookup that fails refuses its group and stops nothing', async () => {
  const disk = new MemoryDisk();
  const inner = memoryTiles(disk.tree);
  let isFailing = true;
  const tiles: TileStore = {
    ...inner,
    async placesOf(batches) {
      if (isFailing) throw ioError();
      return await inner.placesOf(batches);
    },
  };
  const { events, fatal } = watched();
  const log = await openMemoryLog(disk, { tiles, events });
  const wire = new StreamMaker(36).batch(1);
  await assert.rejects(log.append(admitted(wire)), { code: 'STORE_FAILED' });
  isFailing = false;
  assert.equal((await log.append(admitted(wire))).index, 0);
  assert.deepEqual(fatal, []);
  await log.close();
});

test('a directory that is refused is left as it was found', async () => {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  const maker = new StreamMaker(37);
  for (let i = 0; i < 3; i++) await log.append(admitted(maker.batch(1)));
  await log.close();
  const older = disk.lock.value;
  const { integrated, published } = disk.tree;
  disk.lock.value = { size: 3, root: new Uint8Array(32), atMs: 1 };
  await assert.rejects(openMemoryLog(disk), { code: 'STORE_DIVERGED' });
  disk.lock.value = { size: 4, root: new Uint8Array(32), atMs: 1 };
  await assert.rejects(openMemoryLog(disk), { code: 'TREE_SHRANK' });
  assert.deepEqual([disk.tree.integrated, disk.tree.published], [integrated, published]);
  // An older last-signed record beside a newer checkpoint: the newer one counts.
  disk.lock.value = { size: 1, root: (older as { root: Uint8Array }).root, atMs: 1 };
  await assert.rejects(openMemoryLog(disk), { code: 'STORE_DIVERGED' });
});
