// Goal: damage to the files of a closed directory is found, or has changed nothing that the log gives out; nobody is told "clean" when something is gone.
// Method: bits, ends and whole files of real LevelDB directories; a flip in dead bytes may be harmless, so exports are compared.

import assert from 'node:assert/strict';
import { cp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { MeshtrailError } from '../../collector/src/core/error.ts';
import { ed25519Signer } from '../../collector/src/core/tlog/note.ts';
import { checkLevelFiles } from '../../collector/src/store/level-files.ts';
import { levelStores, ManualClock, openLevelLog, signer } from '../support/logs.ts';
import { damage, exportOf, filesOf, flipped, grow, makeDirectory, Workshop } from './directory.ts';

let shop: Workshop;
/** The same log twice: data in LevelDB's write-ahead logs, and moved into its tables. */
let fresh: string;
let settled: string;
let whole: string;

before(async () => {
  shop = await Workshop.open();
  fresh = shop.next();
  await makeDirectory(fresh);
  settled = await shop.copy(fresh);
  // Opening replays the write-ahead logs into tables.
  const stores = await levelStores(settled);
  await stores.segments.entry(0);
  for (const store of Object.values(stores)) await store.close();
  whole = await exportOf(await shop.copy(fresh));
});
after(async () => await shop.remove());

/** Damages a copy; it must be refused, found, or give out the very same. */
async function afterDamage(base: string, what: string, work: (copy: string) => Promise<void>): Promise<boolean> {
  const copy = await shop.copy(base);
  await work(copy);
  const isFound = (await damage(copy)).length > 0;
  if (!isFound) assert.equal(await exportOf(copy), whole, `${what}: called clean, and gives out something else`);
  await rm(copy, { recursive: true });
  return isFound;
}

const storeFiles = async (directory: string): Promise<string[]> =>
  (await filesOf(directory))
    .map((path) => relative(directory, path))
    .filter((path) => !/meshtrail\.json$|keys|LOCK$|LOG(\.old)?$/.test(path));

test('a flipped bit anywhere in the files', async (t) => {
  let found = 0;
  let runs = 0;
  const names = { fresh: await storeFiles(fresh), settled: await storeFiles(settled) };
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.nat(), fc.nat(), async (isFresh, which, bit) => {
      const [base, list] = isFresh ? [fresh, names.fresh] : [settled, names.settled];
      const name = list[which % list.length] as string;
      runs++;
      const isFound = await afterDamage(base, `${name} bit ${bit}`, async (copy) => {
        const bytes = await readFile(join(copy, name));
        if (bytes.length > 0) await writeFile(join(copy, name), flipped(bytes, bit % (bytes.length * 8)));
      });
      if (isFound) found++;
    }),
    { numRuns: Number(process.env['MESHTRAIL_FAULT_RUNS'] ?? 30) },
  );
  t.diagnostic(`${found} of ${runs} found, the others without effect`);
  assert.ok(found > runs / 3);
});

test('a file that is cut short, emptied or removed', async () => {
  const harmless: string[] = [];
  for (const base of [fresh, settled])
    for (const name of await storeFiles(base)) {
      if ((await readFile(join(base, name))).length === 0) continue;
      for (const [what, work] of Object.entries({
        removed: async (path: string) => await rm(path),
        emptied: async (path: string) => await truncate(path, 0),
        halved: async (path: string) => await truncate(path, Math.floor((await readFile(path)).length / 2)),
      })) {
        const isFound = await afterDamage(base, `${name} ${what}`, async (copy) => await work(join(copy, name)));
        if (!isFound) harmless.push(`${name} ${what}`);
      }
    }
  assert.deepEqual(harmless, []);
});

