// Goal: `meshtrail serve` starts, tells where it is, stops in order, starts again on what it left, and refuses what must not run.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { parseVkey } from '../../collector/src/core/tlog/note.ts';
import { StreamMaker } from '../support/facts.ts';
import { meshtrail, post, published, scratch, serve } from './harness.ts';

const FAST = ['--publish-interval-ms', '50'];
const _FREE = ['--api', '127.0.0.1:0', '--ingest', '127.0.0.1:0'];

test('the ready file, both listeners, an orderly end, and a clean second start', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, ['--origin', 'a.mesh/log', '--grpc', '127.0.0.1:0', ...FAST]);
  assert.deepEqual(Object.keys(first.ready).sort(), ['api', 'grpc', 'ingest', 'origin', 'pid', 'vkey']);
  assert.match(first.api, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.match(first.ingest, /^127\.0\.0\.1:\d+$/);
  assert.deepEqual([first.ready['grpc'], first.origin], [null, 'a.mesh/log']);
  assert.doesNotMatch(first.stderr(), /FSTDEP|Deprecation/i);
  assert.match(first.stderr(), /--grpc is accepted, and nothing listens/);
  const maker = new StreamMaker(1);
  for (let i = 0; i < 5; i++) assert.equal((await post(first.ingest, maker.batch(3))).status, 200);
  await published(first.api, 5);
  assert.equal(statSync(join(dir, 'log', 'keys', 'log.key')).mode & 0o077, 0, 'the key is nobody else’s to read');
  assert.equal(readFileSync(join(dir, 'log', 'keys', 'log.vkey'), 'utf8').trim(), first.vkey);
  // Neither an idle connection nor one that says nothing keeps it from stopping.
  const idle = connect(Number(first.ingest.split(':')[1]), '127.0.0.1');
  idle.on('error', () => undefined);
  const late = maker.batch(3);
  const sending = connect(Number(first.ingest.split(':')[1]), '127.0.0.1');
  let answer = '';
  sending.setEncoding('latin1').on('data', (part: string) => (answer += part));
  sending.write(
    `POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-type: application/vnd.meshtrail.batch\r\ncontent-length: ${late.length}\r\n\r\n`,
  );
  sending.write(late.subarray(0, 100));
  await new Promise((done) => setTimeout(done, 200));
  const stoppedAt = performance.now();
  const stopped = first.stop('SIGINT');
  await new Promise((done) => setTimeout(done, 300));
  sending.write(late.subarray(100));
  assert.equal(await stopped, 0);
  assert.ok(performance.now() - stoppedAt < 3000);
  assert.match(answer, /^HTTP\/1\.1 200 /, 'what was under way is answered');
  idle.destroy();
  assert.equal(existsSync(first.readyFile), false, 'the ready file goes first');
  const second = await serve(t, dir, FAST);
  assert.deepEqual([second.origin, second.vkey], ['a.mesh/log', first.vkey], 'the origin is remembered');
  const told = second.stderr().split('\n');
  assert.match(told.find((line) => line.includes('"configuration"')) ?? '', /"origin":"a\.mesh\/log \(directory\)"/);
  const ready = told.find((line) => line.includes('"msg":"ready"')) ?? '';
  assert.equal(ready.split(`"pid":${second.ready['pid']},`).length, 2, 'every key once');
  const note = await (await fetch(`${second.api}/log/checkpoint`)).text();
  assert.equal(openCheckpoint(note, parseVkey(first.vkey)).size, 6, 'what was acknowledged last is signed');
  assert.equal((await post(second.ingest, maker.batch(1))).status, 200);
  assert.equal(await second.stop(), 0);
});

test('a damaged index is thrown away and built anew', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, FAST);
  await post(first.ingest, new StreamMaker(4).batch(7));
  assert.equal(await first.stop(), 0);
  writeFileSync(join(dir, 'log', 'index', 'CURRENT'), 'nonsense\n');
  const second = await serve(t, dir, FAST);
  assert.match(second.stderr(), /the index is damaged and is built anew/);
  const { stdout } = await meshtrail(['flows', '--api', second.api, '-o', 'ndjson']);
  assert.equal(stdout.trim().split('\n').length, 7);
});

