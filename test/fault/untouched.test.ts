// Goal: fsck changes nothing of what it checks, whatever it finds, and leaves nothing behind; it sees a collector that runs, and needs no writable directory.
// Method: hashes of all files of real LevelDB directories before and after; a file system that makes no second names is put in its place.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { toHex } from '../../collector/src/core/bytes.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import { fsck } from '../../collector/src/log/fsck.ts';
import { key64, metaKey } from '../../collector/src/store/keys.ts';
import { databasesOf, LevelSnapshot } from '../../collector/src/store/level-snapshot.ts';
import { meshtrail, scratch, serve } from '../cli/harness.ts';
import { levelStores, signer, verifier } from '../support/logs.ts';
import { damage, edit, filesOf, flipped, makeDirectory, Workshop } from './directory.ts';

let shop: Workshop;
/** With data in LevelDB's write-ahead logs, which opening moves into tables. */
let fresh: string;

before(async () => {
  shop = await Workshop.open();
  fresh = shop.next();
  await makeDirectory(fresh);
});
after(async () => await shop.remove());

/** Names, hashes and times of all files below a directory. */
async function state(directory: string): Promise<string[]> {
  const lines = (await filesOf(directory)).map(async (path) => {
    const { mtimeMs, mode } = await stat(path);
    return `${relative(directory, path)} ${mode} ${mtimeMs} ${toHex(sha256(await readFile(path)))}`;
  });
  return await Promise.all(lines);
}

/** Snapshots that were left behind where a directory is. */
const leftBeside = async (directory: string): Promise<string[]> =>
  (await readdir(dirname(directory))).filter((name) => name.startsWith('.meshtrail'));

/** A file system that makes no second names. */
async function noLink(): Promise<void> {
  throw Object.assign(new Error('cross-device link'), { code: 'EXDEV' });
}

test('no file of a directory is changed, sound or damaged', async () => {
  const first = await readdir(join(fresh, 'segments', '0000000000000000'));
  const log = first.find((name) => name.endsWith('.log')) as string;
  const entry = key64('e', 3);
  const cases: Readonly<Record<string, readonly [isSound: boolean, work: (copy: string) => Promise<void>]>> = {
    sound: [true, async () => undefined],
    'an entry is gone': [
      false,
      async (copy) => await edit(join(copy, 'segments', '0000000000000000'), async (db) => await db.del(entry)),
    ],
    'an entry has a flipped bit': [
      false,
      async (copy) =>
        await edit(join(copy, 'segments', '0000000000000000'), async (db) => {
          await db.put(entry, flipped((await db.get(entry)) as Uint8Array, 40));
        }),
    ],
    'the format of the tree is gone': [
      false,
      async (copy) => await edit(join(copy, 'tree'), async (db) => await db.del(metaKey('format'))),
    ],
    'a log is damaged': [
      false,
      async (copy) => {
        const path = join(copy, 'segments', '0000000000000000', log);
        await writeFile(path, flipped(await readFile(path), 99));
      },
    ],
    'a manifest is empty': [
      false,
      async (copy) => {
        for (const name of await readdir(join(copy, 'tree')))
          if (name.startsWith('MANIFEST')) await truncate(join(copy, 'tree', name), 0);
      },
    ],
    'a segment is gone': [
      false,
      async (copy) => await rm(join(copy, 'segments', '0000000000000000'), { recursive: true }),
    ],
    // LevelDB gives their numbers to its next files, and would write over them.
    'tables and manifests that nobody knows': [
      true,
      async (copy) => {
        for (let number = 1; number < 40; number++)
          for (const name of [`${String(number).padStart(6, '0')}.ldb`, `MANIFEST-${String(number).padStart(6, '0')}`])
            await writeFile(join(copy, 'tree', name), 'nobody', { flag: 'wx' }).catch(() => undefined);
      },
    ],
  };
  for (const [what, [isSound, work]] of Object.entries(cases)) {
    const copy = await shop.copy(fresh);
    await work(copy);
    const was = await state(copy);
    assert.equal((await damage(copy)).length === 0, isSound, what);
    assert.deepEqual(await state(copy), was, what);
    assert.deepEqual(await leftBeside(copy), [], what);
  }
});

