// Envoy's metrics are a second channel: their sums must agree with what the batches say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { factsOf, ordinary, withHeaders } from './exchange.ts';
import { acknowledge, assertWhole, batchesOf, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

test('metrics of all workers together agree with the counters of their batches', () => {
  const recorder = new Recorder({ workers: 3, configuration: { ...CONFIGURATION, buffers_max: 3 } });
  const { envoy } = recorder;
  envoy.upstreams.clusters.set(CLUSTER, 'refused');
  for (let i = 0; i < 900; i++) {
    const exchange = withHeaders(ordinary({ upstreamCluster: 'r'.repeat(250 + (i % 10)) }), {
      ':path': `/${i}/${'x'.repeat(900)}`,
    });
    envoy.exchange(recorder.use, factsOf(exchange), 1 + (i % 3));
    if (i % 100 === 0) envoy.advance(1000);
  }
  const metric = (name: string): number => Number(envoy.world.metrics.value(`meshtrail_${name}`));
  envoy.advance(1000);
  assert.equal(metric('seen'), 900);
  assert.ok(metric('records_waiting') > 0);
  envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  recorder.settle();
  assert.equal(metric('records_waiting'), 0);
  recorder.envoy.shutDown();
  const lasts = [0, 1, 2].map((i) =>
    batchesOf(recorder.sent.filter(({ machine }) => machine.name === `worker-${i}`)).at(-1),
  );
  const sum = (name: 'seen' | 'recorded' | 'droppedBuffersFull' | 'truncated' | 'sendFailures'): number =>
    lasts.reduce((total, batch) => total + (batch?.counters[name] ?? 0), 0);
  assert.equal(metric('recorded'), sum('recorded'));
  assert.equal(metric('dropped_buffers_full'), sum('droppedBuffersFull'));
  assert.equal(metric('truncated'), sum('truncated'));
  assert.equal(metric('send_failures'), sum('sendFailures'));
  assert.ok(sum('droppedBuffersFull') > 0 && sum('truncated') > 0 && sum('sendFailures') > 0);
  assert.equal(metric('recorded') + metric('dropped_buffers_full') + metric('dropped_unreadable'), 900);
  assert.equal(metric('rollbacks_seen'), 0);
});

test('each VM is a stream of its own', () => {
  const recorder = new Recorder({ workers: 3 });
  for (let thread = 1; thread <= 3; thread++) recorder.envoy.exchange(recorder.use, factsOf(ordinary()), thread);
  recorder.flush();
  const streams = recorder.sent.map(({ body }) => Buffer.from(body.subarray(32, 48)).toString('hex'));
  assert.equal(new Set(streams).size, 3);
});

test('open and interval records, what nobody watched and what had no random numbers, in metrics and batches alike', () => {
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, open_after_ms: 0, interval_ms: 1000 } });
  const { envoy, machine } = recorder;
  const facts = factsOf(ordinary());
  const streams = Array.from({ length: 8500 }, () => envoy.openHttp(recorder.use).begin(facts));
  for (let tick = 0; tick < 4; tick++) recorder.flush();
  for (const stream of streams) stream.end(facts);
  recorder.settle();
  machine.tamper = ({ name }, proceed) => (name === 'random_get' ? 52 : proceed());
  for (let i = 0; i < 7; i++) recorder.record(ordinary());
  recorder.flush();
  machine.tamper = undefined;
  recorder.record(ordinary());
  recorder.flush();
  const counters = recorder.batches().at(-1)?.counters;
  assert.ok(counters !== undefined && counters.interim > 1000);
  assert.equal(counters.unwatched, 8500 - 8192);
  assert.equal(counters.droppedNoRandom, 7);
  assertWhole(recorder.batches(), 8500 + 8);
  const metric = (name: string): number => Number(envoy.world.metrics.value(`meshtrail_${name}`));
  const { interim, unwatched, droppedNoRandom, seen, recorded } = counters;
  assert.deepEqual(['interim', 'unwatched', 'dropped_no_random', 'seen', 'recorded'].map(metric), [
    interim,
    unwatched,
    droppedNoRandom,
    seen,
    recorded,
  ]);
});

test('a VM that ends leaves no records waiting in the gauge that it shares', () => {
  const recorder = new Recorder();
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
  recorder.record(ordinary());
  recorder.flush();
  recorder.record(ordinary());
  recorder.flush();
  const waiting = (): number => Number(recorder.envoy.world.metrics.value('meshtrail_records_waiting'));
  assert.equal(waiting(), 2);
  recorder.envoy.shutDown();
  assert.equal(waiting(), 0);
});
