// Envoy's metrics are a second channel: their sums must agree with what the batches say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { factsOf, ordinary, withHeaders } from './exchange.ts';
import { acknowledge, batchesOf, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

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

test('in the role of an access logger it records as well', () => {
  const recorder = new Recorder();
  recorder.machine.accessLog(recorder.envoy.root(recorder.use), factsOf(ordinary()));
  recorder.flush();
  assert.equal(recorder.flat().length, 1);
  assert.equal(recorder.flat()[0]?.['path'], '/orders/7?full=1');
});
