// Goal: proofs of records of both versions verify, and an owner of a log who sealed what ingest refuses convinces nobody.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromUtf8 } from '../../../collector/src/core/bytes.ts';
import { type Batch, decodeBatch, decodeStoredBatch } from '../../../collector/src/core/codec/batch.ts';
import { encodeBatch, type RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { type BatchEntry, formatEntry, headerOf } from '../../../collector/src/core/codec/entry.ts';
import { BIT, PHASE_SHIFT } from '../../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import {
  makeRecordProof,
  parseRecordProof,
  verifyRecordProof,
} from '../../../collector/src/core/codec/record-proof.ts';
import { signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { leafHash } from '../../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer, parseVkey } from '../../../collector/src/core/tlog/note.ts';
import { formatTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { START_NS } from '../../support/facts.ts';
import { batchFacts } from './arbitrary.ts';

const signer = ed25519Signer('test.mesh/log', new Uint8Array(32).fill(9));
const log = parseVkey(signer.vkey);

/** The proof of a row from a log with one entry, whose owner may change what the header says. */
async function proofOf(batch: Batch, row: number, change: Partial<BatchEntry> = {}): Promise<string> {
  const entry = formatEntry({ ...headerOf(batch, undefined)(1_795_521_601_042), ...change });
  const note = await signCheckpoint({ origin: log.name, size: 1, root: leafHash(entry) }, signer);
  const tlogProof = formatTlogProof({ index: 0, path: [], note });
  return JSON.stringify(makeRecordProof(batch, row, 0, fromUtf8(entry) as string, tlogProof, log.name));
}

for (const version of [1, 2] as const)
  test(`version ${version}: every record of a random batch is proven as it is`, async () => {
    await fc.assert(
      fc.asyncProperty(batchFacts(version), async (facts) => {
        const batch = decodeBatch(encodeBatch(facts));
        for (let row = 0; row < batch.rowCount; row++) {
          const { record, header } = verifyRecordProof(parseRecordProof(await proofOf(batch, row)), log);
          assert.deepEqual(record, recordOf(sourceOf(batch, 0, row)));
          assert.equal(header.version, version);
        }
      }),
      { numRuns: 60 },
    );
  });

const ROW: RowFacts = { verdict: 'unknown', startNs: START_NS, connection: {}, outcome: {} };
const wireOf = (row: RowFacts, version: 1 | 2): Uint8Array =>
  encodeBatch({ stream: new Uint8Array(16).fill(1), batchNumber: 0, firstRecord: 0, rows: [row], version });

test('a header of the other version does not fit', async () => {
  const life = { proxySinceWallNs: undefined, aliveIntervalMs: 1, vmsKnown: 0, vmsAlive: 0, silentStream: undefined };
  for (const [version, change] of [
    [1, { version: 2, life }],
    [2, { version: 1, life: undefined }],
  ] as const) {
    const proof = parseRecordProof(await proofOf(decodeBatch(wireOf(ROW, version)), 0, change));
    assert.throws(() => verifyRecordProof(proof, log), { code: 'PROOF_NOT_VERIFIED' }, `version ${version}`);
  }
});

test('a row that ingest refuses is not shown, whoever sealed it', async () => {
  const rows: readonly [Partial<RowFacts>, RegExp][] = [
    [{ kind: 'connection', path: '/' }, /path of row 0/],
    [{ kind: 'connection', outcome: { method: 'GET' } }, /method of outcome entry/],
    [{ flags: 3 << PHASE_SHIFT }, /flags of row 0/],
    [{ flags: 1 << PHASE_SHIFT }, /flags of row 0/],
    [{ phase: 'open', verdict: 'allowed' }, /verdict of row 0/],
    [{ flags: BIT.b3 }, /flags of row 0/],
  ];
  for (const [row, message] of rows) {
    const wire = wireOf({ ...ROW, ...row }, 2);
    assert.throws(() => decodeBatch(wire), { code: 'BATCH_MALFORMED' });
    const proof = parseRecordProof(await proofOf(decodeStoredBatch(wire), 0));
    assert.throws(() => verifyRecordProof(proof, log), { code: 'PROOF_NOT_VERIFIED', message });
  }
});
