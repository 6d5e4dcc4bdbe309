// Goal: an index is only a faster way to the answer that brute force gives: for any batches, order, page and limit, after a restart,
// after its loss, and beside damage.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { encodeBatch } from '../../collector/src/core/codec/encode.ts';
import { parseFilter } from '../../collector/src/core/query/filter.ts';
import type { FlowIndex, FlowPosition, FlowQuery, ZoneStore } from '../../collector/src/index/flow-index.ts';
import { openZoneIndex, type ZoneIndexInput } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { memoryZones } from '../../collector/src/store/memory.ts';
import { START_NS, StreamMaker } from '../support/facts.ts';
import { admitted, MemoryDisk, openMemoryLog } from '../support/logs.ts';

const LIMITS = { rowsMax: 1_000_000, timeMsMax: 60_000, now: () => performance.now() };

async function openIndex(t: TestContext, log: EvidenceLog, more: Partial<ZoneIndexInput> = {}): Promise<FlowIndex> {
  const index = await openZoneIndex({ log, store: memoryZones(), ...LIMITS, failed: () => undefined, ...more });
  t.after(() => index.close());
  return index;
}

async function openLog(t: TestContext, disk = new MemoryDisk()): Promise<EvidenceLog> {
  const log = await openMemoryLog(disk);
  t.after(() => log.close());
  return log;
}

/** Every page of a query, one after the other; how often a limit ended a page does not matter. */
async function walk(index: FlowIndex, query: Omit<FlowQuery, 'after'>): Promise<string[]> {
  const ids: string[] = [];
  let after: FlowPosition | undefined;
  for (let pages = 0; ; pages++) {
    assert.ok(pages < 10_000, 'a walk ends');
    const page = await index.search({ ...query, ...(after === undefined ? {} : { after }) });
    assert.ok(page.flows.length <= query.limit);
    ids.push(...page.flows.map(({ id }) => id));
    if (page.next === undefined) return ids;
    after = page.next;
  }
}

type Place = FlowPosition & { readonly id: string };

function sorted(places: readonly Place[], order: 'asc' | 'desc'): string[] {
  const sign = order === 'asc' ? 1 : -1;
  return places
    .toSorted((a, b) => sign * (Number(a.startNs - b.startNs) || a.index - b.index || a.row - b.row))
    .map(({ id }) => id);
}

/** A batch whose rows start at the given times, in ns after START_NS. */
function batchAt(stream: number, times: readonly number[]): Uint8Array {
  return encodeBatch({
    stream: new Uint8Array(16).fill(stream),
    batchNumber: 0,
    firstRecord: 0,
    rows: times.map((time, i) => ({
      verdict: i % 3 === 0 ? 'denied' : 'allowed',
      startNs: START_NS + BigInt(time),
      connection: { id: 1 },
      outcome: { code: 200 },
    })),
  });
}

