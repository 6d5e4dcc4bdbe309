// Exchanges through the real module and back: what was decoded, and whether it is what was told.

import assert from 'node:assert/strict';
import type { Exchange } from './exchange.ts';
import { expectedOf } from './expected.ts';
import type { Flat } from './flat.ts';
import { assertWhole, Recorder, type RecorderOptions } from './recorder.ts';

/** Records exchanges and returns the decoded records, after the counters were reconciled. */
export function recorded(exchanges: readonly Exchange[], options: RecorderOptions = {}): Flat[] {
  const recorder = new Recorder(options);
  for (const exchange of exchanges) recorder.record(exchange);
  recorder.settle();
  recorder.assertHealthy();
  assertWhole(recorder.batches(), exchanges.length);
  return recorder.flat();
}

/** Each decoded record is what the formats say of its exchange. `allowed`: names of recorded headers. */
export function assertRecorded(
  exchanges: readonly Exchange[],
  allowed: readonly string[] = [],
  options?: RecorderOptions,
): void {
  const got = recorded(exchanges, options);
  const want = exchanges.map((exchange) => expectedOf(exchange, allowed).flat);
  for (let i = 0; i < Math.max(got.length, want.length); i++) assert.deepEqual(got[i], want[i], `record ${i}`);
}
