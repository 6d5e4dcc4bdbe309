// A million exchanges through one VM, in two roles: memory stays as it is, none costs more than the first ones, and every one of
// them is accounted for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../collector/src/core/codec/batch.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { factsOf, ordinary, withHeaders } from './exchange.ts';
import { Mesh } from './mesh.ts';
import { acknowledge, assertWhole, CLUSTER } from './recorder.ts';

const EXCHANGES = 1_000_000;
const PART = 10_000;

test('memory is flat and the cost does not drift over a million exchanges, and none is missing', () => {
  const mesh = new Mesh(['http', 'httpLoggers']);
  const { recorder, listener } = mesh;
  const { machine, envoy } = recorder;
  const bytes = machine.memory.length;
  const batches = new Map<number, Batch>();
  const calls: number[] = [];
  const lives = listener.connect().request(factsOf(ordinary({ connectionId: 999_999_999n })));
  for (let i = 0; i < EXCHANGES / 2; i++) {
    const connectionId = BigInt(1 + (i % 5000));
    const facts = factsOf(withHeaders(ordinary({ connectionId }), { ':path': `/item/${i % 100_000}` }));
    listener.connect().request(facts).end(facts);
    if (i % 1000 === 0) envoy.advance(1000);
    // Now and then the collector is away.
    if (i % 100_000 === 5000) envoy.upstreams.clusters.set(CLUSTER, 'refused');
    if (i % 100_000 === 9000) envoy.upstreams.clusters.set(CLUSTER, acknowledge);
    if (i % PART !== PART - 1) continue;
    calls.push([...machine.hostCalls.values()].reduce((sum, count) => sum + count, 0));
    for (const { body } of envoy.upstreams.calls.splice(0)) {
      const batch = decodeBatch(body);
      batches.set(batch.batchNumber, batch);
    }
  }
  lives.end(factsOf(ordinary({ connectionId: 999_999_999n })));
  recorder.settle();
  recorder.assertHealthy();
  for (const { body } of envoy.upstreams.calls) {
    const batch = decodeBatch(body);
    batches.set(batch.batchNumber, batch);
  }
  assert.equal(machine.memory.length, bytes);
  assert.equal(machine.contexts.size, 2, 'no context is left behind');
  const whole = [...batches.values()].sort((a, b) => a.batchNumber - b.batchNumber);
  assertWhole(whole, EXCHANGES + 2);
  const counters = whole.at(-1)?.counters;
  assert.equal(counters?.droppedUnreadable, 0);
  assert.ok((counters?.interim ?? 0) >= 8, 'what lived all the time was told of in between');
  const parts = calls.map((count, i) => count - (calls[i - 1] ?? 0)).slice(1);
  const most = Math.max(...parts);
  const least = Math.min(...parts);
  assert.ok(most < 1.1 * least, `host calls of ${PART} exchanges: ${least} to ${most}`);
});