test('what cannot be read is a coded refusal, and nothing is left behind', async () => {
  const copy = await shop.copy(fresh);
  await rm(join(copy, 'tree', 'CURRENT'));
  await mkdir(join(copy, 'tree', 'CURRENT'));
  const was = await state(copy);
  await assert.rejects(
    fsckDirectory(copy, '', signer.vkey, () => undefined),
    (error: Error & { code?: string }) =>
      error.code === 'STORE_FAILED' && error.message.startsWith(`${join(copy, 'tree')}: EISDIR`),
  );
  assert.deepEqual(await state(copy), was);
  assert.deepEqual(await leftBeside(copy), []);
});

test('where no second names can be made, files are copied, and the check is the same', async () => {
  const copy = await shop.copy(fresh);
  const was = await state(copy);
  const snapshot = await LevelSnapshot.beside(copy, noLink);
  for (const database of await databasesOf(copy, join(copy, 'last-signed'))) await snapshot.add(database);
  const stores = await levelStores(snapshot.directory);
  const report = await fsck({ ...stores, verifier });
  for (const store of Object.values(stores)) await store.close();
  snapshot.remove();
  assert.deepEqual(report, await fsckDirectory(copy, '', signer.vkey, () => undefined));
  assert.deepEqual(report.findings, []);
  assert.ok(report.entries > 270);
  assert.deepEqual(await state(copy), was);
  assert.equal(existsSync(snapshot.directory), false);
});

test('a directory that cannot be written is checked', async (t) => {
  const copy = await shop.copy(fresh);
  const below = (await readdir(copy, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isDirectory())
    .map((one) => join(one.parentPath, one.name));
  const change = async (mode: number, files: number): Promise<void> => {
    for (const path of await filesOf(copy)) await chmod(path, files);
    for (const path of [...below, copy]) await chmod(path, mode);
  };
  await change(0o500, 0o400);
  t.after(async () => await change(0o700, 0o600));
  const was = await state(copy);
  const inside = join(copy, 'tree');
  assert.deepEqual(await damage(copy), []);
  assert.deepEqual(await state(copy), was);
  // Where nobody, not even root, can make a directory, it goes where temporary files go.
  const snapshot = await LevelSnapshot.beside('/proc/log');
  t.after(() => snapshot.remove());
  await snapshot.add({ name: 'tree', path: inside });
  assert.ok(existsSync(join(snapshot.directory, 'tree', 'CURRENT')));
});

test('a collector that runs is found, also where no second names can be made', { timeout: 60_000 }, async (t) => {
  const at = scratch(t);
  const serving = await serve(t, at);
  const dir = join(at, 'log');
  const { code, stderr } = await meshtrail(['fsck', '--dir', dir, '--vkey', serving.vkey]);
  assert.equal(code, 3);
  assert.ok(
    stderr.startsWith(`meshtrail: ${join(dir, 'tree')} is open in another process. Stop that one first`),
    stderr,
  );
  assert.match(stderr, /\[STORE_LOCKED\]\n$/);
  const snapshot = await LevelSnapshot.beside(dir, noLink);
  t.after(() => snapshot.remove());
  const tree = { name: 'tree', path: join(dir, 'tree') };
  await assert.rejects(snapshot.refuseOpen(tree), { code: 'STORE_LOCKED' });
  await serving.stop();
  const later = await LevelSnapshot.beside(dir, noLink);
  t.after(() => later.remove());
  await later.refuseOpen(tree);
});

test('a signal ends it as it would have, and the snapshot is removed', { timeout: 20_000 }, async () => {
  const module = pathToFileURL(join(import.meta.dirname, '../../collector/src/store/level-snapshot.ts')).href;
  const program = `
    const { LevelSnapshot } = await import(${JSON.stringify(module)});
    const snapshot = await LevelSnapshot.beside(${JSON.stringify(fresh)});
    await snapshot.add({ name: 'tree', path: ${JSON.stringify(join(fresh, 'tree'))} });
    console.log(snapshot.directory);
    setInterval(() => undefined, 1000);`;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
    const [directory] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
    assert.ok(existsSync(join(directory.trim(), 'tree', 'CURRENT')));
    child.kill(signal);
    assert.deepEqual(await once(child, 'close'), [null, signal]);
    assert.equal(existsSync(directory.trim()), false);
  }
});
