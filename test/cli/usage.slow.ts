// Goal: what goes wrong ends with the right code and one line: wrong use, wrong files, a collector that is away, or that is none.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { StreamMaker } from '../support/facts.ts';
import {
  forFile,
  meshtrail,
  post,
  published,
  type Ran,
  type RunOptions,
  type Serving,
  scratch,
  serve,
} from './harness.ts';

const file = forFile();
let dir = '';
let serving: Serving;

before(async () => {
  dir = scratch(file);
  serving = await serve(file, dir, ['--publish-interval-ms', '50']);
  const maker = new StreamMaker(1);
  for (let i = 0; i < 4; i++) await post(serving.ingest, maker.batch(30));
  await published(serving.api, 4);
});
after(() => file.end());

const run = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  meshtrail(args, { cwd: dir, ...options, env: { MESHTRAIL_API: serving.api, ...options.env } });

test('exit codes: 1 not verified, 2 usage, 3 could not check', async (t) => {
  const at = scratch(t);
  const file = (name: string, text: string): string => {
    writeFileSync(join(at, name), text);
    return join(at, name);
  };
  const vkey = file('log.vkey', serving.vkey);
  const unreadable = file('unreadable.json', '{}');
  chmodSync(unreadable, 0);
  mkdirSync(join(at, 'folder'));
  const other = 'other.mesh/log+0f5dd1b9+AcpkiqYpW+AuaSf38JGpq8FUlIfS3s/lMYGseJeD2XPL';
  const cases: [args: string[], code: number, word: string][] = [
    [['show', '3.99'], 1, 'RECORD_NOT_FOUND'],
    [['show', '3'], 2, 'RECORD_ID_INVALID'],
    [['show', '../health/live'], 2, 'RECORD_ID_INVALID'],
    [['show', 'other/log/1.1'], 1, 'RECORD_NOT_FOUND'],
    [['show', '99999999999999999999.1'], 1, 'TREE_SIZE_UNSUPPORTED'],
    [['show'], 2, 'USAGE'],
    [['show', '1.1', '1.2'], 2, 'USAGE'],
    [['prove', '3.99'], 1, 'RECORD_NOT_FOUND'],
    [['flows', '--fitler', 'true'], 2, 'USAGE'],
    [['flows', '-f'], 2, 'USAGE'],
    [['flows', '-o', 'xml'], 2, 'USAGE'],
    [['flows', '-o', 'csv', '--json'], 2, 'USAGE'],
    [['flows', '--order', 'up'], 2, 'USAGE'],
    [['flows', '--limit', '0'], 2, 'PARAMETER_INVALID'],
    [['flows', '--limit', '1001'], 2, 'PARAMETER_INVALID'],
    [['flows', '--limit', 'many'], 2, 'PARAMETER_INVALID'],
    [['flows', '--since', 'yesterday'], 2, 'TIME_INVALID'],
    [['flows', '--cursor', 'abc'], 2, 'CURSOR_INVALID'],
    [['flows', '-f', 'verdict'], 2, 'FILTER_INVALID'],
    [['flows', '--api', 'nonsense'], 2, 'USAGE'],
    [['flows', '--api', 'ftp://127.0.0.1'], 2, 'USAGE'],
    [['flows', '--api', 'http://127.0.0.1:1'], 3, 'COLLECTOR_UNREACHABLE'],
    [['flows', '--api', serving.ingest], 2, 'ROUTE_NOT_FOUND'],
    [['verify', join(at, 'nowhere.json'), '--vkey', vkey], 3, 'PREREQUISITE_MISSING'],
    [['verify', join(at, 'folder'), '--vkey', vkey], 3, 'PREREQUISITE_MISSING'],
    [['verify', file('a.json', '{}'), '--vkey', vkey], 1, 'PROOF_MALFORMED'],
    [['verify', file('b.json', 'nonsense'), '--vkey', vkey], 1, 'PROOF_MALFORMED'],
    [['verify', file('c.json', 'x'.repeat(4 * 1024 * 1024 + 1)), '--vkey', vkey], 1, 'PROOF_MALFORMED'],
    [['verify', file('d.json', '{}')], 2, 'USAGE'],
    [['verify', file('e.json', '{}'), '--vkey', join(at, 'nowhere.vkey')], 3, 'KEY_MISSING'],
    [['verify', file('f.json', '{}'), '--vkey', join(at, 'folder')], 3, 'KEY_MISSING'],
    [['verify', file('g.json', '{}'), '--vkey', other], 2, 'VKEY_MALFORMED'],
    [['verify', file('h.json', '{}'), '--vkey', 'log+0f5dd1b9+AcpkiqYpW'], 2, 'VKEY_MALFORMED'],
    [['fsck'], 2, 'USAGE'],
    [['fsck', '--dir', join(at, 'nowhere')], 3, 'PREREQUISITE_MISSING'],
    [['keys'], 2, 'USAGE'],
    [['keys', 'show'], 2, 'USAGE'],
    [['keys', 'show', '--dir', at], 3, 'KEY_MISSING'],
    [['keys', 'make'], 2, 'USAGE'],
    [['keys', 'new', '--out', vkey], 2, 'USAGE'],
    [['keys', 'new', '--origin', 'a b', '--out', join(at, 'k')], 2, 'KEY_INVALID'],
    [['nosuch'], 2, 'USAGE'],
    [['constructor'], 2, 'USAGE'],
    [['help', '__proto__'], 2, 'USAGE'],
  ];
  // Root reads everything, so the file that cannot be read is one only for others.
  if (process.getuid?.() !== 0) cases.push([['verify', unreadable, '--vkey', vkey], 3, 'PREREQUISITE_MISSING']);
  for (const [args, code, word] of cases) {
    const { code: got, stdout, stderr } = await run(args);
    assert.deepEqual([got, stdout], [code, ''], `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, new RegExp(`meshtrail: .* \\[${word}\\]\\n$`), args.join(' '));
    assert.doesNotMatch(stderr, / at .*:\d+:\d+/, 'no stack');
    assert.doesNotMatch(stderr, /[^.]\.\.(?: |$)/m, 'one full stop');
  }
});

test('help, versions and near misses', async () => {
  const help = await run(['--help']);
  assert.deepEqual([help.code, help.stderr], [0, '']);
  const verbs = ['serve', 'demo', 'flows', 'show', 'coverage', 'prove', 'verify', 'fsck', 'keys'];
  for (const verb of [...verbs, 'stats', 'edges', 'diff', 'scope', 'neighbors', 'identity']) {
    assert.match(help.stdout, new RegExp(`^ {2}${verb} +\\S`, 'm'));
    const { code, stdout } = await run([verb, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^usage: meshtrail ${verb}`, 'm'));
    assert.match(stdout, new RegExp(`^examples:\n {2}meshtrail ${verb}`, 'm'));
    assert.equal((await run(['help', verb])).stdout, stdout);
  }
  assert.match((await run(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
  const bare = await run([]);
  assert.deepEqual([bare.code, bare.stdout], [2, '']);
  for (const [word, meant] of [
    ['flow', 'flows'],
    ['shwo', 'show'],
    ['verfy', 'verify'],
    ['fsk', 'fsck'],
    ['key', 'keys'],
    ['edge', 'edges'],
    ['stast', 'stats'],
  ])
    assert.match((await run([word as string])).stderr, new RegExp(`did you mean ${meant}\\?`));
  assert.match((await run(['flows', '--fitler', 'x'])).stderr, /Unknown option '--fitler'; did you mean --filter\?/);
  const { stderr } = await run(['flows', '-f', 'true && source.principle == "x"']);
  assert.match(
    stderr,
    /^ {2}true && source\.principle == "x"\n {10}\^{16}\nmeshtrail: .*did you mean source\.principal\?/,
  );
  const argument = await run(['flows', 'verdict == "denied"']);
  assert.deepEqual([argument.code, argument.stdout], [2, '']);
  assert.match(argument.stderr, /takes no arguments, and was given 1; a filter stands behind --filter or -f\. /);
  const empty = await run(['flows', '-f', '']);
  assert.deepEqual(
    [empty.code, empty.stderr],
    [2, 'meshtrail: The filter is empty; without one, every record matches. [FILTER_INVALID]\n'],
  );
  assert.match(
    (await run(['flows', '-f', 'verdict in ["Denied"]'])).stderr,
    /^ {2}verdict in \["Denied"\]\n {14}\^{8}\nmeshtrail: .*did you mean "denied"\?/,
  );
  assert.match((await run(['show', '3.99'])).stderr, /no record 3\.99: entry 3 has 30 records, 3\.0 to 3\.29\. /);
  assert.equal(
    (await run(['flows', '--since', '-15m', '--until', '-1s'])).code,
    0,
    'a dash in front of a time is no option',
  );
});

/** A server that answers as it is told. */
async function lying(
  t: { after(hook: () => unknown): void },
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server: Server = createServer(answer);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('something that is no collector is told from one', async (t) => {
  const at = scratch(t);
  for (const [status, body] of [
    [200, 'hello'],
    [200, '[]'],
    [200, 'null'],
    [200, '{}'],
    [200, '{"flows":[]}'],
    [500, 'oops'],
    [404, '{"code":7}'],
    [404, '{"code":"__proto__","detail":"x"}'],
    [302, ''],
  ] as const) {
    const api = await lying(t, (_request, response) => void response.writeHead(status).end(body));
    const { code, stderr } = await run(['flows', '--api', api]);
    assert.match(stderr, /\[COLLECTOR_UNREACHABLE\]\n$/, `${status} ${body}`);
    assert.equal(code, 3);
  }
  const empty = await lying(t, (_request, response) => void response.end('{}'));
  assert.equal((await run(['prove', '1.1', '--api', empty], { cwd: at })).code, 1, 'what is no proof is not kept');
  assert.equal(existsSync(join(at, '1.1.proof.json')), false);
  const cut = await lying(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{');
    response.destroy();
  });
  assert.equal((await run(['flows', '--api', cut])).code, 3);
  const endless = await lying(t, (_request, response) => {
    const write = (): void => {
      while (response.write(Buffer.alloc(1 << 20, 32)));
      response.once('drain', write);
    };
    write();
  });
  const { code, stderr } = await run(['flows', '--api', endless]);
  assert.equal(code, 3);
  assert.match(stderr, /the answer is over 67108864 bytes/);
});

test('the API behind a path of a proxy', async (t) => {
  const api = await lying(t, (request, response) => {
    fetch(`${serving.api}${(request.url ?? '').replace('/meshtrail', '')}`)
      .then(async (answer) => response.writeHead(answer.status).end(await answer.text()))
      .catch(() => response.destroy());
  });
  assert.equal((await run(['show', '1.1', '--api', `${api}/meshtrail/`])).code, 0);
});
