// Goal: every kind of bad input gets its one coded answer and leaves nothing behind; good input is acknowledged, again and again the same.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { decodeAck } from '../../collector/src/core/codec/ack.ts';
import { encodeBatch, sealBatch } from '../../collector/src/core/codec/encode.ts';
import { parseEntry } from '../../collector/src/core/codec/entry.ts';
import { BATCH_BYTES_MAX, HEADER, HEADER_BYTES, HEADER_BYTES_V1 } from '../../collector/src/core/codec/layout.ts';
import type { ErrorCode } from '../../collector/src/core/error.ts';
import { ingestApp } from '../../collector/src/ingest/app.ts';
import { trustNetwork } from '../../collector/src/ingest/identity.ts';
import { PATIENCE } from '../../collector/src/ingest/limits.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import type { OpenLogInput } from '../../collector/src/log/open-log.ts';
import type { StoredEntry } from '../../collector/src/log/stores.ts';
import { memorySegments } from '../../collector/src/store/memory.ts';
import { START_NS, StreamMaker } from '../support/facts.ts';
import { fsckDisk, MemoryDisk, openMemoryLog } from '../support/logs.ts';

const BATCH = 'application/vnd.meshtrail.batch';

interface Setup {
  readonly log: EvidenceLog;
  readonly disk: MemoryDisk;
  readonly port: number;
  /** Codes of all refusals so far. */
  readonly refused: ErrorCode[];
  waiting(): readonly [batches: number, bytes: number];
  post(body: Uint8Array | string, headers?: Record<string, string>): Promise<Answer>;
  /** Writes bytes on a bare connection; resolves with all that came back when the other side ends. */
  raw(...parts: (Uint8Array | string)[]): Promise<string>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly bytes: Uint8Array;
  readonly code: string | undefined;
  readonly headers: Headers;
}

