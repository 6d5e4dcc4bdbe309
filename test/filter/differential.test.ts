// What the emulated Envoy said about an exchange is what the decoded record says: random and hostile values, absent ones too.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import type { Pairs, Value } from '../host/abi.ts';
import { type Exchange, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { expectedOf, LIMITS } from './expected.ts';
import { assertRecorded, recorded } from './recorded.ts';
import { CONFIGURATION, Recorder } from './recorder.ts';

test('an ordinary exchange', () => {
  assertRecorded([ordinary()]);
});

test('an ordinary exchange as people read it', () => {
  const recorder = new Recorder();
  recorder.record(ordinary({ connectionId: 77n }));
  recorder.flush();
  const [batch] = recorder.batches();
  assert.ok(batch !== undefined);
  const { record, ...rest } = recordOf(sourceOf(batch, 5, 0));
  assert.equal(rest.id, '5.0');
  assert.equal(rest.time, '2026-11-24T11:59:59.995487001Z');
  assert.equal(rest.duration, '0.004512s');
  assert.equal(rest.reporter, 'destination');
  assert.equal(rest.source.principal, 'spiffe://demo.mesh/ns/shop/sa/frontend');
  assert.equal(rest.destination.workload, 'orders');
  assert.equal(rest.request.id, '5e0d6a1c-2b3f-4c5d-8e7f-00112233aabb');
  assert.equal(rest.trace.id, '0af7651916cd43dd8448eb211c80319c');
  assert.equal(rest.connection.id, 77);
  assert.equal(record.not_utf8, undefined);
  assert.equal(record.truncated, undefined);
});

const EMPTY: Exchange = {};

test('an exchange of which nothing is known', () => {
  const [got] = recorded([EMPTY]);
  const { start_ns: startNs, ...rest } = got ?? {};
  const { start_ns: _, ...want } = expectedOf(EMPTY).flat;
  assert.deepEqual(rest, want);
  assert.equal(typeof startNs, 'bigint');
});

const TEXT_FIELDS = [
  'protocol',
  'codeDetails',
  'route',
  'upstreamCluster',
  'upstreamAddress',
  'upstreamPrincipal',
  'upstreamLocalPrincipal',
  'tlsVersion',
  'requestedServerName',
  'sourceAddress',
  'destinationAddress',
  'peerPrincipal',
  'localPrincipal',
  'peerSubject',
  'peerDigest',
  'transportFailure',
  'filterChain',
  'filterStatePrincipal',
] as const satisfies readonly (keyof Exchange)[]; // prettier-ignore

test('each fact alone absent, and each text alone empty', () => {
  const whole = ordinary();
  const keys = Object.keys(whole).filter((key) => key !== 'startNs') as (keyof Exchange)[];
  const without = keys.map((key) => {
    const { [key]: _, ...rest } = { ...whole, connectionId: newConnectionId() };
    return rest;
  });
  const empty = TEXT_FIELDS.map((key) => ({ ...whole, connectionId: newConnectionId(), [key]: '' }));
  assertRecorded([...without, ...empty]);
});

/** Texts at their limit, one byte beyond, and far beyond. */
const around = (limit: number): string[] =>
  [1, limit - 1, limit, limit + 1, 4 * limit].map((length) => 'p'.repeat(length));

test('texts at their limit, one byte beyond, and far beyond', () => {
  const principals = new Set<string>([
    'peerPrincipal',
    'localPrincipal',
    'upstreamPrincipal',
    'upstreamLocalPrincipal',
    'filterStatePrincipal',
  ]);
  const exchanges = TEXT_FIELDS.filter((key) => !['protocol', 'tlsVersion', 'peerDigest'].includes(key)).flatMap(
    (key) =>
      around(principals.has(key) ? LIMITS.principal : LIMITS.other).map((text) =>
        // One host has one identity in a batch.
        ordinary({
          upstreamFailure: '',
          code: 503n,
          responseFlags: 0x20n,
          upstreamAddress: `${key} ${text.length}`,
          [key]: text,
        }),
      ),
  );
  const headers: [name: string, limit: number][] = [
    [':path', LIMITS.path],
    [':method', LIMITS.other],
    [':authority', LIMITS.authority],
    ['user-agent', LIMITS.userAgent],
    ['content-type', LIMITS.other],
    ['content-encoding', LIMITS.other],
    ['b3', LIMITS.other],
    ['x-request-id', LIMITS.other],
    ['traceparent', LIMITS.other],
  ];
  for (const [name, limit] of headers)
    for (const text of around(limit)) exchanges.push(withHeaders(ordinary(), { [name]: text }));
  assertRecorded(exchanges);
});

test('values that were cut are counted once each', () => {
  const exchanges = [
    ordinary({ upstreamCluster: 'r'.repeat(257), filterChain: 'f'.repeat(1000) }),
    withHeaders(ordinary(), {
      ':path': '/'.repeat(1025),
      'user-agent': 'u'.repeat(257),
      'x-a': 'h'.repeat(3000),
      'x-b': 'h',
    }),
  ];
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, ...ALLOW } });
  for (const exchange of exchanges) recorder.record(exchange);
  recorder.flush();
  const want = exchanges.reduce((sum, exchange) => sum + expectedOf(exchange, ALLOWED).cut, 0);
  assert.equal(recorder.batches().at(-1)?.counters.truncated, want);
  assert.equal(want, 5);
});