test('any batches, order, page size and range: what brute force finds, in its order', async (t) => {
  // Few different times, so that many rows start together, and batches that overlap in every way.
  const batches = fc.array(fc.array(fc.nat(12), { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 12 });
  const property = fc.asyncProperty(
    batches,
    fc.constantFrom('asc' as const, 'desc' as const),
    fc.integer({ min: 1, max: 9 }),
    fc.option(fc.nat(12)),
    fc.option(fc.nat(12)),
    fc.boolean(),
    fc.integer({ min: 1, max: 30 }),
    async (times, order, limit, since, until, isFiltered, rowsMax) => {
      const log = await openMemoryLog();
      const index = await openZoneIndex({ log, store: memoryZones(), ...LIMITS, rowsMax, failed: assert.fail });
      try {
        for (const [i, rows] of times.entries()) await log.append(admitted(batchAt(i + 1, rows)));
        await log.publishNow();
        await index.idle();
        const filter = isFiltered ? parseFilter('verdict == "denied"') : undefined;
        const sinceNs = since === null ? undefined : START_NS + BigInt(since);
        const untilNs = until === null ? undefined : START_NS + BigInt(until);
        const places = times.flatMap((rows, i) =>
          rows.map((time, row) => ({ startNs: START_NS + BigInt(time), index: i, row, id: `${i}.${row}` })),
        );
        const want = places.filter(
          ({ startNs, row }) =>
            (sinceNs === undefined || startNs >= sinceNs) &&
            (untilNs === undefined || startNs < untilNs) &&
            (!isFiltered || row % 3 === 0),
        );
        const got = await walk(index, {
          order,
          limit,
          size: times.length,
          ...(sinceNs === undefined ? {} : { sinceNs }),
          ...(untilNs === undefined ? {} : { untilNs }),
          ...(filter === undefined ? {} : { filter }),
        });
        assert.deepEqual(got, sorted(want, order));
      } finally {
        await index.close();
        await log.close();
      }
    },
  );
  await fc.assert(property, { numRuns: 150 });
  t.diagnostic('150 runs');
});

test('pages stay the same while the log grows, even when what arrives is older', async (t) => {
  const log = await openLog(t);
  const index = await openIndex(t, log);
  for (let i = 1; i <= 5; i++) await log.append(admitted(batchAt(i, [10, 20, 30, 40])));
  await log.publishNow();
  await index.idle();
  const query = { order: 'desc' as const, limit: 3, size: 5 };
  const want = await walk(index, query);
  const first = await index.search(query);
  await log.append(admitted(batchAt(6, [5, 15, 25, 35, 45])));
  await log.publishNow();
  await index.idle();
  assert.equal(index.size, 6);
  const rest = await walk(index, { ...query, untilNs: START_NS + 41n });
  assert.deepEqual(rest, want);
  const second = await index.search({ ...query, ...(first.next === undefined ? {} : { after: first.next }) });
  assert.deepEqual(
    [...first.flows, ...second.flows].map(({ id }) => id),
    want.slice(0, 6),
  );
});

test('an index that was lost, is old, or belongs to a longer log gives the same answers after a restart', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'meshtrail index '));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const log = await openLog(t);
  const makers = [new StreamMaker(1), new StreamMaker(2)];
  let count = 0;
  const grow = async (batches: number): Promise<void> => {
    for (let i = 0; i < batches; i++) await log.append(admitted((makers[count++ % 2] as StreamMaker).batch(5)));
    await log.publishNow();
  };
  const ask = async (store: ZoneStore): Promise<string[]> => {
    const index = await openZoneIndex({ log, store, ...LIMITS, failed: assert.fail });
    const ids = await walk(index, { order: 'desc', limit: 7, size: log.published().size });
    await index.close();
    return ids;
  };
  await grow(30);
  const want = await ask(await openLevelZones(join(dir, 'a')));
  assert.equal(want.length, 150);
  assert.deepEqual(await ask(await openLevelZones(join(dir, 'a'))), want, 'restarted');
  await rm(join(dir, 'a'), { recursive: true });
  assert.deepEqual(await ask(await openLevelZones(join(dir, 'a'))), want, 'lost');
  await grow(10);
  const grown = await ask(memoryZones());
  assert.equal(grown.length, 200);
  assert.deepEqual(await ask(await openLevelZones(join(dir, 'a'))), grown, 'old');
  const longer = await openLevelZones(join(dir, 'a'));
  await longer.write([{ index: 77, startNsMin: 0n, startNsMax: 1n, records: 3 }], 78);
  assert.deepEqual(await ask(longer), grown, 'of a longer log');
  const bent = await openLevelZones(join(dir, 'a'));
  await bent.write([{ index: 3, startNsMin: 0n, startNsMax: 1n, records: 4 }], 40);
  assert.deepEqual(await ask(bent), grown, 'with a zone that the log does not confirm');
});

test('a write that fails is told once, done again, and doubles nothing', async (t) => {
  const log = await openLog(t);
  const store = memoryZones();
  let failures = 2;
  const told: Error[] = [];
  const flaky: ZoneStore = {
    ...store,
    async write(zones, indexed) {
      if (indexed > 0 && failures-- > 0) throw new Error('disk full');
      await store.write(zones, indexed);
    },
  };
  const index = await openIndex(t, log, { store: flaky, failed: (error) => told.push(error) });
  const maker = new StreamMaker(3);
  for (let i = 0; i < 3; i++) {
    await log.append(admitted(maker.batch(2)));
    await log.publishNow();
    await index.idle();
    assert.equal(index.failure()?.message, i < 2 ? 'disk full' : undefined);
    assert.equal(index.size, i < 2 ? 0 : 3);
  }
  assert.equal(told.length, 1);
  assert.equal((await walk(index, { order: 'asc', limit: 10, size: 3 })).length, 6);
  assert.deepEqual(index.gaps(), []);
});

test('a damaged entry is named, and hides nothing else', async (t) => {
  const disk = new MemoryDisk();
  const log = await openLog(t, disk);
  for (let i = 1; i <= 5; i++) await log.append(admitted(batchAt(i, [i * 10, i * 10 + 1])));
  await log.publishNow();
  const body = disk.entries[2]?.body as Uint8Array;
  body[body.length - 40] = (body[body.length - 40] as number) ^ 4;
  const index = await openIndex(t, log);
  assert.equal(index.failure(), undefined);
  const query = { order: 'asc' as const, limit: 100, size: 5 };
  assert.deepEqual(await walk(index, query), ['0.0', '0.1', '1.0', '1.1', '3.0', '3.1', '4.0', '4.1']);
  assert.deepEqual(
    index.gaps().map(({ kind, entry }) => [kind, entry]),
    [['damaged', 2]],
  );
  await assert.rejects(index.record(2, 0), { name: 'MeshtrailError' });
  body[body.length - 40] = (body[body.length - 40] as number) ^ 4;
  assert.equal((await index.record(2, 0))?.id, '2.0', 'read again when it is asked for');
});

