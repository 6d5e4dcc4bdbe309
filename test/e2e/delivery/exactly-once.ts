// Mixed exchanges while the collector misbehaves between: every one is in the log exactly once, by Envoy's own access log.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import { refusingPort } from '../../../collector/src/demo/ports.ts';
import { auditLog, publishedStreams, readRecords, waitForEnds } from '../../../collector/src/demo/recorded.ts';
import { isSound } from '../../../collector/src/demo/report.ts';
import { makeTokens } from '../roles/routes.ts';
import { type RealEnvoy, scratch, startCollector } from '../support.ts';
import { assertWhole, FAULTS, type Fault, FaultyCollector } from './faulty-collector.ts';
import { EXCHANGES_BEGUN, FLUSH_MS, type Line, NODE, type ProxyInput, type RunningProxy, startProxy } from './proxy.ts';
import { Client, type Kind, STATUS, startApp } from './traffic.ts';

/** Envoy's names of the flags that this traffic can raise, and their bits. */
const FLAGS: Readonly<Record<string, number>> = { UT: 4, UF: 0x20, UC: 0x40, NR: 0x100, DC: 0x4000, DPE: 0x40000 };
/** A start is the clock at the end less the duration: late by what a busy worker is late. */
const START_MS_MAX = 100;

/** Exchanges between two pauses of a flush interval, so that batches are many even when they come fast. */
const SLICE = 100;

/** One exchange, by what a record and a line of Envoy's access log both say of it. */
const keyOf = (...parts: (string | number | null | undefined)[]): string => parts.map((part) => part ?? '-').join(' ');

function keyOfLine({ connection_id, method, path, code, flags }: Line): string {
  const bits = flags.split(',').reduce((sum, name) => {
    if (name === '-') return sum;
    assert.ok(FLAGS[name] !== undefined, `unknown response flag ${name}`);
    return sum | FLAGS[name];
  }, 0);
  return keyOf(connection_id, method, path, code || undefined, bits);
}

const keyOfRecord = ({ connection, request, response }: FlowRecord): string =>
  keyOf(connection.id, request.method, request.path, response.code, response.flags ?? 0);

/** Asserts that records and lines are of the same exchanges, each once in both. Returns how many. */
export function assertSameExchanges(records: readonly FlowRecord[], lines: readonly Line[]): number {
  const starts = new Map(lines.map((line) => [keyOfLine(line), Number(line.start)]));
  assert.equal(starts.size, lines.length, 'the access log has an exchange twice');
  const keys = new Set(records.map(keyOfRecord));
  const twice = records.map(keyOfRecord).filter((key, i, all) => all.indexOf(key) !== i);
  assert.deepEqual(records.length === keys.size ? [] : twice, [], 'an exchange is recorded twice');
  assert.deepEqual([...starts.keys()].filter((key) => !keys.has(key)).slice(0, 10), [], 'not recorded');
  assert.deepEqual(
    [...keys].filter((key) => !starts.has(key)).slice(0, 10),
    [],
    'recorded, and Envoy knows nothing of it',
  );
  for (const record of records) {
    const difference = Date.parse(record.time) - Math.floor((starts.get(keyOfRecord(record)) ?? 0) * 1000);
    assert.ok(Math.abs(difference) <= START_MS_MAX, `${record.id}: starts ${difference} ms beside the access log`);
  }
  return records.length;
}

/** Every counter of a batch by the name of its metric. */
export const metricNames = (counters: object): [name: string, value: number][] =>
  Object.entries(counters).map(([name, value]) => [
    name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value as number,
  ]);

/** Everything that a test of delivery starts. */
export interface Stage {
  readonly proxy: RunningProxy;
  readonly client: Client;
}

/** Starts upstream, proxy and client. */
export async function startStage(
  t: TestContext,
  envoy: RealEnvoy,
  dir: string,
  ingest: string,
  more: Partial<ProxyInput> = {},
): Promise<Stage> {
  const refusing = await refusingPort();
  t.after(() => refusing.release());
  const { jwks, good } = makeTokens();
  const proxy = await startProxy(t, {
    dir: join(dir, 'proxy'),
    binary: envoy.binary,
    wasmFile: envoy.filter,
    ingest,
    app: await startApp(t),
    refused: refusing.port,
    jwks,
    ...more,
  });
  const client = new Client(proxy.port, good);
  t.after(() => client.close());
  return { proxy, client };
}

