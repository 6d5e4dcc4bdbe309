// Benchmark `endtoend`: what a record costs from the exchange to the disk: CPU of proxy and receiver together, everything delivered
// and durable. Our filter into our collector beside Envoy's gRPC log into receivers that store what it sends, in the same rounds.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CONNECTIONS, Field, startNode, whole } from '../filter/field.ts';
import { type Setting, settingName, type VariantName, variantOf } from '../filter/variants.ts';
import { type Benchmark, chosen, chosenByOption, countOption, type RunInput } from '../lib/benchmark.ts';
import { type RunningCollector, startCollector } from '../lib/collector.ts';
import { type Check, Notebook, type Outcome, type Ratio, type Subject, type Table } from '../lib/figures.ts';
import { Cleanup, directoryBytes, OTHER_CORE } from '../lib/processes.ts';
import { interleave } from '../lib/rounds.ts';
import type { AlsReply } from '../rivals/als.ts';
import { endToEndTable } from './table.ts';

const REQUESTS = 12_000;
const REQUESTS_SMOKE = 400;
/** A tick of the filter, then an interval in which the collector signs. */
const SETTLE_MS = 2500;
const TLS = ['none', 'mtls'] as const;

interface Line {
  readonly what: string;
  readonly variant: VariantName;
  readonly receiver: 'collector' | 'records' | 'messages' | undefined;
}

const COLLECTOR = 'into `meshtrail serve`: checked, hashed, synced, read back, signed, indexed';
const LINES = {
  none: { what: 'Envoy as a plain proxy, nothing recorded', variant: 'none', receiver: undefined },
  httpFilter: { what: `our filter as HTTP filter ${COLLECTOR}`, variant: 'httpFilter', receiver: 'collector' },
  accessLogger: {
    what: `our filter as access logger of the connection manager ${COLLECTOR}`,
    variant: 'accessLogger',
    receiver: 'collector',
  },
  alsRecords: {
    what: "Envoy's gRPC log into a receiver that decodes every entry and stores each under its time, synced; no hash, signature, index or acknowledgement",
    variant: 'grpcAls',
    receiver: 'records',
  },
  alsMessages: {
    what: 'a floor: the same log, its entries only counted, each message stored as one value, synced',
    variant: 'grpcAls',
    receiver: 'messages',
  },
} as const satisfies Record<string, Line>;
export type LineName = keyof typeof LINES;
const NAMES = Object.keys(LINES) as LineName[];
const lineOf = (name: LineName): Line => LINES[name];

/** A receiver of one proxy's records. */
interface Receiver {
  readonly pid: number;
  readonly port: number;
  /** Stops it, and tells what it has. */
  finish(sent: number): Promise<Finished>;
}
interface Finished {
  readonly records: number;
  readonly batches: number;
  readonly wireBytes: number;
  readonly diskBytes: number;
  readonly check: Omit<Check, 'ok'> & { readonly isSound: boolean };
}

async function ourReceiver(collector: RunningCollector): Promise<Receiver> {
  return {
    pid: collector.pid,
    port: collector.ingestPort,
    async finish() {
      const headers = await collector.batches();
      await collector.stop();
      return {
        records: headers.reduce((sum, { recordCount }) => sum + recordCount, 0),
        batches: headers.length,
        wireBytes: headers.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0),
        diskBytes: directoryBytes(collector.dir),
        check: { what: 'in the signed log', isSound: true },
      };
    },
  };
}

async function alsReceiver(cleanup: Cleanup, workDir: string, kind: 'records' | 'messages'): Promise<Receiver> {
  const dir = join(workDir, 'stored');
  const child = startNode(cleanup, workDir, new URL('../rivals/als.ts', import.meta.url), kind, dir);
  const { port } = await child.ask<AlsReply>({});
  return {
    pid: child.pid,
    port,
    async finish() {
      const { messages, stored, bytes, newest } = await child.ask<AlsReply>({});
      await child.stop();
      // The floor does not look into entries.
      const isDecoded = newest?.path.includes('/api/v1/orders/') === true && newest.startNs > 0n;
      const check = { what: 'on disk', isSound: kind === 'messages' || isDecoded };
      return { records: stored, batches: messages, wireBytes: bytes, diskBytes: directoryBytes(dir), check };
    },
  };
}

async function startReceiver(cleanup: Cleanup, name: LineName, parent: string): Promise<Receiver | undefined> {
  const { receiver } = lineOf(name);
  if (receiver === undefined) return undefined;
  const workDir = join(parent, name);
  mkdirSync(workDir);
  if (receiver !== 'collector') return await alsReceiver(cleanup, workDir, receiver);
  const collector = await startCollector({ workDir, core: OTHER_CORE });
  cleanup.add(() => collector.stop());
  return await ourReceiver(collector);
}

interface SettingOutcome {
  readonly subjects: readonly Subject[];
  readonly ratios: readonly Ratio[];
  readonly checks: readonly Check[];
  readonly table: Table;
  readonly repeats: number;
}

