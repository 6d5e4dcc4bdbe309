// Records held against the ground truth of the demo's services: the same exchanges, each with its facts.

import assert from 'node:assert/strict';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { OUTSIDE_CLUSTER } from '../../collector/src/demo/envoy-config.ts';
import { compare, countedOf, isAgreed, proxyOf } from '../../collector/src/demo/findings.ts';
import { INGRESS, POLICIES, SERVICES, type ServiceName, spiffeIdOf } from '../../collector/src/demo/policies.ts';
import { expectedRecords, recordKey, type Truth } from '../../collector/src/demo/truth.ts';

const PROXIES = [INGRESS, ...SERVICES];

const keyOf = (record: FlowRecord): string =>
  recordKey({
    proxy: proxyOf(record),
    reporter: record.reporter,
    verdict: record.verdict,
    method: record.request.method,
    path: record.request.path,
    status: record.response.code ?? null,
    spanId: record.trace.span_id ?? null,
  });

function principalOf(name: string): string {
  const proxy = PROXIES.find((one) => one.name === name);
  assert.ok(proxy, name);
  return spiffeIdOf(proxy.namespace, name);
}

/** The policy that refuses a call: the first deny policy that matches; the demo has none that only its allow policies refuse. */
function refusingPolicy(callee: ServiceName, caller: string, path: string): string | undefined {
  return POLICIES[callee].deny.find(
    ({ paths, exceptCallers }) =>
      (paths === undefined || paths.some((prefix) => path.startsWith(prefix))) && !exceptCallers?.includes(caller),
  )?.name;
}

/** Asserts that records which are no repeats are those of a truth, none missing and none twice, by service and side. */
export function assertEqualToTruth(truth: Truth, records: readonly FlowRecord[]): void {
  assert.deepEqual(countedOf(records).map(keyOf).toSorted(), expectedRecords(truth).toSorted());
  const agreements = compare(truth, records, INGRESS.name);
  assert.ok(isAgreed(agreements), JSON.stringify(agreements));
}

/** Asserts the facts that every record of an end must carry: identity, timing, bytes, trace; and the policy where one refused. */
export function assertFacts(truth: Truth, records: readonly FlowRecord[]): void {
  const traces = new Map(truth.exchanges.map(({ span_id, trace_id }) => [span_id, trace_id]));
  const [earliest = ''] = truth.exchanges.map(({ at }) => at);
  for (const record of countedOf(records)) {
    const { request, response, reporter, verdict, source, destination, trace, connection } = record;
    const about = `${record.id}: ${keyOf(record)}`;
    const proxy = proxyOf(record);
    // The ledger's clock is in milliseconds, and the proxy's is the same clock.
    assert.ok(Date.parse(record.time) >= Date.parse(earliest) - 1, about);
    assert.match(record.duration ?? '', /^\d+\.\d{6}s$/, about);
    assert.ok((request.total_size ?? 0) > 0, about);
    if (response.code !== undefined) assert.ok((response.total_size ?? 0) > 0, about);
    if (trace.span_id !== undefined) assert.equal(trace.id, traces.get(trace.span_id), about);
    assert.equal(record.record.truncated, undefined, about);
    assert.ok(connection.id !== undefined && connection.direction !== undefined, about);
    if (reporter === 'destination') {
      assert.equal(destination.principal, principalOf(proxy), about);
      assert.equal(connection.mtls, true, about);
      assert.equal(connection.tls_version, 'TLSv1.3', about);
      assert.match(connection.sha256_peer_certificate_digest ?? '', /^[0-9a-f]{64}$/, about);
      assert.match(source.principal ?? '', /^spiffe:\/\/demo\.mesh\/ns\/\w+\/sa\/\w+$/, about);
      const policy = refusingPolicy(proxy as ServiceName, source.principal ?? '', request.path ?? '');
      assert.equal(verdict === 'denied' ? record.policy : undefined, policy, about);
      assert.equal(record.rbac.result, verdict === 'denied' ? 'denied' : 'allowed', about);
    } else if (verdict !== 'failed' && record.upstream.cluster !== OUTSIDE_CLUSTER) {
      const callee = reporter === 'gateway' ? 'frontend' : (request.host ?? '').replace(/\.\w+$/, '');
      assert.equal(destination.principal, principalOf(callee), about);
    }
    if (reporter === 'source') assert.equal(source.workload, proxy, about);
  }
}
