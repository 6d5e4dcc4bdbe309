// What other filters left behind: metadata that the host cannot hand over whole, where a value without bytes in one must not hide
// another; and what Istio's peers say of themselves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Value } from '../host/abi.ts';
import { ordinary } from './exchange.ts';
import { recorded } from './recorded.ts';
import { CONFIGURATION } from './recorder.ts';

/** What a null is to Envoy: it refuses to turn it, and every map that holds it, into bytes (status 3). */
const NO_BYTES: Value = {};
const RBAC = new Map<string, Value>([
  ['enforced_engine_result', 'allowed'],
  ['istio_dry_run_deny_shadow_engine_result', 'denied'],
  ['istio_dry_run_deny_shadow_effective_policy_id', 'trial'],
]);
const CLAIMS = new Map<string, Value>([
  ['iss', 'https://issuer'],
  ['sub', 'alice'],
]);

test('a claim without bytes does not hide what RBAC decided', () => {
  const claims = new Map([...CLAIMS, ['nothing', NO_BYTES] as const]);
  const [whole, partial] = recorded([ordinary({ rbac: RBAC, claims: CLAIMS }), ordinary({ rbac: RBAC, claims })]);
  for (const record of [whole, partial]) {
    assert.equal(record?.['shadow_policy'], 'trial');
    assert.equal(record?.['shadow_result'], whole?.['shadow_result']);
    assert.equal(record?.['policy_result'], whole?.['policy_result']);
  }
  assert.equal(whole?.['subject'], 'alice');
  assert.equal(partial?.['subject'], undefined);
});

test('an RBAC value without bytes does not hide the token', () => {
  const [record] = recorded([ordinary({ rbac: new Map([...RBAC, ['nothing', NO_BYTES]]), claims: CLAIMS })]);
  assert.equal(record?.['subject'], 'alice');
  assert.equal(record?.['token_issuer'], 'https://issuer');
  assert.equal(record?.['shadow_policy'], undefined);
});

const ISTIO = { configuration: { ...CONFIGURATION, peer_metadata: 'istio' } };
const PEER = new Map<string, Value>([
  ['name', 'frontend-0'],
  ['namespace', 'shop'],
  ['workload', 'frontend'],
  ['cluster', 'east'],
  ['labels', new Map([['workload', 'never']])],
]);

test('what Istio keeps of the peers is recorded on each side, and only where the configuration says so', () => {
  const upstreamPeer = new Map<string, Value>([
    ['workload', 'orders'],
    ['namespace', 'shop'],
  ]);
  const exchange = ordinary({ downstreamPeer: PEER, upstreamPeer });
  const [record] = recorded([exchange], ISTIO);
  assert.equal(record?.['peer_workload'], 'frontend');
  assert.equal(record?.['peer_namespace'], 'shop');
  assert.equal(record?.['peer_cluster'], 'east');
  assert.equal(record?.['upstream_workload'], 'orders');
  assert.equal(record?.['upstream_namespace'], 'shop');
  const [silent] = recorded([exchange]);
  for (const name of ['peer_workload', 'peer_namespace', 'peer_cluster', 'upstream_workload', 'upstream_namespace'])
    assert.equal(silent?.[name], undefined, name);
});

test('peers that say nothing, too much, or no pairs at all', () => {
  const long = new Map<string, Value>([
    ['workload', 'w'.repeat(257)],
    ['namespace', ''],
    ['cluster', Uint8Array.of(0xff, 0x80)],
  ]);
  const [cut, none, broken, again] = recorded(
    [
      ordinary({ downstreamPeer: long }),
      ordinary({ downstreamPeer: new Map() }),
      ordinary({ downstreamPeer: new Map([['workload', NO_BYTES]]) }),
      ordinary({ downstreamPeer: PEER, upstreamAddress: '' }),
    ],
    ISTIO,
  );
  assert.equal(cut?.['peer_workload'], 'w'.repeat(256));
  assert.equal(cut?.['cuts'], 'otherCut');
  assert.equal(cut?.['peer_namespace'], undefined);
  assert.equal(cut?.['peer_cluster'], '\xff\x80');
  for (const record of [none, broken]) assert.equal(record?.['peer_workload'], undefined);
  assert.equal(again?.['peer_workload'], 'frontend');
});

test('the identity that a waypoint keeps in filter state stands beside what TLS proved', () => {
  const principal = 'spiffe://demo.mesh/ns/shop/sa/waypointed';
  const [inner, both] = recorded([
    ordinary({ filterStatePrincipal: principal, mtls: undefined, tlsVersion: undefined }),
    ordinary({ filterStatePrincipal: principal }),
  ]);
  assert.equal(inner?.['filter_state_principal'], principal);
  assert.equal(inner?.['peer_principal'], undefined);
  assert.equal(both?.['filter_state_principal'], principal);
  assert.equal(both?.['peer_principal'], 'spiffe://demo.mesh/ns/shop/sa/frontend');
});
