// What a trap does to the traffic of a proxy, by the role of the recorder and the policy for its failure.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../command.ts';
import { scratch, withEnvoy } from '../support.ts';
import { buildTrapModule } from './trap-module.ts';
import { POLICIES, type Policy, playTrap, ROLES, type Role, told } from './trap-proxy.ts';

const envoy = withEnvoy();

const DOCS = readFileSync(join(ROOT, 'docs', 'filter.md'), 'utf8');
const TRAPS = { 'log:3': 'log hook', 'tick:3': 'tick', 'allocate:3': 'no memory for the host' } as const;

/** What docs/filter.md says of a role, a trap and a policy. */
function documented(role: Role, trap: string, policy: Policy): string | undefined {
  const row = DOCS.split('\n').find((line) => line.startsWith(`| ${role} | ${trap} |`));
  return row?.split('|')[3 + Object.keys(POLICIES).indexOf(policy)]?.trim();
}

test('a trap does what docs/filter.md says', envoy.options, async (t) => {
  const dir = scratch(t);
  const wasmFile = buildTrapModule(dir);
  for (const role of ROLES)
    for (const [command, trap] of Object.entries(TRAPS))
      for (const policy of Object.keys(POLICIES) as Policy[])
        await t.test(`${role}, ${trap}, ${policy}`, async (t) => {
          const runDir = join(dir, `${ROLES.indexOf(role)}-${command.slice(0, 3)}-${policy.slice(5, 9)}`);
          const outcome = await playTrap(t, { binary: envoy.binary, dir: runDir, wasmFile, role, policy, command });
          assert.equal(told(outcome), documented(role, trap, policy), JSON.stringify(outcome));
          if (policy === 'fail_open: true') assert.match(told(outcome), /^no harm/);
        });
});
