// The facts of the golden batches of version 2: each kind, phase and sensor, every new field, and each reason for a batch without rows.

import { utf8 } from '../../collector/src/core/bytes.ts';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import { batchesV1, bytes, FULL, forge, type GoldenBatches, NODE, START_NS } from './version-1.ts';

const stream = Uint8Array.from({ length: 16 }, (_, i) => 0xb0 + i);
const SECOND_NS = 1_000_000_000n;

/** Every field that a row of an exchange can have, its trace of B3 with 64 bits and a decision to debug. */
const EXCHANGE: RowFacts = {
  ...FULL,
  trace: { id: Uint8Array.from([...new Uint8Array(8), ...bytes(8, 40)]), span: bytes(8, 64), flags: 3, isB3: true },
  flags: BIT.priority | BIT.b3Short | BIT.pathCut,
  connection: {
    ...FULL.connection,
    peerWorkload: 'inventory',
    peerNamespace: 'elsewhere',
    peerCluster: 'cluster-2',
    filterStatePrincipal: 'spiffe://demo.mesh/ns/backend/sa/told',
  },
  outcome: {
    ...FULL.outcome,
    claimedPrincipal: 'spiffe://demo.mesh/ns/backend/sa/claimed',
    requestEncoding: 'gzip',
    responseEncoding: 'br',
    upstreamWorkload: 'app',
    upstreamNamespace: 'shop',
  },
};

const TCP: RowFacts = {
  kind: 'connection',
  verdict: 'allowed',
  startNs: START_NS + 300_000_000n,
  durationUs: 61_000_000,
  requestBytes: 1234,
  responseBytes: 567_890,
  connection: { id: 9, direction: 2, sourceAddress: '10.0.0.9:50000', destinationAddress: '10.0.0.30:5432' },
  outcome: {
    upstreamCluster: 'outbound|5432||db.shop',
    upstreamAddress: '10.0.0.30:5432',
    upstreamWorkload: 'db',
    upstreamNamespace: 'data',
  },
};

const REJECTED: RowFacts = {
  kind: 'connection',
  sensor: 'connection_logger',
  verdict: 'failed',
  startNs: START_NS + 400_000_000n,
  durationUs: 2100,
  requestBytes: 0,
  responseBytes: 0,
  flags: BIT.priority,
  connection: {
    id: 10,
    direction: 1,
    mtls: true,
    tlsVersion: 'TLSv1.3',
    sourceAddress: '10.0.0.66:40000',
    destinationAddress: '10.0.0.9:8443',
    peerPrincipal: 'spiffe://other.mesh/ns/shop/sa/stranger',
    peerSubject: 'CN=stranger',
    peerCertificateSha256: sha256(utf8('certificate of a stranger')),
    requestedServerName: 'orders.shop',
    transportFailure: 'TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end',
    // None of these may become the identity of somebody who was refused.
    filterStatePrincipal: 'spiffe://demo.mesh/ns/backend/sa/told',
    peerWorkload: 'stranger',
    peerNamespace: 'shop',
  },
  outcome: { responseFlags: 0x4000, codeDetails: 'filter_chain_not_reached' },
};

const OPEN: RowFacts = {
  kind: 'connection',
  phase: 'open',
  verdict: 'unknown',
  startNs: TCP.startNs,
  durationUs: 5_000_000,
  requestBytes: 12,
  responseBytes: 34,
  connection: TCP.connection,
  outcome: TCP.outcome,
};

const ROWS: readonly RowFacts[] = [
  EXCHANGE,
  // The manager's access logger tells of it too; its trace is of B3 that does not parse, its principal from filter state.
  {
    ...FULL,
    sensor: 'http_logger',
    verdict: 'allowed',
    startNs: START_NS + 200_000_000n,
    traceText: 'x-b3-traceid: nothing\nx-b3-sampled: 1\n',
    trace: { id: bytes(16, 1), span: bytes(8, 9), flags: 4, isB3: true },
    flags: BIT.repeat | BIT.b3Text,
    connection: { direction: 1, mtls: false, filterStatePrincipal: 'spiffe://demo.mesh/ns/backend/sa/told' },
    outcome: { code: 200, method: 'GET', protocol: 'HTTP/1.1' },
  },
  REJECTED,
  OPEN,
  { ...OPEN, phase: 'interval', durationUs: 60_000_000, requestBytes: 1200, responseBytes: 340_000 },
  TCP,
  // A WebSocket that lives, and the connection that carries it.
  {
    phase: 'open',
    verdict: 'unknown',
    startNs: START_NS + 500_000_000n,
    durationUs: 5_100_000,
    requestBytes: 700,
    connection: { id: 11, direction: 1 },
    outcome: { protocol: 'HTTP/1.1' },
  },
  {
    kind: 'connection',
    verdict: 'allowed',
    startNs: START_NS + 450_000_000n,
    flags: BIT.repeat,
    connection: { id: 11, direction: 1 },
    outcome: { protocol: 'HTTP/1.1', codeDetails: 'downstream_remote_close' },
  },
  { kind: 'connection', verdict: 'denied', startNs: START_NS + 600_000_000n, connection: {}, outcome: {} },
];

/** The batches of version 2; behind them, in the same log, one of version 1 of another stream. */
export function batchesV2(): GoldenBatches {
  const common = { ...NODE, stream } as const;
  const first = encodeBatch({
    ...common,
    version: 2,
    batchNumber: 0,
    firstRecord: 0,
    rows: ROWS,
    secret: bytes(32, 100),
    role: 'sidecar',
    life: { aliveIntervalMs: 60_000 },
    clock: [START_NS, START_NS + 900_000_000n, 5_000_000n, 905_000_000n],
  });
  const alive = encodeBatch({
    ...common,
    version: 2,
    batchNumber: 1,
    firstRecord: ROWS.length,
    rows: [],
    secret: bytes(32, 150),
    previous: first.slice(-32),
    isAlive: true,
    life: {
      proxySinceWallNs: START_NS - SECOND_NS,
      aliveIntervalMs: 30_000,
      vmsKnown: 3,
      vmsAlive: 2,
      silentStream: bytes(16, 0xc0),
    },
    counters: { recorded: ROWS.length, seen: ROWS.length, interim: 3 },
    clock: [START_NS + SECOND_NS, START_NS + SECOND_NS, 1_005_000_000n, 1_005_000_000n],
  });
  const last = encodeBatch({
    ...common,
    version: 2,
    batchNumber: 2,
    firstRecord: ROWS.length,
    rows: [{ ...TCP, startNs: START_NS + 2n * SECOND_NS }],
    secret: bytes(32, 200),
    previous: alive.slice(-32),
    checkpoint: { size: 1, root: sha256(utf8('an older root')) },
    isFin: true,
    isRollbackSeen: true,
    isAlive: true,
    role: 'waypoint',
    life: { proxySinceWallNs: START_NS - SECOND_NS, aliveIntervalMs: 30_000, vmsKnown: 2, vmsAlive: 2 },
    counters: {
      seen: 26,
      recorded: 10,
      droppedBuffersFull: 5,
      droppedUnreadable: 4,
      droppedNoRandom: 3,
      truncated: 1,
      sendFailures: 6,
      rollbacksSeen: 2,
      interim: 3,
      unwatched: 7,
    },
    clock: [START_NS + 2n * SECOND_NS, START_NS + 3n * SECOND_NS, 2_005_000_000n, 3_005_000_000n],
  });
  return { batches: [first, alive, last, batchesV1().batches[0] as Uint8Array], forged: forge(first) };
}
