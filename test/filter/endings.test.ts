// How a stream ends, and what does not end it: shutdown, new configuration, several roots.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { factsOf, ordinary } from './exchange.ts';
import { acknowledge, assertWhole, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

test('at shutdown the rest goes out, in a batch that says fin', () => {
  const recorder = new Recorder();
  recorder.record(ordinary());
  recorder.flush();
  recorder.record(ordinary());
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assertWhole(batches, 2);
  assert.deepEqual(
    batches.map(({ isFin }) => isFin),
    [false, true],
  );
});

test('with nothing pending the fin is a batch without rows', () => {
  const recorder = new Recorder();
  recorder.record(ordinary());
  recorder.flush();
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assert.deepEqual(
    batches.map(({ isFin, rowCount }) => [isFin, rowCount]),
    [
      [false, 1],
      [true, 0],
    ],
  );
  assertWhole(batches, 1);
});

test('the fin goes out beside batches that wait for their acknowledgement', () => {
  const recorder = new Recorder();
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
  recorder.record(ordinary());
  recorder.flush();
  recorder.record(ordinary());
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assertWhole(batches, 2);
  assert.equal(batches.at(-1)?.isFin, true);
  // There may be a warm connection for one batch only, and the last says how many there should be. Nobody would hear of the
  // answer to the first try any more, so that batch goes out once more.
  assert.deepEqual(
    recorder.sent.map(({ body }) => decodeBatch(body).batchNumber),
    [0, 1, 0],
  );
});

test('a VM that saw no traffic has nothing to say, at no time', () => {
  const recorder = new Recorder({ workers: 2 });
  recorder.record(ordinary());
  recorder.envoy.advance(60_000);
  recorder.envoy.shutDown();
  assert.deepEqual([...new Set(recorder.sent.map(({ machine }) => machine.name))], ['worker-0']);
});

test('no fin while another root of the VM lives', () => {
  const recorder = new Recorder({ plugin: { rootId: 'inbound', direction: 'inbound' } });
  const outbound = recorder.envoy.load({ ...recorder.use.plugin, rootId: 'outbound', direction: 'outbound' });
  recorder.record(ordinary());
  recorder.envoy.exchange(outbound, factsOf(ordinary({ direction: 2n })));
  recorder.envoy.unload(recorder.use);
  recorder.envoy.advance(10_000);
  assert.ok(recorder.batches().every(({ isFin }) => !isFin));
  recorder.use = outbound;
  recorder.record(ordinary());
  recorder.flush();
  assertWhole(recorder.batches(), 3);
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assertWhole(batches, 3);
  assert.deepEqual(
    batches.map(({ isFin }) => isFin),
    [...batches.slice(1).map(() => false), true],
  );
});

test('a new configuration goes on with stream and numbers', () => {
  const recorder = new Recorder();
  const open = recorder.envoy.openHttp(recorder.use).begin();
  recorder.record(ordinary());
  recorder.flush();
  const before = recorder.batches()[0]?.stream;
  recorder.use = recorder.envoy.update(recorder.use, JSON.stringify({ ...CONFIGURATION, flush_interval_ms: 500 }));
  recorder.record(ordinary());
  open.end(factsOf(ordinary()));
  recorder.envoy.advance(500);
  recorder.record(ordinary());
  recorder.envoy.advance(500);
  recorder.assertHealthy();
  const batches = recorder.batches();
  assertWhole(batches, 4);
  assert.ok(batches.every(({ isFin }) => !isFin));
  for (const { stream } of batches) assert.deepEqual(Buffer.from(stream), Buffer.from(before ?? []));
  recorder.envoy.shutDown();
  assert.equal(recorder.batches().at(-1)?.isFin, true);
});

test('a batch in flight when its root goes is sent again by another root', () => {
  const recorder = new Recorder();
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
  recorder.record(ordinary());
  recorder.flush();
  assert.equal(recorder.envoy.upstreams.pending().length, 1);
  recorder.use = recorder.envoy.update(recorder.use, JSON.stringify({ ...CONFIGURATION, flush_interval_ms: 500 }));
  assert.equal(recorder.sent[0]?.state, 'cancelled');
  recorder.envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  recorder.record(ordinary());
  recorder.envoy.advance(60_000);
  recorder.assertHealthy();
  const answered = recorder.sent.filter(({ state }) => state === 'answered');
  assert.deepEqual(answered.map(({ body }) => decodeBatch(body).batchNumber).sort(), [0, 1]);
  assertWhole(recorder.batches(), 2);
});

test('when the newest root goes, the tick of an older one serves', () => {
  const recorder = new Recorder({ plugin: { rootId: 'inbound' } });
  const newest = recorder.envoy.load({ ...recorder.use.plugin, rootId: 'outbound' });
  recorder.envoy.unload(newest);
  for (let i = 0; i < 3; i++) {
    recorder.record(ordinary());
    recorder.flush();
    assert.equal(recorder.batches().length, i + 1);
  }
});

test('two roots do not tick twice as often', () => {
  const recorder = new Recorder({ plugin: { rootId: 'inbound' } });
  recorder.envoy.advance(500);
  recorder.envoy.load({ ...recorder.use.plugin, rootId: 'outbound' });
  for (let i = 0; i < 20; i++) {
    recorder.record(ordinary());
    recorder.envoy.advance(500);
  }
  assert.equal(recorder.batches().length, 10);
});