test('damage that comes after indexing is named too, at the first answer that meets it', async (t) => {
  const disk = new MemoryDisk();
  const log = await openLog(t, disk);
  const store = memoryZones();
  for (let i = 1; i <= 3; i++) await log.append(admitted(batchAt(i, [i])));
  await log.publishNow();
  await (await openZoneIndex({ log, store, ...LIMITS, failed: assert.fail })).close();
  (disk.entries[1] as { body?: Uint8Array | undefined }).body = undefined;
  const index = await openIndex(t, log, { store });
  assert.deepEqual(index.gaps(), []);
  assert.deepEqual(await walk(index, { order: 'asc', limit: 10, size: 3 }), ['0.0', '2.0']);
  assert.deepEqual(index.gaps(), [{ kind: 'damaged', entry: 1, reason: 'The body of entry 1 is missing.' }]);
});

test('time that runs out ends a page; a page that found nothing to go on from says so', async (t) => {
  const log = await openLog(t);
  // Batches that all overlap everything, as a forger would make them.
  for (let i = 1; i <= 100; i++) await log.append(admitted(batchAt(i, [0, 1000 + i, 1_000_000])));
  await log.publishNow();
  let now = 0;
  const index = await openIndex(t, log, { timeMsMax: 10, now: () => now++ });
  const all = await walk(index, { order: 'desc', limit: 1000, size: 100 });
  assert.ok(new Set(all).size === all.length);
  const slow = await openIndex(t, log, { timeMsMax: 0, now: () => now++ });
  const page = await slow.search({ order: 'desc', limit: 10, size: 100, untilNs: START_NS + 2000n });
  assert.match(page.partial ?? '', /took 0 ms/);
  assert.deepEqual([page.flows, page.next], [[], undefined]);
});

test('many searches at once take turns, and nobody waits for one whose asker is gone', async (t) => {
  const log = await openLog(t);
  for (let i = 1; i <= 20; i++) await log.append(admitted(new StreamMaker(i).batch(30)));
  await log.publishNow();
  const index = await openIndex(t, log);
  const query = { order: 'desc' as const, limit: 50, size: 20 };
  const [one] = [await index.search(query)];
  const many = await Promise.all(Array.from({ length: 64 }, () => index.search(query)));
  for (const page of many) assert.deepEqual(page.flows, one.flows);
  const asked = Array.from({ length: 600 }, () => index.search(query));
  const refused = (await Promise.allSettled(asked)).filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 600 - 4 - 512);
  for (const { reason } of refused as PromiseRejectedResult[]) assert.equal(reason.code, 'QUERY_OVERLOADED');
  await assert.rejects(index.search({ ...query, signal: AbortSignal.abort() }), { name: 'AbortError' });
  assert.deepEqual((await index.search(query)).flows, one.flows, 'the gate is open again');
});

test('a batch in two streams, a fin without rows, a gap that closes', async (t) => {
  const log = await openLog(t);
  const index = await openIndex(t, log);
  const maker = new StreamMaker(9);
  const [first, second] = [maker.batch(2), maker.batch(3)];
  const end = maker.batch(0, { isFin: true });
  for (const wire of [end, first]) await log.append(admitted(wire));
  await log.publishNow();
  await index.idle();
  assert.deepEqual(
    index.gaps().map(({ kind, from, to }) => [kind, from, to]),
    [['missing', 2, 4]],
  );
  await log.append(admitted(second));
  await log.publishNow();
  await index.idle();
  assert.deepEqual(index.gaps(), []);
  assert.equal(decodeBatch(end).isFin, true);
  assert.equal((await walk(index, { order: 'asc', limit: 10, size: 3 })).length, 5);
  assert.equal(await index.record(0, 0), undefined, 'the fin has no records');
});

test('a forger of holes cannot make every answer long', async (t) => {
  const log = await openLog(t);
  const index = await openIndex(t, log);
  const stream = new Uint8Array(16).fill(5);
  for (let i = 0; i < 1500; i++)
    await log.append(
      admitted(
        encodeBatch({
          stream,
          batchNumber: 2 * i + 1,
          firstRecord: 2 * i + 1,
          previous: new Uint8Array(32).fill(1),
          rows: [{ verdict: 'allowed', startNs: START_NS, connection: { id: 1 }, outcome: { code: 200 } }],
        }),
      ),
    );
  await log.publishNow();
  await index.idle();
  const gaps = index.gaps();
  assert.equal(gaps.length, 1001);
  assert.deepEqual(gaps.at(-1), { kind: 'missing', count: 500, reason: '500 more gaps are not listed' });
  assert.equal(index.gaps(), gaps, 'and they are summed up once');
});
