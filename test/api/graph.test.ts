// Goal: the service graph counts each exchange once, names who is observed apart from who is claimed, and every edge's filter
// finds the edge's own records.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { timeText } from '../../collector/src/core/codec/text.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { START_NS } from '../support/facts.ts';
import { add, randomRows, rowOf } from './exchanges.ts';
import { ask, bothSides, edgesOf, id, names } from './graph.ts';
import { setup } from './harness.ts';

test('an exchange that both sides report is one, in the graph and in stats that join', async (t) => {
  const s = await setup(t);
  await bothSides(s, 4);
  await add(s.log, [
    rowOf({ from: 'frontend', to: 'orders', atMs: 5000, isClient: true, code: 503, verdict: 'failed' }),
  ]);
  const [edge, ...others] = await edgesOf(s);
  assert.deepEqual(others, []);
  assert.ok(edge !== undefined);
  assert.deepEqual([edge.source.name, edge.destination.name], ['frontend.shop', 'orders.shop']);
  assert.deepEqual([edge.requests, edge.errors, edge.denied, edge.mtlsShare], [5, 1, 0, 1]);
  assert.deepEqual(edge.reported, { source: 5, destination: 4, gateway: 0, waypoint: 0 });
  assert.deepEqual(edge.latency, { p50: '0.003000s', p99: '0.003000s' }, 'of the record that counts, the server’s');
  assert.deepEqual(
    [edge.firstSeen, edge.lastSeen],
    ['2026-11-24T12:00:00.001000000Z', '2026-11-24T12:00:05.000000000Z'],
  );
  assert.deepEqual(names(await edgesOf(s, 'twins=separate')), [['frontend.shop', 'orders.shop', 9]]);
  const counted = async (query: string) => {
    const { stats, twins } = await ask(s, `/v1/stats?${query}`);
    return [(stats as unknown as { metrics: { count: number } }[])[0]?.metrics.count, twins];
  };
  assert.deepEqual(await counted('twins=join'), [5, 4]);
  assert.deepEqual(await counted(''), [9, undefined]);
  const filter = (cel: string): string => `filter=${encodeURIComponent(cel)}`;
  assert.deepEqual(
    await counted(`twins=join&${filter('reporter == "source"')}`),
    [5, 0],
    'one of its records is enough',
  );
});

test('twins that cannot be looked for any more make an answer partial', async (t) => {
  const s = await setup(t, { aggregate: { twinsMax: 8 } });
  await bothSides(s, 4);
  assert.equal((await ask(s, '/v1/edges'))['complete'], true);
  await add(s.log, [rowOf({ from: 'frontend', to: 'orders', atMs: 2, isClient: true, requestId: id(9) })]);
  const { gaps } = await ask(s, '/v1/edges');
  assert.deepEqual(
    (gaps as unknown as { limit: string }[]).map(({ limit }) => limit),
    ['twins'],
  );
});

test('every edge’s filter finds exactly its records, by every kind of node', async (t) => {
  const s = await setup(t);
  const odd: Partial<RowFacts>[] = [
    { connection: { id: 3, direction: 1, sourceAddress: '[::1]:5', peerWorkload: 'w"x', peerNamespace: 'n' } },
    { connection: { id: 3, direction: 1, sourceAddress: '/run/a.sock' }, outcome: { authority: 'files.example:8443' } },
    { connection: { id: 4, direction: 2, requestedServerName: 'db.example' }, kind: 'connection', outcome: {} },
    { connection: { id: 5, direction: 1, mtls: true, peerPrincipal: 'spiffe://x/other' } },
    { connection: {}, outcome: {} },
    { connection: { id: 6, destinationAddress: '10.9.9.9:1' }, outcome: {} },
  ];
  const told = (more: Partial<RowFacts>, atMs: number): RowFacts =>
    rowOf({ from: 'frontend', to: 'orders', atMs, more });
  for (let i = 0; i < 6; i++) await add(s.log, randomRows(100 + i, 25), `sidecar~10.0.0.${i}~pod-${i}.shop~shop.svc`);
  await add(s.log, odd.map(told), 'an-envoy');
  await add(s.log, odd.map(told), undefined, 'lone.shop');
  for (const by of ['workload', 'principal', 'pod']) {
    const edges = await edgesOf(s, `by=${by}&twins=separate`);
    assert.ok(edges.length > 3);
    const seen = new Set<string>();
    for (const edge of edges) {
      const query = new URLSearchParams({ filter: `(${edge.filter}) && !has(record.repeat)`, limit: '1000' });
      const { flows } = (await ask(s, `/v1/flows?${query}`)) as unknown as { flows: FlowRecord[] };
      const { source, destination, gateway, waypoint } = edge.reported;
      assert.equal(flows.length, source + destination + gateway + waypoint, `${by}: ${edge.filter}`);
      for (const flow of flows) assert.ok(!seen.has(flow.id) && seen.add(flow.id), 'no record is on two edges');
    }
    const { stats } = await ask(s, '/v1/stats');
    assert.equal(seen.size, (stats as unknown as { metrics: { count: number } }[])[0]?.metrics.count, by);
  }
  const claims = (await edgesOf(s)).filter(({ source, destination }) => source.claimed || destination.claimed);
  assert.ok(
    claims.some(({ destination }) => destination.name === 'files.example:8443' && destination.field === 'request.host'),
  );
  assert.ok(claims.some(({ source }) => source.name === 'w"x'));
  assert.ok(
    names(await edgesOf(s)).some(([source]) => source === 'lone.shop'),
    'the reporter’s own, with its namespace',
  );
  const pods = await edgesOf(s, 'by=pod');
  assert.ok(
    pods.some(({ source, destination }) => source.name === 'pod-1.shop' && destination.name === 'pod-2.shop'),
    JSON.stringify(names(pods)),
  );
});

