// Traffic of a busy sidecar for the benchmarks, seeded: varied connections, paths, outcomes and sizes, random ids.
// The same facts as a batch of ours and as the lines of a JSON access log.

import { randomFillSync } from 'node:crypto';
import { encodeBatch, type RowFacts, sealBatch } from '../../../collector/src/core/codec/encode.ts';
import { BIT, HEADER, HEADER_BYTES, ROW, ROW_BYTES, TRAILER_BYTES } from '../../../collector/src/core/codec/layout.ts';
import { sha256 } from '../../../collector/src/core/hash.ts';
import { random, randomBytes, START_NS } from '../../support/facts.ts';

/** The size at which the filter seals a batch. */
export const SEAL_BYTES = 48 * 1024;
const CALLERS = ['ingress', 'frontend', 'checkout', 'inventory', 'reports', 'search'] as const;
const CONNECTIONS = 24;
const ROUTES = [
  'orders',
  'orders/open',
  'orders/history',
  'carts',
  'carts/items',
  'prices',
  'stock/levels',
  'customers/me',
  'shipments',
  'invoices/open',
  'coupons/valid',
  'health',
] as const;
const USER_AGENTS = [
  'Go-http-client/1.1',
  'python-requests/2.32.3',
  'okhttp/4.12.0',
  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1',
] as const;
/** Share of rows that end so: code, verdict, code details. */
const ENDINGS: readonly (readonly [share: number, code: number, verdict: RowFacts['verdict'], details: string])[] = [
  [0.82, 200, 'allowed', 'via_upstream'],
  [0.06, 201, 'allowed', 'via_upstream'],
  [0.05, 404, 'allowed', 'via_upstream'],
  [0.03, 403, 'denied', 'rbac_access_denied_matched_policy[ns[shop]-policy[orders-read]-rule[0]]'],
  [0.02, 503, 'failed', 'upstream_reset_before_response_started{connection_termination}'],
  [0.01, 500, 'allowed', 'via_upstream'],
  [0.01, 0, 'reset', 'downstream_remote_disconnect'],
];

/** How many records of a batch share one request id and one trace: 1 is every id random, the hardest to store. */
export interface TrafficInput {
  readonly seed: number;
  readonly recordsPerTrace: number;
}

/** Makes exchanges as the inbound side of one sidecar sees them. */
export class Traffic {
  private readonly next: () => number;
  private readonly recordsPerTrace: number;
  private atNs = 0;
  private count = 0;
  private requestId: Uint8Array = new Uint8Array();
  private traceId: Uint8Array = new Uint8Array();

  constructor({ seed, recordsPerTrace }: TrafficInput) {
    this.next = random(seed);
    this.recordsPerTrace = recordsPerTrace;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T;
  }

  private ending(): (typeof ENDINGS)[number] {
    let left = this.next();
    for (const ending of ENDINGS) {
      left -= ending[0];
      if (left < 0) return ending;
    }
    return ENDINGS[0] as (typeof ENDINGS)[number];
  }

  private connection(): RowFacts['connection'] {
    const number = Math.floor(this.next() * CONNECTIONS);
    const caller = CALLERS[number % CALLERS.length] as string;
    return {
      id: 1000 + number,
      direction: 1,
      mtls: true,
      tlsVersion: 'TLSv1.3',
      sourceAddress: `10.42.${number % 7}.${20 + number}:${40_000 + 37 * number}`,
      destinationAddress: '10.42.3.17:8080',
      peerPrincipal: `spiffe://cluster.local/ns/shop/sa/${caller}`,
      localPrincipal: 'spiffe://cluster.local/ns/shop/sa/orders',
      requestedServerName: 'outbound_.80_._.orders.shop.svc.cluster.local',
      filterChain: 'inbound|8080||',
      peerCertificateSha256: sha256(new TextEncoder().encode(caller)),
    };
  }

  private path(): string {
    const route = this.pick(ROUTES);
    const chance = this.next();
    if (chance < 0.35) return `/api/v1/${route}/${Math.floor(this.next() * 20_000)}`;
    return chance < 0.5 ? `/api/v1/${route}?page=${Math.floor(this.next() * 30)}&limit=50` : `/api/v1/${route}`;
  }

  row(): RowFacts {
    if (this.count++ % this.recordsPerTrace === 0) {
      this.requestId = randomBytes(this.next, 16);
      this.traceId = randomBytes(this.next, 16);
    }
    this.atNs += -Math.log(1 - this.next()) * 2e6;
    const [, code, verdict, codeDetails] = this.ending();
    const isForwarded = verdict !== 'denied';
    const method = this.pick(['GET', 'GET', 'GET', 'POST', 'PUT']);
    return {
      verdict,
      startNs: START_NS + BigInt(Math.floor(this.atNs)),
      durationUs: Math.floor(Math.exp(7 + 1.5 * (this.next() + this.next() + this.next()))),
      path: this.path(),
      userAgent: this.pick(USER_AGENTS),
      requestBytes: 300 + Math.floor(this.next() * (method === 'GET' ? 200 : 4000)),
      responseBytes: 200 + Math.floor(this.next() ** 3 * 60_000),
      ...(isForwarded ? { attempts: 1 } : {}),
      requestId: this.requestId,
      trace: { id: this.traceId, span: randomBytes(this.next, 8), flags: 1 },
      ...(verdict === 'denied' || verdict === 'failed' ? { flags: BIT.priority } : {}),
      connection: this.connection(),
      outcome: {
        code,
        protocol: 'HTTP/1.1',
        responseFlags: verdict === 'failed' ? 0x40 : verdict === 'reset' ? 0x4000 : 0,
        method,
        authority: 'orders.shop.svc.cluster.local',
        route: 'default',
        upstreamCluster: 'inbound|8080||',
        codeDetails,
        requestContentType: 'application/json',
        ...(isForwarded ? { upstreamAddress: '127.0.0.1:8080', responseContentType: 'application/json' } : {}),
        ...(isForwarded ? {} : { policy: 'ns[shop]-policy[orders-read]-rule[0]', policyResult: 2 as const }),
      },
    };
  }

