// The whole line in real Envoys: what the services did is in the log exactly once for every sidecar, as Envoy itself tells it.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { countedOf } from '../../collector/src/demo/findings.ts';
import { playFlight } from '../../collector/src/demo/flight.ts';
import { auditLog, readRecords } from '../../collector/src/demo/recorded.ts';
import { isSound } from '../../collector/src/demo/report.ts';
import { assertEqualToAccessLogs } from './access-log.ts';
import { land, NODES, scratch, startCollector, startMeshFor, withEnvoy } from './support.ts';
import { assertEqualToTruth, assertFacts } from './truth.ts';

const envoy = withEnvoy();

test('records equal the truth of the services and the access logs of the proxies', envoy.options, async (t) => {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const accessLogDir = join(dir, 'access');
  const flight = await startMeshFor(t, envoy, dir, collector.ingest, { seed: 1, accessLogDir });
  await playFlight(flight);
  const areEnded = await land(flight, collector);
  const truth = flight.truth();
  const { records } = await readRecords(collector.url);

  await t.test('the same exchanges as the services counted, none missing and none twice', () =>
    assertEqualToTruth(truth, records),
  );
  await t.test('each with identity, verdict, policy, timing, bytes and trace', () => assertFacts(truth, records));
  await t.test('every kind of ending is among them', () => {
    const kinds = new Set(records.map(({ reporter, verdict, response }) => `${reporter} ${verdict} ${response.code}`));
    for (const kind of [
      'destination denied 403',
      'destination allowed 404',
      'source failed 503',
      'source reset 200',
      'destination reset 200',
      'gateway reset undefined',
    ])
      assert.ok(kinds.has(kind), `${kind} is not among ${[...kinds].join(', ')}`);
  });
  await t.test('the same as Envoy’s access logs, field by field', () => {
    assert.equal(assertEqualToAccessLogs(accessLogDir, records), countedOf(records).length);
  });
  await t.test('every stream is whole, dropped nothing and ended with its last word', async () => {
    const audit = await auditLog(collector.url, collector.vkey, records[0]?.id);
    assert.ok(isSound(audit));
    assert.ok(areEnded);
    assert.deepEqual(audit.streams.map(({ node }) => node).toSorted(), NODES.toSorted());
    for (const { counters, records: count, node } of audit.streams) {
      const { seen, recorded, droppedBuffersFull, droppedUnreadable, sendFailures } = counters;
      const none = { droppedBuffersFull: 0, droppedUnreadable: 0, sendFailures: 0 };
      assert.deepEqual({ droppedBuffersFull, droppedUnreadable, sendFailures }, none, node);
      assert.deepEqual([seen, recorded], [count, count], node);
    }
  });
});
