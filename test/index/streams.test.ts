// Goal: whatever comes in whatever order, the table of streams counts what came and what is missing, and stays within its limits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Entry } from '../../collector/src/core/codec/entry.ts';
import { coverageOf } from '../../collector/src/index/coverage.ts';
import { HOLES_MAX, HOLES_OF_STREAM_MAX, STREAMS_MAX, Streams } from '../../collector/src/index/streams.ts';
import { ProxyMaker, startMs, type VmMaker } from './proxy-maker.ts';
import { Told } from './told.ts';

test('batches in any order: what came and what is missing, as counted by hand', () => {
  const property = fc.property(
    fc.array(fc.nat(3), { minLength: 1, maxLength: 40 }),
    fc.infiniteStream(fc.nat()),
    fc.nat(20),
    fc.integer({ min: 1, max: 50 }),
    (rows, keys, lost, holesMax) => {
      const vm = new ProxyMaker('a', 1, 0).vm();
      const entries = rows.map((count, i) => vm.entry(count, i));
      const order = entries.map((entry) => ({ entry, key: keys.next().value as number })).sort((a, b) => a.key - b.key);
      const came = order.slice(Math.min(lost, order.length - 1)).map(({ entry }) => entry);
      const streams = new Streams({ holesMax });
      for (const entry of came) streams.note(entry);
      const newest = came.reduce((a, b) => (b.batchNumber > a.batchNumber ? b : a));
      const before = entries.filter((entry) => entry.batchNumber < newest.batchNumber && !came.includes(entry));
      const missing = before.reduce((sum, { recordCount }) => sum + recordCount, 0);
      const [stream] = coverageOf(streams, { nowMs: startMs }).proxies.flatMap((proxy) => proxy.streams);
      assert.deepEqual(stream?.missing, { batches: before.length, records: missing });
      assert.equal(stream?.batches, came.length);
      const told = streams.gaps();
      assert.equal(
        told.reduce((sum, gap) => sum + (gap.count ?? 0), 0),
        missing,
      );
      if (holesMax === 50) {
        const listed = told.flatMap(({ from = 0, to = -1 }) =>
          Array.from({ length: to - from + 1 }, (_, i) => from + i),
        );
        const want = before.flatMap(({ firstRecord, recordCount }) =>
          Array.from({ length: recordCount }, (_, i) => firstRecord + i),
        );
        assert.deepEqual(listed, want);
      }
    },
  );
  fc.assert(property, { numRuns: 500 });
});

test('streams beyond the limit: ended and complete ones go first, and what is forgotten is said', () => {
  const t = new Told([], new Streams({ streamsMax: 3 })).live(0);
  const vm = (i: number): VmMaker => new ProxyMaker(`p${i}`, i, 0).vm();
  const [gappy, ended] = [vm(1), vm(2)];
  gappy.entry(5, 0);
  t.note(
    gappy.entry(1, 1, { counters: { droppedNoRandom: 7 } }),
    ended.entry(1, 2),
    ended.entry(1, 3, { isFin: true }),
  );
  t.note(vm(3).entry(1, 10), vm(4).entry(1, 20));
  assert.deepEqual(t.states(20).sort(), ['p1: open', 'p3: open', 'p4: open']);
  const gone = (): unknown => t.coverage(20).gaps.filter((gap) => gap.stream === undefined);
  assert.match(
    JSON.stringify(gone()),
    /^\[\{"kind":"partial","reason":"streams that are no longer held: 1, heard until [^"]*; [a-z ]*: 0"/,
  );
  assert.equal(t.streams.gaps().length, 2, 'nothing lacks of one that was complete');
  t.note(vm(5).entry(1, 30));
  assert.deepEqual(t.states(30).sort(), ['p3: open', 'p4: open', 'p5: open']);
  assert.deepEqual(t.streams.gaps(), [
    { kind: 'missing', count: 5, reason: 'streams that are no longer held' },
    { kind: 'dropped', count: 7, reason: 'no_random, in streams that are no longer held' },
  ]);
  const since = (ms: number) => t.coverage(30, { sinceNs: BigInt(startMs + ms) * 1_000_000n }).gaps;
  assert.deepEqual([since(3).length, since(4)], [3, []], 'a time after them lacks nothing');
  assert.deepEqual(
    t.judge(60_000).said.sort(),
    ['silent p3', 'silent p4', 'silent p5'],
    'who is forgotten is not missed',
  );
});

test('holes of a stream that is forgotten leave their place to others', () => {
  const streams = new Streams({ streamsMax: 1, holesMax: 2 });
  for (const i of [1, 2, 3]) {
    const vm = new ProxyMaker(`p${i}`, i, 0).vm();
    for (let batch = 0; batch < 5; batch++) {
      const entry = vm.entry(1, batch);
      if (batch % 2 === 0) streams.note(entry);
    }
    const listed = streams.gaps().filter(({ from }) => from !== undefined);
    assert.deepEqual(
      listed.map(({ from, to }) => [from, to]),
      [
        [1, 1],
        [3, 3],
      ],
    );
  }
});

test('at the real limits: streams and holes of a forger stay bounded, and the table stays quick', () => {
  const streams = new Streams();
  const template = new ProxyMaker('a', 1, 0).vm().entry(1, 0);
  const forged = (stream: number, batchNumber: number): Entry => {
    const name = new Uint8Array(16);
    new DataView(name.buffer).setUint32(0, stream);
    return { ...template, stream: name, batchNumber, firstRecord: batchNumber };
  };
  const began = performance.now();
  for (let i = 0; i < STREAMS_MAX + 1000; i++) streams.note(forged(i, 0));
  assert.equal([...streams].length, STREAMS_MAX);
  assert.equal(streams.forgotten.streams, 1000);
  const each = HOLES_OF_STREAM_MAX + 50;
  const count = HOLES_MAX / HOLES_OF_STREAM_MAX + 5;
  // From the newest to the oldest, the costliest order.
  for (let stream = 0; stream < count; stream++)
    for (let i = each; i > 0; i--) streams.note(forged(STREAMS_MAX + stream, 2 * i));
  const holed = [...streams].filter(({ missingBatches }) => missingBatches > 0);
  assert.equal(holed.length, count);
  assert.ok(holed.every(({ missingRecords }) => missingRecords === each));
  assert.ok(holed.every(({ holes }) => holes <= HOLES_OF_STREAM_MAX));
  assert.equal(
    holed.reduce((sum, { holes }) => sum + holes, 0),
    HOLES_MAX,
  );
  assert.equal(streams.gaps().length, 1001);
  const took = performance.now() - began;
  assert.ok(took < 15_000, `${Math.round(took)} ms`);
  const { proxies, gaps } = coverageOf(streams, { nowMs: startMs });
  assert.equal(
    proxies.reduce((sum, proxy) => sum + proxy.streams.length, 0),
    10_000,
  );
  assert.match(gaps.map(({ reason }) => reason).join('\n'), /streams that are not listed: 90000;/);
});
