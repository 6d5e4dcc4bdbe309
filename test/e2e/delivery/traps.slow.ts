// What a trap does to the traffic of a proxy, by the role of the recorder and the policy for its failure.

import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, withEnvoy } from '../support.ts';
import { buildTrapModule } from './trap-module.ts';
import { POLICIES, type Policy, playTrap, ROLES, told } from './trap-proxy.ts';

const envoy = withEnvoy();

test('traps', envoy.options, async (t) => {
  const dir = scratch(t);
  const wasmFile = buildTrapModule(dir);
  for (const role of ROLES)
    for (const command of ['log:3', 'tick:3', 'allocate:3'])
      for (const policy of Object.keys(POLICIES) as Policy[])
        await t.test(`${role}, ${command}, ${policy}`, async (t) => {
          const outcome = await playTrap(t, {
            binary: envoy.binary,
            dir: join(dir, `${role}-${command.replace(':', '-')}-${policy.replace(': ', '-')}`),
            wasmFile,
            role,
            policy,
            command,
          });
          t.diagnostic(`${told(outcome)} ${JSON.stringify(outcome)}`);
        });
});
