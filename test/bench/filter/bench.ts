// Benchmark `filter`: what recording costs Envoy for each request, in every role, beside no recording and Envoy's own logs in the
// same rounds; in plaintext and with mTLS, with one worker and with two.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findEnvoy } from '../../../collector/src/demo/envoy.ts';
import { type Benchmark, chosen, chosenByOption, countOption, type RunInput } from '../lib/benchmark.ts';
import {
  type Check,
  median,
  Notebook,
  type Outcome,
  type Ratio,
  type Subject,
  shown,
  type Table,
} from '../lib/figures.ts';
import { Cleanup, type NodeChild } from '../lib/processes.ts';
import { interleave } from '../lib/rounds.ts';
import type { SinkReply } from './als-sink.ts';
import type { BatchSinkReply, Received } from './batch-sink.ts';
import { callsOf } from './calls.ts';
import { COUNTED_METRIC, countingModule } from './counting.ts';
import { CONNECTIONS, Field, RELEASE_FILE, SETTLE_MS, startNode } from './field.ts';
import { costTable, driftUs } from './table.ts';
import {
  isOfOther,
  type Setting,
  settingName,
  VARIANT_NAMES,
  VARIANTS,
  type VariantName,
  variantOf,
} from './variants.ts';

/** Many short rounds: the machine drifts by more than what is measured. */
const REQUESTS = 8000;
const REQUESTS_SMOKE = 400;
const TLS = ['none', 'mtls'] as const;
const WORKERS = ['1', '2'] as const;

interface Sinks {
  readonly batches: NodeChild;
  readonly als: NodeChild;
}

interface Delivered {
  readonly count: number;
  readonly bytes: number;
  readonly records: number;
  readonly batches?: number;
  readonly where: string;
  readonly isWhole: boolean;
}

function fromBatches(received: Received, workers: number): Delivered {
  const { exchanges, bytes, records, batches, streams, invalid, seen, recorded } = received;
  return {
    count: exchanges,
    bytes,
    records,
    batches,
    where: `at the sink (${records} rows in ${batches} batches of ${streams} streams, ${invalid} invalid, ${seen - recorded} dropped)`,
    isWhole: invalid === 0 && seen === recorded && recorded === records && streams === workers,
  };
}

async function counted(adminUrl: string): Promise<number> {
  const text = await (await fetch(`${adminUrl}/stats?filter=${COUNTED_METRIC}`)).text();
  return Number(/: (\d+)/.exec(text)?.[1] ?? Number.NaN);
}

/** Stops the proxies and tells what came of the requests of each. */
async function deliveries(
  field: Field<VariantName>,
  names: readonly VariantName[],
  sinks: Sinks,
  jsonPath: string,
  workers: number,
): Promise<Map<VariantName, Delivered>> {
  const counts = new Map<VariantName, number>();
  for (const name of names) {
    const variant = variantOf(name);
    if (variant.kind !== 'wasm' || variant.module !== 'counting') continue;
    counts.set(name, await counted(field.proxies[name].envoy.adminUrl));
  }
  await field.stopProxies();
  await sleep(SETTLE_MS);
  const batches = await sinks.batches.ask<BatchSinkReply>({ names: [] });
  const als = await sinks.als.ask<SinkReply>({});
  const json = existsSync(jsonPath) ? readFileSync(jsonPath) : Buffer.alloc(0);
  const lines = json.reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0);
  const found = new Map<VariantName, Delivered>();
  for (const name of names) {
    const { kind } = variantOf(name);
    const received = batches[name];
    const count = counts.get(name);
    if (count !== undefined) found.set(name, { count, bytes: 0, records: 0, where: 'counted', isWhole: true });
    else if (kind === 'wasm' && received !== undefined) found.set(name, fromBatches(received, workers));
    else if (kind === 'jsonFile')
      found.set(name, { count: lines, bytes: json.length, records: lines, where: 'in the file', isWhole: true });
    else if (kind === 'grpcAls')
      found.set(name, {
        count: als.entries,
        bytes: als.bytes,
        records: als.entries,
        batches: als.messages,
        where: `at the sink, in ${als.messages} messages`,
        isWhole: true,
      });
  }
  return found;
}

