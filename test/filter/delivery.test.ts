// Delivery: a batch is sent again byte for byte until it is acknowledged; what finds no room is dropped and counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import type { Answer, Cluster, OutgoingCall } from '../host/upstreams.ts';
import { ordinary, withHeaders } from './exchange.ts';
import { acknowledge, ackOf, assertWhole, batchesOf, CLUSTER, FLUSH_MS, Recorder } from './recorder.ts';

const numberOf = (call: OutgoingCall): number => decodeBatch(call.body).batchNumber;
const bytesOf = (call: OutgoingCall): string => Buffer.from(call.body).toString('base64');

/** A recorder whose collector behaves as told. */
function recorderWith(cluster: Cluster | undefined): Recorder {
  const recorder = new Recorder();
  if (cluster === undefined) recorder.envoy.upstreams.clusters.delete(CLUSTER);
  else recorder.envoy.upstreams.clusters.set(CLUSTER, cluster);
  return recorder;
}

/** Lets the collector work again, and everything that is held be delivered. */
function heal(recorder: Recorder): void {
  recorder.envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  recorder.settle();
}

/** An exchange with a long path of its own, so that a batch fills soon. */
const bulky = (i: number): ReturnType<typeof ordinary> =>
  withHeaders(ordinary(), { ':path': `/${i}/${'x'.repeat(900)}` });
const denial = (i: number): ReturnType<typeof ordinary> =>
  withHeaders(
    ordinary({ code: 403n, codeDetails: 'rbac_access_denied_matched_policy[p]', upstreamAddress: undefined }),
    { ':path': `/denied/${i}/${'x'.repeat(900)}` },
  );

test('a batch goes out at the tick, once, to the configured place', () => {
  const recorder = new Recorder();
  recorder.envoy.advance(10 * FLUSH_MS);
  assert.equal(recorder.sent.length, 0, 'nothing to tell, nothing sent');
  recorder.record(ordinary());
  assert.equal(recorder.sent.length, 0);
  recorder.flush();
  recorder.envoy.advance(60_000);
  assert.equal(recorder.sent.length, 1);
  const [call] = recorder.sent;
  assert.ok(call !== undefined);
  const header = Object.fromEntries(
    call.headers.map(([name, value]) => [`${Buffer.from(name)}`, `${Buffer.from(value)}`]),
  );
  assert.equal(header[':method'], 'POST');
  assert.equal(header[':path'], '/v1/batches');
  assert.equal(header[':authority'], 'collector.meshtrail');
  assert.equal(header['content-type'], 'application/vnd.meshtrail.batch');
  assert.ok(call.timeoutMs > 0 && call.timeoutMs <= 10_000);
  assert.equal(call.cluster, CLUSTER);
});

test('a full batch does not wait for the tick', () => {
  const recorder = new Recorder();
  for (let i = 0; i < 120; i++) recorder.record(bulky(i));
  assert.ok(recorder.sent.length >= 2);
  for (const { body } of recorder.sent) assert.ok(body.length >= 48 * 1024 && body.length <= 65_536);
});

type Refusal = [name: string, answer: (call: OutgoingCall) => Answer | undefined];
const changed = (call: OutgoingCall, change: (ack: Uint8Array) => Uint8Array): Answer => ({
  status: 200,
  body: change(ackOf(decodeBatch(call.body))),
});
const flipped = (at: number) => (call: OutgoingCall) =>
  changed(call, (ack) => {
    ack[at] = (ack[at] ?? 0) ^ 1;
    return ack;
  });

