// What a measurement of proxies needs around them: the upstream, the load generator, identities, the proxies of the variants, and
// one measurement of one of them.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeAuthority } from '../../../collector/src/demo/certificates.ts';
import { type Envoy, findEnvoy, startEnvoy } from '../../../collector/src/demo/envoy.ts';
import { freePorts } from '../../../collector/src/demo/ports.ts';
import { Disturbance } from '../lib/machine.ts';
import {
  type Cleanup,
  cpuNs,
  MEASURED_CORE,
  NodeChild,
  OTHER_CORE,
  pinRunning,
  residentMib,
} from '../lib/processes.ts';
import type { ClientTls } from '../lib/raw-http.ts';
import type { Figures, Measurement } from '../lib/rounds.ts';
import { AUTHORITY, type ListenerTls, proxyConfig, type Receivers, upstreamConfig } from './config.ts';
import { countingModule } from './counting.ts';
import type { LoadReply, LoadRequest } from './load.ts';
import type { Setting, Variant } from './variants.ts';

export const CONNECTIONS = 8;
/** After the requests of a measurement: longer than every flush interval, so that what is delivered late is in its figure. */
export const SETTLE_MS = 1300;
const TRUST_DOMAIN = 'bench.mesh';
/** The module as it is shipped. */
export const RELEASE_FILE: string = fileURLToPath(new URL('../../../build/filter.wasm', import.meta.url));

export interface Proxy {
  readonly envoy: Envoy;
  readonly port: number;
  /** Requests sent to it so far. */
  requests: number;
}

export type Measured = Measurement & Required<Pick<Measurement, 'rest'>>;

/** A measurement whose rest is waited for: needed where the receiver's time counts, which other proxies would use meanwhile. */
export async function whole({ figures, rest }: Measured): Promise<Measurement> {
  return { figures: { ...(await rest), ...figures } };
}

export interface FieldInput<Name extends string> {
  readonly cleanup: Cleanup;
  readonly setting: Setting;
  readonly variants: Readonly<Record<Name, Variant>>;
  readonly receivers: Readonly<Record<Name, Receivers>>;
  /** Processes that belong to the benchmark beside those of the field. */
  readonly otherPids: readonly number[];
  /** File of another build of the module, for the variants that have it. */
  readonly otherModule?: string | undefined;
}

/** A Node process of the benchmark, on the core that is not measured. */
export function startNode(cleanup: Cleanup, workDir: string, file: URL, ...args: readonly string[]): NodeChild {
  const path = fileURLToPath(file);
  const logFile = join(workDir, `${path.split('/').at(-1)}.log`);
  const child = new NodeChild({ args: [path, ...args], core: OTHER_CORE, logFile });
  cleanup.add(() => child.stop());
  return child;
}

/** Certificates of one authority: the proxy's, and the client's. */
async function identities(dir: string): Promise<{ readonly listener: ListenerTls; readonly client: ClientTls }> {
  const authority = await makeAuthority(dir, TRUST_DOMAIN);
  const [identity, caller] = await Promise.all([
    authority.issue('shop', 'orders'),
    authority.issue('shop', 'frontend'),
  ]);
  return {
    listener: { identity, caFile: authority.caFile, trustDomain: TRUST_DOMAIN },
    client: { ...caller, caFile: authority.caFile, serverName: AUTHORITY },
  };
}

export class Field<Name extends string> {
  readonly proxies: Readonly<Record<Name, Proxy>>;
  readonly #load: NodeChild;
  readonly #upstream: Envoy;
  readonly #clientTls: ClientTls | undefined;
  readonly #disturbance: Disturbance;

  private constructor(input: {
    readonly proxies: Readonly<Record<Name, Proxy>>;
    readonly load: NodeChild;
    readonly upstream: Envoy;
    readonly clientTls: ClientTls | undefined;
    readonly otherPids: readonly number[];
  }) {
    this.proxies = input.proxies;
    this.#load = input.load;
    this.#upstream = input.upstream;
    this.#clientTls = input.clientTls;
    const envoys = Object.values<Proxy>(input.proxies).map(({ envoy }) => envoy.pid);
    this.#disturbance = new Disturbance([input.load.pid, input.upstream.pid, ...envoys, ...input.otherPids]);
  }

