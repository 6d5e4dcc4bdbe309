// One module in three roles: what each role records, and that what several see is counted once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Exchange, factsOf, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { Mesh, PLACES, signOf } from './mesh.ts';
import { assertWhole, CONFIGURATION } from './recorder.ts';

const PLAIN = {
  mtls: undefined,
  tlsVersion: undefined,
  requestedServerName: undefined,
  peerPrincipal: undefined,
  localPrincipal: undefined,
  peerSubject: undefined,
  peerDigest: undefined,
};

/** A connection that carried no HTTP. */
const tcp = (more: Exchange = {}): Exchange => {
  const { startNs, durationNs, upstreamCluster, upstreamAddress, connectionId, direction, ...rest } = ordinary();
  const { mtls, tlsVersion, requestedServerName, sourceAddress, destinationAddress, filterChain } = rest;
  const { peerPrincipal, localPrincipal, peerSubject, peerDigest } = rest;
  const tls = { mtls, tlsVersion, requestedServerName, peerPrincipal, localPrincipal, peerSubject, peerDigest };
  return {
    ...{ startNs, durationNs, upstreamCluster, upstreamAddress, connectionId, direction, ...tls },
    ...{ sourceAddress, destinationAddress, filterChain, requestBytes: 5n, responseBytes: 10n, responseFlags: 0n },
    ...more,
  };
};

test('an exchange that filter and access logger see is two records of which one counts', () => {
  const mesh = new Mesh(['http', 'httpLoggers']);
  const connection = mesh.listener.connect();
  const exchange = ordinary({ connectionId: newConnectionId() });
  for (let i = 0; i < 3; i++) connection.request(factsOf(exchange)).end(factsOf(exchange));
  const records = mesh.records();
  const each = ['http end http_filter', 'http end http_logger repeat'];
  assert.deepEqual(records.map(signOf), [...each, ...each, ...each], 'also of streams that are alike in everything');
  const [filter = {}, logger = {}] = records;
  assert.deepEqual(
    { ...logger, sensor: undefined, repeat: undefined },
    { ...filter, sensor: undefined, repeat: undefined },
  );
});

test('a request that never was whole is counted at the access logger, which alone tells of it', () => {
  const mesh = new Mesh(['http', 'httpLoggers']);
  const connection = mesh.listener.connect();
  const connectionId = newConnectionId();
  const exchange = factsOf(ordinary({ connectionId }));
  connection.request(exchange).end(exchange);
  const unfinished = factsOf({
    ...tcp({ connectionId, durationNs: undefined, requestBytes: 20n, responseFlags: 0x4000n }),
    protocol: 'HTTP/1.1',
    codeDetails: 'downstream_remote_disconnect',
  });
  connection.close(2, {}, { unfinished });
  const [, , half] = mesh.records();
  assert.equal(signOf(half ?? {}), 'http end http_logger');
  assert.equal(half?.['verdict'], 'reset');
});

test('a connection that several roles see counts once, whichever comes first', () => {
  const order = { network: 'network_filter', listenerLoggers: 'connection_logger', tcpLoggers: 'connection_logger' };
  for (const places of [
    ['network', 'listenerLoggers', 'tcpLoggers'],
    ['listenerLoggers', 'tcpLoggers'],
    ['network'],
  ] as const) {
    const mesh = new Mesh(places);
    for (let i = 0; i < 3; i++) {
      const facts = factsOf(tcp({ connectionId: newConnectionId() }));
      mesh.listener.connect(facts).close(2, facts);
    }
    const once = places.map((place, i) => `connection end ${order[place]}${i === 0 ? '' : ' repeat'}`);
    assert.deepEqual(mesh.records().map(signOf), [...once, ...once, ...once]);
    assertWhole(mesh.recorder.batches(), 3 * places.length);
  }
});

