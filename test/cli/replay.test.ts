// Goal: `meshtrail replay` shows the past at a speed or step by step, and sends to a test target what it says it sends, and nothing else.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, type TestContext, test } from 'node:test';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { START_NS, StreamMaker } from '../support/facts.ts';
import { forFile, meshtrail, post, published, type Ran, type Serving, scratch, serve } from './harness.ts';
import { running } from './running.ts';

const file = forFile();
let serving: Serving;
const WINDOW = ['--since', '2026-11-24T12:00:00Z', '--until', '2026-11-24T12:00:20Z'];
const MESH = ['-f', 'node.id.contains("orders")'];
const SENT = ['-f', '!has(node.id)'];

/** An exchange in the second 1 of the window. */
const row = (path: string, code: number, more: Partial<RowFacts> = {}, method = 'GET'): RowFacts => ({
  verdict: 'allowed',
  startNs: START_NS + 1_000_000_000n,
  durationUs: 1000,
  path,
  connection: { id: 1 },
  outcome: { code, method },
  ...more,
});

/** A request id that services pass along: only the second record is the other side of an exchange, the first. */
const requestId = new Uint8Array(16).fill(1);
const OUTBOUND = { id: 2, direction: 2 } as const;

const ROWS: readonly RowFacts[] = [
  row('/ok?page=2', 200, { headers: 'x-team: blue\nx-other: red', requestId }),
  row('/ok?page=2', 200, { requestId, connection: OUTBOUND }),
  row('/gone', 200, { requestId, connection: OUTBOUND }),
  row('/teapot', 418, { requestId }),
  row('/teapot', 418, { requestId }),
  row('/pay', 200, {}, 'POST'),
  row('http://elsewhere.example/', 200),
  row('//elsewhere.example/', 200),
  row('/login?access_token=s3cret', 200),
  row('/split\r\nhost: elsewhere.example', 200),
];

before(async () => {
  serving = await serve(file, scratch(file), ['--publish-interval-ms', '50']);
  const maker = new StreamMaker(1);
  const at = (s: number): bigint => START_NS + BigInt(s) * 1_000_000_000n;
  for (let i = 0; i < 4; i++)
    await post(
      serving.ingest,
      maker.batch(10, { clock: [at(i * 5), at(i * 5 + 5), 1n, 2n] }, () => i * 5e9 + 1e9),
    );
  await post(
    serving.ingest,
    encodeBatch({
      stream: new Uint8Array(16).fill(7),
      batchNumber: 0,
      firstRecord: 0,
      rows: [...ROWS],
      clock: [at(1), at(2), 1n, 2n],
    }),
  );
  await published(serving.api, 5);
});
after(() => file.end());

const run = async (...args: string[]): Promise<Ran> =>
  await meshtrail(['replay', ...WINDOW, ...args], { env: { MESHTRAIL_API: serving.api } });

interface Line {
  readonly event: string;
  readonly at?: string;
  readonly width?: string;
}

const linesOf = (text: string): Line[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);

test('at a speed, as lines and as a table', async () => {
  const started = performance.now();
  const ran = await run('--speed', '40', '-o', 'ndjson', '--frames', '1s,10s,exchange', ...MESH);
  assert.equal(ran.code, 0, ran.stderr);
  assert.ok(performance.now() - started > 490, '20 s at 40 times');
  const lines = linesOf(ran.stdout);
  assert.equal(lines.filter(({ event }) => event === 'flow').length, 40);
  assert.equal(lines.filter(({ width }) => width === '10s').length, 2);
  const times = lines.flatMap(({ at }) => at ?? []);
  assert.deepEqual(times, [...times].sort());
  assert.match(ran.stderr, /^replaying 2026-11-24T12:00:00\.000000000Z to 2026-11-24T12:00:20\.000000000Z of /);
  const table = await run('--speed', '1000', ...MESH);
  assert.match(table.stdout, /^ID +TIME/);
  assert.match(table.stdout, /^-- 12:00:10 to 12:00:20: 20 records, \d+ edges, \d+ denied, \d+ failed$/m);
});

test('step by step, a line of input for each', async (t) => {
  const env = { MESHTRAIL_API: serving.api };
  const whole = linesOf((await run('--speed', '1000', '-o', 'ndjson', '--frames', 'exchange', ...MESH)).stdout);
  const stepped = running(
    t,
    ['replay', ...WINDOW, ...MESH, '--step', 'exchange', '--frames', 'exchange', '-o', 'ndjson'],
    { env },
  );
  for (let count = 1; count <= 3; count++) {
    stepped.write('\n');
    await stepped.until(`${count} steps`, () => stepped.lines().length === count);
  }
  stepped.write('\n'.repeat(60));
  const { code, stdout } = await stepped.ended;
  assert.equal(code, 0);
  assert.deepEqual(linesOf(stdout), whole);
});

