// Goal: today's code reads and verifies every golden file of version 1, and writes the very same bytes.
// Stored bodies are the exception to "the same": how zstd packs may change with its version, what comes out of it may not.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { after, before, test } from 'node:test';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { fromBase64, fromHex, fromUtf8 } from '../../collector/src/core/bytes.ts';
import { decodeAck, encodeAck } from '../../collector/src/core/codec/ack.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { formatEntry, headerOf, parseEntry } from '../../collector/src/core/codec/entry.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { parseRecordProof, verifyRecordProof } from '../../collector/src/core/codec/record-proof.ts';
import { checkLog } from '../../collector/src/core/tlog/check-log.ts';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { parseVkey } from '../../collector/src/core/tlog/note.ts';
import { entryTilePath, tilePath } from '../../collector/src/core/tlog/tile.ts';
import { unpackBody } from '../../collector/src/log/body.ts';
import { openLog } from '../../collector/src/log/open-log.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { levelStores, ManualClock, quiet } from '../support/logs.ts';
import { GOLDEN, goldenFiles, signer } from './make.ts';

type Dump = Record<string, Record<string, string>>;

const read = async (name: string): Promise<Uint8Array> => new Uint8Array(await readFile(join(GOLDEN, name)));
const text = async (name: string): Promise<string> => fromUtf8(await read(name)) as string;
const log = parseVkey((await text('log.vkey')).trim());
const BODY_KEY = /^62/;

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'meshtrail golden '));
});
after(async () => await rm(directory, { recursive: true }));

async function names(): Promise<string[]> {
  const entries = await readdir(GOLDEN, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(GOLDEN, join(entry.parentPath, entry.name)).replaceAll(sep, '/'))
    .sort();
}

/** A dump without stored bodies, and those unpacked. */
function split(dump: Dump): { readonly values: Dump; readonly wires: Uint8Array[] } {
  const wires: Uint8Array[] = [];
  const values: Dump = {};
  for (const [database, stored] of Object.entries(dump)) {
    values[database] = {};
    for (const [key, value] of Object.entries(stored))
      if (database.startsWith('segments/') && BODY_KEY.test(key)) wires.push(unpackBody(fromBase64(value)));
      else (values[database] as Record<string, string>)[key] = value;
  }
  return { values, wires };
}

test('the same bytes are written today', async () => {
  const made = await goldenFiles();
  assert.deepEqual([...made.keys()].sort(), await names());
  for (const [name, bytes] of made) {
    if (name === 'store.json') {
      const [now, then] = [JSON.parse(fromUtf8(bytes) as string) as Dump, JSON.parse(await text(name)) as Dump];
      assert.deepEqual(split(now), split(then));
    } else assert.deepEqual(bytes, await read(name), name);
  }
});

test('batches and their entries are read, and written as they are', async () => {
  for (const [batchFile, entryFile] of [
    ['batch-0.bin', 'entry-0-batch.txt'],
    ['batch-1.bin', 'entry-2-batch.txt'],
  ] as const) {
    const entry = parseEntry(await read(entryFile));
    assert.ok(entry.kind === 'batch');
    const header = headerOf(decodeBatch(await read(batchFile)), entry.peer)(entry.receivedMs);
    assert.deepEqual(formatEntry(header), await read(entryFile));
  }
  for (const [file, kind] of [
    ['entry-1-conflict.txt', 'conflict'],
    ['entry-3-heartbeat.txt', 'heartbeat'],
  ] as const) {
    const entry = parseEntry(await read(file));
    assert.equal(entry.kind, kind);
    assert.deepEqual(formatEntry(entry), await read(file));
  }
});

test('the acknowledgement names its batch and the checkpoint', async () => {
  const ack = decodeAck(await read('ack.bin'));
  const { size, root } = openCheckpoint(await read('log/checkpoint'), log);
  assert.deepEqual([ack.batchNumber, ack.index, ack.checkpointSize, ack.checkpointRoot], [1, 2, size, root]);
  assert.deepEqual(ack.stream, decodeBatch(await read('batch-1.bin')).stream);
  assert.deepEqual(encodeAck(ack), await read('ack.bin'));
});

test('record proofs verify with the key alone, and give the records', async () => {
  const batch = decodeBatch(await read('batch-0.bin'));
  for (let row = 0; row < batch.rowCount; row++) {
    const { record, checkpoint } = verifyRecordProof(parseRecordProof(await text(`record-0.${row}.proof.json`)), log);
    const golden = JSON.parse(await text(`record-0.${row}.json`)) as unknown;
    assert.deepEqual(JSON.parse(JSON.stringify(record)), golden);
    assert.deepEqual(JSON.parse(JSON.stringify(recordOf(sourceOf(batch, 0, row)))), golden);
    assert.equal(checkpoint.size, 260);
  }
});

test('the exported log is whole', async () => {
  const files = new Map<string, Uint8Array>();
  for (const name of await names()) if (name.startsWith('log/')) files.set(name.slice('log/'.length), await read(name));
  const report = await checkLog({
    head: openCheckpoint(files.get('checkpoint') as Uint8Array, log),
    reader: {
      tile: async (level, index, width) => files.get(tilePath({ level, index, width })),
      entryTile: async (index, width) => files.get(entryTilePath(index, width)),
    },
    listed: [...files.keys()].filter((path) => path.startsWith('tile/')),
  });
  assert.deepEqual(report, { findings: [], entries: 260, isComplete: true });
});

test('a directory of version 1 is opened, found clean, and signed as before', async () => {
  const dump = JSON.parse(await text('store.json')) as Dump;
  for (const [name, values] of Object.entries(dump)) {
    const database = await openLevel(join(directory, name), 65_536);
    for (const [key, value] of Object.entries(values)) await database.put(fromHex(key), fromBase64(value));
    await database.close();
  }
  await writeFile(
    join(directory, 'meshtrail.json'),
    JSON.stringify({ format: 'meshtrail/directory/v1', origin: signer.name }),
  );
  const report = await fsckDirectory(directory, '', signer.vkey, () => undefined);
  assert.deepEqual(report, { findings: [], checked: 'everything', entries: 4, records: 4, published: 4 });
  const opened = await openLog({
    ...(await levelStores(directory)),
    signer,
    clock: new ManualClock(),
    events: quiet,
    queueBytesMax: 1_048_576,
    publishIntervalMs: 1000,
    heartbeatIntervalMs: 60_000,
  });
  const published = Buffer.from('mpublished').toString('hex');
  assert.equal(opened.published().note, fromUtf8(fromBase64(dump['tree']?.[published] as string)));
  assert.deepEqual(await opened.wireBatch(0), await read('batch-0.bin'));
  await opened.close();
  const zones = await openLevelZones(join(directory, 'index'));
  const records: number[] = [];
  for await (const zone of zones.zones()) records.push(zone.records);
  assert.deepEqual([records, await zones.indexed()], [[3, 1], 4]);
  await zones.close();
});
