// One run of the demo: services, mesh and collector joined, the incident played, the proxies stopped, the truth told.

import { setTimeout as sleep } from 'node:timers/promises';
import { endpointOf } from './collector.ts';
import { consequencesOf, makePlan, type Plan, play } from './incident.ts';
import { type Mesh, startMesh } from './mesh.ts';
import { SERVICES, type ServiceName, spiffeIdOf } from './policies.ts';
import { refusingPort } from './ports.ts';
import { ABSENT_SERVICE, makeParties, type Parties } from './services.ts';
import { Ledger, type Truth } from './truth.ts';

/** The recorder's tick in the demo: short, so that records are seen soon. */
const FLUSH_INTERVAL_MS = 250;
const DRAIN_MS_MAX = 10_000;
const DRAIN_POLL_MS = 50;

export interface FlightInput {
  /** Path of the Envoy binary. */
  readonly envoy: string;
  /** Directory for certificates, bootstraps and logs. */
  readonly dir: string;
  readonly seed: number;
  /** Absent: nothing is recorded. */
  readonly recorder?: {
    readonly wasmFile: string;
    /** HOST:PORT of the collector's ingest listener. */
    readonly ingest: string;
    readonly flushIntervalMs?: number;
    /** Further settings of the filter. */
    readonly settings?: Readonly<Record<string, number | string | boolean>>;
  };
  readonly accessLogDir?: string;
}

/** A mesh with its services, ready for traffic. */
export interface Flight {
  readonly plan: Plan;
  readonly parties: Parties;
  readonly mesh: Mesh;
  /** Waits until the recorders hold nothing that is still to be sent, or until a time limit. */
  drain(msMax?: number): Promise<boolean>;
  /** What the services counted. Throws while exchanges are under way. */
  truth(): Truth;
  /** Stops proxies and services. */
  close(): Promise<void>;
}

interface Closable {
  close(): Promise<void>;
}

/** Starts services and proxies. */
export async function startFlight(input: FlightInput): Promise<Flight> {
  const { seed, recorder } = input;
  const ledger = new Ledger();
  const plan = makePlan(seed);
  const parties = makeParties(ledger);
  const open: Closable[] = [parties];
  const close = async (): Promise<void> => {
    for (const one of open.splice(0).reverse()) await one.close();
  };
  try {
    const refusing = await refusingPort();
    open.push({ close: () => refusing.release() });
    const appPorts = {} as Record<ServiceName, number>;
    for (const { name } of SERVICES) appPorts[name] = await parties.services[name].receiver.listen();
    const { name, namespace } = ABSENT_SERVICE;
    const mesh = await startMesh({
      envoy: input.envoy,
      dir: input.dir,
      appPorts,
      outsidePort: await parties.outside.listen(),
      absentPeer: { name, namespace, spiffeId: spiffeIdOf(namespace, name), inboundPort: refusing.port },
      ...(recorder === undefined ? {} : { recorder: recorderOf(recorder) }),
      ...(input.accessLogDir === undefined ? {} : { accessLogDir: input.accessLogDir }),
    });
    open.push({ close: () => mesh.stop() });
    parties.visitor.through(mesh.ingressPort);
    for (const service of SERVICES) parties.services[service.name].sender.through(mesh.outboundPorts[service.name]);
    const flushMs = recorder?.flushIntervalMs ?? FLUSH_INTERVAL_MS;
    return {
      plan,
      parties,
      mesh,
      drain: (msMax = DRAIN_MS_MAX) => drain(mesh, flushMs, msMax),
      truth: () => ledger.truth(seed, consequencesOf(plan)),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function recorderOf({ wasmFile, ingest, flushIntervalMs, settings }: NonNullable<FlightInput['recorder']>) {
  return {
    wasmFile,
    ingest: endpointOf(ingest),
    flushIntervalMs: flushIntervalMs ?? FLUSH_INTERVAL_MS,
    ...(settings === undefined ? {} : { settings }),
  };
}

/** Plays the incident. */
export async function playFlight({ plan, parties }: Flight): Promise<void> {
  await play(plan, parties);
}

/** What a proxy's recorder still has to deliver, by the proxy's own statistics: records it keeps, and deliveries under way. */
async function waiting(adminUrl: string): Promise<number> {
  const names = 'wasmcustom.meshtrail_records_waiting|cluster.meshtrail_collector.upstream_rq_active';
  const url = `${adminUrl}/stats?filter=${encodeURIComponent(`^(${names})$`)}`;
  const text = await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
  return [...text.matchAll(/: (\d+)/g)].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** A tick has passed since the last exchange, and nothing waits: a batch in flight at exit would keep the last one back. */
async function drain({ envoys }: Mesh, flushMs: number, msMax: number): Promise<boolean> {
  await sleep(2 * flushMs);
  const deadline = performance.now() + msMax;
  for (;;) {
    const counts = await Promise.all(envoys.map(({ adminUrl }) => waiting(adminUrl)));
    if (counts.every((count) => count === 0)) return true;
    if (performance.now() > deadline) return false;
    await sleep(DRAIN_POLL_MS);
  }
}
