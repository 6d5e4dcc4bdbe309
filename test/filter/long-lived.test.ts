// What lives long is told of before it ends: an open record, interval records with growing counters, and the end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Facts } from '../host/contexts.ts';
import { type Exchange, factsOf, newConnectionId, ordinary } from './exchange.ts';
import type { Flat } from './flat.ts';
import { Mesh, signOf } from './mesh.ts';
import { assertWhole, CLUSTER, CONFIGURATION, FLUSH_MS, Recorder } from './recorder.ts';

const QUICK = { ...CONFIGURATION, open_after_ms: 2000, interval_ms: 10_000 };
const numbersOf = (records: readonly Flat[], name: string): (number | undefined)[] =>
  records.map((record) => record[name] as number | undefined);

/** Bytes so far, as Envoy tells of what lives and of what ended. */
const bytes = (requestBytes: number, responseBytes = 10 * requestBytes): Exchange => ({
  requestBytes: BigInt(requestBytes),
  responseBytes: BigInt(responseBytes),
});
const TCP = { requestHeaders: undefined, responseHeaders: undefined, protocol: undefined, code: undefined };

test('a TCP connection: open, interval, interval, end', () => {
  const mesh = new Mesh(['network', 'listenerLoggers'], { configuration: QUICK });
  const { envoy } = mesh.recorder;
  const connectionId = newConnectionId();
  const startNs = envoy.world.wallNs();
  const facts = (count: number): Facts => factsOf(ordinary({ ...TCP, connectionId, startNs, ...bytes(count) }));
  const connection = mesh.listener.connect(facts(1));
  envoy.advance(1900);
  assert.equal(mesh.records().length, 0, 'it is young');
  for (let second = 3; second <= 24; second++) {
    connection.update(facts(second));
    envoy.advance(1000);
  }
  connection.close(2, facts(25));
  const records = mesh.records();
  assert.deepEqual(records.map(signOf), [
    'connection open network_filter repeat',
    'connection interval network_filter repeat',
    'connection interval network_filter repeat',
    'connection end network_filter',
    'connection end connection_logger repeat',
  ]);
  for (const name of ['request_bytes', 'response_bytes', 'duration_us']) {
    const numbers = numbersOf(records.slice(0, 4), name);
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => (a ?? 0) - (b ?? 0)),
    );
    assert.equal(new Set(numbers).size, 4, `${name}: ${numbers.join(' ')}`);
  }
  assert.deepEqual(
    [...new Set(records.map((record) => record['start_ns']))],
    [startNs],
    'they are joined by their start',
  );
  assert.deepEqual([...new Set(records.map((record) => record['connection_id']))], [connectionId]);
  const [open = {}, , , end = {}] = records;
  assert.equal(open['verdict'], 'unknown');
  assert.equal(open['upstream_address'], '127.0.0.1:8080');
  assert.equal(open['requested_server_name'], 'orders.shop.svc');
  assert.deepEqual([open['mtls'], open['tls_version'], open['peer_principal']], [undefined, undefined, undefined]);
  assert.equal(end['tls_version'], 'TLSv1.3');
  const last = mesh.recorder.batches().at(-1);
  assert.equal(last?.counters.interim, 3);
  assertWhole(mesh.recorder.batches(), 2);
});

test('an exchange: open and interval without what Envoy shows at the end only', () => {
  const mesh = new Mesh(['http', 'httpLoggers'], { configuration: QUICK });
  const { envoy } = mesh.recorder;
  const connectionId = newConnectionId();
  const startNs = envoy.world.wallNs();
  const facts = (count: number, more: Exchange = {}): Facts =>
    factsOf(ordinary({ connectionId, startNs, durationNs: undefined, ...bytes(count), ...more }));
  const exchange = mesh.listener.connect({}).request(facts(1));
  for (let second = 1; second <= 14; second++) {
    exchange.update(facts(second));
    envoy.advance(1000);
  }
  // Envoy tells no duration of what was not complete.
  exchange.end(facts(100, { durationNs: 14_000_000_000n, responseFlags: 0x4000n }));
  const records = mesh.records();
  assert.deepEqual(records.map(signOf), [
    'http open http_filter repeat',
    'http interval http_filter repeat',
    'http end http_filter',
    'http end http_logger repeat',
  ]);
  const [open = {}, interval = {}, end = {}] = records;
  for (const record of [open, interval]) {
    const { path, method, user_agent, peer_principal, verdict, code, protocol } = record;
    assert.deepEqual([path, method, user_agent, peer_principal], [undefined, undefined, undefined, undefined]);
    assert.deepEqual([verdict, code, protocol], ['unknown', 200, 'HTTP/1.1']);
    assert.equal(record['upstream_cluster'], 'inbound|8080||');
  }
  assert.equal(end['path'], '/orders/7?full=1');
  assert.deepEqual([...new Set(records.map((record) => record['start_ns']))], [startNs]);
  const counts = numbersOf(records.slice(0, 3), 'request_bytes');
  assert.ok((counts[0] ?? 0) < (counts[1] ?? 0) && (counts[1] ?? 0) < (counts[2] ?? 0), counts.join(' '));
});

