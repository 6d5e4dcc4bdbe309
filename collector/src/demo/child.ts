// A child process of the demo: started apart from the terminal's group, stopped in an orderly way, its log's end at hand when it fails.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

const LOG_TAIL_BYTES = 8192;
/** How Envoy marks the line that says why it ends. */
const CRITICAL = /\]\[critical\]/;

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** How it ended: exit code or signal; undefined while it runs. */
  ended(): string | undefined;
  /** Resolves when it has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** SIGTERM, then SIGKILL when it has not ended after the grace time. Resolves when it has ended. */
  stop(graceMs: number): Promise<void>;
  /** SIGKILL, as the kernel does when memory is short. Resolves when it has ended. */
  kill(): Promise<void>;
  /** The line of its log that says why it ended, or the last one, and where the rest is. */
  logEnd(): string;
}

export interface ChildInput {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Both outputs are appended here. */
  readonly logFile: string;
}

/** Ends what still runs when this process is gone, however it went: a shell that is told of every child, and waits for the end of its input. */
class Guard {
  private static readonly SCRIPT =
    'while IFS= read -r line; do pids=$line; done; [ -z "$pids" ] || kill $pids 2>/dev/null';
  private readonly pids = new Set<number>();
  private input: Socket | undefined;

  watch(pid: number): void {
    this.pids.add(pid);
    this.tell();
  }

  forget(pid: number | undefined): void {
    if (pid !== undefined && this.pids.delete(pid)) this.tell();
  }

  private tell(): void {
    this.input ??= this.start();
    this.input.write(`${[...this.pids].join(' ')}\n`);
  }

  private start(): Socket {
    const shell = spawn('sh', ['-c', Guard.SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    const input = shell.stdin as Socket;
    // A guard that cannot be had is missed only when this process is killed.
    for (const emitter of [shell, input]) emitter.on('error', () => undefined);
    shell.unref();
    input.unref();
    return input;
  }
}

const guard = new Guard();

/** Starts a child. Throws what `spawn` reports, such as ENOENT. */
export async function startChild(input: ChildInput): Promise<Child> {
  const log = openSync(input.logFile, 'a', 0o600);
  const child: ChildProcess = spawn(input.command, [...input.args], {
    stdio: ['ignore', log, log],
    ...(input.env === undefined ? {} : { env: { ...input.env } }),
    // A group of its own: Ctrl-C must reach the demo alone, which then stops its children in the right order.
    detached: true,
  });
  closeSync(log);
  let ending: string | undefined;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      guard.forget(child.pid);
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
  guard.watch(pid);
  return {
    name: input.name,
    pid,
    ended: () => ending,
    exited,
    async stop(graceMs) {
      if (ending === undefined) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await exited;
      clearTimeout(timer);
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
    logEnd: () => endOf(input.logFile),
  };
}

function endOf(file: string): string {
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').slice(-LOG_TAIL_BYTES).trimEnd().split('\n');
  } catch (error) {
    return `No log can be read: ${(error as Error).message}.`;
  }
  const telling = lines.find((line) => CRITICAL.test(line)) ?? lines.at(-1) ?? '';
  return telling === '' ? `Its log ${file} is empty.` : `Its log ${file} says: ${telling}`;
}
