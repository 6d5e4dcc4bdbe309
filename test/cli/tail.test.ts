// Goal: `meshtrail tail` shows each record once, also when the collector dies and comes back meanwhile, and ends as a command should.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { StreamMaker } from '../support/facts.ts';
import { meshtrail, post, published, scratch, serve } from './harness.ts';
import { running } from './running.ts';

const PUBLISH = ['--publish-interval-ms', '50'];

test('from history into live, over a collector that is killed and comes back', async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, PUBLISH);
  const maker = new StreamMaker(1);
  for (let i = 0; i < 5; i++) await post(first.ingest, maker.batch(20));
  await published(first.api, 5);
  const env = { MESHTRAIL_API: first.api };
  const since = ['--since', '2026-11-24T12:00:00.3Z', '-f', 'verdict != "denied"'];
  const tail = running(t, ['tail', '-o', 'ndjson', ...since], { env });
  await tail.until('history', () => tail.lines().length > 10);
  for (let i = 0; i < 5; i++) await post(first.ingest, maker.batch(20));
  await first.stop('SIGKILL');
  await tail.until('it knows', () => /connecting to \S+ again/.test(tail.stderr()));
  const second = await serve(t, dir, [...PUBLISH, '--api', first.api.slice('http://'.length)]);
  for (let i = 0; i < 5; i++) await post(second.ingest, maker.batch(20));
  await published(second.api, 15);
  const all = await meshtrail(['flows', '--all', '--order', 'asc', '-o', 'ndjson', ...since], { env });
  const place = (line: string): number => {
    const [entry = 0, row = 0] = (JSON.parse(line) as FlowRecord).id.split('.').map(Number);
    return entry * 1000 + row;
  };
  const wanted = all.stdout
    .trim()
    .split('\n')
    .sort((a, b) => place(a) - place(b));
  await tail.until('all of it', () => tail.lines().length >= wanted.length);
  tail.signal('SIGINT');
  const { code, stdout, stderr } = await tail.ended;
  assert.deepEqual(stdout.trim().split('\n'), wanted, 'the same rows as `flows`, in the order of the log');
  assert.equal(code, 0);
  assert.match(stderr, /^following \S+ from size 5, since 2026-11-24T12:00:00\.300000000Z; Ctrl-C ends\n/);
});

test('as a table; a reader that leaves ends it; a collector that stops says so', async (t) => {
  const dir = scratch(t);
  const serving = await serve(t, dir, PUBLISH);
  const env = { MESHTRAIL_API: serving.api };
  const maker = new StreamMaker(2);
  await post(serving.ingest, maker.batch(3));
  await published(serving.api, 1);
  const table = running(t, ['tail', '--since', '-9999d'], { env });
  await table.until('a head and rows', () => table.lines().length === 4);
  assert.match(table.lines()[0] ?? '', /^ID +TIME \(UTC\) +VERDICT +REPORTER +SOURCE +DESTINATION +METHOD +PATH/);
  const left = running(t, ['tail', '--after', '0.0', '-o', 'ndjson'], { env });
  await left.until('what comes behind', () => left.lines().length === 2);
  left.leave();
  await post(serving.ingest, maker.batch(3));
  await post(serving.ingest, maker.batch(3));
  assert.equal((await left.ended).code, 0);
  await serving.stop();
  await table.until('the end', () => table.stderr().includes('the collector stops'));
  table.signal('SIGTERM');
  assert.equal((await table.ended).code, 0);
});

test('what cannot work ends at once', async (t) => {
  const dir = scratch(t);
  const serving = await serve(t, dir);
  const env = { MESHTRAIL_API: serving.api };
  const refused = await meshtrail(['tail', '-f', 'verdikt == "denied"'], { env });
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /\^{7}\nmeshtrail: .*verdict.*\[FILTER_INVALID\]/);
  assert.equal((await meshtrail(['tail', '--since', 'noon'], { env })).code, 2);
  assert.equal((await meshtrail(['tail', '--after', '9.9'], { env })).code, 2);
  assert.equal((await meshtrail(['tail', '-o', 'csv'], { env })).code, 2);
  const nobody = await meshtrail(['tail', '--api', 'http://127.0.0.1:1']);
  assert.equal(nobody.code, 3);
  assert.match(nobody.stderr, /\[COLLECTOR_UNREACHABLE\]/);
});

const MISSED = {
  records: 7,
  entries: 1,
  since: '2026-11-24T12:00:00Z',
  until: '2026-11-24T12:00:01Z',
  after: '1',
  flows: '/v1/flows?since=\u001b[31m',
};

/** Something that answers as an API could, and then hangs. */
async function answering(t: TestContext, body: string, type = 'text/event-stream'): Promise<string> {
  const server = createServer(
    (_request, response) => void response.writeHead(200, { 'content-type': type }).write(body),
  );
  t.after(() => server.close().closeAllConnections());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('what was missed is told, and is the exit code; answers that lie are refused', async (t) => {
  const api = await answering(t, `event: missed\nid: 2\ndata: ${JSON.stringify(MISSED)}\n\n`);
  const tail = running(t, ['tail', '--api', api]);
  await tail.until('it is told', () => tail.stderr().includes('7 records were passed over'));
  assert.ok(!tail.stderr().includes('\u001b'), 'nothing steers the terminal');
  tail.signal('SIGINT');
  assert.equal((await tail.ended).code, 1);
  for (const [body, type] of [
    ['event: flow\ndata: {"flow":\n\n', 'text/event-stream'],
    ['{}', 'application/json'],
  ] as const) {
    const ran = await meshtrail(['tail', '--api', await answering(t, body, type)]);
    assert.deepEqual([ran.code, /COLLECTOR_UNREACHABLE/.test(ran.stderr)], [3, true], ran.stderr);
  }
});
