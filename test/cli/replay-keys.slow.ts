// Goal: at a terminal a replay obeys keys: it pauses, steps, goes back, changes its speed, and ends.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { START_NS, StreamMaker } from '../support/facts.ts';
import { post, published, scratch, serve } from './harness.ts';

const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));
const PYTHON = process.env['PYTHON'] ?? 'python3';
/** Gives the command a terminal of its own, whose keys are this program's standard input. */
const TERMINAL = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';
const SHOWN_MS_MAX = 15_000;

test('keys at a terminal', async (t) => {
  const serving = await serve(t, scratch(t));
  const maker = new StreamMaker(1);
  const at = (s: number): bigint => START_NS + BigInt(s) * 1_000_000_000n;
  for (let i = 0; i < 60; i++)
    await post(
      serving.ingest,
      maker.batch(2, { clock: [at(i), at(i + 1), 1n, 2n] }, () => (i + 0.5) * 1e9),
    );
  await published(serving.api, 60);
  const window = ['--since', '2026-11-24T12:00:00Z', '--until', '2026-11-24T12:01:00Z', '--speed', '4'];
  const args = ['-c', TERMINAL, process.execPath, COMMAND, 'replay', ...window, '--api', serving.api];
  const child = spawn(PYTHON, args, {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
  const until = async (what: RegExp): Promise<void> => {
    for (const deadline = performance.now() + SHOWN_MS_MAX; !what.test(shown); await sleep(20))
      assert.ok(performance.now() < deadline && child.exitCode === null, `${what}: ${shown}`);
  };
  const ids = (): string[] => [...shown.matchAll(/^(\d+\.\d) /gm)].map(([, id = '']) => id);

  await until(/^1\.1 /m);
  child.stdin.write(' ');
  await until(/paused at 2026-11-24T12:00:0/);
  await sleep(1000);
  const paused = ids();
  await sleep(1000);
  assert.deepEqual(ids(), paused, 'nothing goes on');
  const frames = (): number => shown.split('\n-- ').length;
  const before = frames();
  child.stdin.write('n');
  for (const deadline = performance.now() + SHOWN_MS_MAX; frames() === before; await sleep(20))
    assert.ok(performance.now() < deadline, 'a step');
  child.stdin.write('+');
  await until(/speed 8/);
  child.stdin.write(' ');
  await until(/going on/);
  await until(/^20\.0 /m);
  const once20 = ids();
  assert.equal(new Set(once20).size, once20.length, 'nothing comes twice, whatever was pressed');
  assert.deepEqual(
    once20.slice(0, 40),
    Array.from({ length: 40 }, (_, i) => `${i >> 1}.${i & 1}`),
    'and nothing is left out',
  );
  child.stdin.write('b');
  await until(/at 2026-11-24T12:00:1\d/);
  for (
    const deadline = performance.now() + SHOWN_MS_MAX;
    ids().filter((id) => id === '18.0').length < 2;
    await sleep(20)
  )
    assert.ok(performance.now() < deadline, 'it is shown again');
  child.stdin.write('q');
  const [code] = (await ended) as [number];
  assert.equal(code, 0, shown);
});
