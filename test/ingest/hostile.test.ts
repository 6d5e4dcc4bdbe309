// Goal: ten thousand hostile batches of all kinds store nothing, are all counted, and leave no memory behind.

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sealBatch } from '../../collector/src/core/codec/encode.ts';
import {
  BATCH_BYTES_MAX,
  BIT,
  HEADER,
  HEADER_BYTES,
  HEADER_BYTES_V1,
  PHASE_SHIFT,
  ROW,
} from '../../collector/src/core/codec/layout.ts';
import type { ErrorCode } from '../../collector/src/core/error.ts';
import { ingestApp } from '../../collector/src/ingest/app.ts';
import { trustNetwork } from '../../collector/src/ingest/identity.ts';
import { random, randomBytes, StreamMaker } from '../support/facts.ts';
import { fsckDisk, MemoryDisk, openMemoryLog } from '../support/logs.ts';

const BATCHES = 10_000;
const SENDERS = 16;
const HEAP_GROWTH_BYTES_MAX = 8 * 1024 * 1024;
const RSS_GROWTH_BYTES_MAX = 96 * 1024 * 1024;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

async function memory(): Promise<{ readonly heap: number; readonly rss: number }> {
  for (let i = 0; i < 4; i++) {
    collectGarbage();
    await new Promise((done) => setTimeout(done, 20));
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: heapUsed + external, rss };
}

type Change = (view: DataView) => void;
const setRow = (flags: number, kind?: number) => (view: DataView) => {
  view.setUint32(HEADER_BYTES + ROW.flags, view.getUint32(HEADER_BYTES + ROW.flags, true) | flags, true);
  if (kind !== undefined) view.setUint8(HEADER_BYTES + ROW.kind, kind);
};
/** Rules of version 2, each broken: in the header, in a row, in what a connection must not have. */
const BROKEN: readonly Change[] = [
  (view) => view.setUint16(HEADER.flags, 1 << 15, true),
  (view) => view.setUint16(HEADER.vmsAlive, 1, true),
  (view) => view.setBigUint64(HEADER.interim, 1_000_000n, true),
  (view) => view.setBigUint64(HEADER.droppedNoRandom, 1n, true),
  (view) => view.setBigUint64(HEADER.unwatched, 1n << 63n, true),
  (view) => view.setBigUint64(HEADER.proxySinceWallNs, 1n << 63n, true),
  setRow(3 << PHASE_SHIFT),
  setRow(1 << PHASE_SHIFT),
  setRow((1 << PHASE_SHIFT) | BIT.repeat),
  setRow(BIT.b3 | BIT.b3Short),
  setRow(BIT.b3Text),
  setRow(1 << 31),
  setRow(0, 2),
  setRow(0, 3),
];

/** The hostile kinds, each a fresh body for a number. */
function kinds(stored: Uint8Array, maker: StreamMaker): ((i: number) => Uint8Array)[] {
  const next = random(99);
  const sample = maker.batch(40);
  const flip = (i: number): Uint8Array => {
    const copy = Uint8Array.from(sample);
    const at = i % copy.length;
    copy[at] = (copy[at] as number) ^ (1 << (i % 8));
    return copy;
  };
  const sealed = (change: (view: DataView, i: number) => void) => (i: number) => {
    const copy = Uint8Array.from(sample);
    change(new DataView(copy.buffer), i);
    sealBatch(copy);
    return copy;
  };
  return [
    () => randomBytes(next, 1 + Math.floor(next() * 2000)),
    (i) => sample.slice(0, i % sample.length),
    flip,
    () => new Uint8Array(BATCH_BYTES_MAX + 1),
    sealed((view, i) => view.setUint16(HEADER.version, 3 + (i % 1000), true)),
    sealed((view, i) => view.setUint32(HEADER.rowCount, i, true)),
    // A row that refers to entries that are not there.
    sealed((view, i) => view.setUint16(HEADER_BYTES + ROW.connection, 4000 + (i % 95), true)),
    // A body that says it is of the other version: every length in it is read in another place.
    sealed((view) => {
      view.setUint16(HEADER.version, 1, true);
      view.setUint16(HEADER.headerBytes, HEADER_BYTES_V1, true);
    }),
    sealed((view, i) => (BROKEN[i % BROKEN.length] as Change)(view)),
    // A forged batch under a number that is taken.
    (i) => {
      const copy = Uint8Array.from(stored);
      new DataView(copy.buffer).setBigUint64(HEADER.sealedMonoNs, BigInt(i + 7), true);
      sealBatch(copy);
      return copy;
    },
  ];
}

test('memory stays flat under 10,000 hostile batches', async (t) => {
  const disk = new MemoryDisk();
  const log = await openMemoryLog(disk);
  const counts = new Map<ErrorCode, number>();
  const app = ingestApp({
    log,
    identityOf: trustNetwork,
    events: { refused: (code) => counts.set(code, (counts.get(code) ?? 0) + 1), waiting() {} },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: SENDERS });
  t.after(async () => {
    agent.destroy();
    await app.close();
    await log.close();
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const post = (body: Uint8Array): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/vnd.meshtrail.batch', 'content-length': body.length };
      const sent = request(
        { agent, port, host: '127.0.0.1', method: 'POST', path: '/v1/batches', headers },
        (answer) => {
          answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
        },
      );
      sent.on('error', reject).end(body);
    });

  const maker = new StreamMaker(1);
  const stored = maker.batch(3);
  assert.equal(await post(stored), 200);
  const makeBody = kinds(stored, new StreamMaker(2));
  const answers = new Map<number, number>();
  const volley = async (count: number): Promise<void> => {
    let i = 0;
    await Promise.all(
      Array.from({ length: SENDERS }, async () => {
        while (i < count) {
          const number = i++;
          const status = await post(makeBody[number % makeBody.length]?.(number) as Uint8Array);
          answers.set(status, (answers.get(status) ?? 0) + 1);
        }
      }),
    );
  };
  // Code is compiled and pools are filled first: that is no leak.
  await volley(2000);
  answers.clear();
  counts.clear();
  const before = await memory();
  await volley(BATCHES);
  const after = await memory();

  const each = BATCHES / makeBody.length;
  assert.deepEqual(Object.fromEntries([...answers].sort()), { 400: each * 8, 409: each, 413: each });
  assert.equal(
    [...counts.values()].reduce((sum, n) => sum + n, 0),
    BATCHES,
    'each is counted once',
  );
  assert.deepEqual([counts.get('BATCH_CONFLICT'), counts.get('BATCH_TOO_LARGE')], [each, each]);
  await log.publishNow();
  assert.equal(disk.entries.length, 2, 'the stored batch and one conflict entry');
  assert.deepEqual((await fsckDisk(disk)).findings, []);
  const [heap, rss] = [after.heap - before.heap, after.rss - before.rss];
  t.diagnostic(`heap and external ${(heap / 1024).toFixed(0)} KiB, resident ${(rss / 1024).toFixed(0)} KiB more`);
  assert.ok(heap < HEAP_GROWTH_BYTES_MAX, `heap grew by ${heap} bytes`);
  assert.ok(rss < RSS_GROWTH_BYTES_MAX, `resident memory grew by ${rss} bytes`);
});
