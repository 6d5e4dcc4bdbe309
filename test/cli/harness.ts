// Runs the real command against a real `serve`, in a directory of its own, and leaves nothing behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));
// The command is started a hundred times here; compiled code is kept between starts, in a folder that git does not see.
const COMPILE_CACHE = fileURLToPath(new URL('../../.tools/compile-cache', import.meta.url));
const READY_TIMEOUT_MS = 20_000;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly input?: string;
}

/** The environment without variables of this suite's own surroundings. */
function environment(more: RunOptions['env'] = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(MESHTRAIL_|NODE_TEST|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  return { ...Object.fromEntries(inherited), NODE_COMPILE_CACHE: COMPILE_CACHE, ...more };
}

function start(args: readonly string[], { env, cwd }: RunOptions): ChildProcess {
  return spawn(process.execPath, [COMMAND, ...args], { env: environment(env), cwd, stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Runs the command to its end. */
export async function meshtrail(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = start(args, options);
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // A command that reads no input may have ended before it is written to.
  child.stdin?.on('error', () => undefined).end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

export interface Serving {
  readonly api: string;
  /** HOST:PORT */
  readonly ingest: string;
  readonly vkey: string;
  readonly origin: string;
  readonly pid: number;
  readonly ready: Readonly<Record<string, unknown>>;
  readonly readyFile: string;
  stderr(): string;
  /** Ends it with a signal; resolves with its exit code, or null when the signal killed it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Where hooks go that run at the end: a test's own context, or a file's. */
export interface Ending {
  after(hook: () => unknown): void;
}

/** An ending for what a whole file shares: call `end` in the file's `after`. */
export function forFile(): Ending & { end(): Promise<void> } {
  const hooks: (() => unknown)[] = [];
  return {
    after: (hook) => hooks.push(hook),
    async end() {
      for (const hook of hooks.reverse()) await hook();
    },
  };
}

/** A directory that is removed after the test. */
export function scratch(t: Ending): string {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail cli '));
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  return dir;
}

/** Starts `meshtrail serve` and waits until it is ready; it ends with the test at the latest. */
export async function serve(
  t: Ending,
  dir: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<Serving> {
  const readyFile = join(dir, `ready-${Math.random().toString(36).slice(2)}.json`);
  const child = start(
    [
      'serve',
      '--dir',
      join(dir, 'log'),
      '--api',
      '127.0.0.1:0',
      '--ingest',
      '127.0.0.1:0',
      '--ready-file',
      readyFile,
      ...args,
    ],
    options,
  );
  const ended = once(child, 'close') as Promise<[number | null]>;
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const until = Date.now() + READY_TIMEOUT_MS;
  while (!existsSync(readyFile)) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`serve is not ready: ${stderr}`);
    await new Promise((done) => setTimeout(done, 20));
  }
  const ready = JSON.parse(readFileSync(readyFile, 'utf8')) as Record<string, never>;
  const { api = '', ingest = '', vkey = '', origin = '', pid = 0 } = ready;
  return {
    ...{ api, ingest, vkey, origin, pid, ready, readyFile },
    stderr: () => stderr,
    async stop(signal = 'SIGTERM') {
      // The launcher passes signals on, but nobody can pass on this one.
      process.kill(signal === 'SIGKILL' ? pid : (child.pid ?? pid), signal);
      const [code] = await ended;
      return code;
    },
  };
}

/** Sends a batch as a proxy does. */
export async function post(
  ingest: string,
  body: Uint8Array,
  type = 'application/vnd.meshtrail.batch',
): Promise<Response> {
  return await fetch(`http://${ingest}/v1/batches`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: Buffer.from(body),
  });
}

/** Waits until the collector has published a log of a size. */
export async function published(api: string, size: number): Promise<void> {
  const until = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    const about = (await (await fetch(`${api}/v1/log`)).json()) as { readonly size: number };
    if (about.size >= size) return;
    if (Date.now() > until) throw new Error(`the log has ${about.size} entries, not ${size}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