test('the first connection of a process, which has the id 0, counts once like all others', () => {
  const connectionId = 0n;
  const http = new Mesh();
  const exchange = ordinary({ connectionId });
  const first = http.listener.connect(factsOf(tcp({ connectionId })));
  for (let i = 0; i < 2; i++) first.request(factsOf(exchange)).end(factsOf(exchange));
  first.close(2, factsOf({ ...tcp({ connectionId }), protocol: 'HTTP/1.1' }));
  const each = ['http end http_filter', 'http end http_logger repeat'];
  const loggers = Array(2).fill('connection end connection_logger repeat');
  const records = http.records();
  assert.deepEqual(records.map(signOf), [...each, ...each, 'connection end network_filter repeat', ...loggers]);
  assert.deepEqual(new Set(records.map((record) => record['connection_id'])), new Set([undefined]));
  const plain = new Mesh(['network', 'listenerLoggers', 'tcpLoggers']);
  const facts = factsOf(tcp({ connectionId }));
  plain.listener.connect(facts).close(2, facts);
  assert.deepEqual(plain.records().map(signOf), ['connection end network_filter', ...loggers]);
});

test('a connection at a network filter, field by field', () => {
  const mesh = new Mesh(['network']);
  const { world } = mesh.recorder.envoy;
  const connectionId = newConnectionId();
  const facts = factsOf(tcp({ connectionId, startNs: world.wallNs() }));
  const connection = mesh.listener.connect(facts);
  mesh.recorder.envoy.advance(250);
  connection.close(1, facts);
  const [record] = mesh.records();
  assert.deepEqual(record, {
    kind: 'connection',
    sensor: 'network_filter',
    verdict: 'allowed',
    start_ns: world.wallNs() - 1_250_000_000n,
    // Envoy tells a network filter no duration: it is the time that went by.
    duration_us: 250_000,
    request_bytes: 5,
    response_bytes: 10,
    response_flags: 0n,
    upstream_cluster: 'inbound|8080||',
    upstream_address: '127.0.0.1:8080',
    connection_id: connectionId,
    direction: 1,
    mtls: 2,
    tls_version: 'TLSv1.3',
    peer_certificate_sha256: 'ab'.repeat(32),
    source_address: '10.0.0.9:40000',
    destination_address: '10.0.0.7:15006',
    peer_principal: 'spiffe://demo.mesh/ns/shop/sa/frontend',
    local_principal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    requested_server_name: 'orders.shop.svc',
    filter_chain: 'inbound',
    peer_subject: 'CN=frontend',
  });
});

test('a connection that carried HTTP repeats its exchanges, and has their protocol', () => {
  const mesh = new Mesh();
  const connectionId = newConnectionId();
  const exchange = ordinary({ connectionId });
  const connection = mesh.listener.connect(factsOf(tcp({ connectionId })));
  connection.request(factsOf(exchange)).end(factsOf(exchange));
  connection.close(
    2,
    factsOf({ ...tcp({ connectionId, requestBytes: 141n, responseBytes: 154n }), protocol: 'HTTP/1.1' }),
  );
  const records = mesh.records();
  assert.deepEqual(records.map(signOf), [
    'http end http_filter',
    'http end http_logger repeat',
    'connection end network_filter repeat',
    'connection end connection_logger repeat',
    'connection end connection_logger repeat',
  ]);
  const wire = records
    .slice(2)
    .map((record) => [record['protocol'], record['request_bytes'], record['response_bytes']]);
  assert.deepEqual(wire, Array(3).fill(['HTTP/1.1', 141, 154]), 'what was on the wire, not what Envoy made of it');
});

/** What Envoy says of a connection whose only request never was whole. */
const half = (connectionId: bigint): Exchange => ({
  ...tcp({ connectionId, requestBytes: 20n, responseBytes: 0n }),
  protocol: 'HTTP/1.1',
});

test('half a request that no filter sees counts as its connection, where exchanges are recorded', () => {
  const mesh = new Mesh(['network', 'http']);
  const connectionId = newConnectionId();
  const whole = ordinary({ connectionId });
  const connection = mesh.listener.connect({});
  connection.request(factsOf(whole)).end(factsOf(whole));
  connection.close(2, factsOf(half(connectionId)));
  const other = factsOf(half(newConnectionId()));
  mesh.listener.connect(other).close(2, other);
  assert.deepEqual(mesh.records().map(signOf), [
    'http end http_filter',
    'connection end network_filter repeat',
    'connection end network_filter',
  ]);
  const alone = new Mesh(['network']);
  alone.listener.connect(other).close(2, other);
  assert.deepEqual(
    alone.records().map(signOf),
    ['connection end network_filter repeat'],
    'another VM has its exchanges',
  );
});

