// An outage that is longer than the recorders can bridge: traffic does not notice, and every record given up is counted, to the last one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SHOP_HOST } from '../../collector/src/demo/incident.ts';
import { publishedStreams, readRecords } from '../../collector/src/demo/recorded.ts';
import type { Parties } from '../../collector/src/demo/services.ts';
import { land, scratch, startCollector, startMeshFor, withEnvoy } from './support.ts';

const envoy = withEnvoy();
const VISITORS_AT_ONCE = 16;
const DRAIN_MS_MAX = 60_000;
const BEFORE = 500;
const DURING = 10_000;
/** The fewest that the filter takes, so that a short outage is a long one. */
const SETTINGS = { buffers_max: 2 };
const METRICS = {
  seen: 'seen',
  recorded: 'recorded',
  droppedBuffersFull: 'dropped_buffers_full',
  droppedUnreadable: 'dropped_unreadable',
  sendFailures: 'send_failures',
} as const;
const AFTER = 500;

/** Sends requests for a page that frontend answers by itself: one record of the ingress and one of its sidecar each. */
async function visit(parties: Parties, count: number): Promise<void> {
  let left = count;
  const visitor = async (): Promise<void> => {
    while (left-- > 0) {
      const call = { to: SHOP_HOST, destination: 'frontend', method: 'GET', path: `/favicon.ico?${left}` };
      const { status } = await parties.visitor.call(call);
      assert.equal(status, 404);
    }
  };
  await Promise.all(Array.from({ length: VISITORS_AT_ONCE }, visitor));
}

/** The recorder's counters as a proxy's own statistics tell them. */
async function metricsOf(adminUrl: string): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${adminUrl}/stats?filter=${encodeURIComponent('^wasmcustom.meshtrail_')}`)).text();
  return new Map(
    [...text.matchAll(/^wasmcustom\.meshtrail_(\w+): (\d+)$/gm)].map((m) => [m[1] as string, Number(m[2])]),
  );
}

test('a long outage: seen is recorded plus dropped, and recorded is what the log holds', envoy.options, async (t) => {
  const dir = scratch(t);
  const first = await startCollector(t, dir);
  const flight = await startMeshFor(t, envoy, dir, first.ingest, { settings: SETTINGS });
  await visit(flight.parties, BEFORE);
  await first.kill();
  await visit(flight.parties, DURING);
  const second = await startCollector(t, dir, first);
  await visit(flight.parties, AFTER);
  await flight.drain(DRAIN_MS_MAX);
  const metrics = new Map<string, ReadonlyMap<string, number>>();
  for (const { name, adminUrl } of flight.mesh.envoys) metrics.set(name, await metricsOf(adminUrl));
  await land(flight, second);

  const streams = await publishedStreams(second.url, second.vkey);
  const { records } = await readRecords(second.url);
  for (const node of ['ingress.edge', 'frontend.shop']) {
    const [stream, ...others] = streams.filter((one) => one.node === node);
    assert.ok(stream && others.length === 0, node);
    assert.ok(stream.isWhole && stream.isEnded, node);
    const { seen, recorded, droppedBuffersFull, droppedUnreadable, sendFailures } = stream.counters;
    assert.equal(seen, BEFORE + DURING + AFTER, node);
    assert.equal(recorded + droppedBuffersFull + droppedUnreadable, seen, node);
    assert.equal(droppedUnreadable, 0, node);
    assert.ok(droppedBuffersFull > 0, `${node} held everything: the outage was too short to show anything`);
    assert.ok(sendFailures > 0, node);
    for (const [counter, metric] of Object.entries(METRICS))
      assert.equal(
        metrics.get(node.split('.')[0] ?? '')?.get(metric),
        stream.counters[counter as keyof typeof METRICS],
        `${node}: Envoy's metric and the last batch disagree about ${metric}`,
      );
    const own = records.filter((record) => record.node.cluster === node);
    assert.equal(own.length, recorded, node);
    assert.deepEqual(
      own.map(({ record }) => record.number).toSorted((a, b) => a - b),
      Array.from({ length: recorded }, (_, i) => i),
      node,
    );
  }
});
