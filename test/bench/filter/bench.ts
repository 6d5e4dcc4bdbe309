// Benchmark `filter`: what recording costs Envoy for each request, beside no recording and Envoy's own logs in the same rounds.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Envoy, findEnvoy, startEnvoy } from '../../../collector/src/demo/envoy.ts';
import { freePorts } from '../../../collector/src/demo/ports.ts';
import { type Benchmark, chosen, type RunInput } from '../lib/benchmark.ts';
import { type RunningCollector, startCollector } from '../lib/collector.ts';
import { type Check, Notebook, type Outcome } from '../lib/figures.ts';
import { Disturbance } from '../lib/machine.ts';
import { cpuNs, MEASURED_CORE, NodeChild, OTHER_CORE, pinRunning, residentMib } from '../lib/processes.ts';
import { type Figures, interleave } from '../lib/rounds.ts';
import { proxyConfig, upstreamConfig, type Variant } from './config.ts';
import type { LoadReply, LoadRequest } from './load.ts';
import type { SinkReply } from './sink.ts';

const CONNECTIONS = 8;
/** Many short rounds: the machine drifts by more than what is measured. */
const REQUESTS = 8000;
const REQUESTS_SMALL = 400;
/** After the requests of a round: longer than every flush interval, so that what a round delivers late is in its figure. */
const SETTLE_MS = 1300;
const WASM_FILE = fileURLToPath(new URL('../../../build/filter.wasm', import.meta.url));

const WHAT = {
  none: 'Envoy as a plain proxy, nothing recorded',
  meshtrail: 'our filter (release module) as HTTP filter, delivering to a live collector',
  jsonFile: "Envoy's JSON file access log, 27 fields; nothing ships the file",
  grpcAls: "Envoy's gRPC access log to a live sink that reads every message",
} as const satisfies Record<Variant['kind'], string>;
type Name = keyof typeof WHAT;
const NAMES = Object.keys(WHAT) as Name[];

interface Target {
  readonly envoy: Envoy;
  readonly port: number;
  requests: number;
}

interface Field {
  readonly load: NodeChild;
  readonly sink: NodeChild;
  readonly collector: RunningCollector;
  readonly upstream: Envoy;
  readonly jsonPath: string;
  readonly targets: Readonly<Partial<Record<Name, Target>>>;
}

async function start({ cleanup }: RunInput, names: readonly Name[], binary: string): Promise<Field> {
  const workDir = cleanup.directory();
  const child = (name: string): NodeChild => {
    const args = [fileURLToPath(new URL(`${name}.ts`, import.meta.url))];
    const made = new NodeChild({ args, core: OTHER_CORE, logFile: join(workDir, `${name}.log`) });
    cleanup.add(() => made.stop());
    return made;
  };
  const [load, sink] = [child('load'), child('sink')];
  const collector = await startCollector({ workDir, core: OTHER_CORE });
  cleanup.add(() => collector.stop());
  const ports = await freePorts(1 + names.length);
  const upstreamPort = ports[0] as number;
  const envoy = async (name: string, core: number, config: ReturnType<typeof upstreamConfig>): Promise<Envoy> => {
    const made = await startEnvoy(binary, name, join(workDir, name), config);
    cleanup.add(() => made.stop());
    pinRunning(made.pid, core);
    return made;
  };
  const upstream = await envoy('upstream', OTHER_CORE, upstreamConfig(upstreamPort));
  const { port: sinkPort } = await sink.ask<SinkReply>({});
  const jsonPath = join(workDir, 'access.json');
  const variants: Record<Name, Variant> = {
    none: { kind: 'none' },
    meshtrail: { kind: 'meshtrail', wasmFile: WASM_FILE, ingestPort: collector.ingestPort },
    jsonFile: { kind: 'jsonFile', path: jsonPath },
    grpcAls: { kind: 'grpcAls', sinkPort },
  };
  const targets: Partial<Record<Name, Target>> = {};
  for (const [i, name] of names.entries()) {
    const port = ports[1 + i] as number;
    const config = proxyConfig(port, upstreamPort, variants[name]);
    targets[name] = { envoy: await envoy(name, MEASURED_CORE, config), port, requests: 0 };
  }
  return { load, sink, collector, upstream, jsonPath, targets };
}

async function send({ load }: Field, target: Target, requests: number): Promise<LoadReply> {
  const request: LoadRequest = { port: target.port, requests, connections: CONNECTIONS };
  const reply = await load.ask<LoadReply>(request);
  if (reply.answered !== requests) throw new Error(`${requests} requests, and ${reply.answered} were answered`);
  target.requests += requests;
  return reply;
}

