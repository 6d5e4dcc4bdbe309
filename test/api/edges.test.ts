// Goal: the API's edges: what is not quite a request, cursors and times at their limits, many questions at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toBase64 } from '../../collector/src/core/bytes.ts';
import { ERROR_CODES } from '../../collector/src/core/error.ts';
import { rootFromTiles } from '../../collector/src/core/tlog/tile.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted } from '../support/logs.ts';
import { setup } from './harness.ts';

test('what the API does not take is refused as a problem that nobody caches', async (t) => {
  const s = await setup(t);
  for (const [path, init, status, code] of [
    [
      '/v1/flows',
      { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } },
      405,
      'METHOD_NOT_ALLOWED',
    ],
    ['/v1/flows', { method: 'DELETE' }, 405, 'METHOD_NOT_ALLOWED'],
    ['/nowhere', { method: 'PUT', body: 'x' }, 405, 'METHOD_NOT_ALLOWED'],
    ['/nowhere', {}, 404, 'ROUTE_NOT_FOUND'],
    ['/v1/flows/%zz', {}, 400, 'REQUEST_MALFORMED'],
    [`/v1/flows/${'1'.repeat(2000)}.1`, {}, 400, 'TREE_SIZE_UNSUPPORTED'],
    ['/v1/flows/0.0?x=1', {}, 400, 'PARAMETER_INVALID'],
    ['/v1/flows/0.0/proof?x=1', {}, 400, 'PARAMETER_INVALID'],
    ['/v1/flows?limit=1&limit=2', {}, 400, 'PARAMETER_INVALID'],
    ['/v1/flows?filter=a&filter=b', {}, 400, 'PARAMETER_INVALID'],
    ['/log/tile/0/000', {}, 404, 'TILE_MISSING'],
  ] as const) {
    const answer = await s.get(path, init);
    const problem = (await answer.json()) as Record<string, unknown>;
    const told = [
      answer.status,
      problem['code'],
      problem['status'],
      answer.headers.get('content-type'),
      answer.headers.get('cache-control'),
    ];
    assert.deepEqual(
      told,
      [status, code, status, 'application/problem+json', 'no-store'],
      `${path} ${JSON.stringify(init)}`,
    );
    if (status === 405) assert.equal(answer.headers.get('allow'), 'GET, HEAD');
  }
  for (const text of ['NONSENSE\r\n\r\n', 'GET /v1/log HTTP/1.1\r\nconnection: close\r\n\r\n'])
    assert.match(await s.raw(text), /^HTTP\/1\.1 400 [\s\S]*REQUEST_MALFORMED/, text);
  assert.match(
    await s.raw(`GET /v1/flows?filter=${'x'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`),
    /^HTTP\/1\.1 431 [\s\S]*HEADERS_TOO_LARGE/,
  );
  const head = await s.get('/v1/log', { method: 'HEAD' });
  assert.deepEqual([head.status, await head.text()], [200, '']);
  const routes = new Set(s.answered.map(({ route }) => route));
  assert.ok(
    [...routes].every((route) =>
      ['none', '/v1/flows', '/v1/flows/:id', '/v1/flows/:id/proof', '/v1/flows/*', '/v1/log', '/log/tile/*'].includes(
        route,
      ),
    ),
    [...routes].join(),
  );
});

