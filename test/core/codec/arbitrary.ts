// Random facts for batches of both versions: every field present or absent, as docs/formats.md section 1 allows it.

import fc from 'fast-check';
import type { ProxyLife } from '../../../collector/src/core/codec/batch.ts';
import type { BatchFacts, ConnectionFacts, OutcomeFacts, RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { BIT, PHASES, PROTOCOLS, SENSORS, TLS_VERSIONS, VERDICTS } from '../../../collector/src/core/codec/layout.ts';

type Arbitraries<T> = { [K in keyof T]-?: fc.Arbitrary<Exclude<T[K], undefined>> };
/** Every key may be absent. */
const some = <T extends object>(fields: Arbitraries<T>): fc.Arbitrary<Partial<T>> =>
  fc.record(fields as never, { requiredKeys: [] }) as fc.Arbitrary<Partial<T>>;

// Few and short, so that entries are shared, and some that are not UTF-8.
const text = fc.oneof(
  fc.constantFrom('a', 'b', 'spiffe://m/ns/n/sa/a'),
  fc.uint8Array({ minLength: 1, maxLength: 5 }),
  fc.string({ minLength: 1, maxLength: 6, unit: 'binary' }),
);
const exactly = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const zeroTo = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max });
const result = fc.constantFrom(0, 1, 2) as fc.Arbitrary<0 | 1 | 2>;

const connection: fc.Arbitrary<ConnectionFacts> = some<ConnectionFacts>({
  id: fc.maxSafeNat(),
  direction: result,
  mtls: fc.boolean(),
  tlsVersion: fc.constantFrom(...TLS_VERSIONS),
  sourceAddress: text,
  destinationAddress: text,
  peerPrincipal: text,
  localPrincipal: text,
  requestedServerName: text,
  transportFailure: text,
  filterChain: text,
  peerSubject: text,
  peerCertificateSha256: exactly(32),
  filterStatePrincipal: text,
  peerWorkload: text,
  peerNamespace: text,
  peerCluster: text,
});

const OUTCOME_OF_BOTH = {
  code: zeroTo(65_535),
  protocol: fc.constantFrom(...PROTOCOLS),
  grpcStatus: zeroTo(254),
  responseFlags: fc.maxSafeNat(),
  policyResult: result,
  shadowResult: result,
  route: text,
  upstreamCluster: text,
  upstreamAddress: text,
  upstreamPrincipal: text,
  upstreamLocalPrincipal: text,
  codeDetails: text,
  policy: text,
  shadowPolicy: text,
  tokenIssuer: text,
  upstreamFailure: text,
  claimedPrincipal: text,
  upstreamWorkload: text,
  upstreamNamespace: text,
} as const;
const OUTCOME_OF_HTTP = {
  ...OUTCOME_OF_BOTH,
  method: text,
  authority: text,
  requestContentType: text,
  responseContentType: text,
  requestEncoding: text,
  responseEncoding: text,
} as const;

const ROW_OF_BOTH = {
  phase: fc.constantFrom(...PHASES),
  sensor: fc.constantFrom(...SENSORS),
  durationUs: zeroTo(2 ** 48 - 1),
  requestBytes: zeroTo(2 ** 48 - 1),
  responseBytes: zeroTo(2 ** 48 - 1),
} as const;

const b3Flags = fc.constantFrom(0, 1, 2, 3, 4);
const zeros8 = new Uint8Array(8);

/** A trace with the bits that go with it: of W3C, of B3, of B3 with 64 bits. */
const trace: fc.Arbitrary<{ readonly trace: NonNullable<RowFacts['trace']>; readonly bits: number }> = fc.oneof(
  fc.record({ id: exactly(16), span: exactly(8), flags: zeroTo(255) }).map((w3c) => ({ trace: w3c, bits: 0 })),
  fc
    .record({ id: exactly(16), span: exactly(8), flags: b3Flags })
    .map((b3) => ({ trace: { ...b3, isB3: true }, bits: 0 })),
  fc.record({ id: exactly(8), span: exactly(8), flags: b3Flags }).map(({ id, ...b3 }) => ({
    trace: { ...b3, id: Uint8Array.from([...zeros8, ...id]), isB3: true },
    bits: BIT.b3Short,
  })),
);

const startNs = fc.bigInt(0n, 2n ** 62n);
const verdict = fc.constantFrom(...VERDICTS.filter((name) => name !== ''));
/** What lives has no verdict yet. */
const settled = <T extends RowFacts>(row: T): T =>
  (row.phase ?? 'end') === 'end' ? row : { ...row, verdict: 'unknown' as const };

