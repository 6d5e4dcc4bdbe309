// Goal: what is counted is what a recount of the records gives, absent stays absent, and a limit that is hit is said.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ATTRIBUTES } from '../../collector/src/core/attributes.ts';
import { durationText, timeText } from '../../collector/src/core/codec/text.ts';
import { parseFilter } from '../../collector/src/core/query/filter.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { parseRfc3339 } from '../../collector/src/core/time.ts';
import { SKETCH_ERROR } from '../../collector/src/index/samples.ts';
import { START_NS } from '../support/facts.ts';
import { add, randomRows, rowOf } from './exchanges.ts';
import { type Setup, setup } from './harness.ts';

interface Row {
  readonly bucket?: string;
  readonly group: Record<string, unknown>;
  readonly metrics: Record<string, unknown>;
}
interface Answer {
  readonly stats: readonly Row[];
  readonly groups: number;
  readonly records: number;
  readonly approximate: readonly string[];
  readonly complete: boolean;
  readonly gaps: readonly { readonly kind: string; readonly limit?: string; readonly reason?: string }[];
  readonly leftOut?: number;
}

const ask = async (s: Setup, parameters: Readonly<Record<string, string>>): Promise<Answer> =>
  (await s.json(`/v1/stats?${new URLSearchParams(parameters)}`)) as unknown as Answer;

/** A value of a record, written as the API writes it. */
function valueIn(record: FlowRecord, name: string): string | number | boolean | undefined {
  let value: unknown = record;
  for (const part of name.split('.')) value = (value as Record<string, unknown> | undefined)?.[part];
  return value as string | number | boolean | undefined;
}

const microseconds = (text: string): number => Math.round(Number.parseFloat(text) * 1e6);

/** A metric, counted anew from its definition. */
function recount(records: readonly FlowRecord[], metric: string): unknown {
  const [, measure = '', field = 'duration'] = /^(\w+)(?:\((.+)\))?$/.exec(metric) ?? [];
  if (metric === 'count') return records.length;
  const values = records.map((record) => valueIn(record, field)).filter((value) => value !== undefined);
  if (measure === 'count') return values.length;
  if (measure === 'distinct') return new Set(values).size;
  if (values.length === 0) return undefined;
  if (field === 'time') return values.toSorted().at(measure === 'min' ? 0 : -1);
  const isDuration = field === 'duration';
  const numbers = values
    .map((value) => (isDuration ? microseconds(String(value)) : Number(value)))
    .sort((a, b) => a - b);
  const rank = Math.ceil((Number(measure.slice(1)) / 100) * numbers.length);
  const number =
    measure === 'sum'
      ? numbers.reduce((a, b) => a + b, 0)
      : measure === 'min'
        ? numbers[0]
        : measure === 'max'
          ? numbers.at(-1)
          : numbers[rank - 1];
  return isDuration ? durationText(number ?? 0) : number;
}

const METRICS = [
  ...['count', 'count(policy)', 'sum(request.total_size)', 'sum(duration)', 'min', 'max', 'p50', 'p90', 'p99'],
  ...['p95(response.code)', 'distinct(source.principal)', 'distinct(request.path)', 'min(time)', 'max(time)'],
];
const FIELDS = ['source.principal', 'request.path', 'response.code', 'policy', 'verdict', 'reporter', 'record.repeat'];
const FILTERS = [
  undefined,
  'verdict == "denied"',
  'has(policy) && response.code >= 400',
  'record.repeat',
  'record.phase == "end"',
  'time >= timestamp("2026-11-24T12:01:00Z")',
];

