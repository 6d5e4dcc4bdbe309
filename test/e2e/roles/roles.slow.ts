// The event table again: each role in a proxy of its own, every pair of roles in one VM, many rounds at once on two workers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withEnvoy } from '../support.ts';
import { EVENTS } from './events.ts';
import { assertCounted, assertCounters, assertHappened, judgeAlone, judgeTogether } from './judge.ts';
import { PLACES, type Place, type Recorder } from './places.ts';
import { HTTP_LISTENERS, LISTENERS } from './proxy.ts';
import { runEvents } from './stage.ts';

const envoy = withEnvoy();
const settings = { request_headers: 'x-tenant' };
const ROUNDS = 100;
/** Holds one token for ever: what it does depends on the rounds before. */
const ONCE_ONLY = 'rate limit';

for (const place of PLACES)
  test(`${place} in a proxy of its own sees what it sees beside the others`, envoy.options, async (t) => {
    const recorder: Recorder = { id: 'only', places: [place], settings };
    const { observed } = await runEvents(t, envoy, [recorder], EVENTS);
    for (const one of observed) {
      assertHappened(one);
      judgeAlone(one, recorder, place);
    }
  });

test('every pair of places in one VM counts each event once', envoy.options, async (t) => {
  const pairs = PLACES.flatMap((a, i) => PLACES.slice(i + 1).map((b): readonly Place[] => [a, b]));
  const recorders = pairs.map((places): Recorder => ({ id: places.join(' and '), places, settings }));
  const { observed } = await runEvents(t, envoy, recorders, EVENTS);
  for (const one of observed) for (const recorder of recorders) judgeTogether(one, recorder);
});

test('a proxy at the edge tells whom it reached', envoy.options, async (t) => {
  const edge = { ...settings, role: 'gateway' };
  const recorders: readonly Recorder[] = [
    { id: 'filters at the edge', places: ['http_filter', 'network_filter'], settings: edge },
    { id: 'loggers at the edge', places: ['manager_logger', 'listener_logger'], settings: edge },
  ];
  const { observed } = await runEvents(t, envoy, recorders, EVENTS);
  for (const one of observed) for (const recorder of recorders) judgeTogether(one, recorder);
});

test('many rounds on two workers add up to what Envoy counted', envoy.options, async (t) => {
  const recorder: Recorder = { id: 'together', places: PLACES, settings: { ...settings, detail: 'full' } };
  const events = EVENTS.filter(({ name }) => name !== ONCE_ONLY);
  const rounds = Array.from({ length: ROUNDS }, (_, round) =>
    events.map((event) => ({ ...event, name: `${event.name}, round ${round + 1}` })),
  ).flat();
  const run = await runEvents(t, envoy, [recorder], rounds, { atOnce: 48, workers: 2 });
  for (const one of run.observed) {
    assertHappened(one);
    judgeTogether(one, recorder);
  }
  assertCounted(run, recorder, HTTP_LISTENERS, LISTENERS);
  assertCounters(run);
  const streams = new Set(run.records.map(({ record }) => record.stream));
  assert.equal(streams.size, 2, 'a stream for each worker');
});
