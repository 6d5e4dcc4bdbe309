// What an exchange costs the proxy: host calls and entries into the VM. These figures may go down, never up.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Exchange, newConnectionId, ordinary } from './exchange.ts';
import { Recorder } from './recorder.ts';

interface Cost {
  /** Calls of host functions. */
  readonly calls: number;
  /** Of these, the ones that hand over bytes, for which the host enters the VM again: the costly ones. */
  readonly allocations: number;
  /** Hooks that run for the exchange. */
  readonly hooks: number;
}

/** Cost of the last exchange, after the others have opened the batch. */
function costOf(...exchanges: readonly [Exchange, Exchange]): Cost {
  const recorder = new Recorder();
  const { machine } = recorder;
  const callsSoFar = (): number => [...machine.hostCalls.values()].reduce((sum, count) => sum + count, 0);
  const [first, last] = exchanges;
  recorder.record(first);
  const before = { calls: callsSoFar(), ...machine.entries };
  recorder.record(last);
  recorder.assertHealthy();
  return {
    calls: callsSoFar() - before.calls,
    allocations: machine.entries.allocations - before.allocations,
    hooks: machine.entries.hooks - before.hooks,
  };
}

const connectionId = newConnectionId();
const DENIAL = {
  code: 403n,
  codeDetails: 'rbac_access_denied_matched_policy[p]',
  upstreamAddress: undefined,
  attempts: undefined,
};
const MOST: [what: string, exchanges: readonly [Exchange, Exchange], most: Cost][] = [
  [
    'an ordinary exchange on a known connection',
    [ordinary({ connectionId }), ordinary({ connectionId })],
    { calls: 16, allocations: 13, hooks: 2 },
  ],
  ['the first exchange of a connection', [ordinary(), ordinary()], { calls: 29, allocations: 25, hooks: 2 }],
  ['a denial on a new connection', [ordinary(), ordinary(DENIAL)], { calls: 27, allocations: 24, hooks: 2 }],
];

for (const [what, exchanges, most] of MOST) {
  test(`${what}: at most ${most.calls} host calls, ${most.allocations} of which hand over bytes`, () => {
    const cost = costOf(...exchanges);
    for (const name of ['calls', 'allocations', 'hooks'] as const)
      assert.ok(cost[name] <= most[name], `${cost[name]} ${name}, more than ${most[name]}`);
    assert.ok(cost.calls > 5 && cost.hooks > 0, 'the exchange was recorded');
  });
}
