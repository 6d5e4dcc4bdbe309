// Goal: the two records of one exchange are found whatever batches they came in, and nothing else is taken for them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Half, TWIN_CANDIDATES_MAX, TWIN_SLACK_NS, Twins } from '../../collector/src/index/twins.ts';

type Told = Partial<Half<string>> & { readonly isClient: boolean; readonly what: string };

const half = (told: Told): Half<string> => {
  const base = { startNs: 0n, endNs: 0n, index: 0, row: 0, ids: ['r1'], source: undefined, destination: undefined };
  const about = { node: undefined, method: undefined, host: undefined };
  return { ...base, ...about, ...told };
};

/** Pairs of halves, in the order that they are given; clients alone by themselves. */
function pairsOf(halves: readonly Half<string>[], isAdvancing = true): string[] {
  const found: string[] = [];
  const twins = new Twins<string>({
    alone: (client) => found.push(client),
    paired: (client, server) => found.push(`${client}=${server}`),
  });
  for (const one of halves) {
    if (isAdvancing) twins.advance(one.startNs);
    twins.add(one);
  }
  twins.finish();
  return found.sort();
}

test('the id, who it is, and when', () => {
  const client = half({ isClient: true, what: 'c', endNs: 100n, source: 'a', destination: 'b', ids: ['r1', 't1'] });
  const isTwin = (told: Partial<Half<string>>): boolean =>
    pairsOf([client, half({ isClient: false, what: 's', ...told })], false)[0] === 'c=s';
  assert.equal(isTwin({}), true);
  assert.equal(isTwin({ ids: ['t1'] }), true, 'the trace alone');
  assert.equal(isTwin({ ids: ['r2', 't2'] }), false);
  assert.equal(isTwin({ source: 'a', destination: 'b' }), true);
  assert.equal(isTwin({ source: 'x' }), false, 'another caller');
  assert.equal(isTwin({ destination: 'x' }), false, 'the next call with the same id');
  assert.equal(isTwin({ startNs: 100n + TWIN_SLACK_NS }), true);
  assert.equal(isTwin({ startNs: 101n + TWIN_SLACK_NS }), false, 'later than the client waited');
  assert.equal(isTwin({ startNs: -TWIN_SLACK_NS }), true);
  assert.equal(isTwin({ startNs: -TWIN_SLACK_NS - 1n }), false, 'before the client began');
});

test('where nobody is known for sure, no server is taken from the client that it surely has', () => {
  const failed = half({ isClient: true, what: 'failed', endNs: 1n, node: 'frontend', host: 'nobody' });
  const received = half({
    isClient: false,
    what: 'received',
    startNs: -5n,
    source: 'ingress',
    destination: 'frontend',
    node: 'frontend',
  });
  assert.deepEqual(pairsOf([received, failed], false), ['failed'], 'what a service received is not what it called');
  const server = half({
    isClient: false,
    what: 's',
    startNs: 9n,
    source: 'frontend',
    destination: 'orders',
    node: 'orders',
  });
  assert.deepEqual(pairsOf([failed, server], false), ['failed=s'], 'possible, and nobody else’s');
  const client = half({
    isClient: true,
    what: 'c',
    startNs: 8n,
    endNs: 999n,
    source: 'frontend',
    destination: 'orders',
  });
  assert.deepEqual(pairsOf([failed, { ...server, host: 'orders' }], false), ['failed'], 'it asked for somebody else');
  assert.deepEqual(pairsOf([failed, client, server], false), ['c=s', 'failed']);
  assert.deepEqual(pairsOf([failed, { ...server, method: 'GET' }, { ...client, method: 'PUT' }], false), [
    'c',
    'failed=s',
  ]);
});

test('a chain of calls with one request id, and a retry', () => {
  const chain = [
    half({ isClient: true, what: 'c1', startNs: 0n, endNs: 90n, index: 1 }),
    half({ isClient: false, what: 's1', startNs: 5n, index: 2 }),
    half({ isClient: true, what: 'c2', startNs: 20n, endNs: 60n, index: 2, row: 1 }),
    half({ isClient: false, what: 's2', startNs: 25n, index: 3 }),
  ];
  assert.deepEqual(pairsOf(chain), ['c1=s1', 'c2=s2'], 'nearest in time, where nobody is known');
  const retried = [
    half({ isClient: true, what: 'c', startNs: 0n, endNs: 90n }),
    half({ isClient: false, what: 's1', startNs: 5n }),
    half({ isClient: false, what: 's2', startNs: 50n }),
  ];
  assert.deepEqual(pairsOf(retried), ['c=s1'], 'a server has one client, a client one server');
});

test('an id that too many have at once is none', () => {
  const servers = (count: number) =>
    Array.from({ length: count }, (_, i) => half({ isClient: false, what: `s${i}`, row: i }));
  const client = half({ isClient: true, what: 'c' });
  assert.deepEqual(pairsOf([...servers(TWIN_CANDIDATES_MAX), client], false), ['c=s0']);
  assert.deepEqual(pairsOf([...servers(TWIN_CANDIDATES_MAX + 1), client], false), ['c']);
});

test('pairs do not depend on when they were decided, and what waits is let go', () => {
  const step = Number(TWIN_SLACK_NS / 4n);
  const any = fc.record({
    isClient: fc.boolean(),
    start: fc.nat(40),
    took: fc.nat(6),
    ids: fc.subarray(['r1', 'r2', 't1'], { minLength: 1 }),
    source: fc.constantFrom('a', 'b', undefined),
  });
  const property = fc.property(fc.array(any, { maxLength: 40 }), (told) => {
    const halves = told
      .toSorted((a, b) => a.start - b.start)
      .map(({ isClient, start, took, ids, source }, row) => {
        const startNs = BigInt(start * step);
        return half({ isClient, what: `${row}`, row, startNs, endNs: startNs + BigInt(took * step), ids, source });
      });
    assert.deepEqual(pairsOf(halves), pairsOf(halves, false));
  });
  fc.assert(property, { numRuns: 500 });
  const twins = new Twins<string>({ alone: () => undefined, paired: () => undefined });
  for (let i = 0; i < 1000; i++) {
    const startNs = BigInt(i) * TWIN_SLACK_NS;
    twins.advance(startNs);
    twins.add(half({ isClient: i % 2 === 0, what: '', startNs, endNs: startNs, ids: [`r${i}`] }));
    assert.ok(twins.pending <= 4);
  }
});
