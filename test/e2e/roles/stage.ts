// Plays events through one real proxy, and sorts what it said of them: lines of its own logs and records, by event.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import { makeAuthority } from '../../../collector/src/demo/certificates.ts';
import { type Envoy, startEnvoy } from '../../../collector/src/demo/envoy.ts';
import type { Bootstrap } from '../../../collector/src/demo/envoy-parts.ts';
import { freePorts, refusingPort } from '../../../collector/src/demo/ports.ts';
import { publishedStreams, readRecords, type StreamReport } from '../../../collector/src/demo/recorded.ts';
import { type RealEnvoy, scratch, startCollector } from '../support.ts';
import { type Line, type Log, linesOf } from './access-logs.ts';
import { addressesOf, Caller, type Stage } from './caller.ts';
import { lineMs, msOf } from './compare.ts';
import type { RoleEvent } from './event.ts';
import { COLLECTOR, FLUSH_MS, type Recorder } from './places.ts';
import { type Identities, LISTENERS, type ListenerName, proxyBootstrap } from './proxy.ts';
import { makeTokens } from './routes.ts';
import { startUpstreams } from './upstreams.ts';

const NODE = 'proxy.edge';
const TRUST_DOMAIN = 'roles.test';
const DRAIN_MS_MAX = 15_000;
const POLL_MS = 50;

/** What Envoy's logs and the recorders said of one event. */
export interface Observed {
  readonly event: RoleEvent;
  readonly lines: Readonly<Record<Log, readonly Line[]>>;
  /** Records by the recorder's id. */
  readonly records: ReadonlyMap<string, readonly FlowRecord[]>;
}

export interface Run {
  readonly observed: readonly Observed[];
  readonly records: readonly FlowRecord[];
  readonly lines: Readonly<Record<Log, readonly Line[]>>;
  /** What the log's batch headers say of each stream. */
  readonly streams: readonly StreamReport[];
  /** Envoy's statistics at the end, by name. */
  readonly stats: ReadonlyMap<string, number>;
}

/** A proxy that is up, and everything around it; all of it ends with the test. */
export interface Proxy {
  readonly stage: Stage;
  /** Waits until every record is delivered, stops the proxy, and reads everything back. */
  finish(): Promise<Omit<Run, 'observed'>>;
}

async function makeIdentities(dir: string): Promise<Identities> {
  const authority = await makeAuthority(join(dir, 'tls'), TRUST_DOMAIN);
  const others = await makeAuthority(join(dir, 'other tls'), TRUST_DOMAIN);
  return {
    trustDomain: TRUST_DOMAIN,
    caFile: authority.caFile,
    proxy: await authority.issue('edge', 'proxy'),
    caller: await authority.issue('shop', 'caller'),
    app: await authority.issue('shop', 'app'),
    stranger: await others.issue('shop', 'stranger'),
  };
}

async function statsOf(envoy: Envoy): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(`${envoy.adminUrl}/stats`, { signal: AbortSignal.timeout(2000) });
  const pairs = [...(await answer.text()).matchAll(/^(\S+): (\d+)$/gm)];
  return new Map(pairs.map(([, name, value]) => [name as string, Number(value)]));
}

const perLog = <T>(make: (log: Log) => T): Readonly<Record<Log, T>> => ({
  manager: make('manager'),
  listener: make('listener'),
  tcp_proxy: make('tcp_proxy'),
});

/** Waits until the recorders hold nothing and no delivery is under way. */
async function drained(envoy: Envoy): Promise<ReadonlyMap<string, number>> {
  const deadline = performance.now() + DRAIN_MS_MAX;
  await sleep(3 * FLUSH_MS);
  for (;;) {
    const stats = await statsOf(envoy);
    const waiting = stats.get('wasmcustom.meshtrail_records_waiting');
    if (waiting === 0 && stats.get(`cluster.${COLLECTOR}.upstream_rq_active`) === 0) return stats;
    assert.ok(performance.now() < deadline, `${waiting} records still wait. ${envoy.logEnd()}`);
    await sleep(POLL_MS);
  }
}

/** Reads records until as many are there as Envoy's counter says were made. */
async function readAll(api: URL, count: number): Promise<readonly FlowRecord[]> {
  const deadline = performance.now() + DRAIN_MS_MAX;
  for (;;) {
    const { records, gaps } = await readRecords(api);
    assert.deepEqual(gaps, []);
    if (records.length >= count || performance.now() > deadline) {
      assert.equal(records.length, count, 'records in the collector, and what the proxy says it recorded');
      return records;
    }
    await sleep(POLL_MS);
  }
}