const REFUSALS: Refusal[] = [
  ['200 without a body', () => ({ status: 200 })],
  ['200 with a short body', (call) => changed(call, (ack) => ack.subarray(0, 79))],
  ['200 with a long body', (call) => changed(call, (ack) => Uint8Array.of(...ack, 0))],
  ['200 with garbage', () => ({ status: 200, body: new Uint8Array(80).fill(0x5a) })],
  ['200 with zeros', () => ({ status: 200, body: new Uint8Array(80) })],
  ['200 with a huge body', () => ({ status: 200, body: new Uint8Array(300_000) })],
  ['200 with another magic', flipped(0)],
  ['200 for another stream', flipped(8)],
  ['200 for another stream, last byte', flipped(23)],
  ['200 for another batch', flipped(24)],
  ['200 for another batch, highest byte', flipped(31)],
  ['500 with a right acknowledgement', (call) => ({ ...acknowledge(call), status: 500 })],
  ['302 with a right acknowledgement', (call) => ({ ...acknowledge(call), status: 302 })],
  ['409', () => ({ status: 409, body: Buffer.from('{"code":"BATCH_CONFLICT"}') })],
  ['503', () => ({ status: 503 })],
  ['reset', () => ({})],
  ['silence', () => undefined],
];

for (const [name, answer] of REFUSALS) {
  test(`sent again, byte for byte, after: ${name}`, () => {
    const recorder = recorderWith(answer);
    recorder.record(ordinary());
    recorder.envoy.advance(30_000);
    const before = recorder.sent.length;
    assert.ok(before >= 3, `${before} attempts in 30 s`);
    assert.equal(new Set(recorder.sent.map(bytesOf)).size, 1);
    recorder.record(ordinary());
    heal(recorder);
    recorder.assertHealthy();
    const batches = recorder.batches();
    assertWhole(batches, 2);
    assert.equal(batches.length, 2);
    const failures = recorder.sent.filter((call) => numberOf(call) === 0).length - 1;
    recorder.record(ordinary());
    recorder.flush();
    assert.equal(recorder.batches().at(-1)?.counters.sendFailures, failures);
    assert.equal(recorder.envoy.upstreams.pending().length, 0);
  });
}

for (const [name, cluster] of [
  ['an unknown cluster', undefined],
  ['an inline failure', 'inline_failure'],
  ['a refused connection', 'refused'],
] as const) {
  test(`kept through ${name}`, () => {
    const recorder = recorderWith(cluster);
    recorder.record(ordinary());
    recorder.envoy.advance(30_000);
    recorder.record(ordinary());
    heal(recorder);
    recorder.record(ordinary());
    recorder.flush();
    recorder.assertHealthy();
    const batches = recorder.batches();
    assertWhole(batches, 3);
    assert.ok((batches.at(-1)?.counters.sendFailures ?? 0) >= 3);
  });
}

test('acknowledged once is acknowledged: the answer of one batch says nothing of the next', () => {
  const first: Answer[] = [];
  const recorder = recorderWith((call) => {
    const answer = acknowledge(call);
    if (first.length === 0) first.push(answer);
    return first[0];
  });
  recorder.record(ordinary());
  recorder.flush();
  recorder.record(ordinary());
  recorder.envoy.advance(20_000);
  assert.equal(recorder.sent.filter((call) => numberOf(call) === 0).length, 1);
  assert.ok(recorder.sent.filter((call) => numberOf(call) === 1).length >= 3);
  heal(recorder);
  assertWhole(recorder.batches(), 2);
});

const LONGEST_MS = 32_000;

test('pauses between attempts grow, and stay short enough to notice a collector that is back', () => {
  const recorder = recorderWith('refused');
  recorder.record(ordinary());
  recorder.envoy.advance(15 * 60_000);
  const times = recorder.sent.map(({ sentMs }) => sentMs);
  const pauses = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const growing = pauses.slice(0, pauses.findIndex((pause) => pause >= LONGEST_MS / 2) + 1);
  assert.ok(growing.length >= 5, `pauses ${pauses.join(' ')}`);
  for (const [i, pause] of growing.entries()) assert.ok(pause >= (growing[i - 1] ?? 0), `pauses ${pauses.join(' ')}`);
  // Between half of the longest and the whole of it, up to the next tick.
  for (const pause of pauses.slice(growing.length))
    assert.ok(pause >= LONGEST_MS / 2 && pause <= LONGEST_MS + FLUSH_MS);
});

