// A collector that takes less than is recorded: traffic does not notice, what was denied or failed is kept, and three counts agree
// to the last record: the counters in the batches, Envoy's metrics, and what the collector stored.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readRecords } from '../../../collector/src/demo/recorded.ts';
import { scratch, startCollector, withEnvoy } from '../support.ts';
import { assertSameExchanges, metricNames, type Stage, startStage } from './exactly-once.ts';
import { assertWhole, FaultyCollector } from './faulty-collector.ts';
import { EXCHANGES_BEGUN, type ProxyInput } from './proxy.ts';

const envoy = withEnvoy();
/** So few that a short time is a long one. */
const BUFFERS_MAX = 4;
/** Fills a batch soon. */
const BULK = 'x'.repeat(400);
const BEFORE = 200;
const DURING = 2500;
/** Sent with a pause behind each slice, so that the collector's weather changes meanwhile. */
const SLICE = 250;
const PAUSE_MS = 250;
const DENIED = 60;
const FAILED = 40;
const AFTER = 200;

interface Case {
  readonly name: string;
  readonly more?: Partial<ProxyInput>;
  readonly isDropping: boolean;
  /** Makes the collector bad, and returns what makes it well again. */
  readonly begin: (faulty: FaultyCollector, stage: Stage) => Promise<() => Promise<void>>;
}

async function flap(faulty: FaultyCollector, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await faulty.down();
    await sleep(700);
    await faulty.up();
    await sleep(250);
  }
}

const SETTINGS = { buffers_max: BUFFERS_MAX };
const CASES: readonly Case[] = [
  {
    name: 'stalled: it never answers',
    isDropping: true,
    begin: async (faulty) => {
      faulty.plan = () => 'hang';
      return async () => {
        faulty.plan = () => undefined;
      };
    },
  },
  {
    name: 'slow: each answer takes seconds',
    isDropping: true,
    begin: async (faulty) => {
      faulty.delayMs = 2500;
      return async () => {
        faulty.delayMs = 0;
      };
    },
  },
  {
    name: 'flapping: it comes and goes',
    isDropping: false,
    begin: async (faulty) => {
      const over = new AbortController();
      const flapping = flap(faulty, over.signal);
      return async () => {
        over.abort();
        await flapping;
      };
    },
  },
  {
    name: 'refused: 503 to everything',
    isDropping: true,
    begin: async (faulty) => {
      faulty.plan = () => 'unavailable';
      return async () => {
        faulty.plan = () => undefined;
      };
    },
  },
  {
    name: 'absent: nobody listens',
    isDropping: true,
    begin: async (faulty) => {
      await faulty.down();
      return () => faulty.up();
    },
  },
  {
    name: 'absent: Envoy knows no such cluster',
    more: { channel: 'ecds', settings: { ...SETTINGS, collector_cluster: 'nowhere' } },
    isDropping: true,
    begin: async (_faulty, { proxy }) => {
      return async () => proxy.update({ wasmFile: envoy.filter, settings: SETTINGS });
    },
  },
];

const numbered = (path: string, count: number, tail = ''): string[] =>
  Array.from({ length: count }, (_, i) => `${path}/${i}${tail}`);

/** Records that the collector's answers tell to be dropped; anything else that they tell is a failure. */
function droppedBy(gaps: readonly string[]): number {
  return gaps.reduce((sum, text) => {
    const gap = JSON.parse(text) as { readonly kind: string; readonly reason: string; readonly count: number };
    assert.deepEqual([gap.kind, gap.reason], ['dropped', 'buffers_full'], text);
    return sum + gap.count;
  }, 0);
}

async function play(t: TestContext, one: Case): Promise<void> {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const faulty = await FaultyCollector.start(t, collector.ingest);
  const stage = await startStage(t, envoy, dir, faulty.address, { settings: SETTINGS, ...one.more });
  const { proxy, client } = stage;
  await client.getAll(numbered('/ok/before', BEFORE), 200);
  const heal = await one.begin(faulty, stage);
  const during = numbered('/ok/during', DURING, `?${BULK}`);
  for (let from = 0; from < DURING; from += SLICE) {
    await client.getAll(during.slice(from, from + SLICE), 200);
    await sleep(PAUSE_MS);
  }
  await Promise.all([
    client.getAll(numbered('/denied/during', DENIED), 403, 4),
    client.getAll(numbered('/refused/during', FAILED), 503, 4),
  ]);
  await client.getAll(numbered('/ok/later', AFTER, `?${BULK}`), 200);
  await heal();
  assert.ok(await proxy.drained());
  await client.getAll(numbered('/ok/after', AFTER), 200);
  assert.ok(await proxy.drained());
  const [metrics, begun] = [await proxy.metrics(), await proxy.stat(EXCHANGES_BEGUN)];
  await proxy.envoy.stop();
  await sleep(500);

  const [batches, ...others] = [...faulty.streams().values()];
  assert.ok(batches !== undefined && others.length === 0, 'one VM, one stream');
  const last = assertWhole(batches);
  assert.ok(last.isFin);
  for (const [name, value] of metricNames(last.counters))
    assert.equal(metrics.get(name), value, `Envoy's metric and the last batch disagree about ${name}`);
  const { seen, recorded, droppedBuffersFull: dropped } = last.counters;
  assert.deepEqual([seen, recorded + dropped], [begun, seen]);
  assert.equal(metrics.get('records_waiting'), 0);
  assert.ok(last.counters.sendFailures > 0 || one.name.startsWith('slow'));
  if (one.isDropping) assert.ok(dropped > 100, `${dropped} dropped: the recorder held nearly everything`);

  const lines = proxy.log();
  const { records, gaps } = await readRecords(collector.url);
  assert.equal(lines.length, begun);
  assert.equal(records.length, recorded);
  assert.equal(droppedBy(gaps), dropped, 'the collector itself says how many are missing, and why');
  const stored = new Set(records.map(({ request }) => request.path));
  const missing = lines.filter(({ path }) => !stored.has(path ?? ''));
  assert.equal(missing.length, dropped);
  assertSameExchanges(
    records,
    lines.filter(({ path }) => stored.has(path ?? '')),
  );
  for (const { path } of missing)
    assert.match(path ?? '', /^\/ok\/(?:during|later)\//, 'a denied or failed exchange was given up');
  assert.deepEqual(faulty.changed, []);
  t.diagnostic(
    `seen ${seen}, recorded ${recorded}, dropped ${dropped}, ${last.counters.sendFailures} failed deliveries`,
  );
}

for (const one of CASES) test(one.name, envoy.options, (t) => play(t, one));
