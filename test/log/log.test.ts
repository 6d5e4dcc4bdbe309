// Goal: what is acknowledged is durable, in the tree, and provable; what must not be signed is not; every flipped bit is found.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromUtf8 } from '../../collector/src/core/bytes.ts';
import { sealBatch } from '../../collector/src/core/codec/encode.ts';
import { parseEntry } from '../../collector/src/core/codec/entry.ts';
import { HEADER } from '../../collector/src/core/codec/layout.ts';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { leafHash, verifyConsistency, verifyInclusion } from '../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer } from '../../collector/src/core/tlog/note.ts';
import { consistencyProof, inclusionProof } from '../../collector/src/core/tlog/tile.ts';
import { packBody, unpackBody } from '../../collector/src/log/body.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted, fsckDisk, ManualClock, MemoryDisk, openMemoryLog, verifier } from '../support/logs.ts';

test('bodies come back exactly', () => {
  const maker = new StreamMaker(1);
  for (const rows of [1, 2, 30, 400]) {
    const wire = maker.batch(rows);
    const body = packBody(wire);
    assert.deepEqual(unpackBody(body), wire);
    assert.ok(body.length < wire.length);
  }
});

test('batches are acknowledged with dense indices, integrated and provable', async () => {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  assert.equal(log.published().size, 0);
  const maker = new StreamMaker(2);
  const wires = Array.from({ length: 600 }, () => maker.batch(2));
  const acks = await Promise.all(wires.map((wire) => log.append(admitted(wire))));
  assert.deepEqual(
    acks.map(({ index }) => index),
    wires.map((_, i) => i),
  );
  const older = await log.publishNow();
  assert.equal(older.size, 600);
  await log.append(admitted(maker.batch(1)));
  const newer = await log.publishNow();
  assert.equal(openCheckpoint(newer.note, verifier).size, 601);
  for (const index of [0, 255, 256, 599]) {
    verifyInclusion(
      leafHash((await log.entry(index)) as Uint8Array),
      index,
      601,
      await inclusionProof(log.tiles, index, 601),
      newer.root,
    );
    assert.deepEqual(await log.wireBatch(index), wires[index]);
  }
  verifyConsistency(600, 601, await consistencyProof(log.tiles, 600, 601), older.root, newer.root);
  assert.equal(
    (await log.entryTile(2, 89))?.length,
    (await log.entryTile(2, 88))!.length + 2 + ((await log.entry(600)) as Uint8Array).length,
  );
  assert.equal(await log.entryTile(2, 90), undefined);
  await log.close();
  assert.deepEqual((await fsckDisk(disk)).findings, []);
});

test('duplicates get their first answer, also at once and after a restart; other bytes a refusal and one conflict entry', async () => {
  const disk = new MemoryDisk();
  let log = await openMemoryLog(disk);
  const maker = new StreamMaker(3);
  const wire = maker.batch(3);
  const forged = Uint8Array.from(wire);
  forged[HEADER.sealedMonoNs] = (forged[HEADER.sealedMonoNs] as number) ^ 1;
  sealBatch(forged);
  const [first, again, other] = await Promise.allSettled([
    log.append(admitted(wire)),
    log.append(admitted(wire)),
    log.append(admitted(forged)),
  ]);
  assert.equal(first.status === 'fulfilled' && first.value.index, 0);
  assert.equal(again.status === 'fulfilled' && again.value.index, 0);
  assert.equal(again.status === 'fulfilled' && again.value.isDuplicate, true);
  assert.equal(other.status === 'rejected' && other.reason.code, 'BATCH_CONFLICT');
  await log.publishNow();
  for (let i = 0; i < 5; i++) await assert.rejects(log.append(admitted(forged)), { code: 'BATCH_CONFLICT' });
  await log.close();
  log = await openMemoryLog(disk);
  assert.equal((await log.append(admitted(wire))).index, 0);
  await assert.rejects(log.append(admitted(forged)), { code: 'BATCH_CONFLICT' });
  await log.append(admitted(maker.batch(1)));
  await log.close();
  const kinds = disk.entries.map(({ entry }) => parseEntry(entry).kind);
  assert.deepEqual(kinds, ['batch', 'conflict', 'batch']);
  assert.deepEqual((await fsckDisk(disk)).findings, []);
});

