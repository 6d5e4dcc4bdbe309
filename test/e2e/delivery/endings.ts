// What becomes of the last records when a proxy, its recorder or its configuration ends under load.

import { once } from 'node:events';
import { appendFileSync, copyFileSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readRecords } from '../../../collector/src/demo/recorded.ts';
import { type RealEnvoy, scratch, startCollector } from '../support.ts';
import { type Stage, startStage } from './exactly-once.ts';
import { FaultyCollector } from './faulty-collector.ts';
import type { Channel } from './proxy.ts';

const CONNECTIONS = 8;
/** A pause between two requests of a connection: a load that leaves the machine to others. */
const PAUSE_MS = 2;
const LOAD_MS = 2500;
/** Long enough for what was on its way to arrive. */
const SETTLE_MS = 1500;
/** The tick that the filter has by default. */
const TICK_MS = 1000;

/** Steady requests over kept-alive connections; whoever answers. */
export class Load {
  /** Requests that were answered. */
  answered = 0;
  #next = 0;
  #isOn = true;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #port: number;
  readonly #workers: Promise<void>[];

  constructor(port: number) {
    this.#port = port;
    this.#workers = Array.from({ length: CONNECTIONS }, () => this.#work());
  }

  async stop(): Promise<void> {
    this.#isOn = false;
    await Promise.all(this.#workers);
    this.#agent.destroy();
  }

  async #work(): Promise<void> {
    while (this.#isOn) {
      if (await this.#ask(`/direct/${this.#next++}`)) this.answered++;
      await sleep(PAUSE_MS);
    }
  }

  async #ask(path: string): Promise<boolean> {
    const request = httpRequest({ port: this.#port, host: '127.0.0.1', path, agent: this.#agent });
    // The proxy may be gone, or close the connection.
    request.on('error', () => undefined);
    try {
      const [answer] = (await once(request.end(), 'response')) as [IncomingMessage];
      await once(answer.resume(), 'end');
      return answer.statusCode === 200;
    } catch {
      return false;
    }
  }
}

export interface Ending {
  readonly name: string;
  /** Exchanges by Envoy's access log, or where it was killed by the client's count. */
  readonly exchanges: number;
  readonly recorded: number;
  readonly lost: number;
  /** Streams, and those of them whose last batch says that they end. */
  readonly streams: number;
  readonly ended: number;
  /** Records that the numbers of a stream show to be missing. */
  readonly missing: number;
  /** Bodies that were no whole batch, by the status that they got. */
  readonly broken: readonly number[];
  /** How the proxy's process ended. */
  readonly end: string;
}

export interface Scene extends Stage {
  readonly load: Load;
  readonly faulty: FaultyCollector;
  readonly wasmFile: string;
  /** The same module with other bytes: new code. */
  readonly otherWasmFile: string;
}

export interface Case {
  readonly name: string;
  readonly channel?: Channel;
  readonly isHttp2?: boolean;
  /** Before the load ends; the proxy may be gone afterwards. */
  readonly act: (scene: Scene) => Promise<void>;
}

/** A custom section behind a module makes it another one, and changes nothing. */
function copyWithAnotherDigest(from: string, to: string): string {
  copyFileSync(from, to);
  appendFileSync(to, Uint8Array.of(0, 3, 2, 0x6d, 0x74));
  return to;
}

/** Ends the proxy in a way of its own, and waits until it is gone. */
export async function gone({ proxy }: Scene): Promise<void> {
  while (proxy.envoy.ended() === undefined) await sleep(20);
}

/** Plays a case: load, the ending, and what arrived. */
export async function playEnding(t: TestContext, envoy: RealEnvoy, one: Case): Promise<Ending> {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const faulty = await FaultyCollector.start(t, collector.ingest, one.isHttp2 ?? false);
  const wasmFile = join(dir, 'filter.wasm');
  copyFileSync(envoy.filter, wasmFile);
  const stage = await startStage(t, envoy, dir, faulty.address, {
    wasmFile,
    channel: one.channel ?? 'static',
    isHttp2: one.isHttp2 ?? false,
    settings: { flush_interval_ms: TICK_MS },
  });
  const load = new Load(stage.proxy.port);
  const otherWasmFile = copyWithAnotherDigest(wasmFile, join(dir, 'other.wasm'));
  const scene = { ...stage, load, faulty, wasmFile, otherWasmFile };
  await sleep(LOAD_MS);
  await one.act(scene);
  await load.stop();
  const isKilled = stage.proxy.envoy.ended() === 'SIGKILL';
  await sleep(SETTLE_MS);
  if (!isKilled) await stage.proxy.envoy.stop();
  await sleep(SETTLE_MS);
  return await measured(one.name, scene, collector.url, isKilled);
}

async function measured(name: string, { proxy, load, faulty }: Scene, api: URL, isKilled: boolean): Promise<Ending> {
  const paths = new Set(faulty.records().map(({ request }) => request.path));
  const { records } = await readRecords(api);
  const stored = new Set(records.map(({ record }) => `${record.stream} ${record.number}`));
  if (records.length !== paths.size || stored.size !== paths.size)
    throw new Error('the log and what was sent to it differ');
  const lines = proxy.log().map(({ path }) => path ?? '');
  const exchanges = isKilled ? load.answered : lines.length;
  const streams = [...faulty.streams().values()];
  const missing = streams.reduce((sum, batches) => {
    const last = batches.at(-1);
    const rows = batches.reduce((rows, { rowCount }) => rows + rowCount, 0);
    return sum + (last === undefined ? 0 : last.firstRecord + last.rowCount - rows);
  }, 0);
  return {
    name,
    exchanges,
    recorded: paths.size,
    lost: isKilled ? Math.max(0, exchanges - paths.size) : lines.filter((path) => !paths.has(path)).length,
    streams: streams.length,
    ended: streams.filter((batches) => batches.at(-1)?.isFin).length,
    missing,
    broken: faulty.broken,
    end: proxy.envoy.ended() ?? 'runs',
  };
}