test('any groups, metrics, buckets and filters: what a recount gives', async (t) => {
  const s = await setup(t);
  const records: FlowRecord[] = [];
  for (let i = 0; i < 12; i++) records.push(...(await add(s.log, randomRows(i, 40))));
  const property = fc.asyncProperty(
    fc.subarray(FIELDS, { maxLength: 4 }),
    fc.subarray(METRICS, { minLength: 1, maxLength: 14 }),
    fc.constantFrom(...FILTERS),
    fc.constantFrom(undefined, '10s', '1m', '7s'),
    fc.constantFrom(undefined, 'true', 'false'),
    fc.option(fc.integer({ min: 0, max: 290 })),
    async (by, metrics, filter, bucket, repeats, sinceS) => {
      const since = sinceS === null ? undefined : timeText(START_NS + BigInt(sinceS) * 1_000_000_000n);
      const asked = { by: by.join(), metrics: metrics.join(), filter, bucket, repeats, since };
      const parameters = Object.entries(asked).filter(([, value]) => value !== undefined && value !== '');
      const got = await ask(s, Object.fromEntries(parameters) as Record<string, string>);
      const compiled = filter === undefined ? undefined : parseFilter(filter);
      const namesRepeats = /record\.(?:repeat|phase)/.test(filter ?? '');
      const isCounted = repeats === undefined ? namesRepeats : repeats === 'true';
      const groups = new Map<string, FlowRecord[]>();
      for (const record of records) {
        const startNs = parseRfc3339(record.time) as bigint;
        if (compiled?.matches({ record, startNs }) === false) continue;
        if (record.record.repeat && !isCounted) continue;
        if (since !== undefined && record.time < since) continue;
        const width =
          BigInt(bucket === undefined ? 1 : Number.parseInt(bucket, 10) * (bucket.endsWith('m') ? 60 : 1)) *
          1_000_000_000n;
        const begin = bucket === undefined ? undefined : timeText(startNs - (startNs % width));
        const key = JSON.stringify([begin ?? null, by.map((name) => valueIn(record, name) ?? null)]);
        groups.set(key, [...(groups.get(key) ?? []), record]);
      }
      if (groups.size === 0 && by.length === 0 && bucket === undefined) groups.set('[null,[]]', []);
      const want = [...groups].map(([key, found]) => {
        const entries = metrics.map((metric) => [metric, recount(found, metric)] as const);
        return { key, metrics: Object.fromEntries(entries.filter(([, value]) => value !== undefined)) };
      });
      const shown = got.stats.map((row) => {
        const values = by.map((name) => valueIn(row.group as unknown as FlowRecord, name) ?? null);
        return { key: JSON.stringify([row.bucket ?? null, values]), metrics: row.metrics };
      });
      const byKey = (a: { key: string }, b: { key: string }): number => (a.key < b.key ? -1 : 1);
      assert.deepEqual(shown.toSorted(byKey), want.toSorted(byKey));
      assert.deepEqual([got.groups, got.complete, got.approximate], [want.length, true, []]);
      assert.equal(got.records, [...groups.values()].flat().length);
      // Buckets in order, in each the largest first metric first.
      const buckets = got.stats.map((row) => row.bucket ?? '');
      assert.deepEqual(buckets, buckets.toSorted());
    },
  );
  await fc.assert(property, { numRuns: 200 });
});

test('absent, "-", zero and "0" are four groups, and the largest comes first', async (t) => {
  const s = await setup(t);
  const one = { from: 'frontend', to: 'orders', atMs: 0 };
  const paths = [undefined, '-', '0', '0', '0'].map((path) => ({
    ...rowOf(one),
    ...(path === undefined ? {} : { path }),
  }));
  await add(s.log, [...paths, { ...rowOf(one), requestBytes: 0 }]);
  const { stats } = await ask(s, { by: 'request.path' });
  assert.deepEqual(
    stats.map(({ group, metrics }) => [
      (group['request'] as Record<string, unknown> | undefined)?.['path'],
      metrics['count'],
    ]),
    [
      ['0', 3],
      [undefined, 2],
      ['-', 1],
    ],
  );
  assert.deepEqual(
    stats.map(({ group }) => group),
    [{ request: { path: '0' } }, {}, { request: { path: '-' } }],
    'absent is absent',
  );
  const sizes = await ask(s, { by: 'request.total_size', metrics: 'count,sum(request.total_size)' });
  assert.deepEqual(
    sizes.stats.map(({ group, metrics }) => [group, metrics]),
    [
      [{}, { count: 5 }],
      [{ request: { total_size: 0 } }, { count: 1, 'sum(request.total_size)': 0 }],
    ],
  );
  const none = await ask(s, { filter: 'verdict == "denied"', metrics: 'count,p99,sum(duration)' });
  assert.deepEqual(none.stats, [{ group: {}, metrics: { count: 0 } }], 'nothing is counted as 0, and has no p99');
  assert.deepEqual((await ask(s, { filter: 'verdict == "denied"', by: 'policy' })).stats, []);
});

