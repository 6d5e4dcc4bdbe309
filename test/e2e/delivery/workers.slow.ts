// More than one worker thread: a stream for each, and over all of them no record lost and none twice.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readRecords } from '../../../collector/src/demo/recorded.ts';
import { scratch, startCollector, withEnvoy } from '../support.ts';
import { assertSameExchanges, faultOf, metricNames, startStage } from './exactly-once.ts';
import { assertWhole, FaultyCollector } from './faulty-collector.ts';
import { EXCHANGES_BEGUN } from './proxy.ts';

const envoy = withEnvoy();
const EXCHANGES = 6000;
const AT_ONCE = 48;

for (const workers of [2, 4])
  test(
    `${workers} workers: ${EXCHANGES} exchanges, each once, and a stream for each worker`,
    envoy.options,
    async (t) => {
      const dir = scratch(t);
      const collector = await startCollector(t, dir);
      const faulty = await FaultyCollector.start(t, collector.ingest);
      faulty.plan = (delivery) => faultOf(delivery, 12);
      const { proxy, client } = await startStage(t, envoy, dir, faulty.address, { workers });
      await client.sendAll(0, EXCHANGES, AT_ONCE);
      faulty.plan = () => undefined;
      assert.ok(await proxy.drained());
      const metrics = await proxy.metrics();
      assert.equal(await proxy.stat(EXCHANGES_BEGUN), EXCHANGES);
      await proxy.envoy.stop();
      await sleep(500);

      const { records, gaps } = await readRecords(collector.url);
      assert.deepEqual([records.length, gaps], [EXCHANGES, []]);
      assert.equal(assertSameExchanges(records, proxy.log()), EXCHANGES);
      assert.deepEqual(faulty.changed, []);
      const lasts = [...faulty.streams().values()].map(assertWhole);
      assert.ok(lasts.every(({ isFin }) => isFin));
      const recording = lasts.filter(({ counters }) => counters.recorded > 0);
      assert.equal(recording.length, workers, 'a stream for each worker');
      // The main thread's VM may give signs of life.
      assert.ok(lasts.length <= workers + 1);
      const sums = new Map<string, number>();
      for (const { counters } of lasts)
        for (const [name, value] of metricNames(counters)) sums.set(name, (sums.get(name) ?? 0) + value);
      for (const [name, sum] of sums) assert.equal(metrics.get(name), sum, `Envoy's metric and the streams: ${name}`);
      const streamsOf = Map.groupBy(records, ({ connection }) => connection.id);
      for (const [id, own] of streamsOf)
        assert.equal(new Set(own.map(({ record }) => record.stream)).size, 1, `connection ${id} belongs to one worker`);
      t.diagnostic(recording.map(({ counters }) => `${counters.recorded} records`).join(', '));
    },
  );
