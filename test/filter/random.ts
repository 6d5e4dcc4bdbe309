// Random exchanges and connections: every field present or absent, texts of any bytes and around their limits.

import fc from 'fast-check';
import type { Pairs, Text, Value } from '../host/abi.ts';
import { type Exchange, newConnectionId } from './exchange.ts';

/** Headers that the tests allow to be recorded. */
export const ALLOWED = ['x-a', 'x-b'];

const DETAILS = [
  'via_upstream',
  'direct_response',
  'rbac_access_denied_matched_policy[p]',
  'rbac_access_denied_matched_policy[none]',
  'jwt_authn_access_denied{Jwt_is_missing}',
  'http1.codec_error',
  'missing_host_header',
  'downstream_remote_disconnect',
  'route_not_found',
  'filter_chain_not_found',
  'response_timeout',
  'local_rate_limited',
];

const text = (max: number): fc.Arbitrary<Text> =>
  fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.constantFrom(max - 1, max, max + 1, 4 * max).map((length) => 'x'.repeat(length)),
  );
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const word = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 31n }));

const hex = (length: number): fc.Arbitrary<string> =>
  fc.bigInt({ min: 0n, max: 16n ** BigInt(length) - 1n }).map((value) => value.toString(16).padStart(length, '0'));
const span = hex(16);
const traceId = fc.oneof(hex(32), span);
const state = fc.constantFrom('-0', '-1', '-d', '-x', '');
const VALUES: Readonly<Record<string, fc.Arbitrary<Text>>> = {
  b3: fc.tuple(traceId, span, state).map(([trace, id, said]) => `${trace}-${id}${said}`),
  'x-b3-traceid': traceId,
  'x-b3-spanid': span,
  'x-b3-sampled': fc.constantFrom('0', '1', 'true'),
  traceparent: fc.tuple(hex(2), hex(32), span, hex(2)).map((parts) => parts.join('-')),
  'content-length': fc.oneof(fc.nat(2 ** 31).map(String), fc.constantFrom('01', '', '9007199254740992', '1 ')),
  'x-forwarded-client-cert': fc.oneof(
    text(512),
    text(500).map((uri) => Buffer.concat([Buffer.from('URI='), Buffer.from(uri)])),
  ),
  'x-envoy-attempt-count': fc.constantFrom('1', '2', '10'),
  ':method': fc.constantFrom('GET', 'POST', 'HEAD', 'CONNECT'),
};
const NAMES = [
  ':method',
  ':path',
  ':authority',
  'user-agent',
  'x-request-id',
  'traceparent',
  'content-type',
  'content-encoding',
  'content-length',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-sampled',
  'x-forwarded-client-cert',
  'x-envoy-attempt-count',
  'x-a',
  'x-b',
];
/** Envoy joins repeated values of the headers that it knows; others can come again. */
const REPEATABLE = new Set(['x-a', 'x-b', 'b3', 'traceparent', 'content-length']);

const header = fc
  .oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: 20 }))
  .chain((name) =>
    fc.tuple(
      fc.constant(name),
      fc.oneof((Object.hasOwn(VALUES, name) ? VALUES[name] : undefined) ?? text(1100), text(1100)),
    ),
  );
const headers: fc.Arbitrary<Pairs | undefined> = maybe(
  fc
    .array(header, { maxLength: 20 })
    .map((pairs) =>
      pairs.filter(([name], i) => REPEATABLE.has(name) || pairs.findIndex(([other]) => other === name) === i),
    ),
);

const metadata = (...names: string[]): fc.Arbitrary<ReadonlyMap<string, Value> | undefined> =>
  maybe(
    fc
      .array(fc.tuple(fc.constantFrom(...names), fc.oneof(text(256), fc.constantFrom('allowed', 'denied'))), {
        maxLength: 4,
      })
      .map((pairs) => new Map(pairs)),
  );

const SECONDS = 1_000_000_000n;

/** What exchanges and connections share. */
const shared = {
  startNs: maybe(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n })),
  durationNs: maybe(fc.oneof(word, fc.bigInt({ min: 0n, max: 2n * SECONDS }))),
  requestBytes: maybe(word),
  responseBytes: maybe(word),
  responseFlags: maybe(
    fc.oneof(
      fc.constant(0n),
      fc.nat(29).map((bit) => 1n << BigInt(bit)),
      word,
    ),
  ),
  codeDetails: maybe(fc.oneof(fc.constantFrom(...DETAILS), text(256))),
  upstreamCluster: maybe(text(256)),
  upstreamAddress: maybe(text(256)),
  upstreamPrincipal: maybe(text(512)),
  upstreamLocalPrincipal: maybe(text(512)),
  upstreamFailure: maybe(text(256)),
  rbac: metadata(
    'enforced_engine_result',
    'enforced_effective_policy_id',
    'shadow_engine_result',
    'shadow_effective_policy_id',
  ),
  claims: metadata('iss', 'sub', 'aud'),
  direction: maybe(fc.bigInt({ min: 0n, max: 2n })),
  mtls: maybe(fc.boolean()),
  tlsVersion: maybe(fc.constantFrom('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3', 'TLSv9')),
  requestedServerName: maybe(text(256)),
  sourceAddress: maybe(text(256)),
  destinationAddress: maybe(text(256)),
  peerPrincipal: maybe(text(512)),
  localPrincipal: maybe(text(512)),
  peerSubject: maybe(text(256)),
  peerDigest: maybe(fc.constantFrom('ab'.repeat(32), 'AB'.repeat(32), 'ab', '')),
  transportFailure: maybe(text(256)),
  filterChain: maybe(text(256)),
  filterStatePrincipal: maybe(text(512)),
  terminationDetails: maybe(fc.oneof(fc.constantFrom(...DETAILS), text(256))),
};

/** A connection of its own, and an upstream that no other one of the batch has: what is read of both once is read for it. */
function alone(exchange: Exchange): Exchange {
  const connectionId = newConnectionId();
  const { upstreamAddress } = exchange;
  if (upstreamAddress === undefined || upstreamAddress.length === 0) return { ...exchange, connectionId };
  return {
    ...exchange,
    connectionId,
    upstreamAddress: Buffer.concat([Buffer.from(`${connectionId} `), Buffer.from(upstreamAddress)]),
  };
}

export const anyExchange: fc.Arbitrary<Exchange> = fc
  .record({
    ...shared,
    requestHeaders: headers,
    responseHeaders: fc
      .tuple(headers, maybe(fc.integer({ min: 90, max: 700 })))
      .map(([pairs, code]) => (code === undefined ? pairs : [[':status', `${code}`] as const, ...(pairs ?? [])])),
    attempts: maybe(fc.bigInt({ min: 0n, max: 300n })),
    code: maybe(fc.bigInt({ min: 0n, max: 70_000n })),
    protocol: maybe(fc.constantFrom('HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3', 'SPDY')),
    grpcStatus: maybe(fc.bigInt({ min: 0n, max: 300n })),
    route: maybe(text(256)),
  })
  .map(alone);

export const anyConnection: fc.Arbitrary<Exchange> = fc
  .record({ ...shared, protocol: maybe(fc.constantFrom('HTTP/1.1', 'HTTP/2', 'SPDY')) })
  .map(alone);
