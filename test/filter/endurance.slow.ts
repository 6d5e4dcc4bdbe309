// A hundred thousand exchanges through one VM: memory stays as it is, and every one of them is accounted for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ordinary, withHeaders } from './exchange.ts';
import { acknowledge, assertWhole, batchesOf, CLUSTER, Recorder } from './recorder.ts';

const EXCHANGES = 100_000;

test('memory is flat over a hundred thousand exchanges, and none is missing', () => {
  const recorder = new Recorder();
  const { machine, envoy } = recorder;
  const bytes = machine.memory.length;
  for (let i = 0; i < EXCHANGES; i++) {
    recorder.record(withHeaders(ordinary({ connectionId: BigInt(1 + (i % 5000)) }), { ':path': `/item/${i}` }));
    if (i % 1000 === 0) envoy.advance(1000);
    // Now and then the collector is away.
    if (i % 20_000 === 5000) envoy.upstreams.clusters.set(CLUSTER, 'refused');
    if (i % 20_000 === 9000) envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  }
  recorder.settle();
  recorder.assertHealthy();
  assert.equal(machine.memory.length, bytes);
  assert.equal(machine.contexts.size, 1, 'no context is left behind');
  const batches = batchesOf(recorder.sent);
  assertWhole(batches, EXCHANGES);
  assert.equal(batches.at(-1)?.counters.droppedUnreadable, 0);
});
