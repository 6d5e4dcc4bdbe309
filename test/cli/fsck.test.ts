// Goal: `meshtrail fsck` says how much it checked and against what: a backup without its last-signed record, damaged files, another key.
// Method: the real command on the directory of a real `serve`, copied for every case.

import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ed25519Signer } from '../../collector/src/core/tlog/note.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { StreamMaker } from '../support/facts.ts';
import { forFile, meshtrail, post, published, type Ran, scratch, serve } from './harness.ts';

const ending = forFile();
let at: string;
let vkey: string;
let copies = 0;

before(async () => {
  at = scratch(ending);
  const serving = await serve(ending, at, ['--publish-interval-ms', '50']);
  ({ vkey } = serving);
  const maker = new StreamMaker(4);
  for (let i = 0; i < 3; i++) await post(serving.ingest, maker.batch(2));
  await published(serving.api, 3);
  assert.equal(await serving.stop(), 0);
});
after(async () => await ending.end());

function copy(without?: string): string {
  const to = join(at, `copy ${copies++}`);
  cpSync(join(at, 'log'), to, { recursive: true });
  if (without !== undefined) rmSync(join(to, without), { recursive: true });
  return to;
}

const fsck = async (dir: string, ...more: string[]): Promise<Ran> =>
  await meshtrail(['fsck', '--dir', dir, '--vkey', vkey, ...more]);

test('a backup without its last-signed record: refused with the way to check it, and checked that way', async () => {
  const backup = copy('last-signed');
  const refused = await fsck(backup);
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.match(refused.stderr, /last-signed is missing: only the last-signed record tells an old copy from the newest/);
  assert.match(refused.stderr, /for a backup, which has none, .*--last-signed-dir none\. \[LAST_SIGNED_MISSING\]\n$/);
  const { code, stdout, stderr } = await fsck(backup, '--last-signed-dir', 'none');
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(
    stdout,
    'CLEAN: 3 entries, 6 records, checkpoint of size 3; 0 errors, 0 gaps; nothing was compared with the last-signed record, so an old copy looks the same\n',
  );
  assert.equal(readdirSync(backup).includes('last-signed'), false);
  const json = JSON.parse((await fsck(backup, '--last-signed-dir', 'none', '--json')).stdout);
  assert.deepEqual([json.clean, json.checked], [true, 'without-last-signed']);
  assert.equal(JSON.parse((await fsck(copy(), '--json')).stdout).checked, 'everything');
});

test('the rest of a backup is checked as ever', async () => {
  const backup = copy('last-signed');
  const segment = join(backup, 'segments', '0000000000000000');
  const database = await openLevel(segment, 1024 * 1024);
  const bodies = await database.keys({ gte: Buffer.from('b'), lt: Buffer.from('c') }).all();
  await database.del(bodies[1] as Uint8Array);
  await database.close();
  const { code, stdout } = await fsck(backup, '--last-signed-dir', 'none');
  assert.equal(code, 1);
  assert.match(stdout, /segment body 1 /);
  assert.match(stdout, /\nDAMAGED: 3 entries, 6 records, checkpoint of size 3; 1 error, 0 gaps; nothing was compared/);
});

test('damaged files: no count of what was not looked at', async () => {
  const damaged = copy();
  truncateSync(join(damaged, 'tree', 'CURRENT'), 3);
  const { code, stdout } = await fsck(damaged);
  assert.equal(code, 1);
  assert.match(stdout, /tree\/CURRENT +The file is damaged/);
  assert.match(
    stdout,
    /\nDAMAGED: 1 error in the files named above; nothing was opened, and neither entries, records nor the checkpoint could be checked\n$/,
  );
  assert.equal(JSON.parse((await fsck(damaged, '--json')).stdout).checked, 'files-only');
  const keyless = await meshtrail(['fsck', '--dir', damaged]);
  assert.deepEqual([keyless.code, keyless.stderr], [1, ''], 'no key was used');
});

test('a damaged last-signed record: what it is, and not to run what is running', async () => {
  const damaged = copy();
  const database = await openLevel(join(damaged, 'last-signed'), 1024 * 1024);
  for await (const [key, value] of database.iterator()) {
    value[9] = (value[9] as number) ^ 1;
    await database.put(key, value);
  }
  await database.close();
  const { code, stdout } = await fsck(damaged);
  assert.equal(code, 1);
  assert.ok(stdout.includes(`${join(damaged, 'last-signed')} "last-signed" does not match its CRC-32.\n`), stdout);
  assert.doesNotMatch(stdout, /meshtrail fsck|\.meshtrail-fsck/);
});

test('another key in the directory than the one that is given', async () => {
  const changed = copy();
  const file = join(changed, 'keys', 'log.vkey');
  const origin = readFileSync(file, 'utf8').split('+')[0] as string;
  writeFileSync(file, `${ed25519Signer(origin, new Uint8Array(32).fill(5)).vkey}\n`);
  const { code, stdout, stderr } = await fsck(changed);
  assert.equal(code, 0);
  assert.match(stdout, /^CLEAN/);
  assert.ok(stderr.startsWith(`${file} holds another key than the one given, which counts`), stderr);
  assert.equal((await fsck(copy())).stderr, '');
});
