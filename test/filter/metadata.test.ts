// Metadata of other filters that the host cannot hand over whole: a value without bytes in one must not hide another.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Value } from '../host/abi.ts';
import { ordinary } from './exchange.ts';
import { recorded } from './recorded.ts';

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