/** What proxy and receiver take together, and how much more that is than a proxy that records nothing. */
function derive(notebook: Notebook, names: readonly LineName[]): void {
  const base = notebook.valuesOf('none', 'cpuPerRequestUs');
  for (const name of names) {
    if (name === 'none') continue;
    const receiver = notebook.valuesOf(name, 'receiverCpuPerRequestUs');
    for (const [i, proxy] of notebook.valuesOf(name, 'cpuPerRequestUs').entries()) {
      const added = proxy - (base[i] ?? Number.NaN);
      notebook.note(name, 'proxyAddedUs', 'us', added);
      notebook.note(name, 'togetherUs', 'us', added + (receiver[i] ?? Number.NaN));
    }
  }
}

async function measureSetting(input: RunInput, setting: Setting, names: readonly LineName[]): Promise<SettingOutcome> {
  const cleanup = new Cleanup();
  input.cleanup.add(() => cleanup.run());
  const title = settingName(setting);
  const progress = (text: string): void => input.progress(`${title}: ${text}`);
  const requests = countOption(input, 'requests', input.isSmoke ? REQUESTS_SMOKE : REQUESTS);
  const workDir = cleanup.directory();
  const receivers = new Map<LineName, Receiver>();
  for (const name of names) {
    const receiver = await startReceiver(cleanup, name, workDir);
    if (receiver !== undefined) receivers.set(name, receiver);
  }
  const each = <Value>(value: (name: LineName) => Value): Record<LineName, Value> =>
    Object.fromEntries(names.map((name) => [name, value(name)])) as Record<LineName, Value>;
  const portOf = (name: LineName): number => receivers.get(name)?.port ?? 0;
  const field = await Field.start({
    cleanup,
    setting,
    variants: each((name) => variantOf(lineOf(name).variant)),
    receivers: each((name) => ({ ingestPort: portOf(name), alsPort: portOf(name), jsonPath: '' })),
    otherPids: [...receivers.values()].map(({ pid }) => pid),
  });
  for (const name of names) {
    progress(`warm-up: ${name}`);
    await field.send(name, requests);
  }
  await sleep(SETTLE_MS);
  const notebook = new Notebook();
  const repeats = await interleave({
    subjects: names,
    rounds: input.rounds,
    isSmoke: input.isSmoke,
    notebook,
    progress,
    measure: async (name) => await whole(await field.measure(name, requests, receivers.get(name)?.pid, SETTLE_MS)),
  });
  derive(notebook, names);
  progress('counting what is durable');
  await field.stopProxies();
  await sleep(SETTLE_MS);
  const checks: Check[] = [];
  for (const [name, receiver] of receivers) {
    const sent = field.proxies[name].requests;
    const { records, batches, wireBytes, diskBytes, check } = await receiver.finish(sent);
    checks.push({
      what: `${title}, ${name}: ${records} records ${check.what}, ${sent} requests sent`,
      ok: records === sent && check.isSound,
    });
    notebook.note(name, 'recordsPerBatch', 'records', records / batches);
    notebook.note(name, 'wireBytesPerRecord', 'bytes', wireBytes / records);
    notebook.note(name, 'diskBytesPerRecord', 'bytes', diskBytes / records);
  }
  await cleanup.run();
  const ours = names.filter((name) => lineOf(name).receiver === 'collector');
  const ratios = ours.flatMap((name) =>
    ['alsRecords', 'alsMessages'].flatMap((rival) => notebook.ratioOfMedians('togetherUs', name, rival)),
  );
  const subjectName = (name: string): string => `${setting.tls}/${name}`;
  return {
    subjects: names.map((name) => ({ ...notebook.subject(name, lineOf(name).what), name: subjectName(name) })),
    ratios: ratios.map((ratio) => ({ ...ratio, of: subjectName(ratio.of), to: subjectName(ratio.to) })),
    checks,
    table: endToEndTable({ title, names, notebook, ratios }),
    repeats,
  };
}

async function run(input: RunInput): Promise<Outcome> {
  const names = chosen(NAMES, input.variants);
  const outcomes: SettingOutcome[] = [];
  for (const tls of chosenByOption(input, 'tls', TLS))
    outcomes.push(await measureSetting(input, { tls, workers: 1 }, names));
  const repeats = outcomes.reduce((sum, outcome) => sum + outcome.repeats, 0);
  return {
    settings: {
      connections: CONNECTIONS,
      requestsInRound: countOption(input, 'requests', input.isSmoke ? REQUESTS_SMOKE : REQUESTS),
      workers: 1,
      repeats,
    },
    subjects: outcomes.flatMap(({ subjects }) => subjects),
    ratios: outcomes.flatMap(({ ratios }) => ratios),
    tables: outcomes.map(({ table }) => table),
    checks: outcomes.flatMap(({ checks }) => checks),
    notes: [],
  };
}

export const endToEnd: Benchmark = {
  name: 'endtoend',
  summary:
    'CPU of proxy and collector together for each record, durable; gRPC access log into a durable receiver beside it.',
  roundsDefault: 9,
  options: {
    tls: ['none,mtls', 'how the proxy is reached; both by default'],
    requests: ['N', `requests in a round, ${REQUESTS} by default`],
  },
  run,
};
