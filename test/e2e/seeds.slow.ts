// Other incidents, other orders of events: for every seed the log is exactly what happened, and the incident is found in it.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { countedOf, findIncident } from '../../collector/src/demo/findings.ts';
import { playFlight } from '../../collector/src/demo/flight.ts';
import { DROPZONE_HOST } from '../../collector/src/demo/incident.ts';
import { spiffeIdOf } from '../../collector/src/demo/policies.ts';
import { readRecords } from '../../collector/src/demo/recorded.ts';
import { assertEqualToAccessLogs } from './access-log.ts';
import { land, scratch, startCollector, startMeshFor, withEnvoy } from './support.ts';
import { assertEqualToTruth, assertFacts } from './truth.ts';

const envoy = withEnvoy();

for (const seed of [0, 7, 42, 1999, 65_536, 20_261_125, 4_294_967_295]) {
  test(`seed ${seed}: records equal the truth, and the incident is found as it was`, envoy.options, async (t) => {
    const dir = scratch(t);
    const collector = await startCollector(t, dir);
    const accessLogDir = join(dir, 'access');
    const flight = await startMeshFor(t, envoy, dir, collector.ingest, { seed, accessLogDir });
    await playFlight(flight);
    assert.ok(await land(flight, collector));
    const truth = flight.truth();
    const { records } = await readRecords(collector.url);
    assertEqualToTruth(truth, records);
    assertFacts(truth, records);
    assert.equal(assertEqualToAccessLogs(accessLogDir, records), countedOf(records).length);

    const incident = findIncident(records);
    const attack = truth.exchanges.filter(
      ({ incident_step, source }) => incident_step !== null && source === 'inventory',
    );
    assert.equal(incident?.principal, spiffeIdOf('backend', 'inventory'));
    assert.equal(incident?.denied.length, attack.filter(({ verdict }) => verdict === 'denied').length);
    assert.equal(incident?.firstAllowed?.request.path, '/internal/refunds/2000');
    assert.equal(incident?.sentOut.length, attack.filter(({ destination }) => destination === DROPZONE_HOST).length);
  });
}
