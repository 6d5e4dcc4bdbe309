// Signs of life: VMs of a proxy know each other, name the one that fell silent, and say once in an interval that they are there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Batch, decodeBatch, type ProxyLife } from '../../collector/src/core/codec/batch.ts';
import type { OutgoingCall } from '../host/upstreams.ts';
import { factsOf, ordinary } from './exchange.ts';
import {
  acknowledge,
  assertWhole,
  batchesOf,
  CLUSTER,
  CONFIGURATION,
  FLUSH_MS,
  Recorder,
  type RecorderOptions,
} from './recorder.ts';

const ALIVE_MS = 20_000;
const KEY = 'meshtrail.vms';
const hex = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString('hex');

function living(options: RecorderOptions = {}): Recorder {
  return new Recorder({ configuration: { ...CONFIGURATION, alive_interval_ms: ALIVE_MS }, ...options });
}

type Sign = Batch & ProxyLife & { readonly from: string; readonly sealedWallNs: bigint };

function signOf(call: OutgoingCall): Sign {
  const batch = decodeBatch(call.body);
  assert.ok(batch.life !== undefined);
  return { ...batch, ...batch.life, from: call.machine.name, sealedWallNs: batch.clock.sealedWallNs };
}

/** All batches that were sent, in the order of their first try. */
function all(recorder: Recorder): Sign[] {
  const known = new Map<string, Sign>();
  for (const call of recorder.sent) {
    const sign = signOf(call);
    const key = `${hex(sign.stream)} ${sign.batchNumber}`;
    if (!known.has(key)) known.set(key, sign);
  }
  return [...known.values()];
}

test('a proxy without traffic says once in an interval that it is there, by one of its VMs', () => {
  const recorder = living({ workers: 3 });
  const { world } = recorder.envoy;
  const since = world.wallNs();
  recorder.envoy.advance(10 * ALIVE_MS + 5000);
  const batches = all(recorder);
  assert.equal(batches.length, 10, batches.map(({ from }) => from).join(' '));
  for (const batch of batches) {
    assert.equal(batch.isAlive, true);
    assert.equal(batch.rowCount, 0);
    assert.deepEqual(
      [batch.vmsKnown, batch.vmsAlive, batch.silentStream],
      [4, 4, undefined],
      'main thread and workers',
    );
    assert.equal(batch.aliveIntervalMs, ALIVE_MS);
    assert.equal(batch.proxySinceWallNs, since + BigInt(FLUSH_MS) * 1_000_000n);
  }
});

test('what is recorded is a sign of life too', () => {
  const recorder = living();
  for (let i = 0; i < 60; i++) {
    recorder.record(ordinary());
    recorder.flush();
  }
  assert.ok(all(recorder).every(({ isAlive, rowCount }) => !isAlive && rowCount === 1));
  assert.equal(all(recorder).at(-1)?.vmsAlive, 2);
  recorder.envoy.advance(ALIVE_MS + 2000);
  assert.deepEqual(
    all(recorder)
      .slice(60)
      .map(({ isAlive }) => isAlive),
    [true],
  );
});

test('a VM that died is named once, within three of its ticks and one more', () => {
  const recorder = living({ workers: 3 });
  const { envoy } = recorder;
  for (let thread = 1; thread <= 3; thread++) envoy.exchange(recorder.use, factsOf(ordinary()), thread);
  envoy.advance(2 * FLUSH_MS);
  const dead = envoy.machine(recorder.use, 2);
  const stream = hex(all(recorder).find(({ from }) => from === dead.name)?.stream);
  assert.ok(stream !== undefined);
  dead.failure = 'a trap';
  const diedMs = envoy.world.nowMs;
  envoy.advance(4 * FLUSH_MS);
  const naming = all(recorder).filter(({ silentStream }) => silentStream !== undefined);
  assert.deepEqual(
    naming.map(({ silentStream }) => hex(silentStream)),
    [stream],
  );
  const [named] = naming;
  assert.equal(named?.isAlive, true);
  assert.notEqual(named?.from, dead.name);
  assert.deepEqual([named?.vmsKnown, named?.vmsAlive], [4, 3]);
  const sentMs = recorder.sent.find((call) => signOf(call).silentStream !== undefined)?.sentMs ?? 0;
  assert.ok(sentMs - diedMs <= 4 * FLUSH_MS, `${sentMs - diedMs} ms`);
  assert.equal(envoy.world.metrics.value('meshtrail_vms_silent'), 1n);
  envoy.advance(5 * ALIVE_MS);
  const later = all(recorder).slice(-2);
  assert.ok(
    later.every(({ silentStream }) => silentStream === undefined),
    'named once',
  );
  assert.ok(
    later.every(({ vmsKnown, vmsAlive }) => vmsKnown === 4 && vmsAlive === 3),
    'and missed for ever',
  );
});

