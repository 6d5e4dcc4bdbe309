// Goal: today's code reads and verifies every golden file of each version, and writes the very same bytes.
// Stored bodies are the exception to "the same": how zstd packs may change with its version, what comes out of it may not.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
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
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { checkLog } from '../../collector/src/core/tlog/check-log.ts';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { parseVkey } from '../../collector/src/core/tlog/note.ts';
import { entryTilePath, tilePath } from '../../collector/src/core/tlog/tile.ts';
import { packBody, unpackBody } from '../../collector/src/log/body.ts';
import { openLog } from '../../collector/src/log/open-log.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { levelStores, ManualClock, quiet } from '../support/logs.ts';
import { type GoldenVersion, goldenFiles, goldenFolder, signer } from './make.ts';

type Dump = Record<string, Record<string, string>>;

const VERSIONS: readonly GoldenVersion[] = [1, 2];
/** Entry of each batch, records of each, and records in each zone of time. */
const EXPECTED = {
  1: { batches: [0, 2], zones: [3, 1], records: 4 },
  2: { batches: [0, 2, 3, 4], zones: [9, 1, 3], records: 13 },
} as const;
const HEARTBEAT = { 1: 3, 2: 5 } as const;
const BODY_KEY = /^62/;

const read = async (version: GoldenVersion, name: string): Promise<Uint8Array> =>
  new Uint8Array(await readFile(join(goldenFolder(version), name)));
const text = async (version: GoldenVersion, name: string): Promise<string> =>
  fromUtf8(await read(version, name)) as string;
const log = parseVkey((await text(1, 'log.vkey')).trim());

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'meshtrail golden '));
});
after(async () => await rm(directory, { recursive: true }));

async function names(version: GoldenVersion): Promise<string[]> {
  const folder = goldenFolder(version);
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll(sep, '/'))
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

/** A record as the version's files have it: names that were added since are taken out, when they say what was true then. */
function asOf(version: GoldenVersion, record: FlowRecord): unknown {
  const json = JSON.parse(JSON.stringify(record)) as FlowRecord;
  if (version === 2) return json;
  const { kind, phase, sensor, ...place } = json.record;
  assert.deepEqual([kind, phase, sensor], ['http', 'end', 'http_filter']);
  const { format, ...trace } = json.trace;
  assert.equal(format, trace.id === undefined ? undefined : 'w3c');
  const { principal_from: from, ...source } = json.source;
  assert.equal(from, source.principal === undefined ? undefined : 'mtls');
  return { ...json, record: place, trace, source };
}

for (const version of VERSIONS) {
  const { batches, zones: zoneRecords, records } = EXPECTED[version];
  const file = (name: string): Promise<Uint8Array> => read(version, name);

  test(`version ${version}: the same bytes are written today`, async () => {
    const made = await goldenFiles(version);
    assert.deepEqual([...made.keys()].sort(), await names(version));
    for (const [name, bytes] of made) {
      const [now, then] = [fromUtf8(bytes), fromUtf8(await file(name))];
      if (name === 'store.json')
        assert.deepEqual(split(JSON.parse(now as string) as Dump), split(JSON.parse(then as string) as Dump));
      else if (/^record-.*\d\.json$/.test(name))
        assert.deepEqual(asOf(version, JSON.parse(now as string) as FlowRecord), JSON.parse(then as string));
      else assert.deepEqual(bytes, await file(name), name);
    }
  });

  test(`version ${version}: batches and their entries are read, and written as they are`, async () => {
    for (const [i, index] of batches.entries()) {
      const bytes = await file(`entry-${index}-batch.txt`);
      const entry = parseEntry(bytes);
      assert.ok(entry.kind === 'batch');
      const wire = await file(`batch-${i}.bin`);
      const header = headerOf(decodeBatch(wire), entry.peer)(entry.receivedMs);
      assert.deepEqual(header, entry);
      assert.deepEqual(formatEntry(header), bytes);
      assert.deepEqual(unpackBody(packBody(wire)), wire);
    }
    for (const [name, kind] of [
      ['entry-1-conflict.txt', 'conflict'],
      [`entry-${HEARTBEAT[version]}-heartbeat.txt`, 'heartbeat'],
    ] as const) {
      const entry = parseEntry(await file(name));
      assert.equal(entry.kind, kind);
      assert.deepEqual(formatEntry(entry), await file(name));
    }
  });

  test(`version ${version}: the acknowledgement names its batch and the checkpoint`, async () => {
    const ack = decodeAck(await file('ack.bin'));
    const { size, root } = openCheckpoint(await file('log/checkpoint'), log);
    assert.deepEqual([ack.batchNumber, ack.index, ack.checkpointSize, ack.checkpointRoot], [1, 2, size, root]);
    assert.deepEqual(ack.stream, decodeBatch(await file('batch-1.bin')).stream);
    assert.deepEqual(encodeAck(ack), await file('ack.bin'));
  });

  test(`version ${version}: record proofs verify with the key alone, and give the records`, async () => {
    const batch = decodeBatch(await file('batch-0.bin'));
    assert.equal(batch.rowCount, zoneRecords[0]);
    for (let row = 0; row < batch.rowCount; row++) {
      const proof = await text(version, `record-0.${row}.proof.json`);
      const { record, checkpoint } = verifyRecordProof(parseRecordProof(proof), log);
      const golden = JSON.parse(await text(version, `record-0.${row}.json`)) as unknown;
      assert.deepEqual(asOf(version, record), golden);
      assert.deepEqual(asOf(version, recordOf(sourceOf(batch, 0, row))), golden);
      assert.equal(checkpoint.size, 260);
    }
  });

  test(`version ${version}: the exported log is whole`, async () => {
    const files = new Map<string, Uint8Array>();
    for (const name of await names(version))
      if (name.startsWith('log/')) files.set(name.slice('log/'.length), await file(name));
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

  test(`version ${version}: a directory is opened, found clean, and signed as before`, async () => {
    const home = join(directory, `v${version}`);
    await mkdir(home);
    const dump = JSON.parse(await text(version, 'store.json')) as Dump;
    for (const [name, values] of Object.entries(dump)) {
      const database = await openLevel(join(home, name), 65_536);
      for (const [key, value] of Object.entries(values)) await database.put(fromHex(key), fromBase64(value));
      await database.close();
    }
    const format = JSON.stringify({ format: 'meshtrail/directory/v1', origin: signer.name });
    await writeFile(join(home, 'meshtrail.json'), format);
    const entries = batches.length + 2;
    const report = await fsckDirectory(home, '', signer.vkey, () => undefined);
    assert.deepEqual(report, { findings: [], checked: 'everything', entries, records, published: entries });
    const opened = await openLog({
      ...(await levelStores(home)),
      signer,
      clock: new ManualClock(),
      events: quiet,
      queueBytesMax: 1_048_576,
      publishIntervalMs: 1000,
      heartbeatIntervalMs: 60_000,
    });
    const published = Buffer.from('mpublished').toString('hex');
    assert.equal(opened.published().note, fromUtf8(fromBase64(dump['tree']?.[published] as string)));
    for (const [i, index] of batches.entries())
      assert.deepEqual(await opened.wireBatch(index), await file(`batch-${i}.bin`));
    await opened.close();
    const zones = await openLevelZones(join(home, 'index'));
    const counts: number[] = [];
    for await (const zone of zones.zones()) counts.push(zone.records);
    assert.deepEqual([counts, await zones.indexed()], [zoneRecords, entries]);
    await zones.close();
  });
}
