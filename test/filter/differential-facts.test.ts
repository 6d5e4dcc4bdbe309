// What the emulated Envoy said about an exchange is what the decoded record says: decisions, numbers, and what exchanges share.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Value } from '../host/abi.ts';
import { newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { flatten } from './flat.ts';
import { assertRecorded } from './recorded.ts';
import { CONFIGURATION, Recorder } from './recorder.ts';

test('decisions of RBAC and claims of a token', () => {
  const denied = new Map<string, Value>([
    ['enforced_engine_result', 'denied'],
    ['enforced_effective_policy_id', 'deny-inventory'],
    ['shadow_engine_result', 'allowed'],
    ['shadow_effective_policy_id', 'trial'],
  ]);
  const allowed = new Map<string, Value>([['enforced_engine_result', 'allowed']]);
  const claims = new Map<string, Value>([
    ['iss', 'https://issuer'],
    ['sub', 'alice'],
    ['exp', 1.5e9],
    ['aud', new Map([['a', '']])],
  ]);
  const refusal = { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[deny-inventory]', upstreamAddress: '' };
  assertRecorded([
    ordinary({ ...refusal, rbac: denied }),
    ordinary({ rbac: allowed, claims }),
    ordinary({ claims: new Map([['sub', 'b'.repeat(257)]]) }),
    ordinary({ ...refusal, rbac: allowed }),
  ]);
});

test('numbers at and beyond their range', () => {
  const words = [
    0n,
    1n,
    255n,
    256n,
    65_535n,
    65_536n,
    2n ** 32n,
    2n ** 48n - 1n,
    2n ** 48n,
    2n ** 53n,
    2n ** 63n - 1n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const fields = [
    'durationNs',
    'requestBytes',
    'responseBytes',
    'attempts',
    'code',
    'grpcStatus',
    'responseFlags',
    'connectionId',
    'direction',
    'startNs',
  ] as const;
  const exchanges = fields.flatMap((field) => words.map((word) => ordinary({ [field]: word })));
  assertRecorded(exchanges);
  const grpc = words.map((grpcStatus) => withHeaders(ordinary({ grpcStatus }), { 'content-type': 'application/grpc' }));
  assertRecorded(grpc);
});

test('a gRPC status is recorded only where the content type says gRPC', () => {
  const status = { grpcStatus: 5n };
  assertRecorded([
    ordinary(status),
    withHeaders(ordinary(status), { 'content-type': 'application/grpc' }),
    withHeaders(ordinary({ grpcStatus: 0n }), { 'content-type': 'application/grpc+proto' }),
  ]);
});

test('exchanges of one connection share what was read once; another connection does not', () => {
  const connectionId = newConnectionId();
  const first = ordinary({ connectionId });
  const other = ordinary({ sourceAddress: '10.0.0.10:1', peerPrincipal: 'spiffe://demo.mesh/ns/shop/sa/other' });
  assertRecorded([first, { ...first, code: 404n }, other, first]);
  const cut = ordinary({ peerPrincipal: 'p'.repeat(600) });
  assertRecorded([cut, cut]);
  // 4,096 connections later its place in any cache was used by others.
  const many = Array.from({ length: 300 }, (_, i) =>
    ordinary({ connectionId: 16_384n + BigInt(i) * 256n, sourceAddress: `10.1.0.1:${i}` }),
  );
  assertRecorded([...many, ...many]);
  assertRecorded([
    { ...first, connectionId: undefined },
    { ...other, connectionId: undefined },
  ]);
});

test('the batch names the proxy, its role and its stream', () => {
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, role: 'gateway' } });
  recorder.record(ordinary());
  recorder.flush();
  const [batch] = recorder.batches();
  assert.ok(batch !== undefined);
  const nameOf = (number: number): string => Buffer.from(batch.dictionary.bytes(number)).toString();
  assert.equal(nameOf(batch.nodeId), 'sidecar~10.0.0.7~orders-0.shop~shop.svc.cluster.local');
  assert.equal(nameOf(batch.nodeCluster), 'orders.shop');
  assert.equal(batch.role, 'gateway');
  assert.ok(batch.stream.some((byte) => byte !== 0));
  assert.ok(batch.secret.some((byte) => byte !== 0));
  const other = new Recorder({ seed: 2 });
  other.record(ordinary());
  other.flush();
  assert.notDeepEqual(other.batches()[0]?.stream, batch.stream);
  assert.deepEqual(flatten(batch, 0)['direction'], 1);
});
