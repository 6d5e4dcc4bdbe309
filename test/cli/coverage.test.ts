// Goal: at three in the morning: who is not recorded, since when and how much that is; over HTTP into a real collector, by log line,
// metric and table, and again after a restart.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { troubleOf } from '../../collector/src/cli/coverage.ts';
import { ProxyMaker, startMs } from '../index/proxy-maker.ts';
import { meshtrail, post, published, type Ran, type Serving, scratch, serve } from './harness.ts';

const WAIT_MS_MAX = 15_000;

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + WAIT_MS_MAX;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** The value of a metric that has one series. */
async function metric({ api }: Serving, name: string): Promise<number> {
  const text = await (await fetch(`${api}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, 'm').exec(text)?.[1]);
}

async function streams({ api }: Serving): Promise<Record<string, number>> {
  const text = await (await fetch(`${api}/metrics`)).text();
  const found = [...text.matchAll(/^meshtrail_streams\{state="([a-z ]+)"[^}]*\} (\d+)/gm)];
  return Object.fromEntries(found.map(([, state, count]) => [state, Number(count)]));
}

/** Log lines of `serve` that say something. */
const lines = (serving: Serving, text: string): Record<string, unknown>[] =>
  serving
    .stderr()
    .split('\n')
    .filter((line) => line.includes(text))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const DEAD = 'a VM of a proxy is dead';
const SILENT = 'gives no sign of life';
const BACK = 'a silent proxy is heard again';
/** No terminal obeys a node id. */
const QUIET = 'quiet\x1b[31m';

const ORIGIN = 'coverage.mesh/log';
const ARGS = ['--publish-interval-ms', '50', '--origin', ORIGIN];

const run = async ({ api }: Serving, ...more: string[]): Promise<Ran> =>
  await meshtrail(['coverage', ...more], { env: { MESHTRAIL_API: api } });

/** Four proxies: one is whole, one ends, one falls silent, one has a VM that dies. Proxies' clocks are this machine's. */
async function play(serving: Serving) {
  const now = Date.now() - startMs;
  const [whole, ended] = [new ProxyMaker('whole', 1, now, 600_000).vm(), new ProxyMaker('ended', 11, now, 300).vm()];
  const quiet = new ProxyMaker(QUIET, 21, now, 300).vm();
  const torn = new ProxyMaker('torn', 31, now, 600_000);
  const [mute, other] = [torn.vm(0), torn.vm(1)];
  const sent = [whole.batch(5, now), ended.batch(2, now), ended.batch(0, now, { isFin: true }), quiet.batch(3, now)];
  sent.push(mute.batch(4, now), other.batch(1, now));
  for (const wire of sent) assert.equal((await post(serving.ingest, wire)).status, 200);
  await published(serving.api, 6);
  assert.equal(await metric(serving, 'meshtrail_vm_silent_total'), 0);
  await post(serving.ingest, other.batch(0, now + 4000, { life: { silentStream: mute.stream } }));
  await until('a line for the dead VM', () => lines(serving, DEAD).length > 0);
  await until('a line for the silent proxy', () => lines(serving, SILENT).length > 0);
  // Whatever comes next in the log shows that the collector listened all the time.
  await post(serving.ingest, whole.batch(1, now + 5000));
  await published(serving.api, 8);
  return { mute, later: quiet.batch(1, now + 9000) };
}

/** What each format shows of the four. */
async function assertShown(serving: Serving): Promise<void> {
  const table = await run(serving);
  assert.equal(table.code, 1);
  const [head, ...rows] = table.stdout.trimEnd().split('\n');
  assert.match(head ?? '', /^STATE +PROXY +CLUSTER +SINCE \(UTC\) +LAST \(UTC\) +STREAMS +RECORDS +TROUBLE$/);
  assert.equal(rows.length, 4);
  assert.match(rows[0] ?? '', /^silent +torn .* 2 +5 +1 VM is dead: at most 23100 records or \d+ s lost$/);
  assert.match(rows[1] ?? '', /^ended unknown +quiet\\x1b\[31m .* 1 +3 +no end: at most 23100 records or \d+ s lost$/);
  assert.match(rows[2] ?? '', /^open +whole .* 1 +6 +-$/);
  assert.match(rows[3] ?? '', /^ended +ended .* 1 +2 +-$/);
  assert.match(
    table.stderr,
    /^4 proxies, as of coverage\.mesh\/log size \d+; INCOMPLETE:\n {2}gaps in streams: 2; -o json has each\n$/,
  );
  const csv = await run(serving, '-o', 'csv');
  assert.match(csv.stderr, /\n {2}silent, torn, stream [0-9a-f]{32}: at most 23100 records or \d+ s lost\n/);
  assert.match(csv.stderr, /\n {2}ended unknown, quiet\\x1b\[31m, stream [0-9a-f]{32}: at most 23100 records or /);
  const [names = '', ...cells] = csv.stdout.trim().split('\r\n');
  assert.match(names, /^node,node_cluster,cluster,role,.*,stream,state,.*,lost\.until$/);
  assert.equal(cells.length, 5);
  for (const line of cells) assert.equal(line.split(',').length, names.split(',').length);
  const ndjson = (await run(serving, '-o', 'ndjson')).stdout.trim().split('\n');
  assert.deepEqual(
    ndjson.map((line) => (JSON.parse(line) as { node: string }).node),
    ['torn', QUIET, 'whole', 'ended'],
  );
  assert.equal((await run(serving, '--until', '-1h')).code, 0, 'an hour ago all was well');
}

test('silent VMs and proxies are raised, listed, and still known after a restart', { timeout: 90_000 }, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, ARGS);
  assert.deepEqual(await run(first), {
    code: 0,
    stdout: 'No proxy was recorded in this time.\n',
    stderr: `0 proxies, as of ${ORIGIN} size 0\n`,
  });
  const { mute, later } = await play(first);
  const [dead, silent] = [lines(first, DEAD), lines(first, SILENT)];
  assert.deepEqual([dead.length, dead[0]?.['stream'], dead[0]?.['node']], [1, mute.name, 'torn']);
  assert.deepEqual([silent.length, silent[0]?.['node'], silent[0]?.['aliveIntervalMs']], [1, QUIET, 300]);
  assert.equal(await metric(first, 'meshtrail_vm_silent_total'), 1);
  assert.equal(await metric(first, 'meshtrail_proxies_silent'), 1);
  assert.deepEqual(await streams(first), { open: 2, ended: 1, 'ended unknown': 1, silent: 1 });
  await assertShown(first);

  assert.equal(await first.stop(), 0);
  const second = await serve(t, dir, ARGS);
  await until('the dead VM is told again', () => lines(second, DEAD).length > 0);
  const again = JSON.parse((await run(second, '-o', 'json')).stdout) as { proxies: { node: string; state: string }[] };
  assert.deepEqual(
    again.proxies.map(({ node, state }) => `${node}: ${state}`),
    ['torn: silent', `${QUIET}: ended unknown`, 'whole: open', 'ended: ended'],
  );
  await post(second.ingest, later);
  await until('the proxy is back', () => lines(second, BACK).length > 0);
  assert.deepEqual(lines(second, SILENT), [], 'who was silent before is no news');
  assert.equal(await second.stop(), 0);
});

test('trouble in one line, the worst first', () => {
  const fine = { state: 'open', missing: { batches: 0, records: 0 }, dropped: {}, rollbacks_seen: 0, stream: 'a' };
  assert.equal(troubleOf({ streams: [fine, fine] }), undefined);
  const silent = { ...fine, state: 'silent', lost: { records_max: 5, seconds_max: 7 } };
  const bad = {
    ...fine,
    missing: { batches: 2, records: 9 },
    dropped: { no_random: 3, buffers_full: 4 },
    rollbacks_seen: 1,
  };
  assert.equal(
    troubleOf({ streams: [bad, silent, silent] }),
    '2 VMs are dead: at most 10 records or 7 s lost; 9 records missing; 4 dropped (buffers_full); 3 dropped (no_random); 1 rollback seen',
  );
  assert.equal(troubleOf({ streams: [{ ...fine, missing: { batches: 1, records: 0 } }] }), '1 batch missing');
});
