// A request that is no HTTP: Envoy notes no protocol on its connection, and closes that later. It counts once all the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { factsOf, newConnectionId, ordinary } from './exchange.ts';
import { Mesh, signOf } from './mesh.ts';

/** More than the cache of connections holds. */
const CONNECTIONS_BETWEEN = 1000n;

test('a connection with a codec error repeats its exchange, however many came between', () => {
  const mesh = new Mesh(['http', 'network', 'listenerLoggers']);
  const { startNs, durationNs, sourceAddress, destinationAddress } = ordinary();
  const connectionId = newConnectionId();
  const of = { startNs, durationNs, sourceAddress, destinationAddress, connectionId, responseFlags: 0x40000n };
  const broken = mesh.listener.connect(factsOf(of));
  broken.codecError(factsOf({ ...of, protocol: 'HTTP/1.1', code: 400n, codeDetails: 'http1.codec_error' }));
  for (let i = 1n; i <= CONNECTIONS_BETWEEN; i++) {
    const own = { connectionId: connectionId + i };
    const other = mesh.listener.connect(factsOf({ ...of, ...own, responseFlags: 0n }));
    const exchange = factsOf(ordinary(own));
    other.request(exchange).end(exchange);
    other.close(2, factsOf({ ...of, ...own, responseFlags: 0n, protocol: 'HTTP/1.1' }));
  }
  broken.close(1, factsOf(of));
  const records = mesh.records().filter((record) => record['connection_id'] === connectionId);
  assert.deepEqual(records.map(signOf), [
    'http end http_filter',
    'connection end network_filter repeat',
    'connection end connection_logger repeat',
  ]);
});
