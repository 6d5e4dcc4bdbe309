// Goal: batches, log entries, acknowledgements and record proofs that were changed at random are refused with a code, or read as what they say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromUtf8, utf8 } from '../../../collector/src/core/bytes.ts';
import { decodeAck, encodeAck } from '../../../collector/src/core/codec/ack.ts';
import { decodeBatch, decodeStoredBatch } from '../../../collector/src/core/codec/batch.ts';
import { sealBatch } from '../../../collector/src/core/codec/encode.ts';
import { formatEntry, headerOf, parseEntry } from '../../../collector/src/core/codec/entry.ts';
import { HEADER } from '../../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import {
  makeRecordProof,
  parseRecordProof,
  verifyRecordProof,
} from '../../../collector/src/core/codec/record-proof.ts';
import { signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { auditPath, leafHash, rootOf } from '../../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer, parseVkey } from '../../../collector/src/core/tlog/note.ts';
import { formatTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { packBody, unpackBody } from '../../../collector/src/log/body.ts';
import { StreamMaker } from '../../support/facts.ts';
import { changes, mutated, parsed } from '../tlog/mutate.ts';

const maker = new StreamMaker(41);
const wire = maker.batch(4);
const older = new StreamMaker(42).batch(4, { version: 1 });
const next = maker.batch(3, {
  isFin: true,
  isAlive: true,
  checkpoint: { size: 9, root: new Uint8Array(32).fill(4) },
  life: { proxySinceWallNs: 5n, vmsKnown: 2, vmsAlive: 1, silentStream: new Uint8Array(16).fill(6) },
});
const entry = (of: Uint8Array): Uint8Array => formatEntry(headerOf(decodeBatch(of), undefined)(1_795_521_601_042));
const RUNS = { numRuns: 3000 };

test('batches: a change without the right hash is refused', () => {
  fc.assert(
    fc.property(fc.constantFrom(wire, next, older), changes, (base, list) => {
      const bent = mutated(base, list);
      const batch = parsed(() => decodeBatch(bent));
      // Changes can undo each other; nothing else is believed.
      if (batch !== undefined) assert.deepEqual(bent, base);
    }),
    RUNS,
  );
});

test('batches: a change behind a right hash and length is refused, or every row and the header can be read', () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom(wire, next, older), changes, (base, list) => {
      const bent = mutated(base, list);
      if (bent.length < 304) return;
      new DataView(bent.buffer).setUint32(HEADER.totalBytes, bent.length, true);
      sealBatch(bent);
      const batch = parsed(() => decodeBatch(bent));
      if (batch === undefined) return;
      accepted++;
      for (let row = 0; row < batch.rowCount; row++) JSON.stringify(recordOf(sourceOf(batch, 0, row)));
      const header = entry(bent);
      assert.deepEqual(formatEntry(parseEntry(header)), header);
      assert.deepEqual(unpackBody(packBody(bent)), bent);
      assert.equal(decodeStoredBatch(bent).rowCount, batch.rowCount);
    }),
    RUNS,
  );
  assert.ok(accepted > 20, 'the changes never got past the first checks');
});

test('stored bodies: a change is found', () => {
  const body = packBody(wire);
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutated(body, list);
      const out = parsed(() => unpackBody(bent));
      if (out !== undefined) assert.deepEqual(bent, body);
    }),
    RUNS,
  );
});

test('log entries: what is accepted has one spelling', () => {
  const conflict = formatEntry({
    kind: 'conflict',
    stream: maker.stream,
    nodeId: utf8('node 1'),
    batchNumber: 1,
    firstIndex: 2,
    firstHash: new Uint8Array(32).fill(1),
    refusedBytes: 9,
    refusedHash: new Uint8Array(32).fill(2),
    peer: { spiffeId: 'spiffe://a/ns/b/sa/c', certificateSha256: new Uint8Array(32).fill(3) },
    receivedMs: 3,
  });
  const heartbeat = formatEntry({ kind: 'heartbeat', timeMs: 1_795_521_661_042 });
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom(entry(wire), entry(next), entry(older), conflict, heartbeat), changes, (base, list) => {
      const bent = mutated(base, list);
      const read = parsed(() => parseEntry(bent));
      if (read === undefined) return;
      accepted++;
      assert.deepEqual(formatEntry(read), bent);
    }),
    RUNS,
  );
  assert.ok(accepted > 20, 'no change gave another entry');
});

test('acknowledgements: what is accepted has one spelling', () => {
  const ack = encodeAck({
    stream: maker.stream,
    batchNumber: 3,
    index: 4,
    checkpointSize: 5,
    checkpointRoot: new Uint8Array(32).fill(6),
  });
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutated(ack, list);
      const read = parsed(() => decodeAck(bent));
      if (read !== undefined) assert.deepEqual(encodeAck(read), bent);
    }),
    RUNS,
  );
});

const signer = ed25519Signer('mutation.test/log', new Uint8Array(32).fill(5));
const log = parseVkey(signer.vkey);
const leaves = [...Array.from({ length: 6 }, (_, i) => leafHash(utf8(`other ${i}`))), leafHash(entry(wire))];
const note = await signCheckpoint({ origin: log.name, size: leaves.length, root: rootOf(leaves) }, signer);
const proofText = JSON.stringify(
  makeRecordProof(
    decodeBatch(wire),
    2,
    6,
    fromUtf8(entry(wire)) as string,
    formatTlogProof({ index: 6, path: auditPath(leaves, 6), note }),
    log.name,
  ),
);

test('record proofs: a change is refused, or says the very same', () => {
  const whole = JSON.parse(proofText) as unknown;
  fc.assert(
    fc.property(changes, (list) => {
      const bent = fromUtf8(mutated(utf8(proofText), list));
      const verified = bent === undefined ? undefined : parsed(() => verifyRecordProof(parseRecordProof(bent), log));
      if (verified === undefined) return;
      assert.deepEqual(JSON.parse(bent as string), whole);
      assert.equal(verified.record.id, '6.2');
    }),
    RUNS,
  );
});

test('record proofs: a flipped bit is refused, wherever it is', () => {
  const bytes = utf8(proofText);
  for (let bit = 0; bit < bytes.length * 8; bit += 3) {
    const bent = Uint8Array.from(bytes);
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
    const text = fromUtf8(bent);
    const verified = text === undefined ? undefined : parsed(() => verifyRecordProof(parseRecordProof(text), log));
    assert.equal(verified, undefined, `bit ${bit}`);
  }
});
