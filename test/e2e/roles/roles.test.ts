// Every event in every role, on one real Envoy: what each place records, field by field beside Envoy's own access logs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withEnvoy } from '../support.ts';
import { EVENTS, THEMES } from './events.ts';
import { assertCounted, assertCounters, assertStarts, judge } from './judge.ts';
import { assertMatrix, matrixOf } from './matrix.ts';
import { PLACES, type Place, type Recorder } from './places.ts';
import { HTTP_LISTENERS, LISTENERS } from './proxy.ts';
import { runEvents } from './stage.ts';

const envoy = withEnvoy();
const settings = { request_headers: 'x-tenant' };

test(
  'every event is recorded by every role that can see it, as Envoy tells it, and counted once',
  envoy.options,
  async (t) => {
    const only = (place: Place): Recorder => ({ id: place, places: [place], settings });
    const alone = {
      http_filter: only('http_filter'),
      network_filter: only('network_filter'),
      manager_logger: only('manager_logger'),
      listener_logger: only('listener_logger'),
      tcp_proxy_logger: only('tcp_proxy_logger'),
    };
    const together: Recorder = { id: 'together', places: PLACES, settings: { ...settings, detail: 'full' } };
    const run = await runEvents(t, envoy, [...Object.values(alone), together], EVENTS);
    const judged = judge(run, alone, together);
    for (const recorder of [alone.http_filter, alone.manager_logger]) assertStarts(run, recorder);
    assertCounted(run, together, HTTP_LISTENERS, LISTENERS);
    assertCounters(run);
    const streams = new Set(
      run.records.filter(({ cluster }) => cluster === together.id).map(({ record }) => record.stream),
    );
    assert.equal(streams.size, 1, 'all roots of one VM share one stream');
    assertMatrix(matrixOf(THEMES, judged));
  },
);