test('times: zones, relative, far away, the wrong way round', async (t) => {
  const s = await setup(t);
  await s.log.append(admitted(new StreamMaker(1).batch(10, {}, () => 5e8)));
  await s.log.publishNow();
  const count = async (query: Record<string, string>): Promise<number | string> => {
    const body = await s.json(`/v1/flows?${new URLSearchParams(query)}`);
    return (body['flows'] as { length: number } | undefined)?.length ?? (body['code'] as string);
  };
  // Records start at 12:00:00.5Z, and it is 12:01.
  for (const [query, want] of [
    [{ since: '2026-11-24T12:00:00.5Z' }, 10],
    [{ since: '2026-11-24T12:00:00.500000001Z' }, 0],
    [{ until: '2026-11-24T12:00:00.5Z' }, 0],
    [{ until: '2026-11-24T12:00:00.500000001Z' }, 10],
    [{ since: '2026-11-24T13:30:00+01:30' }, 10],
    [{ since: '2026-11-24T07:00:00-05:00', until: '2026-11-24T21:00:00+09:00' }, 'TIME_INVALID'],
    [{ since: '-1m' }, 10],
    [{ since: '-59s' }, 0],
    [{ until: 'now' }, 10],
    [{ since: '0000-01-01T00:00:00Z', until: '9999-12-31T23:59:59Z' }, 10],
    [{ since: 'now', until: '-1m' }, 'TIME_INVALID'],
    [{ since: '2026-11-24T24:00:00Z' }, 'TIME_INVALID'],
    [{ since: '2026-11-24T12:00:00+99:00' }, 'TIME_INVALID'],
    [{ since: '1795521600' }, 'TIME_INVALID'],
    [{ since: '' }, 'TIME_INVALID'],
  ] as const)
    assert.equal(await count(query as unknown as Record<string, string>), want, JSON.stringify(query));
  const far = { since: '0000-01-01T00:00:00Z', until: '9999-12-31T23:59:59Z', limit: '4' };
  const first = await s.json(`/v1/flows?${new URLSearchParams(far)}`);
  assert.equal(await count({ ...far, cursor: String(first['nextCursor']) }), 4, 'a cursor holds far times');
});

test('cursors that nobody was given', async (t) => {
  const s = await setup(t);
  await s.log.append(admitted(new StreamMaker(1).batch(5)));
  await s.log.publishNow();
  const { nextCursor } = await s.json('/v1/flows?limit=2');
  const fields = Buffer.from(String(nextCursor), 'base64url').toString().split(' ');
  const withField = (at: number, value: string): string =>
    Buffer.from(fields.with(at, value).join(' ')).toString('base64url');
  for (const [cursor, isTaken] of [
    [withField(2, '-99999999999999999999'), true],
    [withField(2, '9'.repeat(21)), true],
    [withField(2, '9'.repeat(22)), false],
    [withField(2, '1.5'), false],
    [withField(2, ''), false],
    [withField(3, '1'), false],
    [withField(3, '-1'), false],
    [withField(4, '9'.repeat(16)), true],
    [withField(4, '9'.repeat(17)), false],
    [withField(5, '2'), false],
    [withField(5, '0'), false],
    [withField(5, '9'.repeat(16)), false],
    [withField(0, '2'), false],
    [withField(1, 'AAAAAAAAAAAA'), false],
    ['', false],
    ['A', false],
    [Buffer.from(`${fields.join(' ')} `).toString('base64url'), false],
    [Buffer.from(new Uint8Array(300).fill(255)).toString('base64url'), false],
  ] as const) {
    const answer = await s.get(`/v1/flows?limit=2&cursor=${cursor}`);
    const { code } = (await answer.json()) as { code?: string };
    assert.deepEqual([answer.status, code], isTaken ? [200, undefined] : [400, 'CURSOR_INVALID'], cursor);
  }
});

test('asOf names the checkpoint that the answer stands on, on every page', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(2);
  for (let i = 0; i < 3; i++) await s.log.append(admitted(maker.batch(4)));
  const { root } = await s.log.publishNow();
  const first = await s.json('/v1/flows?limit=5');
  await s.log.append(admitted(maker.batch(4)));
  await s.log.publishNow();
  const second = await s.json(`/v1/flows?limit=5&cursor=${first['nextCursor']}`);
  const want = { origin: 'test.mesh/log', size: 3, root: toBase64(root) };
  assert.deepEqual([first['asOf'], second['asOf']], [want, want]);
  assert.deepEqual(await rootFromTiles(s.log.tiles, 3), root);
  assert.equal(((await s.json('/v1/flows?limit=5'))['asOf'] as { size: number }).size, 4);
});

