// Hostile hosts: what is sent is always a whole batch, and nothing traps. Random exchanges are in random.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Pairs } from '../host/abi.ts';
import { Context } from '../host/contexts.ts';
import { factsOf, ordinary, withHeaders } from './exchange.ts';
import { expectedOf } from './expected.ts';
import { acknowledge, assertWhole, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

/** Shrinking ends in time to be read, too. */
const LIMIT = { interruptAfterTimeLimit: 30_000, markInterruptAsFailure: true };

test('a host that answers anything to anything never makes the recorder trap, nor send what no collector accepts', () => {
  const status = fc.constantFrom(0, 1, 2, 3, 6, 10, 12, 0xffffffff);
  const place = fc.constantFrom(0, 1, 4, 65_535, 1_000_000, 4_194_300, 4_194_304, 0x7fffffff, 0xffffffff);
  fc.assert(
    fc.property(fc.infiniteStream(fc.tuple(fc.nat(9), status, place, place)), (answers) => {
      const recorder = new Recorder();
      const { machine, envoy } = recorder;
      machine.tamper = ({ name, args }, proceed) => {
        const [chance, code, at, length] = answers.next().value;
        if (chance > 2 || name === 'proxy_log') return proceed();
        if (name === 'proxy_get_property') {
          machine.writeU32(Number(args[2]), at);
          machine.writeU32(Number(args[3]), length);
        } else if (name === 'proxy_get_header_map_pairs') {
          machine.writeU32(Number(args[1]), at);
          machine.writeU32(Number(args[2]), length);
        }
        return code;
      };
      const told = 40;
      for (let i = 0; i < told; i++) recorder.record(ordinary());
      recorder.flush();
      machine.tamper = undefined;
      recorder.record(ordinary());
      envoy.advance(60_000);
      recorder.assertHealthy();
      assertWhole(recorder.batches(), told + 1);
    }),
    { numRuns: 40, seed: 7, ...LIMIT },
  );
});

test('a host that answers anything about connections, and about what lives, does no more harm', () => {
  const status = fc.constantFrom(0, 1, 2, 3, 6, 10, 12, 0xffffffff);
  const place = fc.constantFrom(0, 1, 4, 65_535, 1_000_000, 4_194_300, 4_194_304, 0x7fffffff, 0xffffffff);
  fc.assert(
    fc.property(fc.infiniteStream(fc.tuple(fc.nat(9), status, place, place)), (answers) => {
      const recorder = new Recorder({ configuration: { ...CONFIGURATION, open_after_ms: 0, interval_ms: 1000 } });
      const { machine, envoy, use } = recorder;
      const facts = factsOf(ordinary());
      machine.tamper = ({ name, args }, proceed) => {
        const [chance, code, at, length] = answers.next().value;
        if (chance > 2 || name === 'proxy_log' || name === 'proxy_http_call') return proceed();
        if (name === 'proxy_get_property' || name === 'proxy_get_shared_data') {
          machine.writeU32(Number(args[2]), at);
          machine.writeU32(Number(args[3]), length);
        }
        return code;
      };
      const connections = Array.from({ length: 10 }, () => envoy.openConnection(use, { facts }));
      const streams = Array.from({ length: 10 }, () => envoy.openHttp(use).begin(facts));
      envoy.advance(5000);
      for (const connection of connections) connection.close(1, facts);
      for (const stream of streams) stream.end(facts);
      machine.tamper = undefined;
      recorder.settle();
      recorder.assertHealthy();
      const batches = recorder.batches();
      const counters = batches.at(-1)?.counters;
      assert.ok(counters !== undefined);
      assert.equal(
        counters.recorded,
        batches.reduce((sum, { rowCount }) => sum + rowCount, 0),
      );
      const { droppedBuffersFull, droppedUnreadable, droppedNoRandom } = counters;
      assert.equal(counters.seen, counters.recorded + droppedBuffersFull + droppedUnreadable + droppedNoRandom);
      assert.ok(counters.seen >= connections.length + streams.length);
    }),
    { numRuns: 40, seed: 20_261_126, ...LIMIT },
  );
});

test('an exhausted allocator loses values, or the record, and counts it', () => {
  const recorder = new Recorder();
  recorder.record(ordinary());
  recorder.machine.isAllocatorBroken = true;
  for (let i = 0; i < 5; i++) recorder.record(ordinary());
  recorder.machine.isAllocatorBroken = false;
  recorder.record(ordinary());
  recorder.flush();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), 7);
  assert.deepEqual(recorder.flat().at(-1)?.['verdict'], 'allowed');
});

test('headers larger than the arena cost their values, not the exchange', () => {
  const huge: Pairs = [...(ordinary().requestHeaders ?? []), ['x-huge', 'h'.repeat(300_000)]];
  const recorder = new Recorder();
  recorder.record(ordinary({ requestHeaders: huge }));
  recorder.record(ordinary());
  recorder.flush();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), 2);
  const records = recorder.flat();
  assert.deepEqual(
    records.at(-1),
    expectedOf(ordinary({ connectionId: BigInt(records.at(-1)?.['connection_id'] ?? 0) })).flat,
  );
});

test('hooks with ids, tokens and lengths from nowhere', () => {
  const word = fc.constantFrom(0, 1, 2, 3, 79, 80, 81, 65_536, 0x7fffffff, 0xffffffff);
  const hook = fc.constantFrom(
    'on_log',
    'on_tick',
    'on_done',
    'on_http_call_response',
    'on_vm_start',
    'on_memory_allocate',
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(hook, word, word, word), { maxLength: 100 }), (calls) => {
      const recorder = new Recorder();
      recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
      const root = recorder.envoy.root(recorder.use);
      let told = 1;
      recorder.record(ordinary());
      for (const [name, id, first, second] of calls) {
        // The root's own end is another test.
        if (name === 'on_done' && id === root.id) continue;
        if (name === 'on_log') told++;
        const token = name === 'on_http_call_response' ? [first, 3, second, 0] : [first, second];
        recorder.machine.call(name, new Context(id, root), ...token);
        recorder.envoy.advance(100);
      }
      recorder.envoy.upstreams.clusters.set(CLUSTER, acknowledge);
      recorder.settle();
      assert.equal(recorder.machine.failure, undefined);
      assertWhole(recorder.batches(), told);
    }),
    { numRuns: 60, seed: 11, ...LIMIT },
  );
});