test('the graph at an instant is that of the window which ends there', async (t) => {
  const s = await setup(t);
  for (let i = 0; i < 120; i += 10) await add(s.log, [rowOf({ from: 'a', to: 'b', atMs: i * 1000 })]);
  const at = 'at=2026-11-24T12:01:30Z';
  assert.deepEqual(names(await edgesOf(s, at)), [['a.shop', 'b.shop', 6]]);
  assert.deepEqual(await edgesOf(s, at), await edgesOf(s, 'since=2026-11-24T12:00:30Z&until=2026-11-24T12:01:30Z'));
  assert.deepEqual(names(await edgesOf(s, `${at}&window=10s`)), [['a.shop', 'b.shop', 1]]);
  assert.equal((await s.get('/v1/edges?at=2026-11-24T12:00:30Z')).headers.get('etag')?.length, 34);
  for (const query of [`${at}&since=-1h`, 'window=1m', `${at}&window=x`, 'at=noon', 'by=cluster', 'twins=both'])
    assert.equal((await s.get(`/v1/edges?${query}`)).status, 400, query);
});

test('connections without HTTP count apart, by the side that saw more of them; repeats do not count', async (t) => {
  const s = await setup(t);
  const tcp = (i: number, isClient: boolean): RowFacts =>
    rowOf({ from: 'orders', to: 'db', atMs: i, isClient, more: { kind: 'connection', requestBytes: 10 } });
  const repeat = rowOf({ from: 'orders', to: 'db', atMs: 9, more: { flags: BIT.repeat, kind: 'connection' } });
  await add(s.log, [tcp(0, true), tcp(1, true), tcp(0, false), tcp(1, false), tcp(2, false), repeat]);
  const [edge] = await edgesOf(s);
  assert.deepEqual([edge?.requests, edge?.connections, edge?.latency], [0, 3, {}]);
});

test('exchanges without an id count by the side that saw more of them, and so do their bytes', async (t) => {
  const s = await setup(t);
  const call = (i: number, isClient: boolean): RowFacts =>
    rowOf({ from: 'a', to: 'b', atMs: i, isClient, code: 500, more: { requestBytes: 10 } });
  await add(s.log, [call(0, true), call(1, true), call(0, false), call(1, false), call(2, false)]);
  await add(s.log, [rowOf({ from: 'a', to: 'b', atMs: 9, requestId: id(1), more: { requestBytes: 5 } })]);
  const [edge] = await edgesOf(s);
  assert.deepEqual([edge?.requests, edge?.errors, edge?.requestBytes], [4, 3, 35]);
  const [each] = await edgesOf(s, 'twins=separate');
  assert.deepEqual([each?.requests, each?.errors, each?.requestBytes], [6, 5, 55]);
});

