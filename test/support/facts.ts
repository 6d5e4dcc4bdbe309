// Random but seeded batches for tests and benchmarks: realistic exchanges with private values, identities, denials and absent fields.

import { type BatchFacts, encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { sha256 } from '../../collector/src/core/hash.ts';

/** A seeded generator (mulberry32); the same seed gives the same numbers everywhere. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const START_NS = 1_795_521_600_000_000_000n;

export function randomBytes(next: () => number, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(next() * 256));
}

const NAMES = ['frontend', 'orders', 'payments', 'inventory'] as const;
const spiffe = (name: string): string =>
  `spiffe://demo.mesh/ns/${name === 'frontend' || name === 'orders' ? 'shop' : 'backend'}/sa/${name}`;

/** One exchange; `at` is in ns after START_NS. */
export function randomRow(next: () => number, atNs: number): RowFacts {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const source = pick(NAMES);
  const destination = pick(NAMES);
  const verdict = pick(['allowed', 'allowed', 'allowed', 'denied', 'failed'] as const);
  const code = verdict === 'allowed' ? pick([200, 200, 201, 404, 500]) : verdict === 'denied' ? 403 : 503;
  return {
    verdict,
    startNs: START_NS + BigInt(Math.floor(atNs)),
    durationUs: Math.floor(next() * 1e6),
    path: `/api/${pick(['a', 'b', 'c'])}/${Math.floor(next() * 50)}`,
    userAgent: 'curl/8.0',
    requestBytes: Math.floor(next() * 5000),
    responseBytes: Math.floor(next() * 5000),
    attempts: 1,
    ...(next() < 0.9 ? { requestId: randomBytes(next, 16) } : {}),
    ...(next() < 0.8 ? { trace: { id: randomBytes(next, 16), span: randomBytes(next, 8), flags: 1 } } : {}),
    ...(verdict === 'allowed' ? {} : { flags: BIT.priority }),
    connection: {
      id: 1 + Math.floor(next() * 8),
      direction: 1,
      mtls: true,
      tlsVersion: 'TLSv1.3',
      sourceAddress: '127.0.0.1:40000',
      destinationAddress: '127.0.0.1:15006',
      peerPrincipal: spiffe(source),
      localPrincipal: spiffe(destination),
      peerCertificateSha256: sha256(new TextEncoder().encode(source)),
    },
    outcome: {
      code,
      protocol: 'HTTP/1.1',
      method: pick(['GET', 'POST']),
      authority: `${destination}.local`,
      ...(verdict === 'denied'
        ? {
            policy: 'deny-inventory',
            policyResult: 2 as const,
            codeDetails: 'rbac_access_denied_matched_policy[deny-inventory]',
          }
        : { upstreamCluster: 'app', codeDetails: 'via_upstream' }),
    },
  };
}

/** A stream of chained batches. */
export class StreamMaker {
  readonly stream: Uint8Array;
  private readonly next: () => number;
  private batchNumber = 0;
  private firstRecord = 0;
  private previous: Uint8Array | undefined;
  private readonly name: string;

  constructor(seed: number, name = 'orders') {
    this.next = random(seed);
    this.stream = randomBytes(this.next, 16);
    this.name = name;
  }

  batch(rows: number, more: Partial<BatchFacts> = {}, atNs: () => number = () => this.next() * 1e9): Uint8Array {
    const facts: BatchFacts = {
      stream: this.stream,
      batchNumber: this.batchNumber++,
      firstRecord: this.firstRecord,
      rows: Array.from({ length: rows }, () => randomRow(this.next, atNs())),
      nodeId: `sidecar~127.0.0.1~${this.name}-0.shop~shop.svc.cluster.local`,
      nodeCluster: `${this.name}.shop`,
      meshCluster: 'cluster-1',
      ...(this.previous === undefined ? {} : { previous: this.previous }),
      ...more,
    };
    const wire = encodeBatch(facts);
    this.firstRecord += rows;
    this.previous = wire.slice(-32);
    return wire;
  }
}
