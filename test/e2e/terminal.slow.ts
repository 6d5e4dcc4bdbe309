// With a terminal the demo stays up after its report, answers, and ends with exit code 0 at Ctrl-C.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { scratch, withEnvoy } from './support.ts';

const envoy = withEnvoy();
const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));
const PYTHON = process.env['PYTHON'] ?? 'python3';
/** Gives the command a terminal of its own, whose keys are this program's standard input. */
const TERMINAL = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';
const UP_MS_MAX = 60_000;
const CTRL_C = '\u0003';

test('a demo at a terminal', envoy.options, async (t) => {
  const dir = join(scratch(t), 'demo');
  const args = ['-c', TERMINAL, process.execPath, COMMAND, 'demo', '--dir', dir];
  // Under another name, as MESHTRAIL_ENVOY would give one.
  const other = join(scratch(t), 'envoy of mine');
  symlinkSync(envoy.binary, other);
  const env = {
    ...process.env,
    MESHTRAIL_ENVOY: other,
    TERM: 'xterm-256color',
    NO_COLOR: undefined,
    // Node gives a terminal of CI no colours.
    CI: undefined,
    NODE_TEST_CONTEXT: undefined,
  };
  const child = spawn(PYTHON, args, { env, stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
  const deadline = performance.now() + UP_MS_MAX;
  while (!shown.includes('Ctrl-C stops it')) {
    assert.ok(performance.now() < deadline && child.exitCode === null, shown);
    await sleep(50);
  }
  assert.ok(shown.includes('\u001b[1m'), 'no colours at a terminal');
  const [, url] = /stays up at (http:\/\/[\d.:]+)/.exec(shown) ?? [];
  const answer = (await (await fetch(`${url}/v1/flows?limit=1`)).json()) as { readonly flows: readonly unknown[] };
  assert.equal(answer.flows.length, 1);
  child.stdin.write(CTRL_C);
  const [code] = await ended;
  assert.equal(code, 0, shown);
  await assert.rejects(fetch(`${url}/health/live`));
});
