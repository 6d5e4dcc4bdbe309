// The collector is killed again and again while traffic runs, at moments that a seed chooses: the log ends up exact all the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makePlan, play, seeded } from '../../collector/src/demo/incident.ts';
import { auditLog, readRecords } from '../../collector/src/demo/recorded.ts';
import { isSound } from '../../collector/src/demo/report.ts';
import { land, scratch, startCollector, startMeshFor, withEnvoy } from './support.ts';
import { assertEqualToTruth } from './truth.ts';

const envoy = withEnvoy();
const KILLS = 6;
const UP_MS_MAX = 900;
const DOWN_MS_MAX = 500;

for (const seed of [1, 2, 3]) {
  test(
    `${KILLS} kills, seed ${seed}: no request fails, nothing is missing, nothing is there twice`,
    envoy.options,
    async (t) => {
      const dir = scratch(t);
      const next = seeded(seed);
      let collector = await startCollector(t, dir);
      const flight = await startMeshFor(t, envoy, dir, collector.ingest, { seed });
      let isKilling = true;
      const traffic = (async () => {
        for (let plan = seed; isKilling; plan++) await play(makePlan(plan), flight.parties);
      })();
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(next() * UP_MS_MAX);
        await collector.kill();
        await sleep(next() * DOWN_MS_MAX);
        collector = await startCollector(t, dir, collector);
      }
      isKilling = false;
      await traffic;
      assert.ok(await land(flight, collector));
      const { records, gaps } = await readRecords(collector.url);
      assertEqualToTruth(flight.truth(), records);
      assert.deepEqual(gaps, []);
      const audit = await auditLog(collector.url, collector.vkey, records.at(-1)?.id);
      assert.ok(isSound(audit));
      const dropped = audit.streams.map(({ counters }) => counters.droppedBuffersFull + counters.droppedUnreadable);
      assert.deepEqual(new Set(dropped), new Set([0]));
    },
  );
}