test('a VM with a short tick has a second before it is called silent', () => {
  const configuration = { ...CONFIGURATION, alive_interval_ms: ALIVE_MS, flush_interval_ms: 50 };
  const recorder = living({ configuration, workers: 2 });
  const { envoy } = recorder;
  envoy.advance(200);
  const [root] = envoy.machine(recorder.use, 2).roots.values();
  assert.ok(root !== undefined);
  root.tickDueMs = envoy.world.nowMs + 950;
  envoy.advance(900);
  assert.equal(envoy.world.metrics.value('meshtrail_vms_silent') ?? 0n, 0n);
  envoy.advance(200);
  root.tickDueMs = envoy.world.nowMs + 5000;
  envoy.advance(1200);
  assert.equal(envoy.world.metrics.value('meshtrail_vms_silent'), 1n);
});

test('a VM that hung and came back is alive again, and can be named again', () => {
  const recorder = living({ workers: 2 });
  const { envoy } = recorder;
  envoy.advance(2 * FLUSH_MS);
  const slow = envoy.machine(recorder.use, 2);
  const { roots } = slow;
  const [root] = roots.values();
  assert.ok(root !== undefined);
  for (let time = 1; time <= 2; time++) {
    root.tickDueMs = envoy.world.nowMs + 10 * FLUSH_MS;
    envoy.advance(9 * FLUSH_MS);
    assert.equal(envoy.world.metrics.value('meshtrail_vms_silent'), BigInt(time));
    envoy.advance(ALIVE_MS + 3 * FLUSH_MS);
    const last = all(recorder).at(-1);
    assert.deepEqual([last?.vmsKnown, last?.vmsAlive], [3, 3]);
  }
});

test('several that die at once are named one by one', () => {
  const recorder = living({ workers: 6 });
  const { envoy } = recorder;
  for (let thread = 1; thread <= 6; thread++) envoy.exchange(recorder.use, factsOf(ordinary()), thread);
  envoy.advance(2 * FLUSH_MS);
  for (let thread = 2; thread <= 5; thread++) envoy.machine(recorder.use, thread).failure = 'a trap';
  envoy.advance(10 * FLUSH_MS);
  const named = all(recorder).flatMap(({ silentStream }) => (silentStream === undefined ? [] : [hex(silentStream)]));
  assert.equal(named.length, 4);
  assert.equal(new Set(named).size, 4);
  assert.equal(all(recorder).at(-1)?.vmsAlive, 3);
});

test('who ends is missed by nobody', () => {
  const recorder = living({ workers: 2 });
  const { envoy } = recorder;
  const other = envoy.load({ ...recorder.use.plugin, code: Uint8Array.from([...recorder.use.plugin.code, 0, 1, 0]) });
  envoy.advance(2 * FLUSH_MS);
  envoy.exchange(other, factsOf(ordinary()));
  envoy.advance(2 * FLUSH_MS);
  assert.equal(all(recorder).at(-1)?.vmsKnown, 6, 'another build of the module shares the vm_id');
  envoy.unload(other);
  envoy.advance(ALIVE_MS + 5 * FLUSH_MS);
  const last = all(recorder).at(-1);
  assert.deepEqual([last?.vmsKnown, last?.vmsAlive, last?.silentStream], [3, 3, undefined]);
  assert.equal(envoy.world.metrics.value('meshtrail_vms_silent') ?? 0n, 0n);
});