const http: fc.Arbitrary<RowFacts> = fc
  .tuple(
    fc.record(
      {
        ...ROW_OF_BOTH,
        ...{ path: text, userAgent: text, subject: text, headers: text, traceText: text, attempts: zeroTo(255) },
        requestId: fc.oneof(exactly(16), fc.string({ minLength: 1, maxLength: 5 })),
      },
      { requiredKeys: [] },
    ),
    fc.option(trace, { nil: undefined }),
    fc.record({ startNs, verdict, connection, outcome: some<OutcomeFacts>(OUTCOME_OF_HTTP) }),
    fc.subarray([BIT.pathCut, BIT.userAgentCut, BIT.headersCut, BIT.otherCut, BIT.priority, BIT.repeat, BIT.b3Text]),
  )
  .map(([fields, traced, rest, bits]) => {
    const flags = bits.filter((bit) => bit !== BIT.b3Text || fields.traceText !== undefined);
    return settled({
      ...fields,
      ...rest,
      ...(traced === undefined ? {} : { trace: traced.trace }),
      flags: flags.reduce((all, bit) => all | bit, traced?.bits ?? 0),
    } as RowFacts);
  });

const connectionRow: fc.Arbitrary<RowFacts> = fc
  .tuple(
    fc.record(ROW_OF_BOTH, { requiredKeys: [] }),
    fc.record({
      startNs,
      verdict,
      connection,
      outcome: some<Pick<OutcomeFacts, keyof typeof OUTCOME_OF_BOTH>>(OUTCOME_OF_BOTH),
    }),
    fc.subarray([BIT.otherCut, BIT.priority, BIT.repeat]),
  )
  .map(([fields, rest, bits]) =>
    settled({ ...fields, ...rest, kind: 'connection', flags: bits.reduce((all, bit) => all | bit, 0) } as RowFacts),
  );

const life: fc.Arbitrary<Partial<ProxyLife>> = fc
  .record({
    proxySinceWallNs: fc.option(fc.bigInt(1n, 2n ** 62n), { nil: undefined }),
    aliveIntervalMs: zeroTo(2 ** 32 - 1),
    vms: fc.tuple(zeroTo(65_535), zeroTo(65_535)),
    silentStream: fc.option(exactly(16), { nil: undefined }),
  })
  .map(({ vms, ...rest }) => ({ ...rest, vmsKnown: Math.max(...vms), vmsAlive: Math.min(...vms) }));

const small = fc.nat({ max: 1_000_000 });

/** Facts of one batch; one without rows ends its stream or is a sign of life. */
export function batchFacts(version: 1 | 2): fc.Arbitrary<BatchFacts> {
  const rows = fc.array(version === 1 ? http : fc.oneof(http, connectionRow), { maxLength: 6 });
  return fc
    .record({
      rows,
      life,
      stream: exactly(16),
      secret: exactly(32),
      batchNumber: fc.constantFrom(0, 1, 7, Number.MAX_SAFE_INTEGER),
      firstRecord: small,
      previous: exactly(32),
      checkpoint: fc.option(fc.record({ size: fc.maxSafeNat(), root: exactly(32) }), { nil: undefined }),
      bits: fc.record({ isFin: fc.boolean(), isRollbackSeen: fc.boolean(), isAlive: fc.boolean() }),
      role: fc.constantFrom('sidecar', 'gateway', 'waypoint'),
      names: fc.record(
        { nodeId: text.map(String), nodeCluster: text.map(String), meshCluster: text.map(String) },
        { requiredKeys: [] },
      ),
      counts: fc.record({
        droppedBuffersFull: small,
        droppedUnreadable: small,
        droppedNoRandom: small,
        truncated: small,
        sendFailures: small,
        rollbacksSeen: small,
        unwatched: small,
      }),
      clock: fc.tuple(startNs, startNs, startNs, startNs),
    })
    .map(({ bits, names, counts, checkpoint, ...facts }): BatchFacts => {
      const isFirst = facts.batchNumber === 0;
      const isFin = bits.isFin || (facts.rows.length === 0 && !(version === 2 && bits.isAlive));
      const hasRoot = checkpoint?.root.some((byte) => byte !== 0) === true;
      return {
        ...facts,
        ...names,
        version,
        isFin,
        isRollbackSeen: bits.isRollbackSeen,
        isAlive: version === 2 && bits.isAlive,
        counters: version === 1 ? { ...counts, droppedNoRandom: 0 } : counts,
        firstRecord: isFirst ? 0 : facts.firstRecord,
        previous: isFirst ? new Uint8Array(32) : facts.previous,
        ...(hasRoot ? { checkpoint } : {}),
      } as BatchFacts;
    });
}