test('64 queries at once while batches come in: all are answered, none loses a record', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(3);
  for (let i = 0; i < 40; i++) await s.log.append(admitted(maker.batch(25)));
  await s.log.publishNow();
  let isOver = false;
  const ingest = (async () => {
    while (!isOver) {
      await s.log.append(admitted(maker.batch(25)));
      await s.log.publishNow();
      await new Promise((done) => setTimeout(done, 2));
    }
  })();
  const walk = async (filter: string): Promise<number> => {
    let [count, cursor] = [0, '' as string | null];
    const ids = new Set<string>();
    while (cursor !== null) {
      const page = await s.json(
        `/v1/flows?${new URLSearchParams({ filter, limit: '200', ...(cursor === '' ? {} : { cursor }) })}`,
      );
      const flows = page['flows'] as readonly { readonly id: string }[];
      for (const { id } of flows) ids.add(id);
      count += flows.length;
      cursor = page['nextCursor'] as string | null;
    }
    assert.equal(ids.size, count, 'no record twice');
    return count;
  };
  const filter = 'time < timestamp("2027-01-01T00:00:00Z") && record.batch < 40';
  const counts = await Promise.all(Array.from({ length: 64 }, () => walk(filter)));
  isOver = true;
  await ingest;
  assert.deepEqual(new Set(counts), new Set([1000]));
});

test('an asker who leaves ends the search, not the collector', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(4);
  for (let i = 0; i < 60; i++) await s.log.append(admitted(maker.batch(100)));
  await s.log.publishNow();
  const gone = Array.from({ length: 30 }, async () => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 5);
    await s.get('/v1/flows?filter=verdict%20==%20%22x%22', { signal: leave.signal });
  });
  assert.ok((await Promise.allSettled(gone)).some(({ status }) => status === 'rejected'));
  assert.equal(((await s.json('/v1/flows?limit=1'))['flows'] as unknown[]).length, 1);
});

test('no URL, however odd, makes the API fail', async (t) => {
  const s = await setup(t);
  await s.log.append(admitted(new StreamMaker(7).batch(3)));
  await s.log.publishNow();
  const part = fc.oneof(
    fc.constantFrom(
      'v1',
      'flows',
      'log',
      'tile',
      'entries',
      '0',
      '000',
      'x000',
      '000.p',
      '1',
      '0.1',
      'proof',
      '..',
      '%2e',
      '%00',
      '%ff',
      '',
      '9'.repeat(30),
      '-1',
      '0.0x1',
    ),
    fc.string({ maxLength: 12 }).map(encodeURIComponent),
  );
  const pair = fc.tuple(
    fc.constantFrom(
      'filter',
      'since',
      'until',
      'limit',
      'cursor',
      'order',
      'x',
      '__proto__',
      'constructor',
      'toString',
    ),
    fc.oneof(
      fc.constantFrom('', '1', '-1', '1e3', 'asc', 'now', '-15m', 'true', 'verdict', '[]', '1.5', 'NaN'),
      fc.string({ maxLength: 12 }),
    ),
  );
  const url = fc.tuple(fc.array(part, { maxLength: 6 }), fc.array(pair, { maxLength: 4 })).map(([parts, pairs]) => {
    const query = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
    return `/${parts.join('/')}${query === '' ? '' : `?${query}`}`;
  });
  const good = fc.array(pair, { maxLength: 3 }).map((pairs) => `/v1/flows?${new URLSearchParams(pairs)}`);
  const property = fc.asyncProperty(fc.oneof(url, good), async (path) => {
    const answer = await s.inject(path);
    if (answer.status === 200) return;
    assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.status} ${answer.text}`);
    const { code } = JSON.parse(answer.text) as { readonly code: string };
    assert.ok(code in ERROR_CODES, path);
  });
  await fc.assert(property, { numRuns: 1500 });
});

test('what the log serves has the types and lifetimes that tlog-tiles clients rely on', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(6);
  for (let i = 0; i < 257; i++) await s.log.append(admitted(maker.batch(1)));
  await s.log.publishNow();
  for (const [path, type, lifetime] of [
    ['/log/checkpoint', 'text/plain; charset=utf-8', 'no-cache'],
    ['/log/tile/0/000', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/log/tile/0/001.p/1', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/log/tile/1/000.p/1', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/log/tile/entries/000', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/log/tile/entries/001.p/1', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/health/live', 'application/json; charset=utf-8', 'no-store'],
  ] as const) {
    const { status, headers } = await s.get(path);
    assert.deepEqual([status, headers.get('content-type'), headers.get('cache-control')], [200, type, lifetime], path);
  }
  assert.equal(await (await s.get('/metrics')).text(), 'up 1\n');
});
