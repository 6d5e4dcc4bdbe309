// Random exchanges and hostile hosts: what is recorded is right, what is sent is always a whole batch, and nothing traps.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Pairs, Text } from '../host/abi.ts';
import { Context } from '../host/contexts.ts';
import { type Exchange, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { expectedOf } from './expected.ts';
import { assertRecorded } from './recorded.ts';
import { acknowledge, assertWhole, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

/** Shrinking ends in time to be read, too. */
const LIMIT = { interruptAfterTimeLimit: 30_000, markInterruptAsFailure: true };

const ALLOWED = ['x-a', 'x-b'];
const CODE_DETAILS = [
  'via_upstream',
  'direct_response',
  'rbac_access_denied_matched_policy[p]',
  'jwt_authn_access_denied{Jwt_is_missing}',
  'http1.codec_error',
  'missing_host_header',
  'downstream_remote_disconnect',
  'route_not_found',
  'response_timeout',
  'local_rate_limited',
];

const text = (max: number): fc.Arbitrary<Text> =>
  fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.nat(max + 2).map((length) => 'x'.repeat(length)),
  );
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const word = fc.bigInt({ min: 0n, max: 2n ** 47n });
const NAMES = [
  ':method',
  ':path',
  ':authority',
  'user-agent',
  'x-request-id',
  'traceparent',
  'content-type',
  'x-a',
  'x-b',
];
/** Envoy joins repeated values of the headers that it knows; others can come again. */
const REPEATABLE = new Set(['x-a', 'x-b', 'traceparent']);
const headers: fc.Arbitrary<Pairs | undefined> = maybe(
  fc
    .array(fc.tuple(fc.oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: 20 })), text(1100)), { maxLength: 20 })
    .map((pairs) =>
      pairs.filter(([name], i) => REPEATABLE.has(name) || pairs.findIndex(([other]) => other === name) === i),
    ),
);
const exchange: fc.Arbitrary<Exchange> = fc
  .record({
    requestHeaders: headers,
    responseHeaders: headers,
    startNs: fc.bigInt({ min: 0n, max: 2n ** 62n }),
    durationNs: maybe(word),
    requestBytes: maybe(word),
    responseBytes: maybe(word),
    attempts: maybe(fc.bigInt({ min: 0n, max: 300n })),
    code: maybe(fc.bigInt({ min: 0n, max: 999n })),
    protocol: maybe(fc.constantFrom('HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3', 'SPDY')),
    responseFlags: maybe(fc.bigInt({ min: 0n, max: 2n ** 29n })),
    codeDetails: maybe(fc.oneof(fc.constantFrom(...CODE_DETAILS), text(256))),
    route: maybe(text(256)),
    upstreamCluster: maybe(text(256)),
    upstreamAddress: maybe(text(256)),
    direction: maybe(fc.bigInt({ min: 0n, max: 2n })),
    mtls: maybe(fc.boolean()),
    tlsVersion: maybe(fc.constantFrom('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3', 'TLSv9')),
    requestedServerName: maybe(text(256)),
    sourceAddress: maybe(text(256)),
    destinationAddress: maybe(text(256)),
    peerPrincipal: maybe(text(512)),
    localPrincipal: maybe(text(512)),
    peerDigest: maybe(fc.constantFrom('ab'.repeat(32), 'AB'.repeat(32), 'ab', '')),
    filterChain: maybe(text(256)),
  })
  .map((made) => ({ ...made, connectionId: newConnectionId() }));

test('random exchanges are recorded as they were told', () => {
  const options = { configuration: { ...CONFIGURATION, request_headers: ALLOWED.join(',') } };
  fc.assert(
    fc.property(fc.array(exchange, { minLength: 1, maxLength: 12 }), (exchanges) =>
      assertRecorded(exchanges, ALLOWED, options),
    ),
    { numRuns: 60, seed: 20_261_125, ...LIMIT },
  );
});

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
