// Goal: fsck names a damaged entry and draws no conclusions from it: that a proxy lost batches or broke its chain, or that a body, key or count is wrong.
// Method: every entry of a real LevelDB directory is taken away, or has its bits flipped; a real gap beside it must still be told.

import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import type { Finding } from '../../collector/src/log/fsck.ts';
import { batchKey, key64 } from '../../collector/src/store/keys.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted, openLevelLog, signer } from '../support/logs.ts';
import { edit, finish, flipped, makeDirectory, Workshop } from './directory.ts';

const SEGMENT = join('segments', '0000000000000000');
const COUNT = 12;

let shop: Workshop;
let directory: string;

before(async () => {
  shop = await Workshop.open();
  directory = shop.next();
  await makeDirectory(directory, COUNT);
});
after(async () => await shop.remove());

const findingsOf = async (dir: string): Promise<readonly Finding[]> =>
  (await fsckDirectory(dir, '', signer.vkey, () => undefined)).findings;

/** Findings while an entry has another value, or none. */
async function findingsWith(dir: string, index: number, change: (entry: Uint8Array) => Uint8Array | undefined) {
  const key = key64('e', index);
  let kept: Uint8Array | undefined;
  await edit(join(dir, SEGMENT), async (db) => {
    kept = Uint8Array.from((await db.get(key)) as Uint8Array);
    const value = change(kept);
    await (value === undefined ? db.del(key) : db.put(key, value));
  });
  const findings = await findingsOf(dir);
  await edit(join(dir, SEGMENT), async (db) => await db.put(key, kept as Uint8Array));
  return findings;
}

const placesOf = (findings: readonly Finding[]): string[] => [...new Set(findings.map(({ place }) => place))];

test('an entry that is gone is the only finding', async () => {
  // Two more than batches: a conflict and a heartbeat.
  for (let index = 0; index < COUNT + 1; index++)
    assert.deepEqual(
      await findingsWith(directory, index, () => undefined),
      [{ severity: 'error', code: 'STORE_CORRUPT', place: `segment entry ${index}`, message: 'It is missing.' }],
      String(index),
    );
  const codes = (await findingsWith(directory, COUNT + 1, () => undefined)).map(({ code }) => code);
  assert.deepEqual([...new Set(codes)], ['TREE_SHRANK'], 'without its last entry a log is too short, and nothing else');
  assert.deepEqual(await findingsOf(directory), []);
});

test('an entry with a flipped bit is the only thing that is named', async () => {
  for (const index of [0, 2, 5, COUNT + 1])
    for (let bit = index; bit < 8 * 700; bit += 331) {
      const findings = await findingsWith(directory, index, (entry) => flipped(entry, bit % (entry.length * 8)));
      assert.deepEqual(placesOf(findings), [`segment entry ${index}`], `bit ${bit}: ${JSON.stringify(findings)}`);
      assert.doesNotMatch(JSON.stringify(findings), /never arrived|chain is broken|twice/);
    }
});

test('a gap is told beside damage, and in doubt where nobody knows what the damaged entry was', async (t) => {
  const gapped = shop.next();
  t.after(async () => await rm(gapped, { recursive: true }));
  const log = await openLevelLog(gapped);
  const maker = new StreamMaker(6);
  const wires = Array.from({ length: 8 }, () => maker.batch(2));
  // Batches 2 and 3 are lost; entries 0 to 5 are batches 0, 1 and 4 to 7.
  for (const [i, wire] of wires.entries()) if (i < 2 || i > 3) await log.append(admitted(wire));
  await log.close();
  await finish(gapped);
  const gaps = (findings: readonly Finding[]): string[] =>
    findings.filter(({ severity }) => severity === 'gap').map(({ message }) => message);

  assert.deepEqual(gaps(await findingsOf(gapped)), ['Batches 2 to 3 never arrived: records 4 to 7.']);
  const apart = await findingsWith(gapped, 4, () => undefined);
  assert.deepEqual(gaps(apart), ['Batches 2 to 3 never arrived: records 4 to 7.']);
  const beside = await findingsWith(gapped, 2, () => undefined);
  assert.deepEqual(gaps(beside), ['Batches 2 to 3 never arrived.']);
  assert.deepEqual(placesOf(beside.filter(({ severity }) => severity === 'error')), ['segment entry 2']);

  const { stream } = decodeBatch(wires[0] as Uint8Array);
  await edit(join(gapped, 'tree'), async (db) => await db.del(batchKey('s', stream, 6)));
  const unknown = await findingsWith(gapped, 4, () => undefined);
  assert.deepEqual(gaps(unknown), [
    'Batches 2 to 3 never arrived: records 4 to 7, or are among the damaged entries.',
    'Batches 6 to 6 never arrived: records 12 to 13, or are among the damaged entries.',
  ]);
});
