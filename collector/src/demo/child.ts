// A child process of the demo: started apart from the terminal's group, stopped in an orderly way, its log's end at hand when it fails.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

const LOG_TAIL_LINES = 12;
const LOG_TAIL_BYTES = 8192;

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** How it ended: exit code or signal; undefined while it runs. */
  ended(): string | undefined;
  /** SIGTERM, then SIGKILL when it has not ended after the grace time. Resolves when it has ended. */
  stop(graceMs: number): Promise<void>;
  /** The last lines of its log. */
  logTail(): string;
}

export interface ChildInput {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Both outputs are appended here. */
  readonly logFile: string;
  /** Gives the child a pipe as stdin, which closes when this process dies in whatever way. */
  readonly hasLifeline?: boolean;
}

/** Starts a child. Throws what `spawn` reports, such as ENOENT. */
export async function startChild(input: ChildInput): Promise<Child> {
  const log = openSync(input.logFile, 'a', 0o600);
  const child: ChildProcess = spawn(input.command, [...input.args], {
    stdio: [input.hasLifeline === true ? 'pipe' : 'ignore', log, log],
    ...(input.env === undefined ? {} : { env: { ...input.env } }),
    // A group of its own: Ctrl-C must reach the demo alone, which then stops its children in the right order.
    detached: true,
  });
  closeSync(log);
  // A broken lifeline only means that the child is gone, which `exit` tells.
  child.stdin?.on('error', () => undefined);
  let ending: string | undefined;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      ending = signal ?? `exit code ${code}`;
      resolve();
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${input.name} was started and has no process id`);
  return {
    name: input.name,
    pid,
    ended: () => ending,
    async stop(graceMs) {
      if (ending === undefined) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await exited;
      clearTimeout(timer);
    },
    logTail: () => tailOf(input.logFile),
  };
}

/** The last lines of a file; empty when it cannot be read. */
function tailOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-LOG_TAIL_BYTES).trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  } catch (error) {
    return `(${file}: ${(error as Error).message})`;
  }
}
