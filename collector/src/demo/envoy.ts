// One Envoy process: found, started with a bootstrap of its own, waited for until it is live, stopped so that it can send its last batch.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MeshtrailError } from '../core/error.ts';
import { type Child, startChild } from './child.ts';
import type { Bootstrap } from './envoy-parts.ts';

const READY_MS_MAX = 30_000;
const READY_POLL_MS = 25;
/** At SIGTERM the recorder sends what it holds and ends its stream; an Envoy that hangs must not keep the demo. */
const STOP_MS_MAX = 5000;

/** Path of the Envoy binary: MESHTRAIL_ENVOY, else what set-up brought. Throws PREREQUISITE_MISSING with what to do. */
export function findEnvoy(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const given = env['MESHTRAIL_ENVOY'];
  const path =
    given === undefined || given === ''
      ? fileURLToPath(new URL('../../../.tools/envoy/envoy', import.meta.url))
      : given;
  if (existsSync(path)) return path;
  throw new MeshtrailError(
    'PREREQUISITE_MISSING',
    given === undefined || given === ''
      ? 'Envoy is not installed here: run `npm run setup`, or set MESHTRAIL_ENVOY to an Envoy 1.40 binary.'
      : `MESHTRAIL_ENVOY is ${JSON.stringify(given)}, and no file is there; set it to an Envoy 1.40 binary.`,
  );
}

export interface Envoy {
  readonly name: string;
  readonly pid: number;
  readonly adminUrl: string;
  /** How it ended; undefined while it runs. */
  ended(): string | undefined;
  stop(): Promise<void>;
  /** The telling line of its log. */
  logEnd(): string;
}

/** An Envoy that ended before it was live because another process has one of its ports. */
export class PortClash extends Error {
  override readonly name = 'PortClash';
}

/** Starts Envoy in a directory of its own and waits until it is live. Throws PortClash, or PREREQUISITE_MISSING with the telling line of its log. */
export async function startEnvoy(
  binary: string,
  name: string,
  dir: string,
  bootstrap: Bootstrap,
  workers = 1,
  more: readonly string[] = [],
): Promise<Envoy> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const [configFile, logFile, adminFile] = ['envoy.json', 'envoy.log', 'admin.txt'].map((file) => join(dir, file)) as [
    string,
    string,
    string,
  ];
  for (const stale of [logFile, adminFile]) rmSync(stale, { force: true });
  writeFileSync(configFile, `${JSON.stringify(bootstrap, null, 2)}\n`, { mode: 0o600 });
  const child = await startChild({
    name,
    command: binary,
    // Without hot restart there is no shared memory in which the proxies of two meshes could meet.
    args: [
      '-c',
      configFile,
      '--concurrency',
      String(workers),
      '--disable-hot-restart',
      '--admin-address-path',
      adminFile,
      '-l',
      'warning',
      '--file-flush-interval-msec',
      '200',
      ...more,
    ],
    logFile,
  });
  try {
    const adminUrl = await live(child, adminFile);
    return {
      name,
      pid: child.pid,
      adminUrl,
      ended: () => child.ended(),
      stop: () => child.stop(STOP_MS_MAX),
      logEnd: () => child.logEnd(),
    };
  } catch (error) {
    await child.stop(STOP_MS_MAX);
    throw error;
  }
}

async function live(child: Child, adminFile: string): Promise<string> {
  const deadline = performance.now() + READY_MS_MAX;
  for (;;) {
    const ending = child.ended();
    if (ending !== undefined) {
      if (/address already in use/i.test(child.logEnd())) throw new PortClash(`${child.name}: a port is taken`);
      throw notReady(child, `ended (${ending}) before it was ready`);
    }
    const address = existsSync(adminFile) ? readFileSync(adminFile, 'utf8').trim() : '';
    if (address !== '' && (await isLive(`http://${address}`))) return `http://${address}`;
    if (performance.now() > deadline) throw notReady(child, `was not ready after ${READY_MS_MAX / 1000} s`);
    await sleep(READY_POLL_MS);
  }
}

const notReady = (child: Child, what: string): MeshtrailError =>
  new MeshtrailError('PREREQUISITE_MISSING', `The Envoy of ${child.name} ${what}. ${child.logEnd()}`);

async function isLive(adminUrl: string): Promise<boolean> {
  try {
    const answer = await fetch(`${adminUrl}/ready`, { signal: AbortSignal.timeout(1000) });
    return (await answer.text()).trim() === 'LIVE';
  } catch {
    // Not listening yet, or busy starting: asked again until the deadline.
    return false;
  }
}
