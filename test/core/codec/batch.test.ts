// Goal: what is encoded comes back, and nothing that breaks a rule of docs/formats.md section 1 is believed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeBatch, decodeStoredBatch } from '../../../collector/src/core/codec/batch.ts';
import { encodeBatch, sealBatch } from '../../../collector/src/core/codec/encode.ts';
import { formatEntry, headerOf, parseEntry } from '../../../collector/src/core/codec/entry.ts';
import { HEADER, HEADER_BYTES, ROW, ROW_BYTES } from '../../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { random, randomBytes, randomRow, StreamMaker } from '../../support/facts.ts';

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'accepted';
  } catch (error) {
    assert.ok(error instanceof MeshtrailError, (error as Error).stack);
    return error.code;
  }
};

test('a batch comes back as it went in', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 60 }), (seed, rows) => {
      const wire = new StreamMaker(seed).batch(rows);
      const batch = decodeBatch(wire);
      assert.equal(batch.rowCount, rows);
      assert.equal(batch.counters.recorded, rows);
      const next = random(seed);
      randomBytes(next, 16);
      for (let i = 0; i < rows; i++) {
        const facts = randomRow(next, next() * 1e9);
        const record = recordOf(sourceOf(batch, 7, i));
        assert.equal(record.id, `7.${i}`);
        assert.equal(record.verdict, facts.verdict);
        assert.equal(record.request.path, facts.path);
        assert.equal(record.response.code, facts.outcome.code);
        assert.equal(record.source.principal, facts.connection.peerPrincipal);
        assert.equal(
          record.trace.id,
          facts.trace === undefined ? undefined : Buffer.from(facts.trace.id).toString('hex'),
        );
      }
    }),
    { numRuns: 20 },
  );
});

test('absent is absent', () => {
  const wire = encodeBatch({
    stream: new Uint8Array(16),
    batchNumber: 0,
    firstRecord: 0,
    rows: [{ verdict: 'invalid', startNs: 5n, connection: {}, outcome: {} }],
  });
  const record = recordOf(sourceOf(decodeBatch(wire), 0, 0));
  assert.deepEqual(record, {
    id: '0.0',
    time: '1970-01-01T00:00:00.000000005Z',
    verdict: 'invalid',
    reporter: 'destination',
    source: {},
    destination: {},
    request: {},
    response: { flags: 0 },
    connection: {},
    upstream: {},
    rbac: {},
    token: {},
    trace: {},
    node: {},
    record: { stream: '0'.repeat(32), number: 0, batch: 0, kind: 'http', phase: 'end', sensor: 'http_filter' },
  });
});

test('a certificate that was not verified is no identity', () => {
  const of = (transportFailure?: string) =>
    recordOf(
      sourceOf(
        decodeBatch(
          encodeBatch({
            stream: new Uint8Array(16),
            batchNumber: 0,
            firstRecord: 0,
            rows: [
              {
                verdict: 'reset',
                startNs: 5n,
                connection: {
                  direction: 1,
                  mtls: true,
                  peerPrincipal: 'spiffe://a/ns/b/sa/c',
                  ...(transportFailure === undefined ? {} : { transportFailure }),
                },
                outcome: {},
              },
            ],
          }),
        ),
        0,
        0,
      ),
    ).source;
  const identity = { principal: 'spiffe://a/ns/b/sa/c', namespace: 'b', service_account: 'c' };
  assert.deepEqual(of(), { ...identity, principal_from: 'mtls' });
  assert.deepEqual(of('TLS_error: CERTIFICATE_VERIFY_FAILED'), {});
});

test('bytes that are not UTF-8 are shown, and said to be', () => {
  const path = Uint8Array.of(0x2f, 0xff, 0xc3, 0xa9, 0x25);
  const record = recordOf(
    sourceOf(
      decodeBatch(
        encodeBatch({
          stream: new Uint8Array(16),
          batchNumber: 0,
          firstRecord: 0,
          rows: [{ verdict: 'allowed', startNs: 5n, path, connection: {}, outcome: {} }],
        }),
      ),
      0,
      0,
    ),
  );
  assert.equal(record.request.path, '/%FFé%');
  assert.deepEqual(record.record.not_utf8, ['request.path']);
});