test('kill -9 and back: what was acknowledged is there', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, ['--publish-interval-ms', '60000']);
  const maker = new StreamMaker(5);
  for (let i = 0; i < 20; i++) assert.equal((await post(first.ingest, maker.batch(2))).status, 200);
  await first.stop('SIGKILL');
  assert.equal(existsSync(first.readyFile), true, 'nobody could remove it');
  const second = await serve(t, dir, FAST);
  await published(second.api, 20);
  const { code, stdout } = await meshtrail(['flows', '--api', second.api, '-o', 'ndjson', '--all']);
  assert.deepEqual([code, stdout.trim().split('\n').length], [0, 40]);
  assert.equal(await second.stop(), 0);
  assert.match((await meshtrail(['fsck', '--dir', join(dir, 'log')])).stdout, /^CLEAN: 20 entries, 40 records/);
});

test('/metrics counts what happened', { timeout: 60_000 }, async (t) => {
  const { api, ingest } = await serve(t, scratch(t), FAST);
  const maker = new StreamMaker(6);
  const wire = maker.batch(9);
  const second = maker.batch(4);
  for (const body of [wire, wire, second, wire.slice(0, 50), Uint8Array.from(wire).fill(1, 300, 301)])
    await post(ingest, body);
  await post(ingest, wire, 'text/plain');
  await published(api, 2);
  await fetch(`${api}/v1/flows`);
  const text = await (await fetch(`${api}/metrics`)).text();
  const value = (name: string, labels = ''): number | undefined => {
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}{`) && candidate.includes(labels));
    return line === undefined ? undefined : Number(line.split(' ').at(-1));
  };
  assert.deepEqual(
    {
      batches: value('meshtrail_batches_appended_total'),
      records: value('meshtrail_records_appended_total'),
      bytes: value('meshtrail_batch_bytes_appended_total'),
      duplicates: value('meshtrail_batches_duplicate_total'),
      conflicts: value('meshtrail_batches_conflicting_total'),
      truncated: value('meshtrail_batches_refused_total', 'code="BATCH_TRUNCATED"'),
      checksum: value('meshtrail_batches_refused_total', 'code="BATCH_CHECKSUM_MISMATCH"'),
      mediaType: value('meshtrail_batches_refused_total', 'code="MEDIA_TYPE_UNSUPPORTED"'),
      waiting: value('meshtrail_batches_waiting'),
      size: value('meshtrail_checkpoint_size'),
      fatal: value('meshtrail_fatal_errors_total'),
      flows: value('meshtrail_api_request_duration_count', 'route="/v1/flows",status="200"'),
    },
    {
      ...{ batches: 2, records: 13, duplicates: 1, conflicts: 0, truncated: 1, checksum: 1, mediaType: 1 },
      ...{ waiting: 0, size: 2, fatal: 0, flows: 1, bytes: wire.length + second.length },
    },
  );
  assert.ok((value('meshtrail_commit_duration_count') ?? 0) >= 2);
  assert.ok((value('meshtrail_exposure_count') ?? 0) >= 1);
});

test('traces go to an OTLP receiver when one is named, and nowhere else', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const paths: string[] = [];
  let text = '';
  const receiver = createServer((request, response) => {
    paths.push(request.url ?? '');
    request.setEncoding('latin1').on('data', (part: string) => (text += part));
    request.on('end', () => response.end());
  });
  t.after(() => receiver.close());
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const endpoint = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  const serving = await serve(t, dir, FAST, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint } });
  await post(serving.ingest, new StreamMaker(9).batch(2));
  await published(serving.api, 1);
  await fetch(`${serving.api}/v1/flows?filter=${encodeURIComponent('request.path == "/secret"')}`);
  assert.equal(await serving.stop(), 0, 'what is buffered is sent at the end');
  assert.deepEqual(new Set(paths), new Set(['/v1/traces']));
  for (const name of ['commit', 'publish', 'GET /v1/flows']) assert.ok(text.includes(name), name);
  assert.doesNotMatch(text, /secret|spiffe/, 'no span holds what was asked or recorded');
  const alone = await serve(t, dir, FAST, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' } });
  await fetch(`${alone.api}/v1/flows`);
  const stoppedAt = performance.now();
  assert.equal(await alone.stop(), 0, 'a receiver that is away is no error of ours');
  assert.ok(performance.now() - stoppedAt < 6000);
});