  /** Starts everything; the proxies of more than one worker have all cores. */
  static async start<Name extends string>(input: FieldInput<Name>): Promise<Field<Name>> {
    const { cleanup, setting, variants, receivers, otherPids, otherModule = RELEASE_FILE } = input;
    const binary = findEnvoy();
    const workDir = cleanup.directory();
    const load = startNode(cleanup, workDir, new URL('load.ts', import.meta.url));
    const names = Object.keys(variants) as Name[];
    const [upstreamPort = 0, ...ports] = await freePorts(1 + names.length);
    const start = async (name: string, config: ReturnType<typeof upstreamConfig>, workers: number): Promise<Envoy> => {
      const envoy = await startEnvoy(binary, name, join(workDir, name), config, workers);
      cleanup.add(() => envoy.stop());
      return envoy;
    };
    const upstream = await start('upstream', upstreamConfig(upstreamPort), 1);
    pinRunning(upstream.pid, OTHER_CORE);
    mkdirSync(join(workDir, 'identities'));
    const { listener, client } = await identities(join(workDir, 'identities'));
    const wasmFiles = { release: RELEASE_FILE, other: resolve(otherModule), counting: join(workDir, 'counting.wasm') };
    writeFileSync(wasmFiles.counting, await countingModule());
    const proxies: Partial<Record<Name, Proxy>> = {};
    for (const [i, name] of names.entries()) {
      const port = ports[i] as number;
      const given = { name, port, upstreamPort, setting, wasmFiles, tls: listener };
      const config = proxyConfig({ ...given, variant: variants[name], receivers: receivers[name] });
      const envoy = await start(name, config, setting.workers);
      pinRunning(envoy.pid, ...(setting.workers === 1 ? [MEASURED_CORE] : [MEASURED_CORE, OTHER_CORE]));
      proxies[name] = { envoy, port, requests: 0 };
    }
    const clientTls = setting.tls === 'mtls' ? client : undefined;
    return new Field({ proxies: proxies as Record<Name, Proxy>, load, upstream, clientTls, otherPids });
  }

  /** Sends requests to a proxy, so many connections at a time. Throws when one is not answered. */
  async send(name: Name, requests: number): Promise<LoadReply> {
    const proxy = this.proxies[name];
    const request: LoadRequest = { port: proxy.port, requests, connections: CONNECTIONS, tls: this.#clientTls };
    const reply = await this.#load.ask<LoadReply>(request);
    if (reply.answered !== requests) throw new Error(`${requests} requests, and ${reply.answered} were answered`);
    proxy.requests += requests;
    return reply;
  }

  /** One measurement: requests, and the CPU time of everybody; that of the proxy when the rest of them is delivered. */
  async measure(name: Name, requests: number, receiverPid?: number, settleMs = SETTLE_MS): Promise<Measured> {
    const { envoy } = this.proxies[name];
    const pids = [envoy.pid, this.#load.pid, this.#upstream.pid, ...(receiverPid === undefined ? [] : [receiverPid])];
    this.#disturbance.begin();
    const before = pids.map(cpuNs);
    const spent = (): number[] => pids.map((pid, i) => cpuNs(pid) - (before[i] as number));
    const sent = await this.send(name, requests);
    const [proxy = 0, ...others] = spent();
    const { foreignCores, stealCores } = this.#disturbance.end();
    const rest = sleep(settleMs).then((): Figures => {
      const [cpu = 0, , , receiver] = spent();
      return {
        cpuPerRequestUs: ['us', cpu / 1000 / requests],
        ...(receiver === undefined ? {} : { receiverCpuPerRequestUs: ['us', receiver / 1000 / requests] as const }),
        residentMib: ['MiB', residentMib(envoy.pid)],
      };
    });
    // Whoever waits for it hears of a failure; nobody may, when something else failed first.
    rest.catch(() => undefined);
    const figures: Figures = {
      requestsPerSecond: ['requests/s', (1000 * requests) / sent.elapsedMs],
      latencyP50Ms: ['ms', sent.latencyMsP50],
      latencyP99Ms: ['ms', sent.latencyMsP99],
      proxyCores: ['cores', proxy / 1e6 / sent.elapsedMs],
      otherCoreBusy: ['cores', others.reduce((sum, ns) => sum + ns, 0) / 1e6 / sent.elapsedMs],
      foreignCores: ['cores', foreignCores],
      stealCores: ['cores', stealCores],
    };
    return { figures, rest };
  }

  /** Ends the proxies in an orderly way, which sends what they hold. */
  async stopProxies(): Promise<void> {
    for (const { envoy } of Object.values<Proxy>(this.proxies)) await envoy.stop();
  }
}
