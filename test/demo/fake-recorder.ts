// Records as the demo's proxies would make them for a ground truth, without proxies: batches made by the encoder and posted to a
// collector, one ended stream for each proxy.

import assert from 'node:assert/strict';
import { fromHex } from '../../collector/src/core/bytes.ts';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import { nodeClusterOf, OUTSIDE_CLUSTER } from '../../collector/src/demo/envoy-config.ts';
import { INGRESS, POLICIES, SERVICES, spiffeIdOf } from '../../collector/src/demo/policies.ts';
import type { Exchange, Truth } from '../../collector/src/demo/truth.ts';

const PROXIES = [INGRESS, ...SERVICES];
const ROWS_MAX = 100;
const REQUEST_BYTES = 300;
const RESPONSE_BYTES = 500;

/** Rows by the name of the proxy that recorded them, in order of time. */
export type Rows = ReadonlyMap<string, RowFacts[]>;

const principalOf = (name: string): string => {
  const { namespace } = PROXIES.find((proxy) => proxy.name === name) ?? { namespace: '' };
  return spiffeIdOf(namespace, name);
};

function rowOf(exchange: Exchange, side: 'sender' | 'receiver', index: number): RowFacts {
  const { source, destination, method, path, status, verdict } = exchange;
  const isSender = side === 'sender';
  const sender = source === 'visitor' ? INGRESS.name : source;
  const service = SERVICES.find(({ name }) => name === destination);
  const isDenied = !isSender && verdict === 'denied';
  const policy = service === undefined ? undefined : POLICIES[service.name].deny[0]?.name;
  const isShadowed = !isSender && destination === 'orders' && source === 'inventory' && path.startsWith('/internal');
  return {
    verdict: isSender && verdict === 'denied' ? 'allowed' : verdict,
    startNs: BigInt(Date.parse(exchange.at)) * 1_000_000n + BigInt(index) * 1000n + (isSender ? 0n : 100n),
    durationUs: 900,
    path,
    requestBytes: REQUEST_BYTES,
    responseBytes: RESPONSE_BYTES,
    ...(exchange.trace_id === null || exchange.span_id === null
      ? {}
      : { trace: { id: fromHex(exchange.trace_id), span: fromHex(exchange.span_id), flags: 1 } }),
    connection: isSender
      ? { direction: 2 as const }
      : {
          direction: 1 as const,
          mtls: true,
          peerPrincipal: principalOf(sender),
          localPrincipal: principalOf(destination),
          peerCertificateSha256: sha256(new TextEncoder().encode(sender)),
        },
    outcome: {
      method,
      authority: service === undefined ? destination : nodeClusterOf(service),
      ...(status === null ? {} : { code: status }),
      ...(isSender && service === undefined ? { upstreamCluster: OUTSIDE_CLUSTER } : {}),
      ...(isDenied && policy !== undefined ? { policy, policyResult: 2 as const } : {}),
      ...(isShadowed ? { shadowResult: 2 as const, shadowPolicy: 'orders-internal-only-from-frontend' } : {}),
    },
  };
}

/** The rows that a truth demands. */
export function rowsOf(truth: Truth): Rows {
  const rows = new Map<string, RowFacts[]>(PROXIES.map(({ name }) => [name, []]));
  truth.exchanges.forEach((exchange, index) => {
    const { source, destination, verdict } = exchange;
    rows.get(rows.has(source) ? source : INGRESS.name)?.push(rowOf(exchange, 'sender', index));
    if (verdict !== 'failed') rows.get(destination)?.push(rowOf(exchange, 'receiver', index));
  });
  return rows;
}

async function post(ingest: string, wire: Uint8Array): Promise<void> {
  const headers = { 'content-type': 'application/vnd.meshtrail.batch' };
  const response = await fetch(`http://${ingest}/v1/batches`, { method: 'POST', headers, body: Buffer.from(wire) });
  assert.equal(response.status, 200, await response.text());
}

/** Sends rows as the streams of their proxies; each ends with a FIN. */
export async function record(ingest: string, rows: Rows): Promise<void> {
  for (const proxy of PROXIES) {
    const own = rows.get(proxy.name) ?? [];
    const count = Math.max(1, Math.ceil(own.length / ROWS_MAX));
    let previous: Uint8Array | undefined;
    for (let batchNumber = 0; batchNumber < count; batchNumber++) {
      const firstRecord = batchNumber * ROWS_MAX;
      const part = own.slice(firstRecord, firstRecord + ROWS_MAX);
      const wire = encodeBatch({
        stream: sha256(new TextEncoder().encode(proxy.name)).subarray(0, 16),
        batchNumber,
        firstRecord,
        rows: part,
        role: proxy.name === INGRESS.name ? 'gateway' : 'sidecar',
        nodeId: `sidecar~127.0.0.1~${proxy.name}-0.${proxy.namespace}~${proxy.namespace}.svc.cluster.local`,
        nodeCluster: nodeClusterOf(proxy),
        isFin: batchNumber === count - 1,
        ...(previous === undefined ? {} : { previous }),
      });
      await post(ingest, wire);
      previous = wire.slice(-32);
    }
  }
}