test('a diff has what is new, gone and changed, and nothing that is chance', async (t) => {
  const s = await setup(t);
  const calls = async (from: string, to: string, slot: number, count: number, told: object = {}): Promise<void> => {
    const one = (i: number): RowFacts => rowOf({ from, to, atMs: slot * 25_000 + i, tookMs: 10, code: 200, ...told });
    await add(
      s.log,
      Array.from({ length: count }, (_, i) => one(i)),
    );
  };
  await calls('a', 'same', 0, 50);
  await calls('a', 'same', 1, 55);
  await calls('a', 'gone', 0, 3);
  await calls('a', 'new', 1, 3);
  await calls('a', 'busy', 0, 20);
  await calls('a', 'busy', 1, 200);
  await calls('a', 'refused', 0, 30);
  await calls('a', 'refused', 1, 29);
  await calls('a', 'refused', 1, 1, { verdict: 'denied', code: 403 });
  await calls('a', 'slow', 0, 30);
  await calls('a', 'slow', 1, 30, { tookMs: 25 });
  await calls('a', 'rare', 0, 1);
  await calls('a', 'rare', 1, 3);
  const windows = 'a=2026-11-24T12:00:00Z/2026-11-24T12:00:25Z&b=2026-11-24T12:00:25Z/2026-11-24T12:00:50Z';
  const { diff, groups } = (await ask(s, `/v1/diff?${windows}`)) as unknown as {
    diff: { change: string; destination: { name: string }; changes: { what: string }[]; a?: object; b?: object }[];
    groups: number;
  };
  assert.deepEqual(
    diff
      .map(({ change, destination, changes }) => `${change} ${destination.name} ${changes.map(({ what }) => what)}`)
      .sort(),
    [
      'changed busy.shop requests',
      'changed refused.shop denied',
      'changed slow.shop latency',
      'gone gone.shop ',
      'new new.shop ',
    ],
  );
  assert.deepEqual([groups, diff[0]?.change, diff[0]?.a], [5, 'new', undefined]);
  assert.match((await s.get(`/v1/diff?${windows}`)).headers.get('etag') ?? '', /^"/);
  for (const query of ['', 'a=-2m/-1m', 'a=-2m&b=-1m/now', 'a=-1m/-2m&b=-1m/now', 'a=/&b=/', 'a=-3m/-2m/-1m&b=-1m/now'])
    assert.equal((await s.get(`/v1/diff?${query}`)).status, 400, query);
});

test('neighbors are the edges of a node, in both directions', async (t) => {
  const s = await setup(t);
  for (let i = 0; i < 5; i++) await add(s.log, randomRows(200 + i, 30));
  const edges = await edgesOf(s);
  for (const node of ['orders.shop', 'frontend.shop', 'nobody']) {
    const { neighbors } = (await ask(s, `/v1/neighbors?node=${node}`)) as unknown as {
      neighbors: { direction: string; peer: { name: string }; requests: number; share: number }[];
    };
    const want = [
      ...edges
        .filter(({ destination }) => destination.name === node)
        .map((edge) => ['in', edge.source.name, edge.requests]),
      ...edges
        .filter(({ source }) => source.name === node)
        .map((edge) => ['out', edge.destination.name, edge.requests]),
    ];
    assert.deepEqual(
      neighbors.map(({ direction, peer, requests }) => [direction, peer.name, requests]),
      want,
      node,
    );
    const shares = neighbors.filter(({ direction }) => direction === 'in').map(({ share }) => share);
    if (shares.length > 0) assert.ok(Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-9);
  }
  const { neighbors } = await ask(s, '/v1/neighbors?node=orders.shop&direction=out');
  assert.ok((neighbors as unknown as { direction: string }[]).every(({ direction }) => direction === 'out'));
});

test('any calls, reported by one side or both, in any batches: each is counted once', async (t) => {
  const s = await setup(t);
  let day = 0;
  const names3 = ['a', 'b', 'c'];
  const exchange = fc.record({
    // A request id goes along from call to call: each is of several pairs, and of each once.
    chain: fc.nat(5),
    from: fc.constantFrom(...names3),
    to: fc.constantFrom(...names3),
    atMs: fc.nat(8000),
    tookMs: fc.integer({ min: 1, max: 3000 }),
    skewMs: fc.integer({ min: -300, max: 300 }),
    sides: fc.constantFrom('both' as const, 'both' as const, 'client' as const, 'server' as const),
    clientBatch: fc.nat(3),
    serverBatch: fc.nat(3),
  });
  const exchanges = fc.uniqueArray(exchange, { selector: (e) => `${e.chain} ${e.from} ${e.to}`, maxLength: 30 });
  const property = fc.asyncProperty(exchanges, async (told) => {
    const begin = day++ * 60_000;
    const batches: RowFacts[][] = [[], [], [], []];
    for (const { chain, from, to, atMs, tookMs, skewMs, sides, clientBatch, serverBatch } of told) {
      const call = { from, to, requestId: id(chain) };
      const server = { ...call, atMs: begin + 1000 + atMs + skewMs, tookMs };
      if (sides !== 'server')
        batches[clientBatch]?.push(rowOf({ ...call, atMs: begin + 1000 + atMs, tookMs, isClient: true }));
      if (sides !== 'client') batches[serverBatch]?.push(rowOf(server));
    }
    for (const rows of batches) if (rows.length > 0) await add(s.log, rows);
    const at = (ms: number): string => timeText(START_NS + BigInt(ms) * 1_000_000n);
    const window = `since=${at(begin)}&until=${at(begin + 60_000)}`;
    const want = new Map<string, number>();
    for (const { from, to } of told)
      want.set(`${from}.shop ${to}.shop`, (want.get(`${from}.shop ${to}.shop`) ?? 0) + 1);
    const edges = await edgesOf(s, window);
    assert.deepEqual(
      new Map(edges.map(({ source, destination, requests }) => [`${source.name} ${destination.name}`, requests])),
      want,
    );
    const { records, twins } = await ask(s, `/v1/stats?${window}&twins=join`);
    assert.deepEqual([records, twins], [told.length, told.filter(({ sides }) => sides === 'both').length]);
  });
  await fc.assert(property, { numRuns: 60 });
});
