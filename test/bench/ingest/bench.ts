// Benchmark `ingest`: records a second that one core takes over HTTP, durable and signed, beside rivals in the same rounds.

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Benchmark, chosen, type RunInput } from '../lib/benchmark.ts';
import { type RunningCollector, startCollector } from '../lib/collector.ts';
import { type Check, Notebook, type Outcome } from '../lib/figures.ts';
import { Disturbance } from '../lib/machine.ts';
import {
  type Cleanup,
  cpuNs,
  directoryBytes,
  diskWriteBytes,
  MEASURED_CORE,
  NodeChild,
  OTHER_CORE,
} from '../lib/processes.ts';
import { profileShares } from '../lib/profile.ts';
import { type Figures, interleave } from '../lib/rounds.ts';
import type { ClientReply, ClientRequest } from './client.ts';

const CONNECTIONS = 16;
const ROUND_MS = 4000;
/** Bodies prepared for a round are held in memory. */
const BATCHES_MAX = 8000;
const WARM_UP_BATCHES = 400;
const PROFILE_LINES = 20;

const WHAT = {
  meshtrail:
    'the collector with default settings: checks, record and dictionary roots, group commit read back, signed tlog-tiles log',
  naive:
    'Fastify, JSON bodies, a SHA-256 and a LevelDB key for each record, one synced write for each body; no log, no signature',
  append:
    'a floor: Fastify, one SHA-256 for each batch, appended to a file, one fdatasync for all that wait; no check, no log, no index',
} as const;
type Name = keyof typeof WHAT;
const NAMES = Object.keys(WHAT) as Name[];

interface Target {
  readonly pid: number;
  readonly dir: string;
  readonly request: Pick<ClientRequest, 'kind' | 'port' | 'path'>;
  records: number;
  batches: number;
  perRound: number;
  stop(): Promise<void>;
}

async function startRival(name: 'naive' | 'append', workDir: string): Promise<Target> {
  const portFile = join(workDir, `${name}.port`);
  const dir = join(workDir, name);
  const child = new NodeChild({
    args: [fileURLToPath(new URL('rival.ts', import.meta.url)), name, dir, portFile],
    core: MEASURED_CORE,
    logFile: join(workDir, `${name}.log`),
  });
  while (!existsSync(portFile)) {
    if (child.hasEnded) throw new Error(`${name} did not start:\n${child.logTail()}`);
    await sleep(20);
  }
  const port = Number(readFileSync(portFile, 'utf8'));
  const request =
    name === 'naive'
      ? ({ kind: 'json', port, path: '/records' } as const)
      : ({ kind: 'batch', port, path: '/v1/batches' } as const);
  return { pid: child.pid, dir, request, records: 0, batches: 0, perRound: 0, stop: () => child.stop() };
}

interface Field {
  readonly client: NodeChild;
  readonly targets: Readonly<Record<Name, Target>>;
  readonly collector: RunningCollector;
}

async function start(cleanup: Cleanup, workDir: string, profileDir: string | undefined): Promise<Field> {
  const client = new NodeChild({
    args: [fileURLToPath(new URL('client.ts', import.meta.url))],
    core: OTHER_CORE,
    logFile: join(workDir, 'client.log'),
  });
  cleanup.add(() => client.stop());
  const collector = await startCollector({ workDir, core: MEASURED_CORE, profileDir });
  const { pid, dir, ingestPort } = collector;
  const request = { kind: 'batch', port: ingestPort, path: '/v1/batches' } as const;
  const meshtrail = { pid, dir, request, records: 0, batches: 0, perRound: 0, stop: () => collector.stop() };
  cleanup.add(() => meshtrail.stop());
  const naive = await startRival('naive', workDir);
  cleanup.add(() => naive.stop());
  const append = await startRival('append', workDir);
  cleanup.add(() => append.stop());
  return { client, collector, targets: { meshtrail, naive, append } };
}

async function send(client: NodeChild, target: Target, batches: number): Promise<ClientReply> {
  const reply = await client.ask<ClientReply>({ ...target.request, batches, connections: CONNECTIONS });
  target.records += reply.records;
  target.batches += reply.batches;
  return reply;
}

/** Enough bodies to fill a round at the rate of the warm-up. */
async function warmUp(client: NodeChild, target: Target, isSmoke: boolean): Promise<void> {
  const { batches, elapsedMs } = await send(client, target, isSmoke ? 32 : WARM_UP_BATCHES);
  target.perRound = isSmoke ? 48 : Math.min(BATCHES_MAX, Math.ceil((batches * ROUND_MS) / elapsedMs));
}

