// Goal: the answer of /v1/coverage is what its description says, stands on a checkpoint, and keeps to its range.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/schema';
import type { Coverage } from '../../collector/src/index/coverage.ts';
import { ProxyMaker, type VmMaker } from '../index/proxy-maker.ts';
import { admitted } from '../support/logs.ts';
import { type Setup, setup } from './harness.ts';

type Answer = Coverage & {
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
};

const ask = async (s: Setup, query = ''): Promise<Answer> =>
  (await s.json(`/v1/coverage${query}`)) as unknown as Answer;

async function add(s: Setup, ...wires: readonly Uint8Array[]): Promise<void> {
  for (const wire of wires) await s.log.append(admitted(wire));
  await s.log.publishNow();
}

test('nothing recorded is complete; so is a proxy that is whole', async (t) => {
  const s = await setup(t);
  const { proxies, complete, gaps, asOf } = await ask(s);
  assert.deepEqual([proxies, complete, gaps, asOf.size], [[], true, [], 0]);
  const vm = new ProxyMaker('a', 1, 0).vm();
  await add(s, vm.batch(3, 0), vm.batch(2, 1000));
  const answer = await ask(s);
  const log = await s.json('/v1/log');
  assert.deepEqual(answer.asOf, { origin: log['origin'], size: log['size'], root: log['root'] });
  assert.deepEqual([answer.complete, answer.proxies[0]?.state, answer.proxies[0]?.records], [true, 'open', 5]);
  assert.equal(answer.proxies[0]?.streams[0]?.first, '2026-11-24T12:00:00.000000000Z');
});

test('what is missing, dropped or dead makes it incomplete, and is as the description says', async (t) => {
  const s = await setup(t);
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)] as [VmMaker, VmMaker];
  const [first, lost] = [one.batch(1, 0), one.batch(4, 100)];
  await add(s, first, one.batch(1, 200, { counters: { droppedNoRandom: 2 } }));
  await add(s, two.batch(0, 5000, { life: { silentStream: one.stream } }));
  const old = new ProxyMaker('b', 11, 0).vm();
  await add(s, old.batch(1, 0), new ProxyMaker('b', 12, 9000).vm().batch(1, 9000));
  await add(s, new ProxyMaker('c', 21, 0).vm().batch(1, 0, { version: 1 }));
  const answer = await ask(s);
  assert.deepEqual(
    answer.gaps.map(({ kind, count }) => [kind, count]),
    [
      ['missing', 4],
      ['dropped', 2],
      ['silent', 32 * 700],
      ['ended unknown', 33 * 700],
    ],
  );
  assert.equal(answer.complete, false);
  const states = answer.proxies.map(({ node, state }) => `${node} ${state}`);
  // Trouble first; those that were heard in one millisecond have no order.
  assert.deepEqual(states.slice(0, 2), ['a silent', 'b ended unknown']);
  assert.deepEqual(states.slice(2).sort(), ['b open', 'c open']);
  const api = (await s.json('/openapi.json')) as { paths: Record<string, Record<string, unknown>> };
  const operation = api.paths['/v1/coverage']?.['get'] as {
    readonly responses: Record<string, { readonly content: Record<string, { readonly schema: object }> }>;
  };
  const schema = operation.responses['200']?.content['application/json']?.schema ?? assert.fail('no schema');
  const [isValid, errors] = Compile(schema).Errors(answer);
  assert.ok(isValid, JSON.stringify(errors));
  await add(s, lost);
  assert.deepEqual(
    (await ask(s)).gaps.map(({ kind }) => kind),
    ['dropped', 'silent', 'ended unknown'],
  );
});

test('a range of time, and what is no range', async (t) => {
  const s = await setup(t);
  const vm = new ProxyMaker('a', 1, 0).vm();
  await add(s, vm.batch(3, 10_000), vm.batch(0, 20_000, { isFin: true }));
  const listed = async (query: string): Promise<number> => (await ask(s, query)).proxies.length;
  assert.equal(await listed('?since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:10Z'), 0);
  assert.equal(await listed('?since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:11Z'), 1);
  assert.equal(await listed('?since=2026-11-24T12:00:20Z'), 1);
  assert.equal(await listed('?since=2026-11-24T12:00:20.000000001Z'), 0);
  assert.equal(await listed('?since=-45s'), 1, 'the time is 12:01');
  for (const [query, code] of [
    ['?since=yesterday', 'TIME_INVALID'],
    ['?since=-1m&until=-2m', 'TIME_INVALID'],
    ['?limit=5', 'PARAMETER_INVALID'],
    ['?since=-1m&since=-2m', 'PARAMETER_INVALID'],
  ] as const)
    assert.equal((await s.json(`/v1/coverage${query}`))['code'], code, query);
});
