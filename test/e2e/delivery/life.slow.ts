// Signs of life: a proxy with nothing to record, a worker whose VM is dead, and a proxy that is gone look different.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../command.ts';
import { scratch, startCollector, withEnvoy } from '../support.ts';
import { startStage } from './exactly-once.ts';
import { assertWhole, FaultyCollector } from './faulty-collector.ts';
import { FLUSH_MS, NODE } from './proxy.ts';
import { buildTrapModule } from './trap-module.ts';

const envoy = withEnvoy();
const ALIVE_MS = 1000;
/** Whoever did not tick for so long is silent. */
const SILENCE_MS = Math.max(3 * FLUSH_MS, 1000);
const WORKERS = 2;
/** And the main thread's. */
const VMS = WORKERS + 1;
const SETTINGS = { alive_interval_ms: ALIVE_MS };
const NS_PER_MS = 1_000_000n;

interface Coverage {
  readonly proxies: readonly {
    readonly node?: string;
    readonly state: string;
    readonly vms_known?: number;
    readonly vms_alive?: number;
    readonly proxy_since?: string;
    readonly streams: readonly {
      readonly stream: string;
      readonly state: string;
      readonly silent_since?: string;
      readonly records: number;
      readonly lost?: { readonly records_max: number; readonly seconds_max: number };
    }[];
  }[];
}

async function coverageOf(api: URL): Promise<Coverage['proxies'][number]> {
  const { proxies } = (await (await fetch(new URL('/v1/coverage', api))).json()) as Coverage;
  const [proxy, ...others] = proxies;
  assert.ok(proxy !== undefined && others.length === 0, `${proxies.length} proxies`);
  return proxy;
}

async function metricOf(api: URL, name: string): Promise<number> {
  const text = await (await fetch(new URL('/metrics', api))).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
}

const logOf = (dir: string): string => readFileSync(join(dir, 'run', 'collector.log'), 'utf8');

/** One request on a connection of its own, so that any worker may get it. */
function ask(port: number, headers: Readonly<Record<string, string>> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const answered = (answer: IncomingMessage): void => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
    };
    httpRequest({ port, host: '127.0.0.1', path: '/direct', agent: false, headers }, answered)
      .on('error', reject)
      .end();
  });
}

test('a proxy that has nothing to record says in every interval that it is there', envoy.options, async (t) => {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const faulty = await FaultyCollector.start(t, collector.ingest);
  await startStage(t, envoy, dir, faulty.address, { workers: WORKERS, settings: SETTINGS });
  const signs = 6;
  await sleep(signs * ALIVE_MS + 500);
  const batches = [...faulty.streams().values()].flat();
  const times = batches.map(({ clock }) => clock.sealedWallNs).sort((a, b) => (a < b ? -1 : 1));
  assert.ok(batches.every(({ isAlive, rowCount }) => isAlive && rowCount === 0));
  assert.ok(times.length >= signs - 2 && times.length <= signs + 1, `${times.length} signs in ${signs} intervals`);
  for (const [i, time] of times.slice(1).entries()) {
    const pauseMs = Number((time - (times[i] as bigint)) / NS_PER_MS);
    assert.ok(pauseMs >= ALIVE_MS - FLUSH_MS && pauseMs <= ALIVE_MS + 3 * FLUSH_MS, `${pauseMs} ms between two signs`);
  }
  const last = batches.toSorted((a, b) => Number(a.clock.sealedWallNs - b.clock.sealedWallNs)).at(-1)?.life;
  assert.deepEqual([last?.vmsKnown, last?.vmsAlive, last?.silentStream], [VMS, VMS, undefined]);
  assert.equal(last?.aliveIntervalMs, ALIVE_MS);
  const proxy = await coverageOf(collector.url);
  assert.deepEqual([proxy.node ?? NODE, proxy.state, proxy.vms_known, proxy.vms_alive], [NODE, 'open', VMS, VMS]);
  t.diagnostic(`${times.length} signs of life from ${faulty.streams().size} streams`);
});