test('groups, values and records at their limits and one more', async (t) => {
  const limits = { groupsMax: 10, samplesMax: 30, distinctMax: 10 };
  const s = await setup(t, { aggregate: limits, rowsMax: 40 });
  const row = (i: number) => ({
    ...rowOf({ from: 'frontend', to: 'orders', atMs: i, tookMs: i + 1 }),
    path: `/${i % 11}`,
  });
  await add(
    s.log,
    Array.from({ length: 10 }, (_, i) => row(i)),
  );
  const asked = { by: 'request.path', metrics: 'count,distinct(request.path),p50' };
  const at = await ask(s, asked);
  assert.deepEqual([at.groups, at.complete, at.leftOut, at.approximate], [10, true, undefined, []]);
  await add(s.log, [row(10), row(10)]);
  const over = await ask(s, asked);
  assert.deepEqual([over.groups, over.complete, over.records], [10, false, 12]);
  assert.ok((over.leftOut ?? 0) >= 1, 'what is left out is counted');
  assert.deepEqual(
    over.gaps.map(({ kind, limit }) => [kind, limit]),
    [['partial', 'groups']],
  );
  assert.match(over.gaps[0]?.reason ?? '', /more than 10 groups/);
  const distinct = await ask(s, { metrics: 'distinct(request.path)' });
  assert.deepEqual([distinct.stats[0]?.metrics, distinct.gaps[0]?.limit], [{ 'distinct(request.path)': 10 }, 'values']);
  await add(
    s.log,
    Array.from({ length: 18 }, (_, i) => row(i + 11)),
  );
  const exact = await ask(s, { metrics: 'p50,p99,max' });
  assert.deepEqual([exact.approximate, exact.records], [[], 30]);
  await add(s.log, [row(29)]);
  const sketched = await ask(s, { metrics: 'p50,p99,max,count' });
  assert.deepEqual([sketched.approximate, sketched.complete], [['p50', 'p99'], true]);
  await add(
    s.log,
    Array.from({ length: 9 }, (_, i) => row(i + 30)),
  );
  assert.equal((await ask(s, {})).complete, true, '40 records may be looked at');
  await add(s.log, [row(39)]);
  const tooMany = await ask(s, {});
  assert.deepEqual([tooMany.complete, tooMany.records, tooMany.gaps[0]?.limit], [false, 40, 'rows']);
  assert.match(tooMany.gaps[0]?.reason ?? '', /looked at 40 records, its limit; not all that began up to 2026-/);
});

test('a count that takes too long is partial, has no tag, and says what is counted', async (t) => {
  let now = 0;
  const s = await setup(t, { timeMsMax: 10, now: () => (now += 5) });
  for (let i = 0; i < 20; i++) await add(s.log, randomRows(i, 300));
  const answer = await s.get('/v1/stats?since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:50Z');
  const { complete, gaps } = (await answer.json()) as Answer;
  assert.deepEqual([complete, gaps.map(({ limit }) => limit)], [false, ['time']]);
  assert.match(gaps[0]?.reason ?? '', /took 10 ms, its limit; not all that began up to 2026-11-24T/);
  assert.deepEqual([answer.headers.get('etag'), answer.headers.get('cache-control')], [null, 'no-store']);
  const joined = await ask(s, { twins: 'join' });
  assert.match(joined.gaps[0]?.reason ?? '', /not all that began from 2026-11-24T\S+ on is counted/);
});

test('an asker who leaves ends the count, not the collector', async (t) => {
  const s = await setup(t);
  for (let i = 0; i < 40; i++) await add(s.log, randomRows(i, 300));
  const gone = Array.from({ length: 20 }, async () => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 5);
    await s.get('/v1/edges', { signal: leave.signal });
  });
  assert.ok((await Promise.allSettled(gone)).some(({ status }) => status === 'rejected'));
  assert.equal((await ask(s, { repeats: 'true' })).records, 12_000);
});

test('a sketch is within its error of the exact percentile, whatever came first', async (t) => {
  const s = await setup(t, { aggregate: { samplesMax: 5 } });
  const numbers = fc.array(fc.integer({ min: 0, max: 2 ** 40 }), { minLength: 6, maxLength: 60 });
  let begin = 0;
  const property = fc.asyncProperty(numbers, async (sizes) => {
    const row = (requestBytes: number) => ({ ...rowOf({ from: 'a', to: 'b', atMs: begin }), requestBytes });
    await add(s.log, sizes.map(row));
    const since = timeText(START_NS + BigInt(begin) * 1_000_000n);
    begin++;
    const until = timeText(START_NS + BigInt(begin) * 1_000_000n);
    const fields = ['p50', 'p90', 'p99'].map((p) => `${p}(request.total_size)`);
    const { stats, approximate } = await ask(s, { since, until, metrics: fields.join() });
    assert.deepEqual(approximate, fields);
    const sorted = sizes.toSorted((a, b) => a - b);
    for (const [i, p] of [50, 90, 99].entries()) {
      const want = sorted[Math.ceil((p / 100) * sorted.length) - 1] as number;
      const got = stats[0]?.metrics[fields[i] as string] as number;
      assert.ok(Math.abs(got - want) <= want * SKETCH_ERROR + 1, `${p}: ${got}, ${want}`);
    }
  });
  await fc.assert(property, { numRuns: 40 });
});

