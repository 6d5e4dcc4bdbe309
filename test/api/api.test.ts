// Goal: the API answers as docs say, pages show one past while the log grows, and the log it serves is a tlog-tiles log.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { apiApp } from '../../collector/src/api/app.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { parseRecordProof, verifyRecordProof } from '../../collector/src/core/codec/record-proof.ts';
import { parseFilter } from '../../collector/src/core/query/filter.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { leafHash, rootOf } from '../../collector/src/core/tlog/merkle.ts';
import { decodeEntryTile, entryTilePath, rootFromTiles, tilePath } from '../../collector/src/core/tlog/tile.ts';
import type { FlowIndex } from '../../collector/src/index/flow-index.ts';
import { openZoneIndex } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { memoryZones } from '../../collector/src/store/memory.ts';
import { random, START_NS, StreamMaker } from '../support/facts.ts';
import { admitted, openMemoryLog, verifier } from '../support/logs.ts';

interface Setup {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly app: FastifyInstance;
  readonly all: {
    readonly record: FlowRecord;
    readonly startNs: bigint;
    readonly index: number;
    readonly row: number;
  }[];
  add(wire: Uint8Array): Promise<void>;
  get(path: string): Promise<{
    readonly status: number;
    readonly body: never;
    readonly text: string;
    readonly headers: Record<string, unknown>;
  }>;
}

async function setup(t: TestContext, rowsMax = 1_000_000): Promise<Setup> {
  const log = await openMemoryLog();

  const index = await openZoneIndex({
    log,
    store: memoryZones(),
    rowsMax,
    timeMsMax: 10_000,
    now: () => performance.now(),
    failed: (error) => {
      throw error;
    },
  });
  const app = await apiApp({ log, index, version: '0', nowMs: () => Number(START_NS / 1_000_000n) + 60_000 });
  t.after(async () => {
    await app.close();
    await index.close();
    await log.close();
  });
  const all: Setup['all'] = [];
  return {
    log,
    index,
    app,
    all,
    async add(wire) {
      const { index: leaf } = await log.append(admitted(wire));
      const batch = decodeBatch(wire);
      for (let row = 0; row < batch.rowCount; row++) {
        const record = recordOf(sourceOf(batch, leaf, row));
        all.push({
          record,
          startNs: BigInt(Date.parse(record.time)) * 1_000_000n + BigInt(record.time.slice(23, 29)),
          index: leaf,
          row,
        });
      }
    },
    async get(path) {
      const { statusCode, payload, headers } = await app.inject({ method: 'GET', url: path });
      const isJson = String(headers['content-type']).includes('json');
      return { status: statusCode, text: payload, body: (isJson ? JSON.parse(payload) : undefined) as never, headers };
    },
  };
}

const flowsOf = (body: { readonly flows: readonly FlowRecord[] }): string[] => body.flows.map(({ id }) => id);

test('every filter, order and page equals brute force, while the log grows', async (t) => {
  const s = await setup(t);
  const makers = [new StreamMaker(1), new StreamMaker(2), new StreamMaker(3)];
  const next = random(5);
  for (let i = 0; i < 30; i++)
    await s.add((makers[i % 3] as StreamMaker).batch(1 + Math.floor(next() * 20), {}, () => (i + next() * 8) * 1e9));
  await s.log.publishNow();
  const size = s.all.length;
  for (const [filter, order, limit, since] of [
    [undefined, 'desc', 7, undefined],
    [undefined, 'asc', 50, '2026-11-24T12:00:10Z'],
    ['verdict == "denied"', 'desc', 5, undefined],
    ['response.code >= 500 && has(trace.id)', 'asc', 3, undefined],
    ['time >= timestamp("2026-11-24T12:00:12Z") && time < timestamp("2026-11-24T12:00:20Z")', 'desc', 9, undefined],
    ['policy == "nothing"', 'desc', 5, undefined],
  ] as const) {
    const compiled = filter === undefined ? undefined : parseFilter(filter);
    const want = s.all
      .slice(0, size)
      .filter((r) => (compiled?.matches(r) ?? true) && (since === undefined || r.record.time >= since))
      .sort(
        (a, b) => (order === 'asc' ? 1 : -1) * (Number(a.startNs - b.startNs) || a.index - b.index || a.row - b.row),
      )
      .map(({ record }) => record.id);
    const got: string[] = [];
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({
        order,
        limit: String(limit),
        ...(filter === undefined ? {} : { filter }),
        ...(since === undefined ? {} : { since }),
        ...(cursor === null ? {} : { cursor }),
      });
      const { status, body } = (await s.get(`/v1/flows?${query}`)) as {
        status: number;
        body: { flows: FlowRecord[]; nextCursor: string | null; complete: boolean };
      };
      assert.equal(status, 200);
      assert.equal(body.complete, true);
      got.push(...flowsOf(body));
      cursor = body.nextCursor;
      // What arrives between two pages is not on them.
      const late = makers[0] as StreamMaker;
      await s.log.append(admitted(late.batch(2)));
      await s.log.publishNow();
    } while (cursor !== null);
    const fresh = new Set(want);
    assert.deepEqual(
      got.filter((id) => fresh.has(id)),
      want,
    );
    const first = got.filter((id) => !fresh.has(id));
    // The first page of a later query sees what earlier ones added; never in the middle of a walk.
    assert.deepEqual(new Set(first).size, first.length);
  }
});

