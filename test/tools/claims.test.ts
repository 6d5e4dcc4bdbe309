// One set-up at a time: living owners are waited for, dead ones are not, and no two ever work at once.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { oneAtATime, startOf } from '../../tools/set-up/claims.js';

const CLAIMS = new URL('../../tools/set-up/claims.js', import.meta.url).href;
const WAIT_MS = 10_000;
let folder = '';

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'meshtrail claims ')), 'lock');
  await mkdir(folder);
});
afterEach(() => rm(join(folder, '..'), { recursive: true }));

function limit(): AbortSignal {
  return AbortSignal.timeout(WAIT_MS);
}

function sleeper(): { readonly pid: number; end(): Promise<void> } {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 20_000)'], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  return {
    pid: child.pid ?? 0,
    end: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

test('the work is named while it runs, and its result is given back', async () => {
  const result = await oneAtATime(folder, limit(), async () => (await readdir(folder)).join());
  assert.equal(result, `${process.pid}-${startOf(process.pid)}`);
  assert.deepEqual(await readdir(folder), []);
});

test('work that fails gives the claim back', async () => {
  await assert.rejects(
    oneAtATime(folder, limit(), () => Promise.reject(new Error('no'))),
    /^Error: no$/,
  );
  assert.deepEqual(await readdir(folder), []);
});

test('owners that are dead, or whose process number belongs to another now, are taken over', async () => {
  await writeFile(join(folder, '999999999-1'), '');
  await writeFile(join(folder, `${process.ppid}-1`), '');
  await writeFile(join(folder, 'not a claim'), '');
  assert.equal(await oneAtATime(folder, limit(), async () => 'done'), 'done');
  assert.deepEqual(await readdir(folder), ['not a claim']);
});

test('a living owner is waited for until it ends', async () => {
  const other = sleeper();
  await writeFile(join(folder, `${other.pid}-${startOf(other.pid)}`), '');
  let isStarted = false;
  const work = oneAtATime(folder, limit(), async () => {
    isStarted = true;
  });
  await new Promise((done) => setTimeout(done, 400));
  assert.equal(isStarted, false);
  await other.end();
  await work;
  assert.equal(isStarted, true);
});

test('a child that outlives its set-up keeps others waiting; waiting can be stopped', async () => {
  const child = sleeper();
  await oneAtATime(folder, limit(), async (claim) => claim.add(child.pid));
  assert.deepEqual(await readdir(folder), [`${child.pid}-${startOf(child.pid)}`]);
  const script = `import { oneAtATime } from ${JSON.stringify(CLAIMS)};
    await oneAtATime(process.argv[1], AbortSignal.timeout(300), async () => {});`;
  const waiter = spawn(process.execPath, ['--input-type=module', '-e', script, folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let notes = '';
  waiter.stderr.on('data', (chunk) => {
    notes += chunk;
  });
  const [code] = await once(waiter, 'close');
  await child.end();
  assert.equal(code, 1);
  assert.match(notes, new RegExp(`^set-up: waiting for another set-up \\(process ${child.pid}\\)\n`));
  assert.match(notes, /AbortError/);
});

test('of many that claim at once, one works at a time', async () => {
  const journal = join(folder, '..', 'journal');
  const script = `import { appendFileSync } from 'node:fs';
    import { oneAtATime } from ${JSON.stringify(CLAIMS)};
    const [folder, journal] = process.argv.slice(1);
    for (let turn = 0; turn < 4; turn += 1)
      await oneAtATime(folder, AbortSignal.timeout(${WAIT_MS}), async () => {
        appendFileSync(journal, 'in\\n');
        await new Promise((done) => setTimeout(done, 15));
        appendFileSync(journal, 'out\\n');
      });`;
  const exits = Array.from({ length: 4 }, () =>
    once(spawn(process.execPath, ['--input-type=module', '-e', script, folder, journal], { stdio: 'ignore' }), 'exit'),
  );
  for (const [code] of await Promise.all(exits)) assert.equal(code, 0);
  assert.equal(await readFile(journal, 'utf8'), 'in\nout\n'.repeat(16));
});
