// Goal: an identity in a record is one that was accepted; what a side only claims never looks like one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { type BatchFacts, encodeBatch, type RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { parseFilter } from '../../../collector/src/core/query/filter.ts';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import { START_NS } from '../../support/facts.ts';

const SHOWN = 'spiffe://mesh/ns/backend/sa/inventory';
const TOLD = 'spiffe://mesh/ns/shop/sa/told';
const CLAIMED = 'spiffe://mesh/ns/shop/sa/claimed';

function recordWith(row: Partial<RowFacts>, more: Partial<BatchFacts> = {}): FlowRecord {
  const rows: RowFacts[] = [{ verdict: 'allowed', startNs: START_NS, connection: {}, outcome: {}, ...row }];
  const batch = {
    stream: new Uint8Array(16),
    batchNumber: 0,
    firstRecord: 0,
    rows,
    nodeCluster: 'orders.shop',
    ...more,
  };
  return recordOf(sourceOf(decodeBatch(encodeBatch(batch)), 0, 0));
}

/** Everything that could name the caller. */
const CALLER = {
  direction: 1,
  mtls: true,
  peerPrincipal: SHOWN,
  filterStatePrincipal: TOLD,
  peerWorkload: 'w',
  peerNamespace: 'n',
  peerCluster: 'c',
} as const;

test('the certificate first, then what the filter state says', () => {
  const of = (change: object): FlowRecord['source'] => recordWith({ connection: { ...CALLER, ...change } }).source;
  const claims = { workload: 'w', cluster: 'c' };
  const shown = { principal: SHOWN, principal_from: 'mtls', namespace: 'backend', service_account: 'inventory' };
  const told = { principal: TOLD, principal_from: 'filter_state', namespace: 'shop', service_account: 'told' };
  assert.deepEqual(of({}), { ...shown, ...claims });
  assert.deepEqual(of({ mtls: false }), { ...told, ...claims }, 'a certificate without mTLS');
  assert.deepEqual(of({ peerPrincipal: undefined }), { ...told, ...claims });
  const neither = { peerPrincipal: undefined, filterStatePrincipal: undefined };
  assert.deepEqual(of(neither), { namespace: 'n', ...claims }, 'a claimed namespace only without a principal');
  const foreign = { principal: 'spiffe://other/x', principal_from: 'mtls' };
  assert.deepEqual(of({ peerPrincipal: 'spiffe://other/x' }), { ...foreign, ...claims });
});

test('a refused certificate is nobody, whatever else is said of its connection', () => {
  for (const role of ['sidecar', 'gateway', 'waypoint'] as const) {
    const row: Partial<RowFacts> = {
      kind: 'connection',
      verdict: 'failed',
      connection: { ...CALLER, transportFailure: 'CERTIFICATE_VERIFY_FAILED' },
    };
    const record = recordWith(row, { role });
    assert.deepEqual(record.source, {}, role);
    assert.equal(record.verdict, 'failed');
    assert.equal(record.connection.certificate_rejected, true);
    assert.equal(record.connection.rejected_principal, SHOWN);
    const asks = { record, startNs: START_NS };
    assert.equal(parseFilter('has(source.principal) || has(source.namespace)').matches(asks), false);
    assert.equal(parseFilter('connection.certificate_rejected').matches(asks), true);
    assert.equal(parseFilter(`connection.rejected_principal == "${SHOWN}"`).matches(asks), true);
  }
  assert.equal(recordWith({ connection: CALLER }).connection.certificate_rejected, undefined);
});

test('an upstream that was refused is nobody, one of a later attempt is', () => {
  const outcome = { upstreamPrincipal: SHOWN, upstreamFailure: 'CERTIFICATE_VERIFY_FAILED' };
  const of = (responseFlags: number): FlowRecord =>
    recordWith({ connection: { direction: 2 }, outcome: { ...outcome, responseFlags } });
  const refused = of(0x20);
  assert.deepEqual(refused.destination, {});
  assert.equal(refused.upstream.principal, SHOWN, 'what it showed is told as that');
  assert.equal(of(0).destination.principal, SHOWN);
});

test('version 1 has no bit for a refused certificate, and shows no principal either', () => {
  const { source, connection } = recordWith({ connection: { ...CALLER, transportFailure: 'x' } }, { version: 1 });
  assert.deepEqual(source, {});
  assert.deepEqual([connection.certificate_rejected, connection.rejected_principal], [undefined, undefined]);
});

