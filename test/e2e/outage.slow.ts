// The collector is killed while traffic runs: no request notices, and nothing is missing afterwards that the recorders could hold.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { COMMAND } from '../../collector/src/demo/collector.ts';
import { makePlan, play } from '../../collector/src/demo/incident.ts';
import { publishedStreams, readRecords } from '../../collector/src/demo/recorded.ts';
import { ABSENT_SERVICE } from '../../collector/src/demo/services.ts';
import { land, scratch, startCollector, startMeshFor, withEnvoy } from './support.ts';
import { assertEqualToTruth } from './truth.ts';

const envoy = withEnvoy();
const OUTAGE_MS = 1500;

test('kill -9 of the collector fails no request and loses no record', envoy.options, async (t) => {
  const dir = scratch(t);
  const first = await startCollector(t, dir);
  const flight = await startMeshFor(t, envoy, dir, first.ingest, { seed: 2 });
  const traffic = (async () => {
    for (let seed = 2; seed < 6; seed++) await play(makePlan(seed), flight.parties);
  })();
  await sleep(1000);
  await first.kill();
  await sleep(OUTAGE_MS);
  const second = await startCollector(t, dir, first);
  await traffic;
  assert.ok(await land(flight, second));

  const truth = flight.truth();
  const failed = truth.exchanges.filter(({ verdict }) => verdict === 'failed');
  assert.deepEqual(new Set(failed.map(({ destination }) => destination)), new Set([ABSENT_SERVICE.name]));
  const hungUp = truth.exchanges.filter(({ status, path }) => status === null && !path.startsWith('/reports/'));
  assert.deepEqual(hungUp, []);
  const { records, gaps } = await readRecords(second.url);
  assertEqualToTruth(truth, records);
  assert.deepEqual(gaps, []);

  const streams = await publishedStreams(second.url, second.vkey);
  assert.ok(streams.every(({ isWhole, isEnded }) => isWhole && isEnded));
  const failures = streams.reduce((sum, { counters }) => sum + counters.sendFailures, 0);
  assert.ok(failures > 0, 'no delivery met the outage');

  await second.stop();
  const fsck = spawnSync(process.execPath, [COMMAND, 'fsck', '--dir', join(dir, 'log')], { encoding: 'utf8' });
  assert.equal(fsck.status, 0, fsck.stdout);
  assert.match(fsck.stdout, /CLEAN/);
});
