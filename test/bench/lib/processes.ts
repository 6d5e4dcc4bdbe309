// Child processes of a benchmark: pinned to a core, spoken to over a channel, their CPU time read, ended with the benchmark.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STOP_MS_MAX = 20_000;
/** What is measured has a core of its own; everything that only makes it work shares the other. */
export const MEASURED_CORE = 0;
export const OTHER_CORE = 1;

/** Whether processes can be pinned to a core here. */
export const canPin = spawnSync('taskset', ['-c', '0', 'true']).status === 0;

/** CPU time of a process and its living threads in ns, by the scheduler's count. Needs Linux. */
export function cpuNs(pid: number): number {
  let sum = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`))
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  } catch (error) {
    // A thread may end between the listing and the reading; the process itself must be there.
    if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
  return sum;
}

/** Resident memory of a process in MiB. */
export function residentMib(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? Number.NaN) / 1024;
}

/** Bytes that a process has sent to the disk so far. */
export function diskWriteBytes(pid: number): number {
  const match = /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'));
  return Number(match?.[1] ?? Number.NaN);
}

/** Bytes of all files below a directory. */
export function directoryBytes(directory: string): number {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** Moves a running process with all its threads to cores. */
export function pinRunning(pid: number, ...cores: readonly number[]): void {
  if (canPin) spawnSync('taskset', ['-a', '-c', '-p', cores.join(','), String(pid)]);
}

/** What must be undone when a benchmark ends, however it ends; the last made is undone first. */
export class Cleanup {
  private readonly works: (() => void | Promise<void>)[] = [];

  add(work: () => void | Promise<void>): void {
    this.works.push(work);
  }

  /** A directory that is removed in the end. */
  directory(): string {
    const path = mkdtempSync(join(tmpdir(), 'meshtrail-bench-'));
    this.add(() => rmSync(path, { recursive: true, force: true }));
    return path;
  }

  async run(): Promise<void> {
    for (let work = this.works.pop(); work !== undefined; work = this.works.pop()) await work();
  }
}

export interface NodeChildInput {
  /** Arguments of Node: the file to run and what follows it. */
  readonly args: readonly string[];
  readonly core: number;
  readonly logFile: string;
}

/** A Node process with a channel to this one. The child ends when the channel closes, so nothing outlives a benchmark that was killed. */
export class NodeChild {
  readonly pid: number;
  private readonly child: ChildProcess;
  private readonly logFile: string;

  constructor({ args, core, logFile }: NodeChildInput) {
    const command = [...(canPin ? ['taskset', '-c', String(core)] : []), process.execPath, ...args];
    const log = openSync(logFile, 'a');
    this.child = spawn(command[0] as string, command.slice(1), {
      stdio: ['ignore', log, log, 'ipc'],
      serialization: 'advanced',
    });
    closeSync(log);
    this.logFile = logFile;
    // taskset becomes Node by exec, so the process id stays.
    this.pid = this.child.pid ?? -1;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Sends a request and resolves with the answer; one at a time. Rejects when the child ends instead. */
  async ask<Reply>(request: unknown): Promise<Reply> {
    const ended = new AbortController();
    const signal = ended.signal;
    try {
      const answer = once(this.child, 'message', { signal });
      const end = once(this.child, 'exit', { signal }).then(() => {
        throw new Error(`a child of the benchmark ended:\n${this.logTail()}`);
      });
      // Whichever loses is aborted below, which is no failure.
      for (const lost of [answer, end]) lost.catch(() => undefined);
      if (this.hasEnded) throw new Error(`a child of the benchmark has ended:\n${this.logTail()}`);
      this.child.send(request as object);
      const [reply] = await Promise.race([answer, end]);
      if (reply?.error !== undefined) throw new Error(reply.error);
      return reply as Reply;
    } finally {
      ended.abort();
    }
  }

  logTail(): string {
    return readFileSync(this.logFile, 'utf8').slice(-2000);
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const exited = once(this.child, 'exit');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS_MAX);
    this.child.kill('SIGTERM');
    await exited;
    clearTimeout(timer);
  }
}

/** In a child: answers each request by a function, and ends with the parent. */
export function serveParent<Request>(answer: (request: Request) => Promise<object>): void {
  process.on('message', (request: Request) => {
    answer(request).then(
      (reply) => process.send?.(reply),
      (error: Error) => process.send?.({ error: error.stack ?? error.message }),
    );
  });
  process.once('disconnect', () => process.exit(0));
}