test('every flipped bit is found, and every cut', () => {
  const wire = new StreamMaker(3).batch(2);
  for (let bit = 0; bit < wire.length * 8; bit += 7) {
    const bent = Uint8Array.from(wire);
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.notEqual(
      codeOf(() => decodeBatch(bent)),
      'accepted',
      `bit ${bit}`,
    );
  }
  for (let length = 0; length < wire.length; length++)
    assert.notEqual(
      codeOf(() => decodeBatch(wire.subarray(0, length))),
      'accepted',
    );
  assert.equal(
    codeOf(() => decodeBatch(wire.subarray(0, wire.length - 1))),
    'BATCH_TRUNCATED',
  );
});

test('rules behind a right hash', () => {
  const base = new StreamMaker(5).batch(3);
  const dictionary = HEADER_BYTES + 3 * ROW_BYTES;
  const cases: [string, number, number][] = [
    ['header_bytes', HEADER.headerBytes, 272 & 255],
    ['row_bytes', HEADER.rowBytes, 87],
    ['flags', HEADER.flags, 8],
    ['role', HEADER.role, 4],
    ['role 0', HEADER.role, 0],
    ['reserved', HEADER.reserved27, 1],
    ['reserved', HEADER.reserved270, 1],
    ['row_count', HEADER.rowCount, 2],
    ['dictionary_count', HEADER.dictionaryCount, 1],
    ['previous in batch 0', HEADER.previous + 3, 1],
    ['seen', HEADER.seen, 0],
    ['recorded', HEADER.recorded, 2],
    ['checkpoint without root', HEADER.checkpointSize, 1],
    ['huge number', HEADER.batchNumber + 7, 1],
    ['node_id', HEADER.nodeId, 999],
    ['row kind', HEADER_BYTES + ROW.kind, 3],
    ['verdict 0', HEADER_BYTES + ROW.verdict, 0],
    ['verdict 8', HEADER_BYTES + ROW.verdict, 8],
    ['connection absent', HEADER_BYTES + ROW.connection, 0],
    ['outcome of another kind', HEADER_BYTES + ROW.outcome, 1],
    ['path of another kind', HEADER_BYTES + ROW.path, 1],
    ['unknown bit', HEADER_BYTES + ROW.flags + 1, 255],
    ['start before 1970', HEADER_BYTES + ROW.startNs + 7, 0x80],
    ['entry kind', dictionary, 9],
    ['entry length', dictionary + 1, 0],
  ];
  for (const [name, at, value] of cases) {
    const bent = Uint8Array.from(base);
    bent[at] = value;
    assert.equal(
      codeOf(() => decodeBatch(sealBatch(bent))),
      'BATCH_MALFORMED',
      name,
    );
  }
  const older = Uint8Array.from(base);
  older[HEADER.version] = 3;
  assert.equal(
    codeOf(() => decodeBatch(sealBatch(older))),
    'BATCH_VERSION_UNSUPPORTED',
  );
  assert.equal(
    codeOf(() => decodeBatch(new Uint8Array(70_000))),
    'BATCH_TOO_LARGE',
  );
});

test('a field without its bit must be zero, and a batch without rows is the last', () => {
  const wire = encodeBatch({
    stream: new Uint8Array(16),
    batchNumber: 0,
    firstRecord: 0,
    rows: [{ verdict: 'allowed', startNs: 5n, connection: {}, outcome: {} }],
  });
  for (const at of [
    ROW.durationUs,
    ROW.requestBytes,
    ROW.attempts,
    ROW.traceFlags,
    ROW.responseBytes,
    ROW.requestId + 9,
    ROW.traceId,
    ROW.spanId + 7,
  ]) {
    const bent = Uint8Array.from(wire);
    bent[HEADER_BYTES + at] = 1;
    assert.equal(
      codeOf(() => decodeBatch(sealBatch(bent))),
      'BATCH_MALFORMED',
      `row offset ${at}`,
    );
  }
  const empty = { stream: new Uint8Array(16), batchNumber: 0, firstRecord: 0, rows: [] };
  assert.equal(
    codeOf(() => decodeBatch(encodeBatch(empty))),
    'BATCH_MALFORMED',
  );
  assert.equal(decodeBatch(encodeBatch({ ...empty, isFin: true })).isFin, true);
});