test('what is not understood is refused with its place and the nearest name', async (t) => {
  const s = await setup(t);
  for (const [query, code, position, nearest] of [
    ['by=source.principle', 'PARAMETER_INVALID', [0, 16], 'source.principal'],
    ['by=verdict,,policy', 'PARAMETER_INVALID', [8, 8], undefined],
    ['by=verdict,verdict', 'PARAMETER_INVALID', [8, 15], undefined],
    ['by=request.headers', 'PARAMETER_INVALID', [0, 15], undefined],
    ['by=verdict,policy,reporter,route,cluster', 'PARAMETER_INVALID', [30, 37], undefined],
    ['metrics=count,sum', 'PARAMETER_INVALID', [6, 9], undefined],
    ['metrics=count, sum(request.size)', 'PARAMETER_INVALID', [11, 23], 'request.total_size'],
    ['metrics=sum(verdict)', 'PARAMETER_INVALID', [4, 11], undefined],
    ['metrics=p50(time)', 'PARAMETER_INVALID', [4, 8], undefined],
    ['metrics=cuont', 'PARAMETER_INVALID', [0, 5], 'count'],
    ['metrics=p100', 'PARAMETER_INVALID', [0, 4], 'p50'],
    ['metrics=count,count', 'PARAMETER_INVALID', [6, 11], undefined],
    [
      `metrics=${[...ATTRIBUTES.keys()].slice(0, 17).map((name) => `distinct(${name})`)}`,
      'PARAMETER_INVALID',
      undefined,
      undefined,
    ],
    ['bucket=0s', 'PARAMETER_INVALID', [0, 2], undefined],
    ['bucket=1', 'PARAMETER_INVALID', [0, 1], undefined],
    ['bucket=367d', 'PARAMETER_INVALID', [0, 4], undefined],
    ['filter=verdict', 'FILTER_INVALID', [0, 7], undefined],
    ['limit=0', 'PARAMETER_INVALID', undefined, undefined],
    ['limit=10001', 'PARAMETER_INVALID', undefined, undefined],
    ['repeats=maybe', 'PARAMETER_INVALID', undefined, undefined],
    ['twins=yes', 'PARAMETER_INVALID', undefined, undefined],
    ['groupby=verdict', 'PARAMETER_INVALID', undefined, undefined],
    ['since=now&until=-1h', 'TIME_INVALID', undefined, undefined],
  ] as const) {
    const answer = await s.get(`/v1/stats?${query}`);
    const problem = (await answer.json()) as {
      code: string;
      position?: { start: number; end: number };
      nearest?: string;
    };
    assert.deepEqual([answer.status, problem.code], [400, code], query);
    if (position !== undefined)
      assert.deepEqual([problem.position, problem.nearest], [{ start: position[0], end: position[1] }, nearest], query);
  }
});

test('an answer about a closed window has a tag for as long as it stays the same', async (t) => {
  const s = await setup(t);
  await add(s.log, [rowOf({ from: 'frontend', to: 'orders', atMs: 0 })]);
  const closed = '/v1/stats?by=verdict&since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:30Z';
  const first = await s.get(closed);
  const tag = first.headers.get('etag') ?? assert.fail('no tag');
  assert.equal(first.headers.get('cache-control'), 'no-cache');
  const again = await s.get(closed, { headers: { 'if-none-match': `"x", W/${tag}` } });
  assert.deepEqual([again.status, await again.text(), again.headers.get('etag')], [304, '', tag]);
  const other = await s.get(closed.replace('verdict', 'policy'), { headers: { 'if-none-match': tag } });
  assert.equal(other.status, 200);
  await add(s.log, [rowOf({ from: 'frontend', to: 'orders', atMs: 1 })]);
  const grown = await s.get(closed, { headers: { 'if-none-match': tag } });
  assert.equal(grown.status, 200, 'the log has grown');
  assert.notEqual(grown.headers.get('etag'), tag);
  for (const open of [
    'since=-1h',
    'since=2026-11-24T12:00:00Z',
    'until=now',
    'since=-1h&until=2026-11-24T12:00:30Z',
    'until=2026-11-25T00:00:00Z',
  ]) {
    const { headers } = await s.get(`/v1/stats?${open}`);
    assert.deepEqual([headers.get('etag'), headers.get('cache-control')], [null, 'no-store'], open);
  }
});