test('publishes at the interval when grown, and a heartbeat when idle', async () => {
  const clock = new ManualClock();
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk, { clock, publishIntervalMs: 1000, heartbeatIntervalMs: 60_000 });
  const sizes: number[] = [];
  log.onPublished(({ size }) => sizes.push(size));
  await log.append(admitted(new StreamMaker(4).batch(1)));
  assert.deepEqual(sizes, []);
  await clock.advance(1000);
  assert.deepEqual(sizes, [1]);
  for (let i = 0; i < 59; i++) await clock.advance(1000);
  assert.deepEqual(sizes, [1]);
  await clock.advance(1000);
  assert.deepEqual(sizes, [1, 2]);
  assert.equal(parseEntry(disk.entries[1]!.entry).kind, 'heartbeat');
  await log.close();
});

test('a full queue refuses before memory grows, and keeps what it took', async () => {
  const log = await openMemoryLog(new MemoryDisk(), { queueBytesMax: 20_000 });
  const maker = new StreamMaker(5);
  const results = await Promise.allSettled(Array.from({ length: 40 }, () => log.append(admitted(maker.batch(10)))));
  const refused = results.filter((r) => r.status === 'rejected');
  assert.ok(refused.length > 0 && refused.length < 40);
  for (const r of refused) assert.equal((r as PromiseRejectedResult).reason.code, 'INGEST_OVERLOADED');
  assert.equal((await log.publishNow()).size, 40 - refused.length);
  await log.close();
});

async function grown(batches: number): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  const maker = new StreamMaker(6);
  for (let i = 0; i < batches; i++) await log.append(admitted(maker.batch(2)));
  await log.close();
  return disk;
}

test('a restart signs the same bytes', async () => {
  const disk = await grown(5);
  const note = disk.tree.published;
  const log = await openMemoryLog(disk);
  assert.equal(log.published().note, note);
  await log.close();
});

test('refuses to sign a shorter, another, a foreign history, or one whose last-signed record is gone', async () => {
  const shorter = await grown(5);
  shorter.entries.pop();
  await assert.rejects(openMemoryLog(shorter), { code: 'TREE_SHRANK' });

  const older = await grown(3);
  older.lock.value = (await grown(5)).lock.value;
  await assert.rejects(openMemoryLog(older), { code: 'TREE_SHRANK' });

  const other = new MemoryDisk();
  const log = await openMemoryLog(other);
  for (let i = 0; i < 5; i++) await log.append(admitted(new StreamMaker(70 + i).batch(1)));
  await log.close();
  other.lock.value = (await grown(5)).lock.value;
  await assert.rejects(openMemoryLog(other), { code: 'STORE_DIVERGED' });

  const lost = await grown(2);
  lost.lock.value = undefined;
  await assert.rejects(openMemoryLog(lost), { code: 'LAST_SIGNED_MISSING' });

  const foreign = await grown(2);
  await assert.rejects(
    openMemoryLog(foreign, { signer: ed25519Signer('other.mesh/log', new Uint8Array(32).fill(9)) }),
    { code: 'STORE_FOREIGN' },
  );
  await assert.rejects(
    openMemoryLog(await grown(2), { signer: ed25519Signer('test.mesh/log', new Uint8Array(32).fill(8)) }),
    { code: 'NOTE_NOT_VERIFIED' },
  );
});

test('something else that signs is noticed before a signature', async () => {
  const disk = new MemoryDisk();
  let fatal: Error | undefined;
  const log = await openMemoryLog(disk, {
    events: {
      sequenced() {},
      published() {},
      duplicate() {},
      conflict() {},
      conflictLost() {},
      fatal: (error) => (fatal = error),
    },
  });
  const note = disk.tree.published;
  disk.lock.value = { size: 7, root: new Uint8Array(32), atMs: 1 };
  await log.append(admitted(new StreamMaker(7).batch(1)));
  await assert.rejects(log.publishNow(), { code: 'LAST_SIGNED_MOVED' });
  assert.equal((fatal as Error & { code: string }).code, 'LAST_SIGNED_MOVED');
  assert.equal(disk.tree.published, note);
  await assert.rejects(log.append(admitted(new StreamMaker(8).batch(1))), { code: 'STORE_FAILED' });
  await log.close();
});

