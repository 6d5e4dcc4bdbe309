// How a stream ends, and what does not end it: shutdown, new configuration, several roots.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { factsOf, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { Mesh } from './mesh.ts';
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

test('with every buffer full there is one for the fin, and it counts what was lost', () => {
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, buffers_max: 2 } });
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
  for (let i = 0; i < 3000; i++) recorder.record(ordinary({ upstreamAddress: undefined, code: 403n }));
  const denial = { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[p]', upstreamAddress: undefined };
  for (let i = 0; i < 3000; i++) recorder.record(ordinary(denial));
  assert.equal(recorder.envoy.upstreams.pending().length, 2);
  recorder.assertHealthy();
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assert.equal(batches.at(-1)?.isFin, true);
  assertWhole(batches, 6000);
  assert.ok((batches.at(-1)?.counters.droppedBuffersFull ?? 0) > 3000);
});

test('without random numbers no batch is opened, which is counted by its own name, and the fin comes all the same', () => {
  const recorder = new Recorder();
  recorder.record(ordinary());
  recorder.flush();
  recorder.machine.tamper = ({ name }, proceed) => (name === 'random_get' ? 52 : proceed());
  for (let i = 0; i < 10; i++) recorder.record(ordinary());
  recorder.envoy.advance(2000);
  assert.equal(recorder.envoy.world.metrics.value('meshtrail_dropped_no_random'), 10n);
  recorder.envoy.shutDown();
  const batches = recorder.batches();
  assertWhole(batches, 11);
  const [, fin] = batches;
  assert.deepEqual([fin?.isFin, fin?.rowCount, fin?.counters.droppedNoRandom], [true, 0, 10]);
  assert.deepEqual(fin?.counters.droppedBuffersFull, 0);
});

test('roles of one VM end together: one fin, behind the records of what the shutdown closes', () => {
  const mesh = new Mesh(['listenerLoggers', 'network', 'http']);
  const { envoy } = mesh.recorder;
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  const connection = mesh.listener.connect(facts);
  connection.request(facts).end(facts);
  envoy.advance(1000);
  connection.close(1, facts);
  envoy.shutDown();
  const batches = mesh.recorder.batches();
  assert.deepEqual(
    batches.map(({ isFin, rowCount }) => [isFin, rowCount]),
    [
      [false, 1],
      [true, 2],
    ],
  );
  assertWhole(batches, 3);
});

test('a configuration with fewer buffers, and one with more again, while batches wait', () => {
  const recorder = new Recorder();
  const { envoy } = recorder;
  envoy.upstreams.clusters.set(CLUSTER, 'held');
  const bulky = (i: number): ReturnType<typeof ordinary> =>
    withHeaders(ordinary(), { ':path': `/${i}/${'x'.repeat(900)}` });
  const told = 2400;
  for (let i = 0; i < told; i++) {
    if (i % 600 === 300) {
      const buffers = i % 1200 === 300 ? 2 : 32;
      recorder.use = envoy.update(recorder.use, JSON.stringify({ ...CONFIGURATION, buffers_max: buffers }));
    }
    recorder.record(bulky(i));
  }
  envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  recorder.settle();
  for (let i = 0; i < 200; i++) recorder.record(bulky(i));
  recorder.settle();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), told + 200);
  assert.ok((recorder.batches().at(-1)?.counters.droppedBuffersFull ?? 0) > 0);
  assert.equal(envoy.world.metrics.value('meshtrail_records_waiting'), 0n);
});