test('garbage gets a coded error, quickly', () => {
  const next = random(11);
  const startedAt = performance.now();
  for (let i = 0; i < 5000; i++) {
    const bytes = randomBytes(next, Math.floor(next() * 600));
    if (i % 2 === 0 && bytes.length > 8) bytes.set([0x4d, 0x54, 0x42, 0x31, 1, 0]);
    assert.notEqual(
      codeOf(() => decodeBatch(bytes)),
      'accepted',
    );
    // Behind a right hash, so that the rules meet it too.
    if (bytes.length > 304)
      assert.notEqual(
        codeOf(() => decodeBatch(sealBatch(bytes))),
        'accepted',
      );
  }
  assert.ok(performance.now() - startedAt < 5000);
});

test('a bent batch behind a right hash is refused, or read without a crash', () => {
  const base = new StreamMaker(8).batch(4);
  fc.assert(
    fc.property(fc.nat({ max: base.length - 33 }), fc.nat({ max: 255 }), (at, value) => {
      const bent = Uint8Array.from(base);
      bent[at] = value;
      sealBatch(bent);
      if (codeOf(() => decodeBatch(bent)) !== 'accepted') return;
      const batch = decodeBatch(bent);
      for (let i = 0; i < batch.rowCount; i++) recordOf(sourceOf(batch, 0, i));
      assert.deepEqual(parseEntry(formatEntry(headerOf(batch, undefined)(1))).kind, 'batch');
    }),
    { numRuns: 2000 },
  );
});

test('entries have one spelling', () => {
  const wire = new StreamMaker(9).batch(3, {
    nodeId: 'strange id\n%é',
    checkpoint: { size: 12, root: new Uint8Array(32).fill(7) },
    isFin: true,
    isRollbackSeen: true,
    isAlive: true,
    life: { proxySinceWallNs: 7n, aliveIntervalMs: 30_000, vmsKnown: 3, vmsAlive: 2 },
  });
  const peer = { spiffeId: 'spiffe://a/ns/b/sa/c', certificateSha256: new Uint8Array(32).fill(3) };
  const header = headerOf(decodeBatch(wire), peer)(1_795_521_601_042);
  const bytes = formatEntry(header);
  assert.deepEqual(formatEntry(parseEntry(bytes)), bytes);
  const text = new TextDecoder().decode(bytes);
  assert.match(text, /^stream [0-9a-f]{32} strange%20id%0A%25%C3%A9 orders\.shop cluster-1$/m);
  for (const [from, to] of [
    ['batch 0', 'batch 00'],
    ['received ', 'received  '],
    ['state fin rollback', 'state fin  rollback'],
    ['%0A', '%0a'],
    ['\nfilter', '\n\nfilter'],
    ['peer spiffe', 'peer  spiffe'],
    ['seen 3', 'seen +3'],
    ['rollback alive', 'alive rollback'],
    ['proxy 7', 'proxy 07'],
    ['proxy 7', 'proxy 0'],
    ['30000 3 2 -', '30000 3 2'],
    ['30000 3 2 -', `30000 3 2 ${'0'.repeat(32)}`],
    ['proxy 7', 'proxy -7'],
    ['meshtrail/batch/v2', 'meshtrail/batch/v1'],
    ['meshtrail/batch/v2', 'meshtrail/batch/v3'],
  ]) {
    const bent = text.replace(from as string, to as string);
    assert.notEqual(bent, text);
    assert.equal(
      codeOf(() => parseEntry(new TextEncoder().encode(bent))),
      'ENTRY_MALFORMED',
      to,
    );
  }
  for (const entry of [
    { kind: 'heartbeat', timeMs: 5 } as const,
    {
      kind: 'conflict',
      stream: header.stream,
      nodeId: undefined,
      batchNumber: 1,
      firstIndex: 2,
      firstHash: header.bodyHash,
      refusedBytes: 9,
      refusedHash: header.bodyHash,
      peer: undefined,
      receivedMs: 3,
    } as const,
  ]) {
    assert.deepEqual(parseEntry(formatEntry(entry)), entry);
  }
});

test('decoding is fast enough to measure', (t) => {
  const wire = new StreamMaker(4).batch(400);
  const time = (name: string, work: () => void): void => {
    for (let i = 0; i < 50; i++) work();
    const from = performance.now();
    for (let i = 0; i < 200; i++) work();
    t.diagnostic(
      `${name}: ${(((performance.now() - from) / 200) * 1000).toFixed(0)} us for 400 rows, ${wire.length} bytes`,
    );
  };
  time('decode and check', () => decodeBatch(wire));
  time('decode stored', () => decodeStoredBatch(wire));
  const batch = decodeBatch(wire);
  time('both roots', () => headerOf(batch, undefined));
});