async function setup(
  t: TestContext,
  more: Partial<OpenLogInput> = {},
  patience = PATIENCE,
  disk = new MemoryDisk(),
): Promise<Setup> {
  const log = await openMemoryLog(disk, more);
  const refused: ErrorCode[] = [];
  let [batches, bytes] = [0, 0];
  const app = ingestApp({
    log,
    identityOf: trustNetwork,
    patience,
    events: {
      refused: (code) => refused.push(code),
      waiting(moreBatches, moreBytes) {
        batches += moreBatches;
        bytes += moreBytes;
      },
    },
  });
  t.after(async () => {
    await app.close();
    await log.close();
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return {
    ...{ log, disk, port, refused },
    waiting: () => [batches, bytes],
    async post(body, headers = { 'content-type': BATCH }) {
      const response = await fetch(`http://127.0.0.1:${port}/v1/batches`, {
        method: 'POST',
        headers,
        body: typeof body === 'string' ? body : Buffer.from(body),
      });
      const answer = new Uint8Array(await response.arrayBuffer());
      const type = response.headers.get('content-type') ?? '';
      const code = type.includes('problem')
        ? (JSON.parse(Buffer.from(answer).toString()) as { code: string }).code
        : undefined;
      return { status: response.status, type, bytes: answer, code, headers: response.headers };
    },
    async raw(...parts) {
      const socket = connect(port, '127.0.0.1');
      let text = '';
      socket.setEncoding('latin1').on('data', (part: string) => (text += part));
      socket.on('error', () => undefined);
      for (const part of parts) socket.write(part);
      await once(socket, 'close');
      return text;
    },
  };
}

/** A batch of exactly so many bytes: rows, and a path that fills what is left. */
function batchOfBytes(bytes: number): Uint8Array {
  const facts = (pathBytes: number, rows: number) => ({
    stream: new Uint8Array(16).fill(3),
    batchNumber: 0,
    firstRecord: 0,
    rows: Array.from({ length: rows }, (_, i) => ({
      verdict: 'allowed' as const,
      startNs: START_NS,
      path: `/${String(i).padStart(4, '0')}${'x'.repeat(i === 0 ? pathBytes : 900)}`,
      connection: { id: 1 },
      outcome: { code: 200 },
    })),
  });
  let rows = 1;
  while (encodeBatch(facts(1, rows + 1)).length <= bytes - 100) rows++;
  const wire = encodeBatch(facts(1 + bytes - encodeBatch(facts(1, rows)).length, rows));
  assert.equal(wire.length, bytes);
  return wire;
}

function bent(wire: Uint8Array, change: (copy: Uint8Array, view: DataView) => void): Uint8Array {
  const copy = Uint8Array.from(wire);
  change(copy, new DataView(copy.buffer));
  return copy;
}

function forged(wire: Uint8Array): Uint8Array {
  const copy = bent(wire, (bytes) => (bytes[HEADER.sealedMonoNs] = (bytes[HEADER.sealedMonoNs] as number) ^ 1));
  sealBatch(copy);
  return copy;
}

test('a batch is acknowledged, and again with the same answer', async (t) => {
  const s = await setup(t);
  const wire = new StreamMaker(1).batch(5);
  const first = await s.post(wire);
  assert.deepEqual([first.status, first.type], [200, 'application/vnd.meshtrail.ack']);
  assert.deepEqual(decodeAck(first.bytes).stream, wire.slice(32, 48));
  for (let i = 0; i < 3; i++) assert.deepEqual((await s.post(wire)).bytes, first.bytes);
  assert.equal(s.disk.entries.length, 1);
  assert.deepEqual(s.waiting(), [0, 0]);
  assert.deepEqual(s.refused, []);
});

/** A batch of version 2 that says it is of version 1. */
const headOf1 = (wire: Uint8Array): Uint8Array =>
  bent(wire, (b, v) => {
    v.setUint16(HEADER.version, 1, true);
    v.setUint16(HEADER.headerBytes, HEADER_BYTES_V1, true);
    sealBatch(b);
  });

test('every kind of bad input has its answer, and none leaves anything behind', async (t) => {
  const s = await setup(t);
  const good = new StreamMaker(2).batch(5);
  const cases: [
    name: string,
    body: Uint8Array | string,
    status: number,
    code: ErrorCode,
    headers?: Record<string, string>,
  ][] = [
    ['garbage', Buffer.from('GARBAGE'.repeat(100)), 400, 'BATCH_MALFORMED'],
    ['one byte', Uint8Array.of(1), 400, 'BATCH_TRUNCATED'],
    ['empty', new Uint8Array(0), 400, 'BATCH_TRUNCATED'],
    ['the header alone', good.slice(0, HEADER_BYTES), 400, 'BATCH_TRUNCATED'],
    ['cut in the middle', good.slice(0, -100), 400, 'BATCH_TRUNCATED'],
    ['bytes behind it', Uint8Array.from([...good, 0]), 400, 'BATCH_MALFORMED'],
    ['a flipped bit', bent(good, (b) => (b[400] = (b[400] as number) ^ 1)), 400, 'BATCH_CHECKSUM_MISMATCH'],
    ['another version', bent(good, (_, v) => v.setUint16(HEADER.version, 3, true)), 400, 'BATCH_VERSION_UNSUPPORTED'],
    ['another magic', bent(good, (b) => (b[0] = 0)), 400, 'BATCH_MALFORMED'],
    [
      'a reserved bit',
      bent(good, (b) => {
        b[27] = 1;
        sealBatch(b);
      }),
      400,
      'BATCH_MALFORMED',
    ],
    ['a header of version 1 in front of version 2', headOf1(good), 400, 'BATCH_MALFORMED'],
    ['zeros', new Uint8Array(1000), 400, 'BATCH_MALFORMED'],
    ['one byte too long', new Uint8Array(BATCH_BYTES_MAX + 1), 413, 'BATCH_TOO_LARGE'],
    ['far too long', new Uint8Array(1_000_000), 413, 'BATCH_TOO_LARGE'],
    ['JSON', '{}', 415, 'MEDIA_TYPE_UNSUPPORTED', { 'content-type': 'application/json' }],
    ['text', 'hello', 415, 'MEDIA_TYPE_UNSUPPORTED', { 'content-type': 'text/plain' }],
    ['no media type', good, 415, 'MEDIA_TYPE_UNSUPPORTED', {}],
    ['a media type that is none', good, 415, 'MEDIA_TYPE_UNSUPPORTED', { 'content-type': 'batch' }],
  ];
  for (const [name, body, status, code, headers] of cases) {
    const answer = await s.post(body, headers);
    assert.deepEqual([answer.status, answer.code, answer.type], [status, code, 'application/problem+json'], name);
  }
  assert.deepEqual(
    s.refused,
    cases.map(([, , , code]) => code),
  );
  assert.equal(s.disk.entries.length, 0);
  assert.equal((await s.post(good)).status, 200, 'and a good one still passes');
});

test('both versions are taken, in one stream too, and a sign of life without rows', async (t) => {
  const s = await setup(t);
  const maker = new StreamMaker(6);
  const wires = [
    maker.batch(3, { version: 1 }),
    maker.batch(2),
    maker.batch(0, { isAlive: true, life: { vmsKnown: 2, vmsAlive: 1, silentStream: new Uint8Array(16).fill(9) } }),
    maker.batch(1, { isFin: true }),
  ];
  for (const wire of wires) assert.equal((await s.post(wire)).status, 200);
  assert.equal((await s.post(wires[2] as Uint8Array)).status, 200, 'sent again');
  assert.equal(s.disk.entries.length, 4);
  const heads = s.disk.entries.map(({ entry }) => Buffer.from(entry).toString().split('\n'));
  assert.deepEqual(
    heads.map(([first]) => first),
    [1, 2, 2, 2].map((version) => `meshtrail/batch/v${version}`),
  );
  assert.deepEqual(
    heads.map((lines) => lines.find((line) => line.startsWith('state '))),
    ['state open', 'state open', 'state open alive', 'state fin'],
  );
  assert.ok(heads[2]?.includes(`proxy - 60000 2 1 ${'09'.repeat(16)}`));
});

test('the longest batch is taken, one byte more is not', async (t) => {
  const s = await setup(t);
  assert.equal((await s.post(batchOfBytes(BATCH_BYTES_MAX))).status, 200);
  assert.equal((await s.post(batchOfBytes(BATCH_BYTES_MAX - 1))).code, 'BATCH_CONFLICT', 'read to its end');
  const longer = await s.post(new Uint8Array(BATCH_BYTES_MAX + 1));
  assert.equal(longer.status, 413);
});

test('other bytes under a used number are refused, and leave one conflict entry', async (t) => {
  const s = await setup(t);
  const wire = new StreamMaker(3).batch(2);
  await s.post(wire);
  for (let i = 0; i < 5; i++) {
    const answer = await s.post(forged(wire));
    assert.deepEqual([answer.status, answer.code], [409, 'BATCH_CONFLICT']);
  }
  assert.equal((await s.post(wire)).status, 200, 'the first are kept');
  await s.log.publishNow();
  assert.deepEqual(
    s.disk.entries.map(({ entry }) => parseEntry(entry).kind),
    ['batch', 'conflict'],
  );
  assert.deepEqual((await fsckDisk(s.disk)).findings, []);
});

test('a full queue answers 503 with a time to wait, and what it took is kept', async (t) => {
  const disk = new MemoryDisk();
  const segments = memorySegments(disk.entries);
  const slow = {
    ...segments,
    async append(group: readonly StoredEntry[]) {
      await new Promise((done) => setTimeout(done, 100));
      await segments.append(group);
    },
  };
  const s = await setup(t, { queueBytesMax: 30_000, segments: slow }, PATIENCE, disk);
  const maker = new StreamMaker(4);
  const answers = await Promise.all(Array.from({ length: 60 }, () => s.post(maker.batch(40))));
  const refused = answers.filter(({ status }) => status !== 200);
  assert.ok(refused.length > 0 && refused.length < 60, `${refused.length} of 60`);
  for (const answer of refused)
    assert.deepEqual([answer.status, answer.code, answer.headers.get('retry-after')], [503, 'INGEST_OVERLOADED', '1']);
  assert.equal(s.disk.entries.length, 60 - refused.length);
  assert.deepEqual(s.waiting(), [0, 0]);
});

test('paths and methods that are not there', async (t) => {
  const s = await setup(t);
  const get = await fetch(`http://127.0.0.1:${s.port}/v1/batches`);
  assert.deepEqual([get.status, get.headers.get('allow')], [405, 'POST']);
  assert.equal(((await get.json()) as { code: string }).code, 'METHOD_NOT_ALLOWED');
  for (const path of ['/', '/v1/flows', '/v1/batches/', '/%zz', `/${'a'.repeat(3000)}`]) {
    const answer = await fetch(`http://127.0.0.1:${s.port}${path}`);
    assert.equal(answer.headers.get('content-type'), 'application/problem+json', path);
    assert.equal(answer.status, path === '/%zz' ? 400 : 404, path);
  }
  assert.deepEqual(await (await fetch(`http://127.0.0.1:${s.port}/health/ready`)).json(), { status: 'ready' });
});

const IMPATIENT = { requestMs: 300, headersMs: 200, checkMs: 50 };
const HEAD = `POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-type: ${BATCH}\r\n`;

test('what is no whole request is answered or dropped in time, and counted', async (t) => {
  const s = await setup(t, {}, IMPATIENT);
  const wire = new StreamMaker(5).batch(3);
  const startedAt = performance.now();
  const [slowBody, slowHead, noHttp, longHead, twoLengths, badLength, noHost] = await Promise.all([
    s.raw(`${HEAD}content-length: ${wire.length}\r\n\r\n`, wire.subarray(0, 100)),
    s.raw('POST /v1/batches HT'),
    s.raw('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
    s.raw(`${HEAD}x: ${'y'.repeat(10_000)}\r\n\r\n`),
    s.raw(`${HEAD}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`),
    s.raw(`${HEAD}content-length: many\r\n\r\n`),
    s.raw('POST /v1/batches HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
  ]);
  assert.ok(performance.now() - startedAt < 5000);
  for (const [answer, status, code] of [
    [slowBody, 408, 'REQUEST_TIMEOUT'],
    [slowHead, 408, 'REQUEST_TIMEOUT'],
    [noHttp, 400, 'REQUEST_MALFORMED'],
    [longHead, 431, 'HEADERS_TOO_LARGE'],
    [twoLengths, 400, 'REQUEST_MALFORMED'],
    [badLength, 400, 'REQUEST_MALFORMED'],
    [noHost, 400, 'REQUEST_MALFORMED'],
  ] as const) {
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), answer);
    assert.match(answer, /content-type: application\/problem\+json/i);
    assert.match(answer, new RegExp(`"code":"${code}"`));
  }
  assert.deepEqual(s.refused.toSorted(), [
    'HEADERS_TOO_LARGE',
    'REQUEST_MALFORMED',
    'REQUEST_MALFORMED',
    'REQUEST_MALFORMED',
    'REQUEST_MALFORMED',
    'REQUEST_TIMEOUT',
    'REQUEST_TIMEOUT',
  ]);
  assert.equal(s.disk.entries.length, 0);
  assert.equal((await s.post(wire)).status, 200);
});

test('a content-length that is too small cuts the batch, and what follows is no request', async (t) => {
  const s = await setup(t, {}, IMPATIENT);
  const wire = new StreamMaker(6).batch(3);
  const answer = await s.raw(`${HEAD}content-length: ${wire.length - 10}\r\n\r\n`, wire);
  assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*"code":"(?:BATCH_TRUNCATED|REQUEST_MALFORMED)"/);
  assert.equal(s.disk.entries.length, 0);
});

test('a sender that goes away in the middle of a body leaves nothing waiting', async (t) => {
  const s = await setup(t, {}, IMPATIENT);
  const wire = new StreamMaker(7).batch(3);
  for (let i = 0; i < 20; i++) {
    const socket = connect(s.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`${HEAD}content-length: ${wire.length}\r\n\r\n`);
    socket.write(wire.subarray(0, 200));
    await new Promise((done) => setTimeout(done, 5));
    socket.destroy();
  }
  assert.equal((await s.post(wire)).status, 200);
  assert.deepEqual(s.waiting(), [0, 0]);
  assert.equal(s.disk.entries.length, 1);
});

test('bodies in chunks, as a proxy without a content-length sends them', async (t) => {
  const s = await setup(t, {}, IMPATIENT);
  const chunked = `${HEAD}transfer-encoding: chunked\r\nconnection: close\r\n\r\n`;
  const chunks = (body: Uint8Array, size: number): Buffer => {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < body.length; at += size) {
      const part = body.subarray(at, at + size);
      parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
    }
    return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
  };
  const wire = new StreamMaker(8).batch(20);
  for (const size of [7, 1000, wire.length]) assert.match(await s.raw(chunked, chunks(wire, size)), /^HTTP\/1\.1 200 /);
  const long = await s.raw(chunked, chunks(new Uint8Array(BATCH_BYTES_MAX + 1), 8192));
  assert.match(long, /^HTTP\/1\.1 413 [\s\S]*"code":"BATCH_TOO_LARGE"/);
  assert.match(await s.raw(chunked, 'zz\r\nnonsense\r\n'), /^HTTP\/1\.1 400 [\s\S]*"code":"REQUEST_MALFORMED"/);
  assert.match(await s.raw(chunked, '5\r\nMTB1x\r\n'), /^HTTP\/1\.1 408 [\s\S]*"code":"REQUEST_TIMEOUT"/);
  assert.equal(s.disk.entries.length, 1);
  assert.deepEqual(s.refused, ['BATCH_TOO_LARGE', 'REQUEST_MALFORMED', 'REQUEST_TIMEOUT']);
});