test('never more than two in flight, whatever waits', () => {
  const recorder = recorderWith('held');
  let most = 0;
  for (let i = 0; i < 600; i++) {
    recorder.record(bulky(i));
    if (i % 50 === 0) recorder.envoy.advance(100);
    most = Math.max(most, recorder.envoy.upstreams.pending().length);
  }
  assert.equal(most, 2);
  heal(recorder);
  assertWhole(recorder.batches(), 600);
});

test('with no buffer free the newest are dropped and counted; denials have a reserve', () => {
  const recorder = recorderWith('held');
  const told = 1500;
  for (let i = 0; i < told; i++) recorder.record(bulky(i));
  recorder.record(denial(0));
  recorder.record(bulky(told));
  heal(recorder);
  recorder.record(ordinary());
  recorder.flush();
  recorder.assertHealthy();
  const batches = recorder.batches();
  assertWhole(batches, told + 3);
  const counters = batches.at(-1)?.counters;
  assert.ok(counters !== undefined && counters.droppedBuffersFull > 100, 'the buffers were full');
  const paths = recorder.flat().map(({ path }) => String(path));
  assert.ok(
    paths.some((path) => path.startsWith('/denied/0/')),
    'the denial was kept',
  );
  assert.ok(!paths.some((path) => path.startsWith(`/${told}/`)), 'the ordinary one behind it was not');
  const kept = paths.filter((path) => /^\/\d+\//.test(path)).map((path) => Number(path.split('/')[1]));
  assert.deepEqual(
    kept,
    Array.from({ length: kept.length }, (_, i) => i),
    'the oldest stay',
  );
});

test('the reserve ends too, and is counted', () => {
  const recorder = recorderWith('held');
  for (let i = 0; i < 1000; i++) recorder.record(bulky(i));
  for (let i = 0; i < 1000; i++) recorder.record(denial(i));
  heal(recorder);
  recorder.record(ordinary());
  recorder.flush();
  const batches = recorder.batches();
  assertWhole(batches, 2001);
  const denied = recorder.flat().filter(({ verdict }) => verdict === 'denied').length;
  assert.ok(denied >= 10 && denied < 1000);
});

test('a collector that comes and goes gets everything once', () => {
  let calls = 0;
  const recorder = recorderWith((call) =>
    calls++ % 3 === 0 ? acknowledge(call) : calls % 3 === 1 ? { status: 503 } : undefined,
  );
  for (let i = 0; i < 200; i++) {
    recorder.record(ordinary());
    recorder.envoy.advance(300);
  }
  heal(recorder);
  assertWhole(recorder.batches(), 200);
  assert.equal(recorder.batches().at(-1)?.counters.droppedBuffersFull, 0);
});

test('batches show the newest checkpoint that was acknowledged', () => {
  const root = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
  const checkpoints = [1, 5, 5, 9].map((size) => ({ size, root: root(size) }));
  const recorder = recorderWith((call) => acknowledge(call, checkpoints[numberOf(call)]));
  for (let i = 0; i < 4; i++) {
    recorder.record(ordinary());
    recorder.flush();
  }
  const batches = recorder.batches();
  assert.deepEqual(
    batches.map(({ checkpoint }) => checkpoint?.size),
    [undefined, 1, 5, 5],
  );
  assert.deepEqual(batches[1]?.checkpoint?.root && Buffer.from(batches[1].checkpoint.root), Buffer.from(root(1)));
  assert.ok(batches.every(({ isRollbackSeen }) => !isRollbackSeen));
});

for (const [name, second] of [
  ['smaller', { size: 4, root: new Uint8Array(32).fill(4) }],
  ['of the same size with another root', { size: 5, root: new Uint8Array(32).fill(6) }],
] as const) {
  test(`a checkpoint that is ${name} is a rollback: counted, shown, and not believed`, () => {
    const checkpoints = [{ size: 5, root: new Uint8Array(32).fill(5) }, second];
    const recorder = recorderWith((call) => acknowledge(call, checkpoints[Math.min(numberOf(call), 1)]));
    for (let i = 0; i < 3; i++) {
      recorder.record(ordinary());
      recorder.flush();
    }
    const last = recorder.batches().at(-1);
    assert.ok(last !== undefined);
    assert.equal(last.isRollbackSeen, true);
    assert.equal(last.counters.rollbacksSeen, 1);
    assert.equal(last.checkpoint?.size, 5);
    assert.equal(recorder.batches()[1]?.isRollbackSeen, false);
    assertWhole(batchesOf(recorder.sent), 3);
  });
}

test('an acknowledgement with an absurd checkpoint acknowledges, and shows in no later batch', () => {
  const words = [2n ** 64n - 1n, 2n ** 63n, 2n ** 53n];
  const recorder = recorderWith((call) => {
    const body = ackOf(decodeBatch(call.body));
    new DataView(body.buffer).setBigUint64(40, words[numberOf(call)] ?? 3n, true);
    // A size without a root, too.
    if (numberOf(call) === 3) body.fill(0, 48);
    return { status: 200, body };
  });
  for (let i = 0; i < 6; i++) {
    recorder.record(ordinary());
    recorder.flush();
  }
  const batches = recorder.batches();
  assertWhole(batches, 6);
  assert.equal(recorder.sent.length, 6);
  assert.deepEqual(
    batches.map(({ checkpoint }) => checkpoint?.size),
    [undefined, undefined, undefined, undefined, undefined, 3],
  );
});

test('after a failure one batch alone asks whether the collector is back', () => {
  const recorder = recorderWith('held');
  for (let i = 0; i < 300; i++) recorder.record(bulky(i));
  assert.equal(recorder.envoy.upstreams.pending().length, 2);
  for (const call of recorder.envoy.upstreams.pending()) recorder.envoy.upstreams.answer(call, { status: 503 });
  for (let second = 0; second < 60; second++) {
    recorder.envoy.advance(1000);
    assert.ok(recorder.envoy.upstreams.pending().length <= 1);
  }
  heal(recorder);
  assertWhole(recorder.batches(), 300);
});

test('a collector that is back is trusted again: the next failure is the first', () => {
  const recorder = recorderWith('refused');
  recorder.record(ordinary());
  recorder.envoy.advance(120_000);
  heal(recorder);
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'refused');
  recorder.record(ordinary());
  const before = recorder.sent.length;
  recorder.envoy.advance(4 * FLUSH_MS);
  assert.ok(recorder.sent.length - before >= 3, `${recorder.sent.length - before} tries in 4 s`);
});

