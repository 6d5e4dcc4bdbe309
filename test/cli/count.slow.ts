// Goal: the counting verbs show the API's rows, the same in every format, say what they asked, and end with the right code.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ago, type CountAnswer, type Edge, fitted } from '../../collector/src/cli/count.ts';
import { edgeColumns } from '../../collector/src/cli/edges.ts';
import { dot, mermaid } from '../../collector/src/cli/graph.ts';
import { table } from '../../collector/src/cli/output.ts';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { randomRows, rowOf, spiffe } from '../api/exchanges.ts';
import { StreamMaker } from '../support/facts.ts';
import { forFile, meshtrail, post, published, type Ran, type Serving, scratch, serve } from './harness.ts';

const file = forFile();
let serving: Serving;
const HOSTILE = 'a"b\x1b[31m]|<c>\\';

async function add(fill: number, rows: readonly RowFacts[]): Promise<void> {
  const wire = encodeBatch({ stream: new Uint8Array(16).fill(fill), batchNumber: 0, firstRecord: 0, rows });
  assert.equal((await post(serving.ingest, wire)).status, 200);
}

before(async () => {
  serving = await serve(file, scratch(file), ['--publish-interval-ms', '50', '--origin', 'count.mesh/log']);
  await add(1, randomRows(1, 60));
  await add(2, randomRows(2, 60));
  const hostile = { id: 1, direction: 1 as const, sourceAddress: '10.0.0.9:1' };
  await add(3, [{ ...rowOf({ from: 'x', to: 'y', atMs: 0 }), connection: hostile, outcome: { authority: HOSTILE } }]);
  await published(serving.api, 3);
});
after(() => file.end());

const run = (...args: string[]): Promise<Ran> => meshtrail(args, { env: { MESHTRAIL_API: serving.api } });

/** Lines of CSV whose cells hold no line breaks, as cells. */
function cellsOf(csv: string): readonly (readonly string[])[] {
  const lines = csv.trim().split('\r\n');
  return lines.map((line) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
      ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
    ),
  );
}

test('stats: the API’s rows in every format', async () => {
  const asked = { by: 'source.principal,response.code', metrics: 'count,sum(request.total_size),p99', bucket: '1m' };
  const answer = (await (
    await fetch(`${serving.api}/v1/stats?${new URLSearchParams(asked)}`)
  ).json()) as CountAnswer & {
    stats: { bucket: string; group: never; metrics: Record<string, unknown> }[];
  };
  const args = ['stats', '--by', asked.by, '-m', asked.metrics, '--bucket', asked.bucket];
  const json = await run(...args, '-o', 'json');
  assert.equal(json.code, 0);
  assert.deepEqual(JSON.parse(json.stdout), answer);
  const lines = (await run(...args, '-o', 'ndjson')).stdout.trim().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    answer.stats,
  );
  const [head, ...rows] = cellsOf((await run(...args, '-o', 'csv')).stdout);
  assert.deepEqual(head, ['bucket', 'source.principal', 'response.code', 'count', 'sum(request.total_size)', 'p99']);
  const text = (value: unknown): string => (value === undefined ? '' : String(value));
  assert.deepEqual(
    rows,
    answer.stats.map(({ bucket, group, metrics }) => {
      const { source, response } = group as { source?: { principal?: string }; response?: { code?: number } };
      return [
        bucket,
        source?.principal,
        response?.code,
        metrics['count'],
        metrics['sum(request.total_size)'],
        metrics['p99'],
      ].map(text);
    }),
  );
  const shown = await run(...args);
  assert.match(
    shown.stdout,
    /^BUCKET \(UTC\) +SOURCE\.PRINCIPAL +RESPONSE\.CODE +COUNT +SUM\(REQUEST\.TOTAL_SIZE\) +P99\n/,
  );
  assert.equal(shown.stdout.trim().split('\n').length, answer.stats.length + 1);
  assert.match(shown.stderr, /^\d+ groups, as of count\.mesh\/log size 3\n$/);
  assert.match((await run(...args, '--limit', '2')).stderr, /^2 groups of \d+ \(--limit shows more\), as of/);
});