test('half a request counts as an exchange, and its connection as a repeat, where the manager’s logger tells of it', () => {
  const mesh = new Mesh(['network', 'http', 'httpLoggers', 'listenerLoggers']);
  mesh.recorder.envoy.exchange(mesh.uses.http ?? mesh.recorder.use, factsOf(ordinary()));
  const connectionId = newConnectionId();
  const connection = factsOf(half(connectionId));
  const unfinished = factsOf({ ...half(connectionId), durationNs: undefined, responseFlags: 0x4000n });
  mesh.listener.connect(connection).close(2, connection, { unfinished });
  assert.deepEqual(mesh.records().slice(1).map(signOf), [
    'connection end network_filter repeat',
    'http end http_logger',
    'connection end connection_logger repeat',
  ]);
});

test('a connection that breaks off counts once with its exchange, wherever a batch is full', () => {
  const mesh = new Mesh(['network', 'http']);
  const total = 3000;
  for (let i = 0; i < total; i++) {
    const connectionId = newConnectionId();
    const open = factsOf(withHeaders(ordinary({ connectionId, durationNs: undefined }), { ':path': `/${i}` }));
    const connection = mesh.listener.connect({});
    connection.request(open);
    connection.close(2, factsOf(half(connectionId)), { open });
  }
  mesh.recorder.settle();
  const records = mesh.records();
  assertWhole(mesh.recorder.batches(), 2 * total);
  assert.ok(mesh.recorder.batches().length > 5);
  const counted = records.filter(({ repeat }) => repeat === undefined);
  assert.equal(counted.length, total);
  assert.ok(
    counted.every(({ kind }) => kind === undefined),
    'the exchanges',
  );
});

test('a WebSocket whose connection ends before it', () => {
  const mesh = new Mesh();
  const connectionId = newConnectionId();
  const connection = mesh.listener.connect(factsOf(tcp({ connectionId })));
  const upgrade = ordinary({ connectionId, code: 101n, durationNs: 3_000_000_000n });
  connection.request(factsOf(upgrade));
  connection.close(2, factsOf({ ...tcp({ connectionId }), protocol: 'HTTP/1.1' }), { open: factsOf(upgrade) });
  assert.deepEqual(mesh.records().map(signOf), [
    'connection end network_filter repeat',
    'http end http_filter',
    'http end http_logger repeat',
    'connection end connection_logger repeat',
    'connection end connection_logger repeat',
  ]);
});

test('a failed handshake names who tried, and says that it was refused', () => {
  const reason = 'TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end';
  const mesh = new Mesh(['network', 'listenerLoggers']);
  const failed = factsOf(tcp({ transportFailure: reason, upstreamAddress: '127.0.0.1:8080', responseFlags: 0n }));
  mesh.listener.connect(failed, 1, false).close(2, failed);
  const records = mesh.records();
  assert.equal(records.length, 2);
  for (const record of records) {
    assert.equal(record['verdict'], 'failed');
    assert.equal(record['is_rejected'], 1);
    assert.equal(record['transport_failure'], reason);
    assert.equal(record['peer_principal'], 'spiffe://demo.mesh/ns/shop/sa/frontend');
    assert.equal(record['peer_certificate_sha256'], 'ab'.repeat(32));
    assert.equal(record['priority'], 1);
  }
});

