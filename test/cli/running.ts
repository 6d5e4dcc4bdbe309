// The real command while it runs: what it has said so far, keys for it, and its end.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Ending, Ran, RunOptions } from './harness.ts';

const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));
const WAIT_MS_MAX = 15_000;

export interface Running {
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly lines: () => string[];
  readonly ended: Promise<Ran>;
  write(text: string): void;
  /** Nobody reads its answers any more. */
  leave(): void;
  signal(name: NodeJS.Signals): void;
  /** Waits until something is true of what it said. */
  until(what: string, isTrue: () => boolean): Promise<void>;
}

/** Starts the command; it ends with the test at the latest. */
export function running(t: Ending, args: readonly string[], { env }: RunOptions = {}): Running {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(MESHTRAIL_|NODE_TEST|FORCE_COLOR)/.test(name));
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    stdout: () => stdout,
    stderr: () => stderr,
    lines: () => stdout.split('\n').slice(0, -1),
    ended,
    write: (text) => void child.stdin.write(text),
    leave: () => void child.stdout.destroy(),
    signal: (name) => void child.kill(name),
    async until(what, isTrue) {
      for (const deadline = Date.now() + WAIT_MS_MAX; !isTrue(); await sleep(20))
        if (Date.now() > deadline) assert.fail(`not in time: ${what}\n${stdout.slice(-2000)}\n${stderr}`);
    },
  };
}