/** Differences and drift, from the rounds; bytes and batch sizes, from what was delivered. */
function derive(
  notebook: Notebook,
  names: readonly VariantName[],
  delivered: ReadonlyMap<VariantName, Delivered>,
): void {
  const base = notebook.valuesOf('none', 'cpuPerRequestUs');
  for (const name of names) {
    const own = notebook.valuesOf(name, 'cpuPerRequestUs');
    const isAdded = name !== 'none' && base.length === own.length;
    const values = own.map((value, i) => (isAdded ? value - (base[i] as number) : value));
    if (isAdded) for (const value of values) notebook.note(name, 'addedCpuPerRequestUs', 'us', value);
    notebook.note(name, 'driftUs', 'us', driftUs(values));
    const resident = notebook.valuesOf(name, 'residentMib');
    notebook.note(name, 'residentGrowthMib', 'MiB', (resident.at(-1) ?? Number.NaN) - (resident[0] ?? Number.NaN));
    const { count = 0, records = 0, bytes = 0, batches } = delivered.get(name) ?? {};
    if (records === 0) continue;
    notebook.note(name, 'wireBytesPerRequest', 'bytes', bytes / count);
    notebook.note(name, 'wireBytesPerRecord', 'bytes', bytes / records);
    if (batches !== undefined) notebook.note(name, 'recordsPerBatch', 'records', records / batches);
  }
}

/** Host calls, which only the emulated Envoy tells. */
async function noteCalls(
  notebook: Notebook,
  names: readonly VariantName[],
  { tls }: Setting,
  beside: string | undefined,
): Promise<void> {
  const release = readFileSync(RELEASE_FILE);
  const other = beside === undefined ? release : readFileSync(beside);
  const modules = { release, other, counting: await countingModule() };
  for (const name of names) {
    const variant = variantOf(name);
    if (variant.kind !== 'wasm') continue;
    const calls = callsOf(variant, tls, modules[variant.module]);
    if (calls === undefined) continue;
    notebook.note(name, 'hostCallsPerRequest', 'calls', calls.all);
    notebook.note(name, 'hostCallsWithDataPerRequest', 'calls', calls.data);
  }
}

/** What everybody had of its core while requests were sent: whether the proxy, or what is around it, set the pace. */
function coresNote(title: string, notebook: Notebook, names: readonly VariantName[]): string {
  const range = (figure: string): string => {
    const medians = names.map((name) => median(notebook.valuesOf(name, figure)));
    return `${shown(Math.min(...medians))} to ${shown(Math.max(...medians))}`;
  };
  return `${title}: cores used by the proxy ${range('proxyCores')}, by upstream and load generator ${range('otherCoreBusy')}`;
}

interface SettingOutcome {
  readonly subjects: readonly Subject[];
  readonly ratios: readonly Ratio[];
  readonly checks: readonly Check[];
  readonly table: Table;
  readonly note: string;
  readonly repeats: number;
}