test('one record, its proof, and who is not found', async (t) => {
  const s = await setup(t);
  const wire = new StreamMaker(9).batch(4);
  await s.add(wire);
  assert.deepEqual(((await s.get('/v1/flows/0.2')).body as { code: string }).code, 'NOT_PUBLISHED_YET');
  await s.log.publishNow();
  const { body } = await s.get('/v1/flows/0.2');
  assert.deepEqual(body, JSON.parse(JSON.stringify(s.all[2]!.record)));
  assert.deepEqual((await s.get('/v1/flows/test.mesh/log/0.2')).body, body);
  const proof = await s.get('/v1/flows/0.2/proof');
  assert.deepEqual(verifyRecordProof(parseRecordProof(proof.text), verifier).record, s.all[2]!.record);
  for (const [path, status, code] of [
    ['/v1/flows/0.4', 404, 'RECORD_NOT_FOUND'],
    ['/v1/flows/7.0', 404, 'RECORD_NOT_FOUND'],
    ['/v1/flows/x', 400, 'RECORD_ID_INVALID'],
    ['/v1/flows/00.1', 400, 'RECORD_ID_INVALID'],
    ['/v1/flows/0.1.2', 400, 'RECORD_ID_INVALID'],
    ['/v1/flows/99999999999999999999.1', 400, 'TREE_SIZE_UNSUPPORTED'],
    ['/v1/flows/other.mesh/log/0.1', 404, 'RECORD_NOT_FOUND'],
    ['/v1/flows/0.9/proof', 404, 'RECORD_NOT_FOUND'],
    ['/v1/nothing', 404, 'ROUTE_NOT_FOUND'],
    ['/v1/flows?limit=0', 400, 'PARAMETER_INVALID'],
    ['/v1/flows?limit=1001', 400, 'PARAMETER_INVALID'],
    ['/v1/flows?limit=x', 400, 'PARAMETER_INVALID'],
    ['/v1/flows?fitler=true', 400, 'PARAMETER_INVALID'],
    ['/v1/flows?order=up', 400, 'PARAMETER_INVALID'],
    ['/v1/flows?filter=source.principle%20%3D%3D%20%22x%22', 400, 'FILTER_INVALID'],
    ['/v1/flows?since=yesterday', 400, 'TIME_INVALID'],
    ['/v1/flows?cursor=abc', 400, 'CURSOR_INVALID'],
    ['/v1/flows?cursor=%20', 400, 'CURSOR_INVALID'],
  ] as const) {
    const answer = await s.get(path);
    assert.deepEqual(
      [answer.status, (answer.body as { code: string }).code, answer.headers['content-type']],
      [status, code, 'application/problem+json'],
      path,
    );
  }
  const unknown = (await s.get('/v1/flows?filter=source.principle%20%3D%3D%20%22x%22')).body as {
    position: object;
    nearest: string;
  };
  assert.deepEqual([unknown.position, unknown.nearest], [{ start: 0, end: 16 }, 'source.principal']);
});

test('a record that is not there: what its entry has instead', async (t) => {
  const s = await setup(t);
  const wire = new StreamMaker(9).batch(1);
  await s.add(wire);
  await assert.rejects(s.log.append(admitted(new StreamMaker(9).batch(2))), { code: 'BATCH_CONFLICT' });
  await s.add(new StreamMaker(8).batch(0, { isFin: true }));
  await s.log.publishNow();
  const detail = async (id: string): Promise<string> =>
    ((await s.get(`/v1/flows/${id}`)).body as { detail: string }).detail;
  assert.equal(await detail('0.1'), 'There is no record 0.1: entry 0 has 1 record, 0.0 to 0.0.');
  assert.equal(await detail('1.0'), 'There is no record 1.0: entry 1 is no batch and has no records.');
  assert.equal(await detail('2.0'), 'There is no record 2.0: entry 2 has no records.');
  assert.equal(await detail('3.0'), 'There is no record 3.0: the log has 3 entries.');
});