test('x-forwarded-client-cert is a claim beside the identity, not in its place', () => {
  const outcome = { claimedPrincipal: CLAIMED };
  const { source } = recordWith({ connection: CALLER, outcome });
  assert.deepEqual([source.principal, source.claimed_principal], [SHOWN, CLAIMED]);
  const alone = recordWith({ outcome }).source;
  assert.deepEqual(alone, { claimed_principal: CLAIMED });
});

test('each side is told of as the reporter knows it', () => {
  const outcome = {
    upstreamPrincipal: 'spiffe://mesh/ns/backend/sa/payments',
    upstreamLocalPrincipal: TOLD,
    upstreamWorkload: 'u',
    upstreamNamespace: 'un',
  };
  const callee = { principal: outcome.upstreamPrincipal, namespace: 'backend', service_account: 'payments' };
  const outbound = recordWith({ connection: { ...CALLER, direction: 2 }, outcome });
  assert.equal(outbound.reporter, 'source');
  const own = {
    principal: TOLD,
    principal_from: 'mtls',
    namespace: 'shop',
    service_account: 'told',
    workload: 'orders',
  };
  assert.deepEqual(outbound.source, own);
  assert.deepEqual(outbound.destination, { ...callee, workload: 'u' });
  const inbound = recordWith({ connection: CALLER, outcome });
  assert.deepEqual(inbound.destination, { workload: 'orders' }, 'nothing of the upstream');
  const gateway = recordWith({ connection: CALLER, outcome }, { role: 'gateway' });
  assert.deepEqual(gateway.destination, { ...callee, workload: 'u' });
  assert.equal(gateway.source.workload, 'w');
  const plain = recordWith({ connection: { direction: 2 }, outcome: { upstreamNamespace: 'un' } });
  assert.deepEqual(plain.destination, { namespace: 'un' });
});

test('traces of W3C and B3, each as it came', () => {
  const id = Uint8Array.from({ length: 16 }, (_, i) => (i < 8 ? 0 : i));
  const span = new Uint8Array(8).fill(1);
  const of = (flags: number, isB3: boolean, bits = 0): FlowRecord['trace'] =>
    recordWith({ trace: { id, span, flags, isB3 }, flags: bits }).trace;
  const whole = { id: '000000000000000008090a0b0c0d0e0f', span_id: '01'.repeat(8) };
  assert.deepEqual(of(1, false), { ...whole, sampled: true, format: 'w3c' });
  assert.deepEqual(of(0xfe, false), { ...whole, sampled: false, format: 'w3c' });
  assert.deepEqual(of(0, true), { ...whole, sampled: false, format: 'b3' });
  assert.deepEqual(of(4, true), { ...whole, format: 'b3' }, 'no decision yet');
  assert.deepEqual(of(2, true, 256), { ...whole, id: '08090a0b0c0d0e0f', sampled: true, format: 'b3' }, 'debug');
});

test('a connection has its own names', () => {
  const outcome = { codeDetails: 'downstream_remote_close', responseFlags: 4, protocol: 'HTTP/2' } as const;
  const { response, connection, request } = recordWith({ kind: 'connection', outcome, requestBytes: 1 });
  assert.deepEqual(response, { flags: 4 });
  assert.deepEqual(connection, { termination_details: 'downstream_remote_close' });
  assert.deepEqual(request, { protocol: 'HTTP/2', total_size: 1 });
  assert.deepEqual(recordWith({ outcome }).response, { code_details: 'downstream_remote_close', flags: 4 });
});

test('an entry that a connection and an exchange share is read for each in its way', () => {
  const outcome = { codeDetails: 'shared' };
  const common = { verdict: 'allowed', startNs: START_NS, connection: {}, outcome } as const;
  const rows: RowFacts[] = [common, { ...common, kind: 'connection' }, common];
  const batch = decodeBatch(encodeBatch({ stream: new Uint8Array(16), batchNumber: 0, firstRecord: 0, rows }));
  const seen = [0, 1, 2].map((row) => recordOf(sourceOf(batch, 0, row)));
  assert.deepEqual(
    seen.map(({ response, connection }) => [response.code_details, connection.termination_details]),
    [
      ['shared', undefined],
      [undefined, 'shared'],
      ['shared', undefined],
    ],
  );
});
