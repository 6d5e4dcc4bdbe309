// Goal: what the log remembers of a batch's time is what its rows say, for every batch, and only for as long as it is bounded.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HEADER, HEADER_BYTES, ROW, ROW_BYTES } from '../../collector/src/core/codec/layout.ts';
import { RecentStarts, startSpanOf } from '../../collector/src/log/starts.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted, openMemoryLog } from '../support/logs.ts';

/** A batch whose rows start at these times; its hashes do not matter here. */
function startingAt(starts: readonly bigint[]): Uint8Array {
  const wire = new Uint8Array(HEADER_BYTES + starts.length * ROW_BYTES);
  const view = new DataView(wire.buffer);
  view.setUint32(HEADER.rowCount, starts.length, true);
  view.setUint16(HEADER.headerBytes, HEADER_BYTES, true);
  for (const [i, ns] of starts.entries()) view.setBigInt64(HEADER_BYTES + i * ROW_BYTES + ROW.startNs, ns, true);
  return wire;
}

test('the span of a batch is from its earliest start to its latest', () => {
  // Times that differ in their lower half only, in their upper half only, and at its borders.
  const time = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: 2n ** 60n, max: 2n ** 60n + 3n }),
    fc.constantFrom(0n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 63n - 1n),
  );
  fc.assert(
    fc.property(fc.array(time, { minLength: 1, maxLength: 40 }), (starts) => {
      const sorted = [...starts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
      assert.deepEqual(startSpanOf(startingAt(starts)), { startNsMin: sorted[0], startNsMax: sorted.at(-1) });
    }),
  );
  assert.equal(startSpanOf(startingAt([])), undefined);
});

test('the newest batches are remembered, and no more of them than the limit', () => {
  const starts = new RecentStarts();
  for (let i = 0; i < 20_000; i++) starts.note(i, startingAt([BigInt(i)]));
  const known = Array.from({ length: 20_000 }, (_, i) => i).filter((i) => starts.of(i) !== undefined);
  assert.deepEqual([known[0], known.length], [20_000 - 16_384, 16_384]);
  assert.deepEqual(starts.of(19_999), { startNsMin: 19_999n, startNsMax: 19_999n });
});

test('a log tells the span of what it has sequenced', async () => {
  const log = await openMemoryLog();
  const wire = new StreamMaker(41).batch(30);
  const { index } = await log.append(admitted(wire));
  assert.deepEqual(log.startsOf(index), startSpanOf(wire));
  assert.equal(log.startsOf(index + 1), undefined);
  await log.close();
});