test('a refusal holds up the batch that it refuses, and no other', () => {
  const recorder = recorderWith((call) => (numberOf(call) === 0 ? { status: 409 } : acknowledge(call)));
  for (let i = 0; i < 20; i++) {
    recorder.record(ordinary());
    recorder.flush();
  }
  const tries = recorder.sent.map(numberOf).filter((number) => number === 0).length;
  assert.ok(tries >= 3 && tries < 20, `${tries} tries of the refused batch`);
  const others = recorder.sent.map(numberOf).filter((number) => number !== 0);
  assert.deepEqual(
    others,
    Array.from({ length: 19 }, (_, i) => i + 1),
    'each of the others at its tick, once',
  );
});

test('where deliveries pass a listener of the proxy itself, each makes one record, and nothing grows', () => {
  const recorder = recorderWith((call) => {
    recorder.record(ordinary({ upstreamCluster: CLUSTER }));
    return acknowledge(call);
  });
  for (let i = 0; i < 500; i++) recorder.record(ordinary());
  const perMinute = Array.from({ length: 3 }, () => {
    const before = recorder.sent.length;
    recorder.envoy.advance(60_000);
    return recorder.sent.length - before;
  });
  assert.deepEqual(perMinute, [60, 60, 60], 'one a tick, with one record');
  recorder.assertHealthy();
  assert.ok(
    recorder
      .batches()
      .slice(2)
      .every(({ rowCount }) => rowCount === 1),
  );
});
