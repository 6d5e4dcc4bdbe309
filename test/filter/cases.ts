// Connections, and what lives, through the real module and back: each decoded record is what the formats say of it.

import assert from 'node:assert/strict';
import { expectedConnection, expectedOpen } from './connection-expected.ts';
import { type Exchange, factsOf } from './exchange.ts';
import { LOGGED_NS } from './expected.ts';
import type { Flat } from './flat.ts';
import { assertWhole, CONFIGURATION, FLUSH_MS, Recorder } from './recorder.ts';

function assertSame(got: readonly Flat[], want: readonly Flat[]): void {
  for (let i = 0; i < Math.max(got.length, want.length); i++) assert.deepEqual(got[i], want[i], `record ${i}`);
}

/** Connections that end, as a network filter or the access logger of a connection tells of them. */
export function assertConnections(
  exchanges: readonly Exchange[],
  sensor: 'network_filter' | 'connection_logger',
): void {
  const isLogger = sensor === 'connection_logger';
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, layer: isLogger ? 'connection' : 'http' } });
  const { envoy, use } = recorder;
  for (const exchange of exchanges) {
    if (isLogger) envoy.accessLog(use, factsOf(exchange), 'tcp_logger');
    else envoy.openConnection(use).close(1, factsOf(exchange));
  }
  recorder.settle();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), exchanges.length);
  assertSame(
    recorder.flat(),
    // To a network filter Envoy never tells a duration.
    exchanges.map((one) => expectedConnection(isLogger ? one : { ...one, durationNs: undefined }, sensor)),
  );
}

/** Exchanges and connections that live at the first tick. One whose start Envoy does not know is not told of. */
export function assertOpen(exchanges: readonly Exchange[], kind: 'http' | 'connection'): void {
  const recorder = new Recorder({ configuration: { ...CONFIGURATION, open_after_ms: 0 } });
  const { envoy, use } = recorder;
  for (const exchange of exchanges) {
    if (kind === 'http') envoy.openHttp(use).begin(factsOf(exchange));
    else envoy.openConnection(use, { facts: factsOf(exchange) });
  }
  recorder.flush();
  recorder.flush();
  recorder.assertHealthy();
  const nowNs = LOGGED_NS + BigInt(FLUSH_MS) * 1_000_000n;
  const told = exchanges.filter(({ startNs }) => startNs !== undefined);
  assertSame(
    recorder.flat(),
    told.map((one) => expectedOpen(one, kind, nowNs)),
  );
  assert.equal(recorder.batches().at(-1)?.counters.interim ?? 0, told.length);
}