test('a damaged block or record is named by file and byte, and nothing is opened for it', async () => {
  for (const [base, pattern] of [
    [settled, /^segments.0000000000000000.\d+\.ldb$/],
    [fresh, /^segments.0000000000000256.\d+\.log$/],
    [fresh, /^tree.MANIFEST-\d+$/],
  ] as const) {
    const copy = await shop.copy(base);
    const name = (await storeFiles(copy)).find((path) => pattern.test(path)) as string;
    const bent = flipped(await readFile(join(copy, name)), 5000 % (8 * 40));
    await writeFile(join(copy, name), bent);
    const found = await damage(copy);
    assert.deepEqual(
      found.map(({ code, place }) => [code, place]),
      [['STORE_CORRUPT', name]],
    );
    assert.deepEqual(await readFile(join(copy, name)), Buffer.from(bent));
    if (!name.endsWith('ldb')) await assert.rejects(openLevelLog(copy), { code: 'STORE_CORRUPT' });
  }
});

test('a table that was not finished when the database was ended belongs to nobody', async () => {
  const copy = await shop.copy(settled);
  await writeFile(join(copy, 'tree', '000999.ldb'), Buffer.alloc(300, 7));
  assert.deepEqual(await checkLevelFiles(join(copy, 'tree'), 'all'), []);
  const name = (await storeFiles(copy)).find((path) => /^tree.\d+\.ldb$/.test(path) && !path.includes('999')) as string;
  await rm(join(copy, name));
  assert.deepEqual(
    (await damage(copy)).map(({ place }) => place),
    [name],
  );
});

test('a record of a log that a kill cut off is no damage', async () => {
  const copy = await shop.copy(fresh);
  const name = (await storeFiles(copy)).find((path) => /^segments.0{16}.\d+\.log$/.test(path)) as string;
  const bytes = await readFile(join(copy, name));
  for (const cut of [1, 6, 7, 8, 500]) {
    await writeFile(join(copy, name), bytes.subarray(0, bytes.length - cut));
    assert.deepEqual(await checkLevelFiles(join(copy, 'segments', '0000000000000000'), 'all'), []);
  }
  await writeFile(join(copy, name), Buffer.concat([bytes, Buffer.alloc(5000)]));
  assert.deepEqual(await checkLevelFiles(join(copy, 'segments', '0000000000000000'), 'all'), []);
  await writeFile(join(copy, name), Buffer.concat([bytes, Buffer.alloc(5000), Buffer.of(1)]));
  assert.equal((await checkLevelFiles(join(copy, 'segments', '0000000000000000'), 'all')).length, 1);
});

test('a changed bit in the length of the last record is no record that a kill cut off', async () => {
  for (const [database, pattern] of [
    ['tree', /^tree.\d+\.log$/],
    ['last-signed', /^last-signed.\d+\.log$/],
  ] as const) {
    const copy = await shop.copy(fresh);
    const name = (await storeFiles(copy)).find((path) => pattern.test(path)) as string;
    const bytes = await readFile(join(copy, name));
    // A checkpoint or a last-signed record fits one block, so the records can be walked by their lengths.
    let last = 0;
    for (let at = 0; at + 7 < bytes.length; at += 7 + bytes.readUInt16LE(at + 4)) {
      if (32_768 - (at % 32_768) < 7) at += 32_768 - (at % 32_768);
      last = at;
    }
    for (let bit = 0; bit < 16; bit++) {
      await writeFile(join(copy, name), flipped(bytes, (last + 4) * 8 + bit));
      assert.equal((await checkLevelFiles(join(copy, database), 'all')).length, 1, `${name} bit ${bit}`);
    }
  }
});

test('a record of which a power cut left only the first sectors is no damage; a changed bit in it is', async () => {
  const copy = await shop.copy(fresh);
  const database = join(copy, 'segments', '0000000000000000');
  const name = (await storeFiles(copy)).find((path) => /^segments.0{16}.\d+\.log$/.test(path)) as string;
  const bytes = await readFile(join(copy, name));
  const edge = Math.floor((bytes.length - 1) / 512) * 512;
  const torn = Buffer.concat([bytes.subarray(0, edge), Buffer.alloc(bytes.length - edge + 4096)]);
  await writeFile(join(copy, name), torn);
  assert.deepEqual(await checkLevelFiles(database, 'all'), []);
  for (const at of [edge - 1, edge + 1, bytes.length - 1]) {
    await writeFile(join(copy, name), flipped(bytes, at * 8));
    assert.equal((await checkLevelFiles(database, 'all')).length, 1, `byte ${at}`);
  }
});