async function round(field: Field, name: Name, requests: number): Promise<Figures> {
  const { load, sink, collector, upstream, targets } = field;
  const target = targets[name] as Target;
  const { envoy } = target;
  const receiver = name === 'meshtrail' ? collector.pid : name === 'grpcAls' ? sink.pid : undefined;
  const allPids = [
    load.pid,
    sink.pid,
    collector.pid,
    upstream.pid,
    ...Object.values(targets).map((each) => each.envoy.pid),
  ];
  const disturbance = new Disturbance(allPids);
  const before = [envoy.pid, receiver ?? envoy.pid, load.pid, upstream.pid].map(cpuNs) as [
    number,
    number,
    number,
    number,
  ];
  const sent = await send(field, target, requests);
  await sleep(SETTLE_MS);
  const [cpu, receiverCpu, loadCpu, upstreamCpu] = [envoy.pid, receiver ?? envoy.pid, load.pid, upstream.pid].map(
    (pid, i) => cpuNs(pid) - (before[i] as number),
  ) as [number, number, number, number];
  const { foreignCores, stealCores } = disturbance.end();
  const otherCpu = loadCpu + upstreamCpu + (receiver === undefined ? 0 : receiverCpu);
  return {
    cpuPerRequestUs: ['us', cpu / 1000 / requests],
    requestsPerSecond: ['requests/s', (1000 * requests) / sent.elapsedMs],
    latencyP50Ms: ['ms', sent.latencyMsP50],
    latencyP99Ms: ['ms', sent.latencyMsP99],
    ...(receiver === undefined ? {} : { receiverCpuPerRequestUs: ['us', receiverCpu / 1000 / requests] as const }),
    otherCoreBusy: ['cores', otherCpu / 1e6 / sent.elapsedMs],
    foreignCores: ['cores', foreignCores],
    stealCores: ['cores', stealCores],
  };
}

/** Stops the proxies, which sends what they hold, and counts what arrived. */
async function delivered(field: Field, notebook: Notebook): Promise<Check[]> {
  const { targets, sink, collector, jsonPath } = field;
  const als = await sink.ask<SinkReply>({});
  for (const [name, { envoy }] of Object.entries(targets)) {
    notebook.note(name, 'residentMib', 'MiB', residentMib(envoy.pid));
    await envoy.stop();
  }
  // Whatever came last is published within an interval.
  await sleep(SETTLE_MS);
  const headers = await collector.batches();
  const records = headers.reduce((sum, { recordCount }) => sum + recordCount, 0);
  const wireBytes = headers.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  const json = existsSync(jsonPath) ? readFileSync(jsonPath) : Buffer.alloc(0);
  const lines = json.reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0);
  const note = (name: Name, bytes: number, count: number): void =>
    notebook.note(name, 'wireBytesPerRecord', 'bytes', count === 0 ? Number.NaN : bytes / count);
  note('meshtrail', wireBytes, records);
  note('jsonFile', json.length, lines);
  note('grpcAls', als.bytes, als.entries);
  if (headers.length > 0) notebook.note('meshtrail', 'recordsPerBatch', 'records', records / headers.length);
  const check = (name: Name, count: number, where: string): Check[] => {
    const requests = targets[name]?.requests;
    if (requests === undefined) return [];
    return [{ what: `${name}: ${count} records ${where}, ${requests} requests sent`, ok: count === requests }];
  };
  return [
    ...check('meshtrail', records, 'in the signed log'),
    ...check('jsonFile', lines, 'in the file'),
    ...check('grpcAls', als.entries, `in ${als.messages} messages at the sink`),
  ];
}

async function run(input: RunInput): Promise<Outcome> {
  const binary = findEnvoy();
  const requests = input.isSmall ? REQUESTS_SMALL : REQUESTS;
  const names = chosen(NAMES, input.only);
  const field = await start(input, names, binary);
  const notebook = new Notebook();
  for (const name of names) {
    input.progress(`warm-up: ${name}`);
    await send(field, field.targets[name] as Target, requests);
  }
  await sleep(SETTLE_MS);
  const repeats = await interleave({
    subjects: names,
    rounds: input.rounds,
    isSmall: input.isSmall,
    notebook,
    progress: input.progress,
    measure: async (name) => await round(field, name, requests),
  });
  input.progress('counting what was delivered');
  const checks = await delivered(field, notebook);
  const recorders = names.filter((name) => name !== 'none');
  const base = notebook.valuesOf('none', 'cpuPerRequestUs');
  for (const name of recorders)
    for (const [i, value] of notebook.valuesOf(name, 'cpuPerRequestUs').entries())
      notebook.note(name, 'addedCpuPerRequestUs', 'us', value - (base[i] ?? Number.NaN));
  const version =
    execFileSync(binary, ['--version'])
      .toString()
      .match(/version: (.*)/)?.[1] ?? 'unknown';
  return {
    settings: { connections: CONNECTIONS, requestsInRound: requests, workers: 1, tls: 'none', repeats, envoy: version },
    subjects: names.map((name) => notebook.subject(name, WHAT[name])),
    ratios: [
      ...notebook.ratios('cpuPerRequestUs', recorders, ['none']),
      ...notebook.ratioOfMedians('addedCpuPerRequestUs', 'meshtrail', 'grpcAls'),
      ...notebook.ratioOfMedians('addedCpuPerRequestUs', 'meshtrail', 'jsonFile'),
    ],
    checks,
    notes: [],
  };
}

export const filter: Benchmark = {
  name: 'filter',
  summary:
    "Envoy's CPU time for each request with our filter, its JSON file log, its gRPC log with a live sink, and nothing.",
  roundsDefault: 15,
  run,
};