test('edges, diff, neighbors, scope and identity: the API’s rows in every format', async () => {
  const all = 'a=2026-11-24T12:00:00Z/2026-11-24T12:02:00Z&b=2026-11-24T12:02:00Z/2026-11-24T12:05:00Z';
  const [a = '', b = ''] = all.split('&').map((part) => part.slice(2));
  const principal = spiffe('orders');
  for (const [args, path, list] of [
    [['edges'], '/v1/edges', 'edges'],
    [
      ['edges', '--by', 'principal', '--at', '2026-11-24T12:04:00Z', '--window', '2m', '--twins', 'separate'],
      '/v1/edges?by=principal&at=2026-11-24T12:04:00Z&window=2m&twins=separate',
      'edges',
    ],
    [['diff', '--a', a, '--b', b], `/v1/diff?${all}`, 'diff'],
    [['neighbors', 'orders.shop', '--repeats'], '/v1/neighbors?node=orders.shop&repeats=true', 'neighbors'],
    [['scope', '10.0.0.1', '-f', 'has(policy)'], '/v1/scope?indicator=10.0.0.1&filter=has(policy)', 'scope'],
    [['identity', principal], `/v1/identity?principal=${principal}`, 'identity'],
  ] as const) {
    const answer = (await (await fetch(`${serving.api}${path}`)).json()) as Record<string, unknown>;
    assert.deepEqual(JSON.parse((await run(...args, '--json')).stdout), answer, path);
    const ndjson = (await run(...args, '-o', 'ndjson')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    if (Array.isArray(answer[list])) assert.deepEqual(ndjson, answer[list], path);
    else assert.ok(ndjson.length > 1 && ndjson.every((row) => 'list' in row), path);
    const [head = [], ...rows] = cellsOf((await run(...args, '-o', 'csv')).stdout);
    assert.equal(rows.length, ndjson.length, path);
    for (const row of rows) assert.equal(row.length, head.length, path);
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^\d+ \w+, as of count\.mesh\/log size 3\n$/);
    assert.ok(stdout.split('\n').length > 2, path);
    assert.doesNotMatch(stdout, /undefined|\[object/, path);
    assert.ok(!stdout.includes('\x1b'), path);
  }
});

test('tables name edges with what is claimed in quotes, and times from now', async () => {
  const { stdout } = await run('edges');
  assert.match(
    stdout,
    /^SOURCE +DESTINATION +REQUESTS +CONNS +DENIED +ERRORS +BYTES IN +BYTES OUT +P50 +P99 +MTLS +FIRST \(UTC\) +LAST\n/,
  );
  assert.match(stdout, /^frontend\.shop +orders\.shop +\d+ /m);
  assert.match(stdout, /^10\.0\.0\.9 +"a"b\\x1b\[31m/m);
  const now = Date.parse('2026-11-24T12:00:00Z');
  for (const [time, want] of [
    ['2026-11-24T12:00:00Z', 'now'],
    ['2026-11-24T11:59:58Z', '2s ago'],
    ['2026-11-24T11:58:59Z', '1m ago'],
    ['2026-11-24T09:00:00Z', '3h ago'],
    ['2026-11-20T09:00:00Z', '4d ago'],
    ['2026-11-24T12:00:09Z', 'in 9s'],
  ] as const)
    assert.equal(ago(time, now), want);
});

test('a narrow terminal goes without some columns, and never cuts a number', async () => {
  const { edges } = JSON.parse((await run('edges', '--json')).stdout) as { edges: Edge[] };
  const all = edgeColumns(Date.now());
  assert.deepEqual(fitted(all, edges, 400), all);
  assert.deepEqual(fitted(all, edges, undefined).length, all.length, 'a pipe');
  for (const width of [120, 100, 80]) {
    const lines = table(fitted(all, edges, width), edges, width).split('\n');
    assert.ok(
      lines.every((line) => line.length <= width),
      `${width}: ${lines[0]}`,
    );
    assert.match(lines[0] ?? '', /^SOURCE +DESTINATION +REQUESTS .*DENIED/);
  }
});

test('graphs for Mermaid and Graphviz, from which no recorded name breaks out', async () => {
  const drawn = await run('edges', '-o', 'mermaid');
  assert.equal(drawn.code, 0);
  const lines = drawn.stdout.trim().split('\n');
  assert.equal(lines[0], 'flowchart LR');
  for (const line of lines.slice(1)) assert.match(line, /^ {2}n\d+(?:\["[^"]*"\]| (?:-->|-\.->)\|"[^"]*"\| n\d+)$/);
  assert.ok(
    lines.some((line) => line.includes('#34;a#34;b#92;x1b[31m]|#60;c#62;#92;#34;')),
    drawn.stdout,
  );
  const digraph = (await run('edges', '-o', 'dot')).stdout.trim().split('\n');
  assert.deepEqual([digraph[0], digraph.at(-1)], ['digraph meshtrail {', '}']);
  for (const line of digraph.slice(2, -1))
    assert.match(line, /^ {2}n\d+(?: -> n\d+)? \[label="(?:[^"\\]|\\["\\])*"[^"]*\];$/);
  const { edges } = JSON.parse((await run('edges', '--json')).stdout) as { edges: Edge[] };
  assert.equal(digraph.filter((line) => line.includes(' -> ')).length, edges.length);
  const both = [
    { source: { name: 'a' }, destination: { name: 'a', claimed: true }, label: 'x', style: 'new' as const },
  ];
  assert.equal(mermaid(both), 'flowchart LR\n  n0["a"]\n  n1["#34;a#34;"]\n  n0 ==>|"x"| n1');
  assert.match(dot(both), /n0 -> n1 \[label="x", color=green\];/);
});

test('--explain says what was asked, and its curl gives the same answer', async () => {
  const { code, stdout, stderr } = await run(
    'edges',
    '-f',
    'policy == "it\'s"',
    '--since',
    '2026-11-24T12:00:00Z',
    '--explain',
    '--json',
  );
  assert.equal(code, 0);
  assert.match(stderr, /^CEL: {2}policy == "it's"\n/m);
  const curl = /^curl: (.+)$/m.exec(stderr)?.[1] ?? '';
  assert.match(
    curl,
    /^curl -sG 'http:\/\/127\.0\.0\.1:\d+\/v1\/edges' --data-urlencode 'filter=policy == "it'\\''s"' --data-urlencode 'since=2026-11-24T12:00:00Z'$/,
  );
  const parameters = [...curl.matchAll(/--data-urlencode '((?:[^']|'\\'')*)'/g)].map(([, pair = '']) => {
    const text = pair.replaceAll("'\\''", "'");
    return [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)] as [string, string];
  });
  const answer = await (await fetch(`${serving.api}/v1/edges?${new URLSearchParams(parameters)}`)).json();
  assert.deepEqual(JSON.parse(stdout), answer);
  assert.match(
    (await run('scope', '10.0.0.1', '--explain')).stderr,
    /^CEL: {2}source\.address == "10\.0\.0\.1" \|\| /m,
  );
  assert.match((await run('stats', '--explain')).stderr, /^CEL: {2}true \(every record\)$/m);
});

test('what is wrong ends with 2 and is shown in its place; what is not whole with 1', async (t) => {
  const field = await run('stats', '--by', 'verdict,source.principle');
  assert.deepEqual([field.code, field.stdout], [2, '']);
  assert.match(
    field.stderr,
    /^ {2}verdict,source\.principle\n {10}\^{16}\nmeshtrail: .*did you mean source\.principal\? \[PARAMETER_INVALID\]\n$/,
  );
  assert.match(
    (await run('edges', '-f', 'verdcit == "x"')).stderr,
    /^ {2}verdcit == "x"\n {2}\^{7}\nmeshtrail: .*\[FILTER_INVALID\]\n$/,
  );
  for (const args of [
    ['stats', 'verdict'],
    ['stats', '-m', 'sum'],
    ['stats', '--limit', '10001'],
    ['edges', '--by', 'cluster'],
    ['edges', '--at', 'now', '--since', '-1h'],
    ['edges', '-o', 'png'],
    ['diff'],
    ['diff', '--a', '-2h/-1h'],
    ['scope'],
    ['scope', 'x', '--kind', 'y'],
    ['neighbors'],
    ['identity'],
    ['identity', 'a', 'b'],
  ]) {
    const { code, stdout, stderr } = await run(...args);
    assert.deepEqual([code, stdout], [2, ''], `${args.join(' ')}: ${stderr}`);
  }
  assert.equal((await run('stats', '--api', 'http://127.0.0.1:1')).code, 3);
  const own = await serve(t, scratch(t), ['--publish-interval-ms', '50']);
  const maker = new StreamMaker(3);
  await post(own.ingest, maker.batch(2));
  maker.batch(1);
  await post(own.ingest, maker.batch(2));
  await published(own.api, 2);
  const gap = await meshtrail(['stats'], { env: { MESHTRAIL_API: own.api } });
  assert.equal(gap.code, 1);
  assert.match(gap.stderr, /^1 group, as of \S+ size 2; INCOMPLETE:\n {2}\{"kind":"missing".*\n$/);
});

test('relative times are from now', async (t) => {
  const own = await serve(t, scratch(t), ['--publish-interval-ms', '50']);
  const startNs = BigInt(Date.now() - 1_800_000) * 1_000_000n;
  const rows = [{ ...rowOf({ from: 'x', to: 'y', atMs: 0 }), startNs }];
  await post(own.ingest, encodeBatch({ stream: new Uint8Array(16), batchNumber: 0, firstRecord: 0, rows }));
  await published(own.api, 1);
  const count = async (...args: string[]): Promise<string> =>
    (await meshtrail(['stats', ...args, '-o', 'csv'], { env: { MESHTRAIL_API: own.api } })).stdout.split('\r\n')[1] ??
    '';
  assert.equal(await count('--since', '-1h', '--until', 'now'), '1');
  assert.equal(await count('--since', '-25m'), '0');
  assert.equal(await count('--since', '-1h', '--until', '-35m'), '0');
  const { stdout } = await meshtrail(['edges', '--since', '-1h'], { env: { MESHTRAIL_API: own.api } });
  assert.match(stdout, /(?:30|31)m ago\n$/);
});