test('an exchange on a known connection has its TLS identities, and its own source address', () => {
  const mesh = new Mesh(['http'], { configuration: QUICK });
  const connectionId = newConnectionId();
  const connection = mesh.listener.connect({});
  connection.request({}).end(factsOf(ordinary({ connectionId })));
  connection.request(factsOf(ordinary({ connectionId, sourceAddress: '1.2.3.4:0' })));
  mesh.recorder.envoy.advance(4000);
  const [, open] = mesh.records();
  assert.equal(open?.['phase'], 'open');
  assert.equal(open?.['peer_principal'], 'spiffe://demo.mesh/ns/shop/sa/frontend');
  assert.equal(open?.['source_address'], '1.2.3.4:0');
});

test('nothing of TLS, and no header map, is read before the end', () => {
  const mesh = new Mesh(['network', 'http'], { configuration: QUICK });
  const { machine } = mesh.recorder;
  const asked = new Set<string>();
  machine.tamper = (call, proceed) => {
    const [at = 0, length = 0] = call.args.map(Number);
    asked.add(call.name);
    if (call.name === 'proxy_get_property') asked.add(Buffer.from(machine.bytes(at, length) ?? []).toString('latin1'));
    return proceed();
  };
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  const connection = mesh.listener.connect(facts, 1, false);
  connection.request(facts);
  mesh.recorder.envoy.advance(15_000);
  assert.equal(mesh.recorder.flat().filter(({ phase }) => phase === 'open').length, 2);
  assert.ok(asked.has('source\0address'), 'the reads were seen');
  const forbidden = /tls|cert|mtls|subject|san|request\0headers|response\0headers|xds\0node/;
  assert.deepEqual(
    [...asked].filter((name) => forbidden.test(name)),
    [],
  );
  assert.ok(!asked.has('proxy_get_header_map_pairs'));
  connection.handshake();
  machine.tamper = undefined;
  connection.close(2, facts, { open: facts });
  const ends = mesh.records().filter(({ phase }) => phase === undefined);
  assert.deepEqual(
    ends.map((record) => record['tls_version']),
    ['TLSv1.3', 'TLSv1.3'],
    'Envoy remembers the right version',
  );
});

test('with open_after_ms 0 the first tick tells of everything that lives', () => {
  const mesh = new Mesh(['network'], { configuration: { ...QUICK, open_after_ms: 0 } });
  const facts = factsOf(ordinary({ ...TCP, connectionId: newConnectionId() }));
  mesh.listener.connect(facts);
  mesh.recorder.envoy.advance(FLUSH_MS);
  assert.deepEqual(mesh.records().map(signOf), ['connection open network_filter repeat']);
});

test('however soon an open record comes, the end agrees with it in the start', () => {
  const recorder = new Recorder({ configuration: { ...QUICK, open_after_ms: 0, flush_interval_ms: 50 } });
  const startNs = recorder.envoy.world.wallNs() + 7n;
  const facts = factsOf(ordinary({ connectionId: newConnectionId(), startNs, durationNs: 100_000_000n }));
  const stream = recorder.envoy.openHttp(recorder.use).begin(facts);
  recorder.envoy.advance(100);
  stream.end(facts);
  recorder.flush();
  assert.deepEqual(
    recorder.flat().map((record) => record['start_ns']),
    [startNs, startNs],
  );
});

test('short exchanges, however many between two ticks, make no open record and hide none', () => {
  const recorder = new Recorder({ configuration: QUICK });
  const { envoy } = recorder;
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  const early = envoy.openHttp(recorder.use).begin(facts);
  for (let i = 0; i < 70_000; i++) {
    const stream = envoy.openHttp(recorder.use).begin(facts);
    if (i !== 35_000) stream.end({});
  }
  const late = envoy.openHttp(recorder.use).begin(facts);
  for (let tick = 0; tick < 4; tick++) recorder.flush();
  recorder.assertHealthy();
  const interim = recorder.flat().filter(({ phase }) => phase !== undefined);
  assert.deepEqual(interim.map(signOf), Array(3).fill('http open http_filter repeat'));
  for (const stream of [early, late]) stream.end(facts);
  assert.equal(recorder.batches().at(-1)?.counters.unwatched, 0);
});