interface Target {
  readonly url: string;
  readonly got: {
    readonly method: string;
    readonly url: string;
    readonly headers: IncomingHttpHeaders;
    readonly ms: number;
  }[];
}

async function target(t: TestContext): Promise<Target> {
  const got: Target['got'][number][] = [];
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    got.push({ method, url, headers, ms: performance.now() });
    response.writeHead(url.includes('gone') ? 404 : url.includes('teapot') ? 418 : 200).end('x');
  });
  t.after(() => server.close().closeAllConnections());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, got };
}

test('to a target: first dry, then what may be sent, with the answers compared', async (t) => {
  const { url, got } = await target(t);
  const dry = await run(...SENT, '--to', url, '--headers', 'x-team');
  assert.deepEqual([dry.code, got.length], [0, 0], 'nothing is sent without --yes');
  assert.match(dry.stdout, /GET +\/ok\?page=2 +200 +- +not sent/);
  assert.match(dry.stderr, /dry run: 5 requests would go to .* at up to 5 a second; --yes sends them/);
  assert.match(dry.stderr, /left out: 1 \(other side of the same exchange\)/);
  assert.match(dry.stderr, /left out: 1 \(credentials in the query\)/);
  assert.match(dry.stderr, /left out: 1 \(method GET, HEAD, OPTIONS only\)/);
  assert.match(dry.stderr, /left out: 2 \(path that is none\)/);

  const sent = await run(
    ...SENT,
    '--to',
    `${url}/base/`,
    '--headers',
    'x-team',
    '--yes',
    '--speed',
    '1000',
    '--rate',
    '10',
  );
  assert.equal(sent.code, 1, 'one has another status');
  assert.deepEqual(
    got.map(({ method, url: path }) => [method, path]),
    [
      ['GET', '/base/ok?page=2'],
      ['GET', '/base/gone'],
      ['GET', '/base/teapot'],
      ['GET', '/base/teapot'],
      ['GET', '/base//elsewhere.example/'],
    ],
  );
  assert.deepEqual(
    [got[0]?.headers['x-team'], got[0]?.headers['x-other'], got[0]?.headers['x-meshtrail-replay']],
    ['blue', undefined, '4.0'],
  );
  const took = (got.at(-1)?.ms ?? 0) - (got[0]?.ms ?? 0);
  assert.ok(took > 350, `four intervals of a tenth of a second, not ${took} ms`);
  assert.match(sent.stdout, /GET +\/gone +200 +404 +different/);
  assert.match(
    sent.stderr,
    /recorded -> replayed: 200 -> 404: 1\n5 requests to .*: 4 as recorded, 1 with another status, 0 without an answer/,
  );
  const same = await run('-f', '!has(node.id) && response.code == 418', '--to', url, '--yes', '--speed', '1000');
  assert.equal(same.code, 0, same.stderr);
  const posted = await run(
    '-f',
    '!has(node.id) && request.method == "POST"',
    '--to',
    url,
    '--yes',
    '--speed',
    '1000',
    '--methods',
    'post',
  );
  assert.equal(posted.code, 0, posted.stderr);
  assert.deepEqual([got.at(-1)?.method, got.at(-1)?.headers['content-length']], ['POST', '0'], 'no body');
});

test('what must not be done is refused', async (t) => {
  const { url, got } = await target(t);
  const cases: string[][] = [
    ['--yes'],
    ['--dry-run'],
    ['--rate', '3'],
    ['--to', 'production'],
    ['--to', 'ftp://127.0.0.1'],
    ['--to', 'http://user:secret@127.0.0.1'],
    ['--to', serving.api],
    ['--to', url, '--yes', '--dry-run'],
    ['--to', url, '--yes', '--rate', '0'],
    ['--to', url, '--yes', '--rate', '1001'],
    ['--to', url, '--yes', '--headers', 'x-team,authorization'],
    ['--to', url, '--yes', '--headers', 'x-session-id'],
    ['--to', url, '--yes', '--headers', 'cookie'],
    ['--to', url, '--yes', '--headers', 'host'],
    ['--to', url, '--yes', '--headers', 'x-forwarded-client-cert'],
    ['--speed', '0'],
    ['--speed', '1001'],
    ['--step', '2s'],
  ];
  for (const args of cases) {
    const ran = await run(...args);
    assert.deepEqual([ran.code, /\[USAGE\]/.test(ran.stderr)], [2, true], `${args.join(' ')}: ${ran.stderr}`);
  }
  assert.equal(got.length, 0);
  const none = await meshtrail(['replay'], { env: { MESHTRAIL_API: serving.api } });
  assert.deepEqual([none.code, /needs --since/.test(none.stderr)], [2, true]);
});
