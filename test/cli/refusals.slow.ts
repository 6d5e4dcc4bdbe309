// Goal: `meshtrail serve` refuses what must not run: a second collector, a history that is shorter or another one, a lost key.

import assert from 'node:assert/strict';
import { cpSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { StreamMaker } from '../support/facts.ts';
import { meshtrail, post, scratch, serve } from './harness.ts';

const FAST = ['--publish-interval-ms', '50'];
const FREE = ['--api', '127.0.0.1:0', '--ingest', '127.0.0.1:0'];

test('a second collector on the directory is refused, and changes nothing for the first', {
  timeout: 60_000,
}, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir, FAST);
  const readyFile = join(dir, 'other.json');
  const { code, stderr } = await meshtrail(['serve', '--dir', join(dir, 'log'), ...FREE, '--ready-file', readyFile]);
  assert.equal(code, 3);
  assert.match(stderr, /open in another process\. Stop that one first.* \[STORE_LOCKED\]\n$/);
  assert.equal(existsSync(readyFile), false);
  assert.equal((await meshtrail(['fsck', '--dir', join(dir, 'log')])).code, 3);
  assert.equal((await post(first.ingest, new StreamMaker(2).batch(1))).status, 200);
});

test('a tree that shrank, a lost last-signed record, a lost key, a foreign origin: nothing is signed', {
  timeout: 60_000,
}, async (t) => {
  const dir = scratch(t);
  const log = join(dir, 'log');
  const maker = new StreamMaker(3);
  const grow = async (): Promise<void> => {
    const serving = await serve(t, dir, FAST);
    await post(serving.ingest, maker.batch(2));
    assert.equal(await serving.stop(), 0);
  };
  await grow();
  cpSync(log, join(dir, 'older'), { recursive: true });
  await grow();
  const refused = async (prepare: (at: string) => void): Promise<string> => {
    const at = join(dir, 'try');
    rmSync(at, { recursive: true, force: true });
    cpSync(log, at, { recursive: true });
    prepare(at);
    const { code, stderr } = await meshtrail(['serve', '--dir', at, ...FREE, '--log-level', 'silent']);
    const [, word = ''] = /\[([A-Z_]+)\]\n$/.exec(stderr) ?? [];
    return `${code} ${word}`;
  };
  const replace = (at: string, part: string): void => {
    rmSync(join(at, part), { recursive: true });
    cpSync(join(dir, 'older', part), join(at, part), { recursive: true });
  };
  const shrunk = (at: string): void => {
    for (const part of ['segments', 'tree']) replace(at, part);
  };
  assert.equal(await refused(shrunk), '1 TREE_SHRANK');
  assert.equal(await refused((at) => rmSync(join(at, 'last-signed'), { recursive: true })), '1 LAST_SIGNED_MISSING');
  assert.equal(await refused((at) => rmSync(join(at, 'keys', 'log.key'))), '3 KEY_MISSING');
  assert.equal(await refused((at) => rmSync(join(at, 'meshtrail.json'))), '1 STORE_FOREIGN');
  assert.equal(await refused((at) => writeFileSync(join(at, 'meshtrail.json'), '{"format":"x"}')), '1 STORE_FOREIGN');
  const { code, stderr } = await meshtrail(['serve', '--dir', log, '--origin', 'other/log', ...FREE]);
  assert.equal(code, 1);
  assert.match(stderr, /holds the log "meshtrail\.local\/log".*--origin is "other\/log".*\[STORE_FOREIGN\]/);
  const index = join(log, 'index');
  rmSync(index, { recursive: true });
  const back = await serve(t, dir, FAST);
  const { stdout } = await meshtrail(['flows', '--api', back.api, '-o', 'ndjson']);
  assert.equal(stdout.trim().split('\n').length, 4, 'a lost index is built anew');
});

test('a ready file that a killed collector left behind is not taken for the next one’s', {
  timeout: 60_000,
}, async (t) => {
  const dir = scratch(t);
  const stale = join(dir, 'stale.json');
  writeFileSync(stale, '{}');
  const running = await serve(t, dir, FAST);
  const { code } = await meshtrail(['serve', '--dir', join(dir, 'log'), ...FREE, '--ready-file', stale]);
  assert.deepEqual([code, existsSync(stale)], [3, false]);
  assert.equal(await running.stop(), 0);
});
