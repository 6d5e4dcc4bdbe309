// The demo's directory: one demo at a time, an old run replaced, and nothing touched that no demo made.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startCollectorProcess } from '../../collector/src/demo/collector.ts';
import { claimDefault, claimDirectory } from '../../collector/src/demo/directory.ts';

const MODULE = fileURLToPath(new URL('../../collector/src/demo/directory.ts', import.meta.url));
const ADDRESSES = { api: '127.0.0.1:0', ingest: '127.0.0.1:0' };

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail directory '));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Another process that has claimed a directory and stays. */
async function occupant(t: TestContext, dir: string): Promise<{ readonly pid: number; kill(): Promise<void> }> {
  const program = `
    const { claimDirectory } = await import(${JSON.stringify(MODULE)});
    await claimDirectory(${JSON.stringify(dir)});
    process.stdout.write('claimed');
    setInterval(() => undefined, 1000);`;
  const args = ['--input-type=module', '--eval', program];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return {
    pid: child.pid as number,
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

test('a second run replaces what the first made, and nothing else', async (t) => {
  const path = join(scratch(t), 'demo');
  const first = await claimDirectory(path);
  mkdirSync(first.collector);
  writeFileSync(join(first.collector, 'old'), '');
  writeFileSync(first.truthFile, '{}');
  writeFileSync(join(first.proofs, '1.1.json'), '{}');
  writeFileSync(join(path, 'notes.txt'), 'mine');
  first.release();
  const second = await claimDirectory(path);
  assert.ok(!existsSync(second.collector));
  assert.ok(!existsSync(second.truthFile));
  assert.deepEqual(readdirSync(second.proofs), []);
  assert.equal(readFileSync(join(path, 'notes.txt'), 'utf8'), 'mine');
  second.release();
});

test('a directory with other files is refused and left as it was', async (t) => {
  const path = scratch(t);
  mkdirSync(join(path, 'collector'));
  writeFileSync(join(path, 'collector', 'precious'), 'x');
  await assert.rejects(claimDirectory(path), {
    code: 'USAGE',
    message: /was not made by a demo, so nothing was touched/,
  });
  assert.deepEqual(readdirSync(path), ['collector']);
  assert.equal(readFileSync(join(path, 'collector', 'precious'), 'utf8'), 'x');
});

test('a directory that cannot be made is named with what to do', async (t) => {
  const file = join(scratch(t), 'file');
  writeFileSync(file, '');
  await assert.rejects(claimDirectory(join(file, 'demo')), { code: 'PREREQUISITE_MISSING', message: /--dir/ });
  // Node's recursive mkdir never comes back from here.
  if (process.platform === 'linux')
    await assert.rejects(claimDirectory('/proc/no such/demo'), { code: 'PREREQUISITE_MISSING', message: /--dir/ });
});

test('of demos that come while another looks at the old log, one gets the directory', async (t) => {
  const path = join(scratch(t), 'demo');
  const first = await claimDirectory(path);
  first.release();
  // Looks like a log, so that asking whether somebody serves it takes its time.
  mkdirSync(first.collector);
  writeFileSync(join(first.collector, 'meshtrail.json'), '{}');
  const program = `
    const { claimDirectory } = await import(${JSON.stringify(MODULE)});
    try { await claimDirectory(${JSON.stringify(path)}); process.stdout.write('claimed'); }
    catch (error) { process.stdout.write(error.code); }
    process.stdin.resume();`;
  const outcomes = await Promise.all(
    [0, 100, 200].map(async (delayMs) => {
      await sleep(delayMs);
      const args = ['--input-type=module', '--eval', program];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      t.after(() => child.kill('SIGKILL'));
      const [outcome] = (await once(child.stdout, 'data')) as [Buffer];
      return outcome.toString();
    }),
  );
  assert.deepEqual(outcomes.toSorted(), ['USAGE', 'USAGE', 'claimed']);
});

test('two demos never share a directory; the default moves aside, and a dead owner does not count', async (t) => {
  const path = join(scratch(t), 'demo');
  const other = await occupant(t, path);
  await assert.rejects(claimDirectory(path), {
    code: 'USAGE',
    message: `Another demo runs in ${path} (process ${other.pid}): stop it, or name another directory with --dir.`,
  });
  const aside = await claimDefault(path);
  assert.equal(aside.path, `${path}-2`);
  aside.release();
  await other.kill();
  const taken = await claimDefault(path);
  assert.equal(taken.path, path);
  taken.release();
});

test('the log of an old run is not removed while a collector serves it', async (t) => {
  const path = join(scratch(t), 'demo');
  const first = await claimDirectory(path);
  first.release();
  const collector = await startCollectorProcess({
    dir: first.collector,
    runDir: join(path, 'x'),
    addresses: ADDRESSES,
  });
  t.after(() => collector.stop());
  await assert.rejects(claimDirectory(path), { code: 'USAGE', message: /^A collector serves / });
  assert.ok(existsSync(join(first.collector, 'meshtrail.json')));
  await collector.stop();
  const second = await claimDirectory(path);
  assert.ok(!existsSync(second.collector));
  second.release();
});