test('ids that begin anew', () => {
  const mesh = new Mesh(['network', 'http'], { configuration: QUICK });
  const { envoy, machine } = mesh.recorder;
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  // A long life in four steps.
  for (const id of [2 ** 30, 2 ** 31, 3 * 2 ** 30, 2 ** 32 - 20]) {
    machine.nextContextId = id;
    mesh.listener.connect(facts).close(2, facts);
  }
  const connections = Array.from({ length: 20 }, () => {
    const connection = mesh.listener.connect(facts);
    return { connection, exchange: connection.request(facts) };
  });
  envoy.advance(4000);
  for (const { connection, exchange } of connections) {
    exchange.end(facts);
    connection.close(2, facts);
  }
  const signs = mesh.records().map(signOf);
  for (const sign of ['http open http_filter repeat', 'connection open network_filter repeat', 'http end http_filter'])
    assert.equal(signs.filter((one) => one === sign).length, 20, sign);
});

test('more than the table can watch are counted, and end as they should', () => {
  const recorder = new Recorder({ configuration: { ...QUICK, open_after_ms: 60_000 } });
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  const streams = Array.from({ length: 9000 }, () => recorder.envoy.openHttp(recorder.use).begin(facts));
  // The ids beyond the newest known are searched up to the size of the table.
  for (let tick = 0; tick < 2; tick++) recorder.flush();
  for (const stream of streams) stream.end(facts);
  recorder.settle();
  recorder.assertHealthy();
  const last = recorder.batches().at(-1);
  assert.equal(last?.counters.unwatched, 9000 - 8192);
  assertWhole(recorder.batches(), 9000);
  // The table is empty again.
  const again = Array.from({ length: 8192 }, () => recorder.envoy.openHttp(recorder.use).begin(facts));
  recorder.flush();
  for (const stream of again) stream.end(facts);
  recorder.settle();
  assert.equal(recorder.batches().at(-1)?.counters.unwatched, 9000 - 8192);
});

test('a thousand reports a tick at most, and the others at the next', () => {
  const recorder = new Recorder({ configuration: { ...QUICK, open_after_ms: 0, interval_ms: 3_600_000 } });
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  for (let i = 0; i < 3000; i++) recorder.envoy.openHttp(recorder.use).begin(facts);
  const made = Array.from({ length: 4 }, () => {
    recorder.flush();
    return Number(recorder.envoy.world.metrics.value('meshtrail_interim'));
  });
  assert.deepEqual(made, [1024, 2048, 3000, 3000]);
});

test('where an interval is no longer than a tick, each gets its turn', () => {
  const recorder = new Recorder({ configuration: { ...QUICK, open_after_ms: 0, interval_ms: FLUSH_MS } });
  const connectionIds = Array.from({ length: 1500 }, newConnectionId);
  for (const connectionId of connectionIds)
    recorder.envoy.openHttp(recorder.use).begin(factsOf(ordinary({ connectionId })));
  for (let ticks = 0; ticks < 4; ticks++) recorder.flush();
  assert.equal(new Set(numbersOf(recorder.flat(), 'connection_id')).size, connectionIds.length);
});

test('with no buffer but the reserve there are no reports; the end has its place', () => {
  const mesh = new Mesh(['network', 'http'], { configuration: { ...QUICK, buffers_max: 2 } });
  const { recorder } = mesh;
  recorder.envoy.upstreams.clusters.set(CLUSTER, 'held');
  const facts = factsOf(ordinary({ ...TCP, connectionId: newConnectionId() }));
  const connection = mesh.listener.connect(facts);
  const use = mesh.uses.http;
  assert.ok(use !== undefined);
  for (let i = 0; i < 1500; i++) recorder.envoy.exchange(use, factsOf(ordinary({ connectionId: newConnectionId() })));
  recorder.envoy.advance(4000);
  const interim = (): number => Number(recorder.envoy.world.metrics.value('meshtrail_interim') ?? 0n);
  assert.equal(interim(), 0);
  recorder.envoy.upstreams.clusters.delete(CLUSTER);
  recorder.settle();
  assert.equal(interim(), 0);
  connection.close(2, facts);
});

test('a context that is gone without a word is watched no more', () => {
  const recorder = new Recorder({ configuration: QUICK });
  const { envoy, machine } = recorder;
  const facts = factsOf(ordinary({ connectionId: newConnectionId() }));
  const stream = envoy.openHttp(recorder.use).begin(facts);
  recorder.flush();
  machine.contexts.delete(stream.contextId ?? 0);
  envoy.advance(60_000);
  recorder.record(ordinary());
  recorder.flush();
  recorder.assertHealthy();
  assert.equal(recorder.flat().length, 1);
});

test('more connections than the table can watch are connections all the same', () => {
  const mesh = new Mesh(['network'], { configuration: { ...QUICK, open_after_ms: 60_000 } });
  const facts = factsOf(ordinary({ ...TCP, durationNs: undefined }));
  const connections = Array.from({ length: 9000 }, () => mesh.listener.connect(facts));
  mesh.recorder.flush();
  for (const connection of connections) connection.close(2, facts);
  mesh.recorder.settle();
  const kinds = new Set(mesh.records().map(({ kind }) => kind));
  assert.deepEqual([...kinds], ['connection']);
  assert.equal(mesh.recorder.batches().at(-1)?.counters.unwatched, 9000 - 8192);
});