const ALLOWED = ['x-a', 'x-b', 'x-forwarded-for'];
const ALLOW = { request_headers: ALLOWED.join(',') };

test('headers of the allow-list, in wire order, with every duplicate, and no others', () => {
  const requestHeaders: Pairs = [
    ...(ordinary().requestHeaders ?? []),
    ['x-b', 'first'],
    ['authorization', 'Bearer secret'],
    ['cookie', 'secret'],
    ['x-a', ''],
    ['x-b', Uint8Array.of(0xff, 0x20)],
    ['x-ab', 'no'],
  ];
  assertRecorded([ordinary({ requestHeaders })], ALLOWED, { configuration: { ...CONFIGURATION, ...ALLOW } });
});

test('a thousand headers', () => {
  const many = Array.from({ length: 992 }, (_, i) => [`x-header-${i}`, `value ${i}`] as const);
  const requestHeaders = [...many, ...(ordinary().requestHeaders ?? [])];
  assert.equal(requestHeaders.length, 1000);
  assertRecorded([ordinary({ requestHeaders })]);
});

test('request ids and trace parents: parsed when they are well formed, kept as text when not', () => {
  const ids = [
    '5E0D6A1C-2B3F-4C5D-8E7F-00112233AABB',
    '5e0d6a1c2b3f4c5d8e7f00112233aabb',
    'x',
    `${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}`,
  ];
  const id = '0af7651916cd43dd8448eb211c80319c';
  const span = 'b7ad6b7169203331';
  const traces = [
    `00-${id}-${span}-00`,
    `00-${id}-${span}-ff`,
    `01-${id}-${span}-01-more`,
    `00-${id}-${span}-01-more`,
    `ff-${id}-${span}-01`,
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${id}-${'0'.repeat(16)}-01`,
    `00-${id.toUpperCase()}-${span}-01`,
    ` 00-${id}-${span}-01\t`,
    '-',
    `00-${id}-${span}`,
  ]; // prettier-ignore
  assertRecorded([
    ...ids.map((text) => withHeaders(ordinary(), { 'x-request-id': text })),
    ...traces.map((text) => withHeaders(ordinary(), { traceparent: text })),
  ]);
});

test('repeated identifiers leave a batch that every collector accepts', () => {
  const uuid = '5e0d6a1c-2b3f-4c5d-8e7f-00112233aabb';
  const repeated = (name: string, ...values: string[]): Exchange => {
    const base = withHeaders(ordinary(), { [name]: undefined });
    return {
      ...base,
      requestHeaders: [...(base.requestHeaders ?? []), ...values.map((value) => [name, value] as const)],
    };
  };
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const exchanges = [
    repeated('x-request-id', uuid, 'text'),
    repeated('x-request-id', 'text', uuid),
    repeated('traceparent', trace, trace),
    repeated('traceparent', 'a'.repeat(200), 'b'.repeat(200), 'c'),
    repeated('user-agent', 'one', 'two'),
  ];
  assertRecorded(exchanges);
});

const VERDICTS: [verdict: string, exchange: Exchange][] = [
  ['allowed', {}],
  ['allowed', { code: 404n }],
  ['allowed', { code: 500n }],
  ['allowed', { codeDetails: 'direct_response', upstreamAddress: '' }],
  ['denied', { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[deny-inventory]', upstreamAddress: '' }],
  ['denied', { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[none]', upstreamAddress: '' }],
  ['denied', { code: 401n, codeDetails: 'jwt_authn_access_denied{Jwt_is_missing}', upstreamAddress: '' }],
  ['denied', { code: 403n, codeDetails: 'ext_authz_denied', responseFlags: 0x1000n, upstreamAddress: '' }],
  ['denied', { code: 429n, codeDetails: 'request_rate_limited', responseFlags: 0x800n, upstreamAddress: '' }],
  ['denied', { code: 429n, codeDetails: 'local_rate_limited', upstreamAddress: '' }],
  ['invalid', { code: 400n, codeDetails: 'http1.codec_error', responseFlags: 0x40000n, requestHeaders: [] }],
  ['invalid', { code: 400n, codeDetails: 'missing_host_header', upstreamAddress: '' }],
  ['reset', { code: 0n, codeDetails: 'downstream_remote_disconnect', responseFlags: 0x4000n }],
  ['reset', { code: 200n, responseFlags: 0x4000n }],
  ['reset', { code: 0n, codeDetails: '' }],
  ['unrouted', { code: 404n, codeDetails: 'route_not_found', responseFlags: 0x100n, upstreamAddress: '' }],
  [
    'failed',
    { code: 503n, codeDetails: 'upstream_reset_before_response_started{connection_termination}', responseFlags: 0x40n },
  ],
  ['failed', { code: 504n, codeDetails: 'response_timeout', responseFlags: 0x4n }],
  ['failed', { code: 503n, codeDetails: 'no_healthy_upstream', responseFlags: 0x2n, upstreamAddress: '' }],
  ['unknown', { code: 418n, codeDetails: 'something_new', upstreamAddress: '' }],
];

test('every class of verdict', () => {
  const exchanges = VERDICTS.map(([, more]) => ordinary(more));
  assertRecorded(exchanges);
  assert.deepEqual(
    recorded(exchanges).map(({ verdict }) => verdict),
    VERDICTS.map(([verdict]) => verdict),
  );
});

test('every response flag alone', () => {
  const unexplained = { code: 503n, codeDetails: 'something_new', upstreamAddress: undefined };
  const flags = Array.from({ length: 30 }, (_, place) => 1n << BigInt(place));
  assertRecorded(flags.map((responseFlags) => ordinary({ ...unexplained, responseFlags, upstreamFailure: 'why' })));
});

test('a filter whose metadata cannot be handed over hides no decision', () => {
  const rbac = new Map([
    ['enforced_engine_result', 'allowed'],
    ['shadow_engine_result', 'denied'],
    ['shadow_effective_policy_id', 'trial'],
  ]);
  const claims = new Map([
    ['iss', 'https://issuer'],
    ['sub', 'alice'],
  ]);
  // A message without bytes of its own, as a null in a Struct is.
  assertRecorded([
    ordinary({ rbac, claims, otherMetadata: new Map<string, Value>([['none', {}]]) }),
    ordinary({ otherMetadata: {} }),
  ]);
});

test('types and encodings of both sides, as they were claimed', () => {
  const exchange = withHeaders(ordinary(), { 'content-type': 'application/json', 'content-encoding': 'gzip' });
  const responseHeaders: Pairs = [
    [':status', '200'],
    ['content-encoding', ''],
    ['content-type', 'text/html'],
    ['content-encoding', 'br'],
    ['content-type', 'later'],
  ];
  const [record] = recorded([{ ...exchange, responseHeaders }]);
  assert.equal(record?.['request_content_type'], 'application/json');
  assert.equal(record?.['request_encoding'], 'gzip');
  assert.equal(record?.['response_content_type'], 'text/html');
  assert.equal(record?.['response_encoding'], 'br');
  assertRecorded([{ ...exchange, responseHeaders }]);
  for (const length of [255, 256, 257, 1000])
    assertRecorded([
      {
        ...exchange,
        responseHeaders: [
          [':status', '200'],
          ['content-encoding', 'e'.repeat(length)],
        ],
      },
    ]);
});

const LENGTHS = [
  '0',
  '1',
  '1000',
  '9007199254740991',
  '9007199254740992',
  '99999999999999999',
  '01',
  '+1',
  '1 ',
  '',
  'x',
];

test('the size of a response: from its headers where they say it, asked for everywhere else', () => {
  const withLength = (more: Exchange, ...lengths: string[]): Exchange => ({
    ...ordinary({ responseBytes: 77n, ...more }),
    responseHeaders: [
      [':status', `${more.code ?? 200n}`],
      ...lengths.map((length) => ['content-length', length] as const),
      ['server', 'envoy'],
    ],
  });
  const method = (name: string): Exchange => withHeaders(ordinary(), { ':method': name });
  const exchanges = [
    ...LENGTHS.map((length) => withLength({}, length)),
    withLength({}),
    withLength({}, '5', '5'),
    ...[101n, 199n, 200n, 201n, 204n, 206n, 302n, 304n, 399n, 400n, 503n].map((code) => withLength({ code }, '5')),
    ...[1n, 0x20n, 0x4000n].map((responseFlags) => withLength({ responseFlags }, '5')),
    ...['GET', 'HEAD', 'CONNECT', 'head', 'POST'].map((name) =>
      withLength({ requestHeaders: method(name).requestHeaders }, '5'),
    ),
    withLength({ responseTrailers: [['x-trailer', 'a']] }, '5'),
    withLength({ requestHeaders: undefined }, '5'),
  ];
  assertRecorded(exchanges);
  const sizes = recorded(exchanges.slice(0, 3)).map((record) => record['response_bytes']);
  const map = ':status200content-lengthserverenvoy'.length;
  assert.deepEqual(sizes, [map + 1 + 0, map + 1 + 1, map + 4 + 1000]);
});

test('a first attempt that the request itself tells of, and every other one', () => {
  const said = (count: string, more: Exchange = {}): Exchange =>
    withHeaders(ordinary({ attempts: 9n, ...more }), { 'x-envoy-attempt-count': count });
  const exchanges = [said('1'), said('2'), said('01'), said('x'), said('1', { code: 503n, responseFlags: 0x40n })];
  assertRecorded(exchanges.map((exchange) => ({ ...exchange, responseHeaders: [] })));
  assertRecorded(exchanges);
  assert.deepEqual(
    recorded(exchanges).map((record) => record['attempts']),
    [undefined, 9, 9, 9, 9],
  );
});