async function measureSetting(
  input: RunInput,
  setting: Setting,
  names: readonly VariantName[],
  requests: number,
): Promise<SettingOutcome> {
  const cleanup = new Cleanup();
  input.cleanup.add(() => cleanup.run());
  const title = settingName(setting);
  const progress = (text: string): void => input.progress(`${title}: ${text}`);
  const workDir = cleanup.directory();
  const sinks: Sinks = {
    batches: startNode(cleanup, workDir, new URL('batch-sink.ts', import.meta.url)),
    als: startNode(cleanup, workDir, new URL('als-sink.ts', import.meta.url)),
  };
  const ports = await sinks.batches.ask<BatchSinkReply>({ names });
  const { port: alsPort } = await sinks.als.ask<SinkReply>({});
  const jsonPath = join(workDir, 'access.json');
  const each = <Value>(value: (name: VariantName) => Value): Record<VariantName, Value> =>
    Object.fromEntries(names.map((name) => [name, value(name)])) as Record<VariantName, Value>;
  progress('starting the proxies');
  const field = await Field.start({
    cleanup,
    setting,
    variants: each(variantOf),
    receivers: each((name) => ({ ingestPort: ports[name]?.port ?? 0, alsPort, jsonPath })),
    otherPids: [sinks.batches.pid, sinks.als.pid],
    otherModule: input.options['beside'],
  });
  for (const name of names) {
    progress(`warm-up: ${name}`);
    await field.send(name, requests);
  }
  await sleep(SETTLE_MS);
  const notebook = new Notebook();
  const { rounds, isSmoke } = input;
  const repeats = await interleave({
    subjects: names,
    rounds,
    isSmoke,
    notebook,
    progress,
    measure: async (name) => await field.measure(name, requests),
  });
  progress('counting what was delivered');
  const delivered = await deliveries(field, names, sinks, jsonPath, setting.workers);
  derive(notebook, names, delivered);
  await noteCalls(notebook, names, setting, input.options['beside']);
  await cleanup.run();
  const checks = [...delivered].map(([name, { count, where, isWhole }]) => {
    const sent = field.proxies[name].requests;
    return { what: `${title}, ${name}: ${count} ${where}, ${sent} requests sent`, ok: count === sent && isWhole };
  });
  const recorders = names.filter((name) => name !== 'none');
  const subjectName = (name: string): string => `${setting.tls}/${setting.workers}/${name}`;
  const named = (ratio: Ratio): Ratio => ({ ...ratio, of: subjectName(ratio.of), to: subjectName(ratio.to) });
  const toNone = notebook.ratios('cpuPerRequestUs', recorders, ['none']);
  const toRivals = recorders.flatMap((name) =>
    (['grpcAls', 'jsonFile'] as const)
      .filter((rival) => rival !== name)
      .flatMap((rival) => notebook.ratioOfMedians('addedCpuPerRequestUs', name, rival)),
  );
  return {
    subjects: names.map((name) => ({ ...notebook.subject(name, VARIANTS[name].what), name: subjectName(name) })),
    ratios: [...toNone, ...toRivals].map(named),
    checks,
    table: costTable({ title, names, notebook, ratios: [...toNone, ...toRivals] }),
    note: coresNote(title, notebook, names),
    repeats,
  };
}

async function run(input: RunInput): Promise<Outcome> {
  const binary = findEnvoy();
  const requests = countOption(input, 'requests', input.isSmoke ? REQUESTS_SMOKE : REQUESTS);
  const beside = input.options['beside'];
  const names = chosen(
    VARIANT_NAMES.filter((name) => beside !== undefined || !isOfOther(name)),
    input.variants,
  );
  const asked = chosenByOption(input, 'tls', TLS).flatMap((tls) =>
    chosenByOption(input, 'workers', WORKERS).map((workers) => ({ tls, workers: workers === '1' ? 1 : 2 }) as const),
  );
  // Smoke: each value once.
  const isPart = input.isSmoke && asked.length === TLS.length * WORKERS.length;
  const settings = isPart ? asked.filter(({ tls, workers }) => (tls === 'none') === (workers === 1)) : asked;
  const outcomes: SettingOutcome[] = [];
  for (const setting of settings) outcomes.push(await measureSetting(input, setting, names, requests));
  const version = /version: (.*)/.exec(execFileSync(binary, ['--version']).toString())?.[1] ?? 'unknown';
  const repeats = outcomes.reduce((sum, outcome) => sum + outcome.repeats, 0);
  return {
    settings: { connections: CONNECTIONS, requestsInRound: requests, repeats, envoy: version },
    subjects: outcomes.flatMap(({ subjects }) => subjects),
    ratios: outcomes.flatMap(({ ratios }) => ratios),
    tables: outcomes.map(({ table }) => table),
    checks: outcomes.flatMap(({ checks }) => checks),
    notes: outcomes.map(({ note }) => note),
  };
}

export const filter: Benchmark = {
  name: 'filter',
  summary:
    "Envoy's CPU time for each request with our filter in each role, its JSON file log, its gRPC log, and nothing.",
  roundsDefault: 21,
  options: {
    tls: ['none,mtls', 'how the proxy is reached; both by default'],
    workers: ['1,2', 'its worker threads; both by default'],
    requests: ['N', `requests in a round, ${REQUESTS} by default`],
    beside: ['FILE', 'another build of the module, as HTTP filter and as access logger in the same rounds'],
  },
  run,
};
