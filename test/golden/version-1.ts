// The facts that golden batches hold. Everything is fixed: clock, secrets, ids. What a released version has is never changed.

import { utf8 } from '../../collector/src/core/bytes.ts';
import { encodeBatch, type RowFacts, sealBatch } from '../../collector/src/core/codec/encode.ts';
import { BIT, HEADER } from '../../collector/src/core/codec/layout.ts';
import { sha256 } from '../../collector/src/core/hash.ts';

/** What a golden log is given: batches in order, and a forged one under the number of the first. */
export interface GoldenBatches {
  readonly batches: readonly Uint8Array[];
  readonly forged: Uint8Array;
}

export const START_NS = 1_795_521_600_000_000_000n;
export const NODE = {
  nodeId: 'sidecar~10.0.0.9~orders-0.shop~shop',
  nodeCluster: 'orders.shop',
  meshCluster: 'cluster-1',
} as const;
const stream = Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i);
export const bytes = (length: number, first: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (first + i) & 255);

/** Another batch under the same number. */
export function forge(batch: Uint8Array): Uint8Array {
  const forged = Uint8Array.from(batch);
  forged[HEADER.sealedMonoNs] = (forged[HEADER.sealedMonoNs] as number) ^ 1;
  return sealBatch(forged);
}

/** A row with every field that a row of version 1 can have. */
export const FULL: RowFacts = {
  verdict: 'denied',
  startNs: START_NS + 123_456_789n,
  durationUs: 4512,
  path: '/api/orders/17?card=4111',
  userAgent: 'curl/8.0',
  subject: 'alice@example.com',
  headers: 'x-tenant: blue\nx-tenant: green\n',
  traceText: '00-not-a-traceparent',
  requestBytes: 345,
  responseBytes: 19,
  attempts: 2,
  requestId: bytes(16, 1),
  trace: { id: bytes(16, 32), span: bytes(8, 64), flags: 1 },
  flags: BIT.priority,
  connection: {
    id: 7,
    direction: 1,
    mtls: true,
    tlsVersion: 'TLSv1.3',
    sourceAddress: '10.0.0.7:40312',
    destinationAddress: '10.0.0.9:8443',
    peerPrincipal: 'spiffe://demo.mesh/ns/backend/sa/inventory',
    localPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    requestedServerName: 'orders.shop',
    filterChain: 'inbound-8443',
    peerSubject: 'CN=inventory',
    peerCertificateSha256: sha256(utf8('certificate of inventory')),
  },
  outcome: {
    code: 403,
    protocol: 'HTTP/2',
    grpcStatus: 7,
    responseFlags: 0x1000,
    policyResult: 2,
    shadowResult: 1,
    method: 'POST',
    authority: 'orders.shop:8443',
    route: 'default',
    upstreamCluster: 'inbound|8443||',
    upstreamAddress: '127.0.0.1:8080',
    upstreamPrincipal: 'spiffe://demo.mesh/ns/shop/sa/app',
    upstreamLocalPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    codeDetails: 'rbac_access_denied_matched_policy[deny-inventory]',
    policy: 'deny-inventory',
    shadowPolicy: 'allow-shop',
    tokenIssuer: 'https://issuer.example.com',
    requestContentType: 'application/grpc',
    responseContentType: 'application/grpc+proto',
    upstreamFailure: 'connection refused',
  },
};

/** The other spellings: a request id that is text, bytes that are not UTF-8, and next to nothing at all. */
const OTHERS: readonly RowFacts[] = [
  {
    ...FULL,
    verdict: 'allowed',
    startNs: START_NS + 200_000_000n,
    path: Uint8Array.of(0x2f, 0xff, 0xc3, 0xa9, 0x25),
    requestId: 'not-a-uuid',
    flags: 0,
    connection: { direction: 2, mtls: true, peerPrincipal: 'spiffe://a/ns/b/sa/c', transportFailure: 'TLS_error' },
    outcome: { code: 200, method: 'GET', protocol: 'HTTP/1.1' },
  },
  { verdict: 'invalid', startNs: START_NS + 300_000_000n, connection: {}, outcome: {} },
];

/** The batches of version 1. */
export function batchesV1(): GoldenBatches {
  const first = encodeBatch({
    version: 1,
    ...NODE,
    stream,
    batchNumber: 0,
    firstRecord: 0,
    rows: [FULL, ...OTHERS],
    secret: bytes(32, 100),
    role: 'sidecar',
    clock: [START_NS, START_NS + 900_000_000n, 5_000_000n, 905_000_000n],
  });
  const second = encodeBatch({
    version: 1,
    ...NODE,
    stream,
    batchNumber: 1,
    firstRecord: 3,
    rows: [FULL],
    secret: bytes(32, 150),
    previous: first.slice(-32),
    checkpoint: { size: 1, root: sha256(utf8('an older root')) },
    isFin: true,
    isRollbackSeen: true,
    role: 'gateway',
    counters: {
      seen: 11,
      recorded: 4,
      droppedBuffersFull: 3,
      droppedUnreadable: 2,
      truncated: 1,
      sendFailures: 5,
      rollbacksSeen: 1,
    },
    clock: [START_NS + 1_000_000_000n, START_NS + 1_900_000_000n, 1_005_000_000n, 1_905_000_000n],
  });
  return { batches: [first, second], forged: forge(first) };
}