test('a worker whose VM is dead is named by another one, and raised', envoy.options, async (t) => {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const faulty = await FaultyCollector.start(t, collector.ingest);
  const wasmFile = buildTrapModule(dir);
  const more = { workers: WORKERS, settings: SETTINGS, wasmFile, command: 'log' };
  const { proxy } = await startStage(t, envoy, dir, faulty.address, more);
  const recording = (): string[] =>
    [...faulty.streams()].flatMap(([stream, batches]) =>
      batches.some(({ rowCount }) => rowCount > 0) ? [stream] : [],
    );
  await until('both workers have recorded', async () => {
    assert.equal(await ask(proxy.port), 200);
    return recording().length === WORKERS;
  });
  await sleep(2 * ALIVE_MS);
  const workers = recording();

  const trappedNs = BigInt(Date.now()) * NS_PER_MS;
  assert.equal(await ask(proxy.port, { 'x-trap': 'now' }), 200);
  const naming = () => [...faulty.streams().values()].flat().filter(({ life }) => life?.silentStream !== undefined);
  await until('another VM names it', () => naming().length > 0);
  await sleep(2 * ALIVE_MS);
  const [batch, ...others] = naming();
  assert.ok(batch?.life?.silentStream !== undefined && others.length === 0, 'it is named once');
  const silent = Buffer.from(batch.life.silentStream).toString('hex');
  assert.ok(workers.includes(silent), 'it is one of the workers');
  assert.notEqual(Buffer.from(batch.stream).toString('hex'), silent);
  assert.ok(batch.isAlive);
  assert.deepEqual([batch.life.vmsKnown, batch.life.vmsAlive], [VMS, VMS - 1]);
  const afterMs = Number((batch.clock.sealedWallNs - trappedNs) / NS_PER_MS);
  // Its last tick was up to an interval before the trap; whoever finds it silent ticks up to an interval later.
  assert.ok(afterMs >= SILENCE_MS - FLUSH_MS && afterMs <= SILENCE_MS + 2 * FLUSH_MS, `named after ${afterMs} ms`);
  const lastOfSilent = faulty.streams().get(silent)?.at(-1);
  assert.ok(lastOfSilent !== undefined && lastOfSilent.clock.sealedWallNs < trappedNs + 10n * NS_PER_MS);

  await until('the collector raises it', async () => (await coverageOf(collector.url)).state === 'silent');
  const coverage = await coverageOf(collector.url);
  const states = new Map(coverage.streams.map(({ stream, state }) => [stream, state]));
  assert.equal(states.get(silent), 'silent');
  for (const stream of workers.filter((one) => one !== silent)) assert.equal(states.get(stream), 'open');
  assert.equal(await metricOf(collector.url, 'meshtrail_vm_silent_total'), 1);
  assert.match(logOf(dir), /a VM of a proxy is dead/);
  // The traffic of its worker goes on.
  for (let i = 0; i < 20; i++) assert.equal(await ask(proxy.port), 200);
  await proxy.envoy.stop();
  await sleep(500);
  for (const [stream, batches] of faulty.streams()) assert.equal(assertWhole(batches).isFin, stream !== silent, stream);
  t.diagnostic(`named ${afterMs} ms after the trap, at a flush interval of ${FLUSH_MS} ms`);
});

test('a proxy that is killed is raised after three intervals without a sign of life', envoy.options, async (t) => {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const { proxy } = await startStage(t, envoy, dir, collector.ingest, { workers: WORKERS, settings: SETTINGS });
  await until('it has recorded', async () => {
    assert.equal(await ask(proxy.port), 200);
    return (await metricOf(collector.url, 'meshtrail_records_appended_total')) > 0;
  });
  process.kill(proxy.envoy.pid, 'SIGKILL');
  const killed = performance.now();
  await until('it is raised', async () => (await metricOf(collector.url, 'meshtrail_proxies_silent')) === 1);
  const afterMs = performance.now() - killed;
  assert.ok(afterMs >= 2 * ALIVE_MS && afterMs <= 6 * ALIVE_MS, `raised after ${Math.round(afterMs)} ms`);
  assert.match(logOf(dir), /a proxy gives no sign of life/);
  const coverage = await coverageOf(collector.url);
  assert.equal(coverage.state, 'ended unknown');
  const unknown = coverage.streams.filter(({ state }) => state === 'ended unknown');
  assert.ok(unknown.length > 0);
  for (const { lost } of unknown) assert.ok((lost?.seconds_max ?? 0) > 0 || (lost?.records_max ?? 0) > 0);
  t.diagnostic(`raised after ${Math.round(afterMs)} ms`);
});
