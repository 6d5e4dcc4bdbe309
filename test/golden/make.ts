// Makes the golden files of a format version: `node test/golden/make.ts 2` writes them to test/golden/v2. Everything in them is
// fixed: key, clock, secrets. Once a version is released its files are never made again, only read.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromUtf8, toBase64, toHex, utf8 } from '../../collector/src/core/bytes.ts';
import { encodeAck } from '../../collector/src/core/codec/ack.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { headerOf, type PeerIdentity, parseEntry } from '../../collector/src/core/codec/entry.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { makeRecordProof } from '../../collector/src/core/codec/record-proof.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import { ed25519Signer } from '../../collector/src/core/tlog/note.ts';
import { entryTilePath, inclusionProof, tilePath, tilesOf } from '../../collector/src/core/tlog/tile.ts';
import { formatTlogProof } from '../../collector/src/core/tlog/tlog-proof.ts';
import { openZoneIndex } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { openLog } from '../../collector/src/log/open-log.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { levelStores, ManualClock, MemoryDisk, quiet } from '../support/logs.ts';
import { batchesV1, type GoldenBatches } from './version-1.ts';
import { batchesV2 } from './version-2.ts';

export type GoldenVersion = 1 | 2;
export const goldenFolder = (version: GoldenVersion): string => fileURLToPath(new URL(`v${version}/`, import.meta.url));
const BATCHES: Readonly<Record<GoldenVersion, () => GoldenBatches>> = { 1: batchesV1, 2: batchesV2 };

/** Entries of the exported log: a full tile and a partial one. */
const LOG_ENTRIES = 260;
export const signer = ed25519Signer('golden.test/log', new Uint8Array(32).fill(42));
const peer: PeerIdentity = {
  spiffeId: 'spiffe://demo.mesh/ns/shop/sa/orders',
  certificateSha256: sha256(utf8('certificate of orders')),
};

type Stores = Awaited<ReturnType<typeof levelStores>>;

/** Opens a log and gives it its life: a batch, a conflict, the other batches, heartbeats until it has so many entries. */
async function logOf({ batches, forged }: GoldenBatches, stores: Stores, entries: number): Promise<EvidenceLog> {
  const clock = new ManualClock();
  const log = await openLog({
    ...stores,
    signer,
    clock,
    events: quiet,
    queueBytesMax: 1_048_576,
    publishIntervalMs: 1_000_000,
    heartbeatIntervalMs: 60_000,
  });
  const [first, ...others] = batches as [Uint8Array, ...Uint8Array[]];
  const admit = (wire: Uint8Array) => ({ wire, header: headerOf(decodeBatch(wire), peer) });
  const stored = async (index: number): Promise<void> => {
    while ((await log.entry(index)) === undefined) await new Promise((done) => setImmediate(done));
    await log.publishNow();
  };
  await log.append(admit(first));
  await clock.advance(500);
  await log.append(admit(forged)).catch(() => undefined);
  await stored(1);
  for (const other of others) await log.append(admit(other));
  await log.publishNow();
  for (let index = batches.length + 1; index < entries; index++) {
    await clock.advance(1_000_000);
    await stored(index);
  }
  return log;
}

/** Every key and value of a directory's databases. */
async function dump(directory: string): Promise<Record<string, Record<string, string>>> {
  const all: Record<string, Record<string, string>> = {};
  for (const name of ['segments/0000000000000000', 'tree', 'last-signed', 'index']) {
    const database = await openLevel(join(directory, name), 65_536);
    const values: Record<string, string> = {};
    for await (const [key, value] of database.iterator()) values[toHex(key)] = toBase64(value);
    await database.close();
    all[name] = values;
  }
  return all;
}

async function storeOf(golden: GoldenBatches): Promise<Record<string, Record<string, string>>> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtrail golden '));
  try {
    // All batches, the conflict and a heartbeat.
    const log = await logOf(golden, await levelStores(directory), golden.batches.length + 2);
    const index = await openZoneIndex({
      log,
      store: await openLevelZones(join(directory, 'index')),
      rowsMax: 1000,
      timeMsMax: 1000,
      now: () => 0,
      failed: (error) => {
        throw error;
      },
    });
    await index.close();
    await log.close();
    return await dump(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Every golden file of a version: path below its folder and bytes. */
export async function goldenFiles(version: GoldenVersion): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const add = (name: string, content: Uint8Array | string): void =>
    void files.set(name, typeof content === 'string' ? utf8(content) : content);
  const golden = BATCHES[version]();
  const first = golden.batches[0] as Uint8Array;
  const { stream, rowCount } = decodeBatch(first);
  const log = await logOf(golden, new MemoryDisk().stores() as Stores, LOG_ENTRIES);
  const { size, root, note } = log.published();
  add('log.vkey', `${signer.vkey}\n`);
  for (const [i, wire] of golden.batches.entries()) add(`batch-${i}.bin`, wire);
  add('ack.bin', encodeAck({ stream, batchNumber: 1, index: 2, checkpointSize: size, checkpointRoot: root }));
  for (let index = 0; index < golden.batches.length + 2; index++) {
    const entry = (await log.entry(index)) as Uint8Array;
    add(`entry-${index}-${parseEntry(entry).kind}.txt`, entry);
  }
  const path = await inclusionProof(log.tiles, 0, size);
  const header = fromUtf8((await log.entry(0)) as Uint8Array) as string;
  for (let row = 0; row < rowCount; row++) {
    const proof = makeRecordProof(
      decodeBatch(first),
      row,
      0,
      header,
      formatTlogProof({ index: 0, path, note }),
      log.origin,
    );
    add(`record-0.${row}.proof.json`, `${JSON.stringify(proof, null, 2)}\n`);
    add(`record-0.${row}.json`, `${JSON.stringify(recordOf(sourceOf(decodeBatch(first), 0, row)), null, 2)}\n`);
  }
  add('log/checkpoint', note);
  for (const { level, index, width } of tilesOf(size)) {
    add(`log/${tilePath({ level, index, width })}`, (await log.tiles.tile(level, index, width)) as Uint8Array);
    if (level === 0) add(`log/${entryTilePath(index, width)}`, (await log.entryTile(index, width)) as Uint8Array);
  }
  await log.close();
  add('store.json', `${JSON.stringify(await storeOf(golden), null, 1)}\n`);
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const version = Number(process.argv[2]);
  if (version !== 1 && version !== 2) throw new Error('which version? 1 or 2');
  const folder = goldenFolder(version);
  rmSync(folder, { recursive: true, force: true });
  for (const [name, content] of await goldenFiles(version)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}