  rows(count: number): RowFacts[] {
    return Array.from({ length: count }, () => this.row());
  }
}

const NODE = {
  nodeId: 'sidecar~10.42.3.17~orders-6d5f7c9b8-x2vqk.shop~shop.svc.cluster.local',
  nodeCluster: 'orders.shop',
  meshCluster: 'cluster-1',
} as const;

/** A chain of batches. */
export class Chain {
  readonly stream = randomFillSync(new Uint8Array(16));
  private batchNumber = 0;
  private firstRecord = 0;
  private previous: Uint8Array | undefined;

  /** Encodes rows as the next batch. */
  batch(rows: readonly RowFacts[]): Uint8Array {
    const wire = encodeBatch({
      ...NODE,
      stream: this.stream,
      batchNumber: this.batchNumber,
      firstRecord: this.firstRecord,
      rows,
      secret: randomFillSync(new Uint8Array(32)),
      ...(this.previous === undefined ? {} : { previous: this.previous }),
    });
    return this.taken(wire, rows.length);
  }

  /** The next batch from an encoded one: other ids, secret, numbers and chain link, everything else as it was. */
  copy(template: Uint8Array): Uint8Array {
    const wire = Uint8Array.from(template);
    const view = new DataView(wire.buffer);
    const rowCount = view.getUint32(HEADER.rowCount, true);
    const recorded = BigInt(this.firstRecord + rowCount);
    wire.set(this.stream, HEADER.stream);
    view.setBigUint64(HEADER.batchNumber, BigInt(this.batchNumber), true);
    view.setBigUint64(HEADER.firstRecord, BigInt(this.firstRecord), true);
    view.setBigUint64(HEADER.seen, recorded, true);
    view.setBigUint64(HEADER.recorded, recorded, true);
    wire.set(this.previous ?? new Uint8Array(32), HEADER.previous);
    randomFillSync(wire, HEADER.secret, 32);
    const ids = randomFillSync(new Uint8Array(rowCount * 40));
    for (let row = 0; row < rowCount; row++) {
      const at = HEADER_BYTES + row * ROW_BYTES;
      wire.set(ids.subarray(row * 40, row * 40 + 16), at + ROW.requestId);
      wire.set(ids.subarray(row * 40 + 16, row * 40 + 40), at + ROW.traceId);
    }
    return this.taken(sealBatch(wire), rowCount);
  }

  private taken(wire: Uint8Array, rowCount: number): Uint8Array {
    this.batchNumber++;
    this.firstRecord += rowCount;
    this.previous = wire.slice(-TRAILER_BYTES);
    return wire;
  }
}

/** Takes rows of the traffic until a batch of them reaches the size at which the filter seals. */
export function fullBatchRows(traffic: Traffic): RowFacts[] {
  const rows = traffic.rows(300);
  for (;;) {
    const size = new Chain().batch(rows).length;
    if (size >= SEAL_BYTES - 150) return rows;
    // Each further row needs at least its own bytes, so this cannot overshoot by more than a row's strings.
    rows.push(...traffic.rows(Math.max(1, Math.floor((SEAL_BYTES - size) / 150))));
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

/** A record as a JSON access log has it: the same facts, one flat object. */
export function jsonRecord(row: RowFacts): Record<string, string | number> {
  const { connection, outcome, trace, requestId } = row;
  const id = typeof requestId === 'object' ? hex(requestId) : '';
  return {
    start_time: new Date(Number(row.startNs / 1_000_000n)).toISOString(),
    duration: Math.round((row.durationUs ?? 0) / 1000),
    protocol: outcome.protocol ?? '',
    method: String(outcome.method),
    authority: String(outcome.authority),
    path: String(row.path),
    response_code: outcome.code ?? 0,
    response_flags: outcome.responseFlags === 0 ? '-' : row.verdict === 'failed' ? 'UC' : 'DC',
    response_code_details: String(outcome.codeDetails),
    route_name: String(outcome.route),
    upstream_cluster: String(outcome.upstreamCluster),
    upstream_host: String(outcome.upstreamAddress ?? '-'),
    bytes_received: row.requestBytes ?? 0,
    bytes_sent: row.responseBytes ?? 0,
    attempts: row.attempts ?? 0,
    user_agent: String(row.userAgent),
    request_id: [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-'),
    traceparent: trace === undefined ? '' : `00-${hex(trace.id)}-${hex(trace.span)}-01`,
    request_content_type: String(outcome.requestContentType ?? '-'),
    response_content_type: String(outcome.responseContentType ?? '-'),
    source_address: String(connection.sourceAddress),
    destination_address: String(connection.destinationAddress),
    peer_principal: String(connection.peerPrincipal),
    local_principal: String(connection.localPrincipal),
    peer_certificate: connection.peerCertificateSha256 === undefined ? '-' : hex(connection.peerCertificateSha256),
    requested_server_name: String(connection.requestedServerName),
    tls_version: String(connection.tlsVersion),
    connection_id: connection.id ?? 0,
  };
}
