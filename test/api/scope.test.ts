// Goal: an indicator is found wherever it can stand, a principal with all it did, and no question makes the API fail.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Edge } from '../../collector/src/api/edges.ts';
import type { RowFacts } from '../../collector/src/core/codec/encode.ts';
import { add, randomRows, rowOf, spiffe } from './exchanges.ts';
import { ask, bothSides, id, names } from './graph.ts';
import { setup } from './harness.ts';

test('scope finds an indicator in every field it can stand in', async (t) => {
  const s = await setup(t);
  const certificate = new Uint8Array(32).fill(0xab);
  const told = rowOf({ from: 'inventory', to: 'orders', atMs: 0, verdict: 'denied', code: 403, policy: 'p' });
  const connection = { ...told.connection, peerCertificateSha256: certificate };
  const row: RowFacts = { ...told, connection, path: '/pay?x=1', userAgent: 'curl/8.0', requestId: id(6) };
  await add(s.log, [row, rowOf({ from: 'orders', to: 'inventory', atMs: 1000, more: { path: '/payments' } })]);
  const rejected = {
    id: 9,
    direction: 1 as const,
    mtls: true,
    peerPrincipal: spiffe('inventory'),
    transportFailure: 'x',
  };
  await add(s.log, [
    { ...told, startNs: told.startNs + 5_000_000_000n, connection: rejected, kind: 'connection', outcome: {} },
  ]);
  const scope = async (query: Record<string, string>) =>
    (await ask(s, `/v1/scope?${new URLSearchParams(query)}`))['scope'] as unknown as {
      kinds: string[];
      count: number;
      denied: number;
      filter: string;
      roles: { field: string; count: number; firstSeen: string }[];
      edges: Edge[];
    };
  for (const [indicator, kind, fields] of [
    [spiffe('inventory'), 'principal', ['source.principal', 'destination.principal', 'connection.rejected_principal']],
    ['10.0.0.1', 'address', ['source.address']],
    ['10.0.0.2:15006', 'address', ['destination.address']],
    ['10.0.0.', 'workload', []],
    ['/pay', 'path', ['request.path']],
    ['AB'.repeat(32), 'certificate', ['connection.sha256_peer_certificate_digest']],
    ['curl/8.0', 'workload', ['request.useragent']],
    ['inventory', 'workload', ['source.service_account', 'destination.service_account']],
    ['inventory.shop', 'workload', ['source.service_account', 'destination.service_account']],
    ['07070707-0707-0707-0707-070707070707', 'id', ['request.id']],
    ['a"b\\c', 'workload', []],
  ] as const) {
    const found = await scope({ indicator });
    assert.equal(found.kinds[0], kind, indicator);
    assert.deepEqual(
      found.roles.map(({ field }) => field),
      fields,
      indicator,
    );
    const flows = await ask(s, `/v1/flows?${new URLSearchParams({ filter: found.filter })}`);
    assert.equal((flows['flows'] as unknown as unknown[]).length, found.count, indicator);
  }
  const path = await scope({ indicator: '/pay' });
  assert.deepEqual([path.count, path.denied, names(path.edges)], [1, 1, [['inventory.shop', 'orders.shop', 1]]]);
  assert.equal(path.roles[0]?.firstSeen, '2026-11-24T12:00:00.000000000Z');
  assert.deepEqual((await scope({ indicator: 'orders', kind: 'host' })).count, 0);
  for (const query of [
    '',
    'indicator=',
    `indicator=${'x'.repeat(1001)}`,
    'indicator=x&kind=y',
    `indicator=${'%00'.repeat(900)}`,
  ])
    assert.equal((await s.get(`/v1/scope?${query}`)).status, 400, query.slice(0, 40));
});

test('identity: what a principal did, from where, and who else claimed to be it', async (t) => {
  const s = await setup(t);
  const principal = spiffe('frontend');
  await bothSides(s, 3);
  const elsewhere = rowOf({ from: 'frontend', to: 'payments', atMs: 9000, verdict: 'denied', code: 403, policy: 'no' });
  const stolen = {
    ...elsewhere.connection,
    sourceAddress: '10.6.6.6:1',
    peerCertificateSha256: new Uint8Array(32).fill(1),
  };
  const claim = rowOf({ from: 'orders', to: 'payments', atMs: 1 });
  await add(s.log, [
    { ...elsewhere, connection: stolen },
    { ...claim, outcome: { ...claim.outcome, claimedPrincipal: principal } },
  ]);
  const { identity } = (await ask(s, `/v1/identity?principal=${principal}`)) as unknown as {
    identity: Record<string, { count: number; address?: string }[] & { count: number; denied: number }> & {
      callees: Edge[];
    };
  };
  const { asSource, asDestination, asClaim, asRejected, callees, addresses, certificates, denials } = identity;
  assert.deepEqual(
    [asSource?.count, asSource?.denied, asDestination?.count, asClaim?.count, asRejected?.count],
    [7, 1, 0, 1, 0],
  );
  assert.deepEqual(
    addresses?.map(({ address, count }) => [address, count]),
    [
      ['10.0.0.1', 3],
      ['10.6.6.6', 1],
    ],
  );
  assert.deepEqual(names(callees), [
    ['frontend.shop', 'orders.shop', 3],
    ['frontend.shop', 'payments.shop', 1],
  ]);
  assert.equal(certificates?.length, 2, 'by certificate and address; one record has none');
  assert.partialDeepStrictEqual(denials?.[0], {
    policy: 'no',
    method: 'GET',
    count: 1,
    destination: { name: 'payments.shop' },
  });
  for (const query of ['', 'principal=', `principal=${'x'.repeat(1001)}`])
    assert.equal((await s.get(`/v1/identity?${query}`)).status, 400);
});

test('no counted question, however odd, makes the API fail', async (t) => {
  const s = await setup(t);
  await add(s.log, randomRows(1, 20));
  const name = fc.constantFrom(
    ...[
      'by',
      'metrics',
      'bucket',
      'filter',
      'since',
      'until',
      'at',
      'window',
      'a',
      'b',
      'indicator',
      'node',
      'principal',
    ],
    ...['limit', 'twins', 'repeats', 'kind', 'direction'],
  );
  const value = fc.oneof(
    fc.constantFrom(
      '1m',
      'now',
      '-1h',
      '-1h/now',
      'verdict',
      'p99',
      'sum(duration)',
      'join',
      'true',
      '1',
      '/',
      'count()',
      '()',
      '\u0000',
    ),
    fc.string({ unit: 'binary', maxLength: 10 }),
  );
  const path = fc.constantFrom('stats', 'edges', 'diff', 'scope', 'neighbors', 'identity');
  const property = fc.asyncProperty(path, fc.array(fc.tuple(name, value), { maxLength: 4 }), async (route, pairs) => {
    const { status, text } = await s.inject(`/v1/${route}?${new URLSearchParams(pairs)}`);
    assert.ok(status === 200 || (status >= 400 && status < 500), `${route} ${JSON.stringify(pairs)}: ${text}`);
  });
  await fc.assert(property, { numRuns: 600 });
});