test('a connection that matches no filter chain is known to the listener’s access logger alone', () => {
  const mesh = new Mesh();
  mesh.listener.matchNothing(
    factsOf({
      ...tcp({ ...PLAIN, connectionId: undefined, upstreamAddress: undefined, upstreamCluster: undefined }),
      ...{ requestedServerName: 'nowhere', filterChain: undefined, responseFlags: 0x100n, requestBytes: 0n },
      codeDetails: 'filter_chain_not_found',
    }),
  );
  const [record, ...others] = mesh.records();
  assert.deepEqual(others, []);
  assert.equal(signOf(record ?? {}), 'connection end connection_logger');
  const { verdict, code_details, requested_server_name, connection_id } = record ?? {};
  assert.deepEqual(
    [verdict, code_details, requested_server_name, connection_id],
    ['unrouted', 'filter_chain_not_found', 'nowhere', undefined],
  );
});

test('a connection that the proxy refused has its policy', () => {
  const mesh = new Mesh(['network']);
  const denied = factsOf(tcp({ terminationDetails: 'rbac_access_denied_matched_policy[net-deny]' }));
  mesh.listener.connect(denied).close(1, denied);
  const [record] = mesh.records();
  assert.equal(record?.['verdict'], 'denied');
  assert.equal(record?.['policy'], 'net-deny');
  assert.equal(record?.['policy_result'], 2);
  assert.equal(record?.['code_details'], 'rbac_access_denied_matched_policy[net-deny]');
});

test('a connection that a trial policy would have refused has that policy', () => {
  const mesh = new Mesh(['network']);
  const networkRbac = new Map([
    ['shadow_engine_result', 'denied'],
    ['shadow_effective_policy_id', 'trial'],
  ]);
  const facts = factsOf(tcp({ networkRbac }));
  mesh.listener.connect(facts).close(2, facts);
  const [record] = mesh.records();
  assert.deepEqual(
    [record?.['verdict'], record?.['shadow_result'], record?.['shadow_policy']],
    ['allowed', 2, 'trial'],
  );
});

test('details of an exchange are not taken for the end of its connection', () => {
  const mesh = new Mesh(['listenerLoggers']);
  const facts = factsOf({ ...tcp(), codeDetails: 'via_upstream' });
  mesh.listener.connect(facts).close(2, facts);
  assert.equal(mesh.records()[0]?.['code_details'], undefined);
});

test('the peer that Istio names: by filter state, and where it is wanted what the peers say of themselves', () => {
  const peer = (name: string): ReadonlyMap<string, string> =>
    new Map([
      ['workload', name],
      ['namespace', 'shop'],
      ['cluster', 'east'],
      ['labels', 'app=shop'],
    ]);
  const exchange = ordinary({
    filterStatePrincipal: 'spiffe://demo.mesh/ns/shop/sa/cart',
    downstreamPeer: peer('cart-7d4'),
    upstreamPeer: peer('orders-55c'),
  });
  for (const peers of ['istio', 'none']) {
    const mesh = new Mesh(['http'], { configuration: { ...CONFIGURATION, peer_metadata: peers } });
    for (let i = 0; i < 2; i++) mesh.recorder.record(exchange);
    for (const record of mesh.records()) {
      assert.equal(record['filter_state_principal'], 'spiffe://demo.mesh/ns/shop/sa/cart');
      const { peer_workload, peer_namespace, peer_cluster, upstream_workload, upstream_namespace } = record;
      const said = [peer_workload, peer_namespace, peer_cluster, upstream_workload, upstream_namespace];
      assert.deepEqual(
        said,
        peers === 'istio' ? ['cart-7d4', 'shop', 'east', 'orders-55c', 'shop'] : Array(5).fill(undefined),
      );
    }
  }
});

test('all roles of a worker are one stream', () => {
  const mesh = new Mesh(PLACES, { workers: 2 });
  for (let i = 0; i < 40; i++) {
    const connectionId = newConnectionId();
    const facts = factsOf(ordinary({ connectionId }));
    const connection = mesh.listener.connect(facts, 1 + (i % 2));
    connection.request(facts).end(facts);
    connection.close(2, facts);
  }
  for (const worker of ['worker-0', 'worker-1']) {
    const records = mesh.records(worker);
    assertWhole(mesh.recorder.batches(worker), 20 * 5);
    assert.equal(records.filter(({ repeat }) => repeat === undefined).length, 20, 'the exchanges, each once');
  }
});