test('cursors of others, bent ones and too large ones are refused', async (t) => {
  const s = await setup(t);
  await s.add(new StreamMaker(4).batch(9));
  await s.log.publishNow();
  const { nextCursor } = (await s.get('/v1/flows?limit=3')).body as { nextCursor: string };
  assert.equal((await s.get(`/v1/flows?limit=5&cursor=${nextCursor}`)).status, 200);
  for (const url of [
    `/v1/flows?order=asc&cursor=${nextCursor}`,
    `/v1/flows?filter=true&cursor=${nextCursor}`,
    `/v1/flows?cursor=${nextCursor}A`,
    `/v1/flows?cursor=${'A'.repeat(600)}`,
  ]) {
    assert.equal(((await s.get(url)).body as { code: string }).code, 'CURSOR_INVALID', url);
  }
  for (let i = 0; i < nextCursor.length; i++) {
    const bent = nextCursor.slice(0, i) + (nextCursor[i] === 'A' ? 'B' : 'A') + nextCursor.slice(i + 1);
    assert.ok([200, 400].includes((await s.get(`/v1/flows?cursor=${bent}`)).status));
  }
});

test('a limit that is hit is said, and the cursor goes on', async (t) => {
  const s = await setup(t, 10);
  await s.add(new StreamMaker(6).batch(25));
  await s.log.publishNow();
  const seen: string[] = [];
  let cursor: string | null = '';
  for (let pages = 0; cursor !== null; pages++) {
    const { body } = (await s.get(`/v1/flows${cursor === '' ? '' : `?cursor=${cursor}`}`)) as {
      body: { flows: FlowRecord[]; nextCursor: string | null; complete: boolean; gaps: { kind: string }[] };
    };
    assert.equal(body.complete, body.nextCursor === null);
    if (!body.complete) assert.equal(body.gaps[0]?.kind, 'partial');
    seen.push(...flowsOf(body));
    cursor = body.nextCursor;
    assert.ok(pages < 5);
  }
  assert.equal(new Set(seen).size, 25);
});

test('gaps and drops make an answer incomplete', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(7);
  await s.add(maker.batch(2));
  const lost = maker.batch(3);
  await s.add(maker.batch(1, { counters: { droppedBuffersFull: 4 } }));
  await s.log.publishNow();
  const { body } = (await s.get('/v1/flows')) as {
    body: {
      complete: boolean;
      gaps: { kind: string; from?: number; to?: number; count: number; reason?: string; node: string }[];
    };
  };
  assert.equal(body.complete, false);
  assert.deepEqual(
    body.gaps.map(({ kind, from, to, count, reason }) => [kind, from, to, count, reason]),
    [
      ['missing', 2, 4, 3, undefined],
      ['dropped', undefined, undefined, 4, 'buffers_full'],
    ],
  );
  await s.add(lost);
  await s.log.publishNow();
  assert.deepEqual(
    ((await s.get('/v1/flows')).body as { gaps: { kind: string }[] }).gaps.map(({ kind }) => kind),
    ['dropped'],
  );
});

test('the log is served as tlog-tiles, and only what is published', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(8);
  for (let i = 0; i < 300; i++) await s.add(maker.batch(1));
  await s.log.publishNow();
  await s.add(maker.batch(1));
  const raw = async (path: string): Promise<Uint8Array | undefined> => {
    const answer = await s.app.inject({ method: 'GET', url: `/log/${path}` });
    return answer.statusCode === 200 ? new Uint8Array(answer.rawPayload) : undefined;
  };
  const checkpoint = openCheckpoint((await raw('checkpoint')) as Uint8Array, verifier);
  assert.equal(checkpoint.size, 300);
  const reader = {
    tile: async (level: number, index: number, width: number) => await raw(tilePath({ level, index, width })),
  };
  assert.deepEqual(await rootFromTiles(reader, 300), checkpoint.root);
  const entries = [
    ...decodeEntryTile((await raw(entryTilePath(0, 256))) as Uint8Array, 256),
    ...decodeEntryTile((await raw(entryTilePath(1, 44))) as Uint8Array, 44),
  ];
  assert.deepEqual(rootOf(entries.map(leafHash)), checkpoint.root);
  for (const path of [
    'tile/0/001.p/45',
    'tile/entries/001.p/45',
    'tile/0/001',
    'tile/2/000.p/1',
    'tile/0/1',
    'tile/0/x000/000',
    'tile/entries/002.p/1',
    'tile/0/000.p/256',
  ])
    assert.equal(await raw(path), undefined, path);
  assert.ok((await raw('tile/0/000.p/17')) !== undefined, 'the partial tiles of older checkpoints');
  const tile = await s.app.inject({ method: 'GET', url: '/log/tile/0/000' });
  assert.match(String(tile.headers['cache-control']), /immutable/);
  const about = (await s.get('/v1/log')).body as { origin: string; size: number };
  assert.deepEqual([about.origin, about.size], ['test.mesh/log', 300]);
});

test('health and the description of the API', async (t) => {
  const s = await setup(t);
  assert.deepEqual((await s.get('/health/live')).body, { status: 'live' });
  assert.deepEqual((await s.get('/health/ready')).body, { status: 'ready' });
  const api = (await s.get('/openapi.json')).body as { openapi: string; paths: Record<string, unknown> };
  assert.match(api.openapi, /^3\.1/);
  for (const path of ['/v1/flows', '/v1/log', '/log/checkpoint', '/health/live']) assert.ok(path in api.paths, path);
});
