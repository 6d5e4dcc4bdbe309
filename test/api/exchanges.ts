// Random exchanges for what is counted: some fields absent, some records repeats, calls that both sides report, connections beside them.

import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { random, START_NS } from '../support/facts.ts';
import { admitted } from '../support/logs.ts';

const NAMES = ['frontend', 'orders', 'payments'] as const;
export const spiffe = (name: string): string => `spiffe://demo.mesh/ns/shop/sa/${name}`;

/** What a test says of one record; times are in ms after START_NS. */
export interface Told {
  readonly from: string;
  readonly to: string;
  readonly atMs: number;
  readonly tookMs?: number;
  readonly isClient?: boolean;
  readonly requestId?: Uint8Array;
  readonly trace?: { readonly id: Uint8Array; readonly span: Uint8Array; readonly flags: number };
  readonly verdict?: RowFacts['verdict'];
  readonly code?: number;
  readonly policy?: string;
  readonly more?: Partial<RowFacts>;
}

/** The row of a record that is told. */
export function rowOf({
  from,
  to,
  atMs,
  tookMs,
  isClient,
  requestId,
  trace,
  verdict,
  code,
  policy,
  more,
}: Told): RowFacts {
  const own = { mtls: true, sourceAddress: '10.0.0.1:40000', destinationAddress: '10.0.0.2:15006' };
  return {
    verdict: verdict ?? 'allowed',
    startNs: START_NS + BigInt(Math.round(atMs * 1e6)),
    ...(tookMs === undefined ? {} : { durationUs: Math.round(tookMs * 1000) }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(trace === undefined ? {} : { trace }),
    connection: isClient
      ? { id: 1, direction: 2, sourceAddress: '10.0.0.1:50000', destinationAddress: '10.0.0.2:80' }
      : { ...own, id: 2, direction: 1, peerPrincipal: spiffe(from), localPrincipal: spiffe(to) },
    outcome: {
      ...(code === undefined ? {} : { code }),
      ...(policy === undefined ? {} : { policy, policyResult: 2 as const }),
      ...(more?.kind === 'connection' ? {} : { method: 'GET' }),
      ...(isClient ? { upstreamLocalPrincipal: spiffe(from), upstreamPrincipal: spiffe(to), upstreamCluster: to } : {}),
    },
    ...more,
  };
}

export type Rows = readonly RowFacts[];

let streams = 0;

/** Appends one batch of a stream of its own, publishes, and gives its records. */
export async function add(
  log: EvidenceLog,
  rows: Rows,
  nodeId?: string,
  nodeCluster?: string,
): Promise<readonly FlowRecord[]> {
  const stream = new Uint8Array(16);
  new DataView(stream.buffer).setUint32(0, ++streams);
  const wire = encodeBatch({
    ...{ stream, batchNumber: 0, firstRecord: 0, rows },
    ...(nodeId === undefined ? {} : { nodeId }),
    ...(nodeCluster === undefined ? {} : { nodeCluster }),
  });
  const { index } = await log.append(admitted(wire));
  await log.publishNow();
  const batch = decodeBatch(wire);
  return rows.map((_, row) => recordOf(sourceOf(batch, index, row)));
}

/** Random rows; the same seed gives the same ones. */
export function randomRows(seed: number, count: number): Rows {
  const next = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  return Array.from({ length: count }, () => {
    const row = rowOf({
      ...{ from: pick(NAMES), to: pick(NAMES), atMs: Math.floor(next() * 300) * 1000 },
      ...(next() < 0.8 ? { tookMs: Math.floor(next() * 5000) / 10 } : {}),
      ...(next() < 0.7 ? { code: pick([200, 200, 404, 500, 503]) } : {}),
      ...{ isClient: next() < 0.4, verdict: pick(['allowed', 'allowed', 'denied', 'failed'] as const) },
      ...(next() < 0.3 ? { policy: pick(['p1', 'p2']) } : {}),
    });
    const path = pick(['-', '0', '/a', undefined]);
    return {
      ...row,
      ...(path === undefined ? {} : { path }),
      ...(next() < 0.6 ? { requestBytes: Math.floor(next() * 3) } : {}),
      ...(next() < 0.15 ? { flags: BIT.repeat } : {}),
    };
  });
}