/** Starts applications, a collector and a proxy with recorders. */
export async function startProxy(
  t: TestContext,
  envoy: RealEnvoy,
  recorders: readonly Recorder[],
  workers: number,
): Promise<Proxy> {
  const dir = scratch(t);
  const logDir = join(dir, 'logs');
  mkdirSync(logDir);
  const collector = await startCollector(t, dir);
  const identities = await makeIdentities(dir);
  const upstreams = await startUpstreams(t, identities);
  const refusing = await refusingPort();
  t.after(() => refusing.release());
  const free = await freePorts(LISTENERS.length);
  const ports = Object.fromEntries(LISTENERS.map((name, i) => [name, free[i]])) as Record<ListenerName, number>;
  const tokens = makeTokens();
  const bootstrap = proxyBootstrap({
    node: NODE,
    wasmFile: envoy.filter,
    ingest: collector.ingest,
    recorders,
    ports,
    upstreams,
    refusedPort: refusing.port,
    authzPort: upstreams.authz,
    identities,
    jwks: tokens.jwks,
    logDir,
  });
  const config = bootstrap as unknown as Bootstrap;
  const proxy = await startEnvoy(envoy.binary, 'proxy', join(dir, 'envoy'), config, workers);
  t.after(() => proxy.stop());
  return {
    stage: { ports, identities, tokens },
    async finish() {
      const stats = await drained(proxy);
      await proxy.stop();
      const records = await readAll(collector.url, stats.get('wasmcustom.meshtrail_recorded') ?? 0);
      const lines = perLog((log) => linesOf(logDir, log));
      const streams = await publishedStreams(collector.url, collector.vkey);
      return { records, lines, streams, stats };
    },
  };
}

interface Connection {
  readonly event: RoleEvent;
  /** Unix ms. */
  readonly openedMs: number;
}

/** Connections by their addresses, in the order of their opening. */
type Connections = ReadonlyMap<string, readonly Connection[]>;

/** Plays events, `atOnce` at a time. Returns what connections were made, and for which event. */
async function play(stage: Stage, events: readonly RoleEvent[], atOnce: number): Promise<Connections> {
  const left = [...events];
  const made: (Connection & { readonly addresses: string })[] = [];
  const work = async (): Promise<void> => {
    for (let event = left.shift(); event !== undefined; event = left.shift()) {
      const caller = new Caller(stage);
      try {
        await event.play(caller);
      } catch (error) {
        throw new Error(`${event.name} could not be played`, { cause: error });
      }
      for (const { addresses, ms } of caller.opened) made.push({ event, addresses, openedMs: ms });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return Map.groupBy(
    made.toSorted((a, b) => a.openedMs - b.openedMs),
    ({ addresses }) => addresses,
  );
}

/** Sorts lines by the addresses that the client knows, and records by the connection that a line names. */
function sort(events: readonly RoleEvent[], connections: Connections, run: Omit<Run, 'observed'>): readonly Observed[] {
  const find = (client: unknown, listener: unknown, startMs: number): RoleEvent | undefined =>
    connections.get(addressesOf(client, listener))?.findLast(({ openedMs }) => openedMs <= startMs)?.event;
  const byAddress = (line: Line): RoleEvent | undefined => find(line['direct'], line['local'], lineMs(line));
  const byId = new Map(run.lines.listener.map((line) => [line['connection_id'], byAddress(line)]));
  const ofLine = (line: Line): RoleEvent | undefined =>
    line['connection_id'] === 0 ? byAddress(line) : byId.get(line['connection_id'] ?? null);
  const ofRecord = ({ connection, source, destination, time }: FlowRecord): RoleEvent | undefined =>
    connection.id === undefined ? find(source.address, destination.address, msOf(time)) : byId.get(connection.id);
  const records = Map.groupBy(run.records, ofRecord);
  assert.deepEqual(records.get(undefined) ?? [], [], 'records of nothing that was played');
  const lines = perLog((log) => {
    const groups = Map.groupBy(run.lines[log], ofLine);
    assert.deepEqual(groups.get(undefined) ?? [], [], `lines of ${log} of nothing that was played`);
    return groups;
  });
  return events.map((event) => ({
    event,
    lines: perLog((log) => lines[log].get(event) ?? []),
    records: Map.groupBy(records.get(event) ?? [], ({ cluster }) => cluster ?? ''),
  }));
}

/** Plays events through a proxy with recorders, and waits for all that was said of them. */
export async function runEvents(
  t: TestContext,
  envoy: RealEnvoy,
  recorders: readonly Recorder[],
  events: readonly RoleEvent[],
  { atOnce = 6, workers = 1 } = {},
): Promise<Run> {
  const proxy = await startProxy(t, envoy, recorders, workers);
  const connections = await play(proxy.stage, events, atOnce);
  const run = await proxy.finish();
  return { ...run, observed: sort(events, connections, run) };
}