async function round(client: NodeChild, target: Target): Promise<Figures> {
  const disturbance = new Disturbance([client.pid, target.pid]);
  const [cpuBefore, writtenBefore, clientBefore] = [cpuNs(target.pid), diskWriteBytes(target.pid), cpuNs(client.pid)];
  const sent = await send(client, target, target.perRound);
  const [cpu, written] = [cpuNs(target.pid) - cpuBefore, diskWriteBytes(target.pid) - writtenBefore];
  const { foreignCores, stealCores } = disturbance.end();
  const seconds = sent.elapsedMs / 1000;
  return {
    recordsPerSecond: ['records/s', sent.records / seconds],
    batchesPerSecond: ['batches/s', sent.batches / seconds],
    cpuPerBatchUs: ['us', cpu / 1000 / sent.batches],
    cpuPerRecordUs: ['us', cpu / 1000 / sent.records],
    coresUsed: ['cores', cpu / 1e6 / sent.elapsedMs],
    ackP50Ms: ['ms', sent.ackMsP50],
    ackP99Ms: ['ms', sent.ackMsP99],
    wireBytesPerRecord: ['bytes', sent.bodyBytes / sent.records],
    writtenBytesPerRecord: ['bytes', written / sent.records],
    clientCores: ['cores', (cpuNs(client.pid) - clientBefore) / 1e6 / sent.elapsedMs],
    foreignCores: ['cores', foreignCores],
    stealCores: ['cores', stealCores],
  };
}

async function verify({ collector, targets }: Field): Promise<Check[]> {
  const { meshtrail } = targets;
  const size = await collector.waitForPublished(meshtrail.batches);
  const headers = await collector.batches();
  const records = headers.reduce((sum, { recordCount }) => sum + recordCount, 0);
  return [
    {
      what: `the signed checkpoint (size ${size}) covers all ${meshtrail.batches} acknowledged batches`,
      ok: size >= meshtrail.batches && headers.length === meshtrail.batches,
    },
    {
      what: `the log's headers count ${records} records, and ${meshtrail.records} were acknowledged`,
      ok: records === meshtrail.records,
    },
  ];
}

function profileNotes(profileDir: string): string[] {
  const { steps, functions } = profileShares(profileDir);
  const line = (kind: string) => (share: { readonly place: string; readonly share: number }) =>
    `profile, ${kind} ${(100 * share.share).toFixed(1).padStart(5)} %  ${share.place}`;
  return [...steps.map(line('step')), ...functions.slice(0, PROFILE_LINES).map(line('self'))];
}

async function run({ rounds, isSmoke, isProfiled, variants, cleanup, progress }: RunInput): Promise<Outcome> {
  const workDir = cleanup.directory();
  const profileDir = isProfiled ? join(workDir, 'profile') : undefined;
  if (profileDir !== undefined) mkdirSync(profileDir);
  const field = await start(cleanup, workDir, profileDir);
  const notebook = new Notebook();
  const names = chosen(NAMES, variants);
  for (const name of names) {
    progress(`warm-up: ${name}`);
    await warmUp(field.client, field.targets[name], isSmoke);
  }
  const repeats = await interleave({
    subjects: names,
    rounds,
    isSmoke,
    notebook,
    progress,
    measure: async (name) => ({ figures: await round(field.client, field.targets[name]) }),
  });
  progress('checking that everything acknowledged is signed');
  const checks = await verify(field);
  for (const name of names) {
    const { dir, records, stop } = field.targets[name];
    await stop();
    notebook.note(name, 'diskBytesPerRecord', 'bytes', directoryBytes(dir) / records);
  }
  return {
    settings: { connections: CONNECTIONS, roundMs: ROUND_MS, recordsSent: field.targets.meshtrail.records, repeats },
    subjects: names.map((name) => notebook.subject(name, WHAT[name])),
    ratios: ['recordsPerSecond', 'cpuPerRecordUs'].flatMap((figure) =>
      notebook.ratios(figure, ['meshtrail'], ['naive', 'append']),
    ),
    checks,
    notes: profileDir === undefined ? [] : profileNotes(profileDir),
  };
}

export const ingest: Benchmark = {
  name: 'ingest',
  summary:
    'Records a second that one core takes over HTTP, durable and signed; a naive collector and a bare append in the same rounds.',
  roundsDefault: 7,
  run,
};
