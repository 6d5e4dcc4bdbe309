// The demo's collector: the command's own `serve` as a process beside the demo, so that it can be killed like a real one.

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { addressOf } from '../config.ts';
import { MeshtrailError } from '../core/error.ts';
import { startChild } from './child.ts';
import { isPortFree } from './ports.ts';

const READY_MS_MAX = 30_000;
const READY_POLL_MS = 20;
const STOP_MS_MAX = 10_000;
/** A demo is looked at while it runs: what was recorded is to be seen soon. */
const PUBLISH_INTERVAL_MS = 200;
const API_PORT = 4600;
const INGEST_PORT = 4601;
/** The `meshtrail` command as a file for Node. */
export const COMMAND = fileURLToPath(new URL('../../bin/meshtrail.js', import.meta.url));
const TELEMETRY = new URL('../telemetry.ts', import.meta.url).href;

/** Name of the demo's log. */
export const DEMO_ORIGIN = 'demo.mesh/log';

/** HOST:PORT of both listeners. */
export interface Addresses {
  readonly api: string;
  readonly ingest: string;
}

export interface CollectorInput {
  /** Directory of the log. */
  readonly dir: string;
  /** Directory for the process's own files: its log, and what it says when it is ready. */
  readonly runDir: string;
  readonly addresses: Addresses;
}

export interface CollectorProcess extends Addresses {
  /** URL of the API. */
  readonly url: URL;
  readonly vkey: string;
  readonly pid: number;
  ended(): string | undefined;
  readonly exited: Promise<void>;
  /** The telling line of its log. */
  logEnd(): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** The default ports, or free ones for those that are busy. */
export async function chooseAddresses(): Promise<Addresses> {
  const choose = async (port: number): Promise<string> => `127.0.0.1:${(await isPortFree(port)) ? port : 0}`;
  return { api: await choose(API_PORT), ingest: await choose(INGEST_PORT) };
}

/** The environment without the variables that configure a collector or a client: the demo gives its own options. */
export function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MESHTRAIL_')));
}

/** Starts `meshtrail serve` and waits until it answers. Throws PREREQUISITE_MISSING with the telling line of its log. */
export async function startCollectorProcess({ dir, runDir, addresses }: CollectorInput): Promise<CollectorProcess> {
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const readyFile = join(runDir, 'ready.json');
  rmSync(readyFile, { force: true });
  const options = {
    dir,
    origin: DEMO_ORIGIN,
    api: addresses.api,
    ingest: addresses.ingest,
    'ready-file': readyFile,
    'publish-interval-ms': String(PUBLISH_INTERVAL_MS),
  };
  const child = await startChild({
    name: 'collector',
    command: process.execPath,
    args: [
      '--import',
      TELEMETRY,
      COMMAND,
      'serve',
      ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    env: cleanEnvironment(),
    logFile: join(runDir, 'collector.log'),
  });
  const deadline = performance.now() + READY_MS_MAX;
  while (!existsSync(readyFile)) {
    const ending = child.ended();
    if (ending !== undefined || performance.now() > deadline) {
      await child.kill();
      throw new MeshtrailError(
        'PREREQUISITE_MISSING',
        `The collector ${ending === undefined ? `was not ready after ${READY_MS_MAX / 1000} s` : `ended (${ending})`}. ${child.logEnd()}`,
      );
    }
    await sleep(READY_POLL_MS);
  }
  const ready = JSON.parse(readFileSync(readyFile, 'utf8')) as { api: string; ingest: string; vkey: string };
  const url = new URL(ready.api);
  return {
    url,
    api: url.host,
    ingest: ready.ingest,
    vkey: ready.vkey,
    pid: child.pid,
    ended: () => child.ended(),
    exited: child.exited,
    logEnd: () => child.logEnd(),
    stop: () => child.stop(STOP_MS_MAX),
    kill: () => child.kill(),
  };
}

/** Host and port of an address as an Envoy cluster wants them. */
export function endpointOf(address: string): { readonly host: string; readonly port: number } {
  return addressOf('address', address);
}