test('an entry that changes between the write and the signature is not signed', async () => {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  await log.append(admitted(new StreamMaker(9).batch(1)));
  const entry = disk.entries[0]!.entry;
  entry[entry.length - 2] = 0x31 + ((entry[entry.length - 2] as number) % 5);
  await assert.rejects(log.publishNow(), { code: 'STORE_CORRUPT' });
  await log.close();
});

test('fsck finds every flipped bit and names the place', async () => {
  const base = await grown(260);
  assert.deepEqual((await fsckDisk(base)).findings, []);
  const flip = (bytes: Uint8Array, bit: number): void => {
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  };
  const targets: [string, RegExp, (disk: MemoryDisk) => Uint8Array][] = [
    ['entry', /segment entry 17/, (d) => d.entries[17]!.entry],
    ['body', /segment body 200/, (d) => d.entries[200]!.body as Uint8Array],
    ['level-0 tile', /tile\/0\/000/, (d) => d.tree.tiles.get('0/0') as Uint8Array],
    ['partial tile', /tile\/0\/001\.p\/4/, (d) => d.tree.tiles.get('0/1') as Uint8Array],
    ['level-1 tile', /tile\/1\/000\.p\/1/, (d) => d.tree.tiles.get('1/0') as Uint8Array],
    ['entry tile', /entry tile 0/, (d) => d.tree.entryTiles.get(0) as Uint8Array],
    ['stream key', /tree key of stream [0-9a-f]{32} batch 0/, (d) => [...d.tree.batches.values()][0]!.hash],
    ['integrated', /integrated/, (d) => d.tree.integrated!.root],
    ['last-signed', /last-signed/, (d) => d.lock.value!.root],
  ];
  for (const [name, place, of] of targets) {
    const bytes = of(base);
    for (const bit of [0, 13, Math.floor(bytes.length * 4), bytes.length * 8 - 1]) {
      flip(bytes, bit);
      const { findings } = await fsckDisk(base);
      assert.ok(
        findings.some((f) => f.severity === 'error' && place.test(f.place)),
        `${name} bit ${bit}: ${JSON.stringify(findings.slice(0, 3))}`,
      );
      flip(bytes, bit);
    }
  }
  const note = base.tree.published as string;
  for (let at = 0; at < note.length; at++) {
    base.tree.published = note.slice(0, at) + String.fromCharCode(note.charCodeAt(at) ^ 1) + note.slice(at + 1);
    assert.ok(
      (
        await fsckDisk({
          ...base,
          stores: () => ({ ...base.stores(), segments: { ...base.stores().segments, end: async () => 0 } }),
        } as MemoryDisk)
      ).findings.some((f) => /published/.test(f.place)),
      `note character ${at}`,
    );
  }
  base.tree.published = note;
  base.tree.batches.set('planted', { index: 1, hash: new Uint8Array(32) });
  assert.ok((await fsckDisk(base)).findings.some((f) => /stream keys/.test(f.place)));
  base.tree.batches.delete('planted');
  base.entries.pop();
  assert.ok((await fsckDisk(base)).findings.some((f) => f.code === 'TREE_SHRANK'));
});

test('fsck tells a gap from damage', async () => {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  const maker = new StreamMaker(10);
  await log.append(admitted(maker.batch(2)));
  const [lost, third, fourth] = [maker.batch(3), maker.batch(1), maker.batch(1)];
  await log.append(admitted(fourth));
  await log.append(admitted(third));
  await log.publishNow();
  const { findings } = await fsckDisk(disk);
  assert.deepEqual(
    findings.map(({ severity, code }) => [severity, code]),
    [['gap', 'STREAM_GAP']],
  );
  assert.match(findings[0]!.message, /Batches 1 to 1 never arrived: records 2 to 4/);
  await log.append(admitted(lost));
  await log.close();
  assert.deepEqual((await fsckDisk(disk)).findings, []);
  assert.match(fromUtf8(disk.entries[3]!.entry) as string, /^meshtrail\/batch\/v2\n/);
});