test('clocks that jump, stand still or stand before 1970', () => {
  const recorder = new Recorder();
  const { world } = recorder.envoy;
  const shifts = [0, -3_600_000, 10 ** 12, -(10 ** 13), 0];
  for (const shift of shifts) {
    world.wallShiftMs = shift;
    recorder.record(ordinary({ startNs: undefined }));
    recorder.flush();
  }
  recorder.assertHealthy();
  assertWhole(recorder.batches(), shifts.length);
  assert.deepEqual(
    recorder.batches().map(({ clock }) => clock.sealedMonoNs > clock.openedMonoNs),
    shifts.map(() => true),
  );
});

test('values that together are larger than the arena leave the rest of the memory alone', () => {
  const recorder = new Recorder();
  const requestHeaders: Pairs = [...(ordinary().requestHeaders ?? []), ['x-large', 'h'.repeat(150_000)]];
  const large = 'l'.repeat(100_000);
  const before = ordinary();
  recorder.record(before);
  for (const field of ['route', 'upstreamCluster', 'upstreamAddress', 'codeDetails', 'sourceAddress'] as const) {
    recorder.record(ordinary({ requestHeaders, route: large, upstreamCluster: large, code: 503n, [field]: large }));
    recorder.record(before);
  }
  recorder.flush();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), 11);
  const ordinaries = recorder.flat().filter((_, i) => i % 2 === 0);
  for (const flat of ordinaries) assert.deepEqual(flat, expectedOf(before).flat);
});

test('headers that nearly fill the arena hide nothing of what the proxy decided', () => {
  const recorder = new Recorder();
  const denied = ordinary({
    code: 403n,
    codeDetails: 'rbac_access_denied_matched_policy[no-denied]',
    rbac: new Map([['enforced_engine_result', 'denied']]),
    upstreamAddress: '',
  });
  const before = expectedOf(denied).flat;
  // Up to where the map itself has no room any more, whatever room is kept from it.
  const sizes = [128, 192, 256].flatMap((kib) => Array.from({ length: 60 }, (_, i) => kib * 1024 - 20 * i));
  for (const size of sizes) recorder.record(withHeaders(denied, { 'x-pad': 'p'.repeat(size) }));
  recorder.flush();
  recorder.assertHealthy();
  const records = recorder.flat();
  assert.equal(records.length, sizes.length);
  for (const name of ['verdict', 'code', 'code_details', 'policy', 'policy_result', 'source_address', 'connection_id'])
    for (const [i, record] of records.entries())
      assert.equal(record[name], before[name], `${name} beside a header of ${sizes[i]} bytes`);
});

test('a map whose lengths lie shows nothing from beyond its end', () => {
  for (const lie of [1, 2, 100, 5000, 2 ** 20, 2 ** 31]) {
    const recorder = new Recorder();
    recorder.record(withHeaders(ordinary(), { 'x-b': 'secret'.repeat(100) }));
    const { machine } = recorder;
    machine.tamper = ({ name, args }, proceed) => {
      const status = proceed();
      if (name !== 'proxy_get_header_map_pairs' || args[0] !== 0) return status;
      // The last pair's value claims more bytes than the map has.
      const view = new DataView(machine.memory.buffer);
      const at = view.getUint32(Number(args[1]), true);
      const lastLength = at + 8 * view.getUint32(at, true);
      view.setUint32(lastLength, view.getUint32(lastLength, true) + lie, true);
      return status;
    };
    const truthful = withHeaders(ordinary(), { ':path': '/last' });
    recorder.record(truthful);
    recorder.flush();
    recorder.assertHealthy();
    assertWhole(recorder.batches(), 2);
    assert.equal(recorder.flat().at(-1)?.['path'], undefined, `${lie} bytes too many`);
    assert.equal(recorder.flat().at(-1)?.['method'], 'GET', 'what came before is kept');
  }
});

test('pairs with any word changed never trap', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(40), fc.oneof(fc.nat(64), fc.nat(0xffffffff))), { maxLength: 6 }),
      (changes) => {
        const recorder = new Recorder();
        const { machine } = recorder;
        machine.tamper = ({ name, args }, proceed) => {
          const status = proceed();
          const isMap = name === 'proxy_get_header_map_pairs';
          if (!isMap && name !== 'proxy_get_property') return status;
          const view = new DataView(machine.memory.buffer);
          const [outAt, outLength] = isMap ? [args[1], args[2]] : [args[2], args[3]];
          const at = view.getUint32(Number(outAt), true);
          const length = view.getUint32(Number(outLength), true);
          for (const [word, value] of changes)
            if (status === 0 && length > 40 && 4 * word + 4 <= length) view.setUint32(at + 4 * word, value, true);
          return status;
        };
        const rbac = new Map([['enforced_engine_result', 'allowed']]);
        const claims = new Map([['iss', 'https://issuer.example.com']]);
        for (let i = 0; i < 3; i++) recorder.record(ordinary({ rbac, claims }));
        recorder.flush();
        recorder.assertHealthy();
        assertWhole(recorder.batches(), 3);
      },
    ),
    { numRuns: 300, seed: 3, ...LIMIT },
  );
});