test('a canary is not counted, and a VM without a tick is not missed', () => {
  const recorder = living({ workers: 1 });
  recorder.use = recorder.envoy.update(
    recorder.use,
    JSON.stringify({ ...CONFIGURATION, alive_interval_ms: ALIVE_MS, flush_interval_ms: 500 }),
  );
  recorder.envoy.advance(ALIVE_MS + 2000);
  const [first] = all(recorder);
  assert.deepEqual([first?.vmsKnown, first?.vmsAlive], [2, 2]);
});

test('without shared data each VM that recorded something speaks for itself', () => {
  const recorder = living({ workers: 2 });
  const { envoy } = recorder;
  for (let thread = 0; thread <= 2; thread++)
    envoy.machine(recorder.use, thread).tamper = ({ name }, proceed) =>
      name.endsWith('_shared_data') ? 12 : proceed();
  recorder.record(ordinary());
  envoy.advance(3 * ALIVE_MS + 5000);
  const batches = all(recorder);
  assert.deepEqual([...new Set(batches.map(({ from }) => from))], ['worker-0']);
  assert.deepEqual(
    batches.map(({ isAlive, rowCount }) => [isAlive, rowCount]),
    [
      [false, 1],
      [true, 0],
      [true, 0],
      [true, 0],
    ],
  );
  assert.ok(
    batches.every(
      ({ vmsKnown, vmsAlive, proxySinceWallNs }) => vmsKnown === 0 && vmsAlive === 0 && proxySinceWallNs === undefined,
    ),
  );
});

for (const [name, value] of [
  ['nothing that we wrote', Uint8Array.of(1, 2, 3)],
  ['as long as ours, and random', Uint8Array.from({ length: 2072 }, (_, i) => (i * 31 + 7) & 255)],
  [
    'ours with random entries',
    Uint8Array.from({ length: 2072 }, (_, i) => (i < 4 ? (Buffer.from('MTV1')[i] ?? 0) : (i * 31 + 7) & 255)),
  ],
] as const) {
  test(`a value in shared data that is ${name} harms nobody`, () => {
    const recorder = living({ workers: 2 });
    const { envoy } = recorder;
    envoy.world.sharedData.set('', KEY, value, 0);
    for (let i = 0; i < 100; i++) {
      recorder.record(ordinary());
      recorder.flush();
    }
    recorder.assertHealthy();
    recorder.envoy.shutDown();
    assertWhole(recorder.batches(), 100);
  });
}

test('VMs that meet in the same moment lose nothing by it', () => {
  const recorder = living({ workers: 4 });
  const { envoy } = recorder;
  let meets = 0;
  // Another VM comes in between each time, up to three times in a row.
  for (let thread = 0; thread <= 4; thread++) {
    envoy.machine(recorder.use, thread).tamper = ({ name }, proceed) => {
      if (name !== 'proxy_set_shared_data') return proceed();
      meets++;
      const now = envoy.world.sharedData.get('', KEY);
      if (meets % 4 !== 0 && now !== undefined) envoy.world.sharedData.set('', KEY, now.value, 0);
      return proceed();
    };
  }
  envoy.advance(3 * ALIVE_MS);
  for (const batch of all(recorder))
    assert.deepEqual([batch.vmsKnown, batch.vmsAlive, batch.silentStream], [5, 5, undefined]);
  assert.ok(all(recorder).length >= 2);
});

test('while the collector is away signs of life do not pile up', () => {
  const recorder = living({ workers: 1 });
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'refused');
  recorder.envoy.advance(100 * ALIVE_MS);
  recorder.envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  recorder.settle();
  const lasting = all(recorder).filter(
    ({ sealedWallNs }) => sealedWallNs < recorder.envoy.world.wallNs() - 300_000_000_000n,
  );
  assert.ok(lasting.length <= 4, `${lasting.length} waited`);
});

test('a VM that only said that it is alive ends its stream like every other', () => {
  const recorder = living({ workers: 1 });
  recorder.envoy.advance(ALIVE_MS + 2000);
  const [{ from = '' } = {}] = all(recorder);
  recorder.envoy.shutDown();
  const batches = batchesOf(recorder.sent.filter(({ machine }) => machine.name === from));
  assert.deepEqual(
    batches.map(({ isFin, rowCount }) => [isFin, rowCount]),
    [
      [false, 0],
      [true, 0],
    ],
  );
  assert.ok(
    all(recorder).every((batch) => batch.from === from),
    'and one that said nothing has nothing to end',
  );
});