test("a flipped bit in the directory's name or in the key beside it is refused", async () => {
  const copy = await shop.copy(settled);
  for (const name of ['meshtrail.json', join('keys', 'log.vkey')]) {
    const path = join(copy, name);
    const bytes = await readFile(path);
    // The line feed behind the key is not part of it.
    const end = bytes.at(-1) === 0x0a ? bytes.length - 1 : bytes.length;
    for (let bit = 0; bit < end * 8; bit++) {
      await writeFile(path, flipped(bytes, bit));
      const check = fsckDirectory(copy, '', undefined, () => undefined);
      await assert.rejects(check, MeshtrailError, `${name} bit ${bit}`);
    }
    await writeFile(path, bytes);
  }
  assert.deepEqual(await damage(copy), []);
});

test('a segment that is gone is named by its entries, and the rest is still checked', async () => {
  const first = await shop.copy(settled);
  await rm(join(first, 'segments', '0000000000000000'), { recursive: true });
  const found = await damage(first);
  assert.deepEqual([found.length, found[0]?.place], [1, 'segment entry 0']);
  const last = await shop.copy(settled);
  await rm(join(last, 'segments', '0000000000000256'), { recursive: true });
  assert.ok((await damage(last)).some(({ code, place }) => code === 'TREE_SHRANK' && place === 'last-signed'));
  await assert.rejects(openLevelLog(last), { code: 'TREE_SHRANK' });
});

test('an older copy put in place is not signed on', async () => {
  const newer = await shop.copy(settled);
  const clock = new ManualClock();
  const log = await openLevelLog(newer, { clock });
  await grow(log, clock, 5, 77);
  await log.close();
  // All but the last-signed record, which lives on another volume.
  for (const part of ['segments', 'tree']) {
    await rm(join(newer, part), { recursive: true });
    await cp(join(settled, part), join(newer, part), { recursive: true });
  }
  await assert.rejects(openLevelLog(newer), { code: 'TREE_SHRANK' });
  assert.ok((await damage(newer)).some(({ code }) => code === 'TREE_SHRANK'));
});

test('another history, another log and another key are not signed on', async () => {
  const other = shop.next();
  await makeDirectory(other, 270, 2);
  const mixed = await shop.copy(settled);
  await rename(join(mixed, 'last-signed'), join(mixed, 'own'));
  await cp(join(other, 'last-signed'), join(mixed, 'last-signed'), { recursive: true });
  await assert.rejects(openLevelLog(mixed), { code: 'STORE_DIVERGED' });
  assert.ok((await damage(mixed)).some(({ code, place }) => code === 'STORE_DIVERGED' && place === 'last-signed'));

  const bodies = await shop.copy(settled);
  await rm(join(bodies, 'segments'), { recursive: true });
  await cp(join(other, 'segments'), join(bodies, 'segments'), { recursive: true });
  const found = await damage(bodies);
  assert.ok(found.some(({ place }) => /^segment entry 0$/.test(place)));

  const seed = new Uint8Array(32).fill(3);
  await assert.rejects(openLevelLog(await shop.copy(settled), { signer: ed25519Signer('other.mesh/log', seed) }), {
    code: 'STORE_FOREIGN',
  });
  await assert.rejects(openLevelLog(await shop.copy(settled), { signer: ed25519Signer(signer.name, seed) }), {
    code: 'NOTE_NOT_VERIFIED',
  });
});

test('the tree is made anew from the segments', async () => {
  const copy = await shop.copy(settled);
  await rm(join(copy, 'tree'), { recursive: true });
  assert.ok((await damage(copy)).length > 0);
  await (await openLevelLog(copy)).close();
  assert.deepEqual(await damage(copy), []);
  assert.equal(await exportOf(copy), whole);
});
