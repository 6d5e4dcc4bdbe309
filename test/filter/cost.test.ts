// What an exchange costs the proxy: host calls and entries into the VM. These lists may get shorter, never longer.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pairs } from '../host/abi.ts';
import type { HostCall, Machine } from '../host/machine.ts';
import { type Exchange, factsOf, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { CONFIGURATION, Recorder, type RecorderOptions } from './recorder.ts';

const MAPS = ['request headers', 'request trailers', 'response headers', 'response trailers'];

/** A call by what it asks for, as docs/filter.md names it. */
function nameOf(machine: Machine, { name, args }: HostCall): string {
  const [first = 0, second = 0] = args.map(Number);
  if (name === 'proxy_get_property')
    return Buffer.from(machine.bytes(first, second) ?? [])
      .toString('latin1')
      .replaceAll('\0', '.');
  return name === 'proxy_get_header_map_pairs' ? (MAPS[first] ?? name) : name;
}

interface Cost {
  /** Calls that hand over bytes, for which the host enters the VM again: the costly ones, in their order. */
  readonly data: string[];
  /** Calls that were told: not there. */
  readonly absent: string[];
  readonly others: string[];
  /** Hooks that ran for the exchange. */
  readonly hooks: number;
}

/** Cost of what `last` does, after `first` has opened the batch. */
function costOf(options: RecorderOptions, first: (recorder: Recorder) => void, last = first): Cost {
  const recorder = new Recorder(options);
  const { machine } = recorder;
  first(recorder);
  const data: string[] = [];
  const absent: string[] = [];
  const others: string[] = [];
  machine.tamper = (call, proceed) => {
    const before = machine.entries.allocations;
    const status = proceed();
    const isReading = /^proxy_get_(?:property|header|buffer|shared)/.test(call.name);
    (machine.entries.allocations > before ? data : isReading ? absent : others).push(nameOf(machine, call));
    assert.ok(!isReading || status <= 1, `${call.name}: ${status}`);
    return status;
  };
  const { hooks } = machine.entries;
  last(recorder);
  const cost = { data, absent, others, hooks: machine.entries.hooks - hooks };
  machine.tamper = undefined;
  recorder.flush();
  recorder.assertHealthy();
  assert.equal(recorder.flat().length, 2, 'both were recorded');
  return cost;
}

/** What the mesh's proxies write: one attempt, and a response whose length is known. */
const known = (exchange: Exchange, length = 1000): Exchange => {
  const responseHeaders: Pairs = [...(exchange.responseHeaders ?? []), ['content-length', String(length)]];
  const bytes = responseHeaders.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  return withHeaders(
    { ...exchange, responseHeaders, responseBytes: BigInt(bytes + length) },
    { 'x-envoy-attempt-count': '1' },
  );
};

const EIGHT = [
  'request headers',
  'connection.id',
  'request.duration',
  'response.flags',
  'response headers',
  'request.total_size',
  'xds.cluster_name',
  'upstream.address',
];
const connectionId = newConnectionId();
const told = (exchange: Exchange) => (recorder: Recorder) => recorder.record(exchange);

test('an ordinary exchange on a known connection takes eight calls that hand over bytes, and these', () => {
  const { data, absent, others } = costOf({}, told(known(ordinary({ connectionId }))));
  assert.deepEqual(data, EIGHT);
  assert.deepEqual(absent, ['response trailers', 'metadata']);
  assert.deepEqual(others, ['proxy_get_current_time_nanoseconds']);
});

for (const [what, exchange, more] of [
  [
    'whose response has no length',
    ordinary({ connectionId }),
    ['response.total_size', 'upstream.request_attempt_count'],
  ],
  [
    'whose proxy does not count attempts',
    withHeaders(known(ordinary({ connectionId })), { 'x-envoy-attempt-count': undefined }),
    ['upstream.request_attempt_count'],
  ],
  [
    'that was tried twice',
    withHeaders(known(ordinary({ connectionId, attempts: 2n })), { 'x-envoy-attempt-count': '2' }),
    ['upstream.request_attempt_count'],
  ],
  ['that took longer than a second', known(ordinary({ connectionId, durationNs: 1_000_000_000n })), ['request.time']],
  [
    'with trailers',
    known(ordinary({ connectionId, responseTrailers: [['grpc-status', '0']] })),
    ['response trailers', 'response.total_size'],
  ],
  [
    'to a server of gRPC',
    withHeaders(known(ordinary({ connectionId })), { 'content-type': 'application/grpc' }),
    ['response.grpc_status'],
  ],
  [
    'with decisions in metadata',
    known(ordinary({ connectionId, rbac: new Map([['enforced_engine_result', 'allowed']]) })),
    ['metadata.filter_metadata'],
  ],
] as const) {
  test(`an ordinary exchange ${what} takes those, and ${more.join(', ')}`, () => {
    const { data } = costOf({}, told(exchange));
    assert.deepEqual(data.toSorted(), [...EIGHT, ...more].toSorted());
  });
}

test('a new connection is read once, and its TLS side too', () => {
  const { data } = costOf({}, told(known(ordinary({ connectionId }))), (recorder) => {
    recorder.record(known(ordinary({ connectionId: newConnectionId() })));
  });
  const more = data.filter((name) => !EIGHT.includes(name));
  assert.deepEqual(more, [
    'source.address',
    'destination.address',
    'xds.filter_chain_name',
    'xds.listener_direction',
    'request.protocol',
    'connection.requested_server_name',
    'connection.mtls',
    'connection.tls_version',
    'connection.uri_san_peer_certificate',
    'connection.uri_san_local_certificate',
    'connection.subject_peer_certificate',
    'connection.sha256_peer_certificate_digest',
  ]);
});

test('an upstream host is asked for its identities once in a batch', () => {
  const upstream = { upstreamPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders', upstreamLocalPrincipal: 'spiffe://me' };
  const exchange = known(ordinary({ connectionId, ...upstream }));
  assert.deepEqual(costOf({}, told(exchange)).data, EIGHT);
  const other = known(ordinary({ connectionId, ...upstream, upstreamAddress: '10.1.1.1:80' }));
  assert.deepEqual(
    costOf({}, told(exchange), told(other)).data.toSorted(),
    [...EIGHT, 'upstream.uri_san_local_certificate', 'upstream.uri_san_peer_certificate'].toSorted(),
  );
});

test('with every detail wanted, and the metadata of Istio, an ordinary exchange takes twelve', () => {
  const configuration = { ...CONFIGURATION, detail: 'full', peer_metadata: 'istio' };
  const { data } = costOf({ configuration }, told(known(ordinary({ connectionId }))));
  const more = ['response.total_size', 'upstream.request_attempt_count', 'xds.route_name', 'response.code_details'];
  assert.deepEqual(data.toSorted(), [...EIGHT, ...more].toSorted());
});

test('a denial asks for its reason', () => {
  const denial = ordinary({
    connectionId,
    code: 403n,
    codeDetails: 'rbac_access_denied_matched_policy[p]',
    upstreamAddress: undefined,
    attempts: undefined,
  });
  const { data } = costOf({}, told(known(denial)));
  const without = EIGHT.filter((name) => name !== 'upstream.address');
  const more = ['response.total_size', 'response.code_details', 'xds.route_name'];
  assert.deepEqual(data.toSorted(), [...without, ...more].toSorted());
});

test('hooks: two for an exchange at a filter, one at an access logger, three for a connection at a network filter', () => {
  const exchange = known(ordinary({ connectionId }));
  assert.equal(costOf({}, told(exchange)).hooks, 2);
  const logged = (recorder: Recorder): void => recorder.envoy.accessLog(recorder.use, factsOf(exchange));
  assert.deepEqual(costOf({}, logged), { ...costOf({}, told(exchange)), hooks: 1 });
  const connected = (recorder: Recorder): void =>
    recorder.envoy.openConnection(recorder.use).close(2, factsOf(exchange));
  assert.equal(costOf({}, connected).hooks, 3);
});

test('a size that is computed is Envoy’s own', () => {
  for (const length of [0, 1, 9, 10, 65_536, 2 ** 40]) {
    const exchange = known(ordinary({ connectionId: newConnectionId() }), length);
    const sizes = [{}, { ...CONFIGURATION, detail: 'full' }].map((more) => {
      const recorder = new Recorder({ configuration: { ...CONFIGURATION, ...more } });
      recorder.record(exchange);
      recorder.flush();
      return recorder.flat()[0]?.['response_bytes'];
    });
    assert.deepEqual(sizes, [Number(exchange.responseBytes), Number(exchange.responseBytes)]);
  }
});
