// Runs the command as a person at a shell does, and sees what it leaves running.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const COMMAND = join(ROOT, 'collector', 'bin', 'meshtrail.js');
const WAIT_MS_MAX = 20_000;

export interface Running {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly ended: Promise<number | null>;
}

/** The environment without this suite's own variables. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:MESHTRAIL_(?!ENVOY)|NODE_TEST|FORCE_COLOR)/.test(name)),
  );
}

/** Starts a program in the checkout, in a process group of its own that ends with the test at the latest. */
export function start(t: TestContext, command: string, args: readonly string[], more: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...environment(), ...more },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin?.on('error', () => undefined);
  const ended = once(child, 'close').then(([code]) => code as number | null);
  t.after(async () => {
    // The whole group: a shell, npx and what they run.
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid as number), 'SIGTERM');
    await ended;
  });
  return { child, stdout: () => stdout, stderr: () => stderr, ended };
}

/** Starts `meshtrail demo`. */
export const demo = (t: TestContext, ...args: string[]): Running =>
  start(t, process.execPath, [COMMAND, 'demo', ...args]);

/** Waits for something to become true. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await isTrue())) {
    if (performance.now() > deadline) assert.fail(`not within ${WAIT_MS_MAX / 1000} s: ${what}`);
    await sleep(25);
  }
}

/** Processes whose command line names a directory; only Linux tells. */
export function processesOf(dir: string): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return line.includes(dir) ? [line] : [];
      } catch {
        return [];
      }
    });
}