/** Which fault meets a delivery: none for most, each in turn for the others. */
export function faultOf(delivery: number, every: number): Fault | undefined {
  return delivery % every === every - 1 ? FAULTS[Math.floor(delivery / every) % FAULTS.length] : undefined;
}

/** How often each fault was committed. */
function committedBy({ deliveries }: FaultyCollector): ReadonlyMap<Fault, number> {
  const times = new Map<Fault, number>();
  for (const { fault } of deliveries) if (fault !== undefined) times.set(fault, (times.get(fault) ?? 0) + 1);
  return times;
}

function assertKinds(records: readonly FlowRecord[], counts: ReadonlyMap<Kind, number>): void {
  const codes = new Map<number | undefined, number>();
  for (const { response } of records) codes.set(response.code, (codes.get(response.code) ?? 0) + 1);
  const sent = (...kinds: Kind[]): number => kinds.reduce((sum, kind) => sum + (counts.get(kind) ?? 0), 0);
  const withStatus = (status: number): Kind[] =>
    (Object.keys(STATUS) as Kind[]).filter((kind) => STATUS[kind] === status);
  for (const status of [401, 403, 404, 503, 504])
    assert.equal(codes.get(status), sent(...withStatus(status)), `${status}`);
  assert.equal(codes.get(200), sent(...withStatus(200), 'abort'));
  assert.equal(codes.get(101), sent('socket'));
  assert.equal(codes.get(431), sent('raw long'));
  assert.equal(codes.get(400), sent('raw garbage', 'raw no host'));
}

/** Plays `atLeast` exchanges, and more until the collector has committed every fault, at one in `every` deliveries. */
export async function playExactlyOnce(t: TestContext, envoy: RealEnvoy, atLeast: number, every: number): Promise<void> {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const faulty = await FaultyCollector.start(t, collector.ingest);
  faulty.plan = (delivery) => faultOf(delivery, every);
  const { proxy, client } = await startStage(t, envoy, dir, faulty.address);
  const counts = new Map<Kind, number>();
  let count = 0;
  for (; count < atLeast || committedBy(faulty).size < FAULTS.length; count += SLICE) {
    for (const [kind, sent] of await client.sendAll(count, count + SLICE))
      counts.set(kind, (counts.get(kind) ?? 0) + sent);
    await sleep(FLUSH_MS);
  }
  faulty.plan = () => undefined;
  assert.ok(await proxy.drained(), 'batches wait although the collector works again');
  assert.equal(await proxy.stat(EXCHANGES_BEGUN), count);
  const sendFailures = (await proxy.metrics()).get('send_failures');
  await proxy.envoy.stop();
  assert.ok(await waitForEnds(collector.url, collector.vkey, [NODE], 15_000), 'the stream did not end with fin');

  const { records, gaps } = await readRecords(collector.url);
  assert.equal(records.length, count);
  assert.equal(assertSameExchanges(records, proxy.log()), count);
  assertKinds(records, counts);
  assert.deepEqual(gaps, []);

  assert.deepEqual(faulty.changed, [], 'a batch was sent again with other bytes');
  const [batches, ...others] = [...faulty.streams().values()];
  assert.ok(batches !== undefined && others.length === 0, 'one VM, one stream');
  const last = assertWhole(batches);
  assert.ok(last.isFin);
  const { seen, recorded, droppedBuffersFull, droppedUnreadable } = last.counters;
  assert.deepEqual([seen, recorded, droppedBuffersFull, droppedUnreadable], [count, count, 0, 0]);
  assert.equal(last.counters.sendFailures, sendFailures);
  assert.ok(faulty.deliveries.length > batches.length);
  const audit = await auditLog(collector.url, collector.vkey, records.at(-1)?.id);
  assert.ok(isSound(audit));
  const [stream] = await publishedStreams(collector.url, collector.vkey);
  assert.deepEqual([stream?.batches, stream?.records, stream?.isWhole], [batches.length, count, true]);
  t.diagnostic(
    `${count} exchanges, ${batches.length} batches, ${faulty.deliveries.length} deliveries, ` +
      [...committedBy(faulty)].map(([fault, times]) => `${fault} ${times}`).join(', '),
  );
}
