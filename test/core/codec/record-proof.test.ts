// Goal: a record proof convinces with the key alone, and no change of it does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromBase64, toBase64, toHex, utf8 } from '../../../collector/src/core/bytes.ts';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { formatEntry, headerOf } from '../../../collector/src/core/codec/entry.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import {
  makeRecordProof,
  parseRecordProof,
  verifyRecordProof,
} from '../../../collector/src/core/codec/record-proof.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { auditPath, leafHash, rootOf } from '../../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer, parseVkey } from '../../../collector/src/core/tlog/note.ts';
import { formatTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { StreamMaker } from '../../support/facts.ts';

const signer = ed25519Signer('test.mesh/log', new Uint8Array(32).fill(9));
const log = parseVkey(signer.vkey);

async function proofOf(rowIndex: number): Promise<string> {
  const batch = decodeBatch(new StreamMaker(21).batch(10));
  const header = formatEntry(headerOf(batch, undefined)(1_795_521_601_042));
  const leaves = [...Array.from({ length: 5 }, (_, i) => leafHash(utf8(`other ${i}`))), leafHash(header)];
  const note = await signCheckpoint({ origin: log.name, size: 6, root: rootOf(leaves) }, signer);
  const tlogProof = formatTlogProof({ index: 5, path: auditPath(leaves, 5), note });
  return JSON.stringify(makeRecordProof(batch, rowIndex, 5, new TextDecoder().decode(header), tlogProof, log.name));
}

test('a proof gives the record that the batch gives', async () => {
  const batch = decodeBatch(new StreamMaker(21).batch(10));
  for (let i = 0; i < 10; i++) {
    const { record, checkpoint } = verifyRecordProof(parseRecordProof(await proofOf(i)), log);
    assert.deepEqual(record, recordOf(sourceOf(batch, 5, i)));
    assert.equal(checkpoint.size, 6);
  }
});

test('another key, another log', async () => {
  const proof = parseRecordProof(await proofOf(0));
  assert.throws(
    () => verifyRecordProof(proof, parseVkey(ed25519Signer('test.mesh/log', new Uint8Array(32).fill(8)).vkey)),
    { code: 'NOTE_NOT_VERIFIED' },
  );
  assert.throws(
    () => verifyRecordProof(proof, parseVkey(ed25519Signer('other.mesh/log', new Uint8Array(32).fill(9)).vkey)),
    { code: 'PROOF_NOT_VERIFIED' },
  );
});

test('a refusal names the layer that was changed', async () => {
  const proof = parseRecordProof(await proofOf(3));
  const bent = (base64: string): string => {
    const bytes = fromBase64(base64);
    bytes[0] = (bytes[0] as number) ^ 1;
    return toBase64(bytes);
  };
  const [first, second] = proof.dictionary;
  assert.ok(first !== undefined && second !== undefined);
  const { record, dictionary, header, proof: text } = proof;
  const row = /^The proof does not verify: the record's row is not row 3 of the batch/;
  const entry = new RegExp(`^The proof does not verify: dictionary entry ${second.number} is not the one`);
  const batch = /^The proof does not verify: the batch header is not entry 5 of the log/;
  const signed =
    /^The signature of test\.mesh\/log\+[0-9a-f]{8} does not verify: the checkpoint or its signature was changed/;
  const path = (hashes: readonly string[]): string[] => [bent(hashes[0] as string), ...hashes.slice(1)];
  const cases: readonly (readonly [Partial<typeof proof>, RegExp])[] = [
    [{ record: { ...record, row: bent(record.row) } }, row],
    [{ record: { ...record, path: path(record.path) } }, row],
    [{ record: { ...record, path: record.path.slice(1) } }, row],
    [{ dictionary: [first, { ...second, bytes: bent(second.bytes) }, ...dictionary.slice(2)] }, entry],
    [{ dictionary: [first, { ...second, path: path(second.path) }, ...dictionary.slice(2)] }, entry],
    [{ header: header.replace('recorded 10', 'recorded 11') }, batch],
    [
      { proof: text.replace('\nindex 5\n', '\nindex 4\n') },
      /^The proof does not verify: the batch header is not entry 4/,
    ],
    [{ proof: text.replace('test.mesh/log\n6\n', 'test.mesh/log\n7\n') }, signed],
  ];
  for (const [change, message] of cases) {
    assert.notDeepEqual({ ...proof, ...change }, proof, String(message));
    assert.throws(() => verifyRecordProof({ ...proof, ...change }, log), { message });
  }
});

test('a refusal for another key says which signed and which was given', async () => {
  const proofText = await proofOf(0);
  const other = ed25519Signer('test.mesh/log', new Uint8Array(32).fill(8));
  const [signed, given] = [signer, other].map(({ name, keyId }) => `${name}+${toHex(keyId)}`);
  assert.throws(() => verifyRecordProof(parseRecordProof(proofText), parseVkey(other.vkey)), {
    code: 'NOTE_NOT_VERIFIED',
    message: `The checkpoint is signed by ${signed}, and not by the key that was given, ${given}.`,
  });
});

test('no changed character convinces', async () => {
  const text = await proofOf(3);
  const whole = JSON.stringify(verifyRecordProof(parseRecordProof(text), log).record);
  fc.assert(
    fc.property(fc.nat({ max: text.length - 1 }), fc.constantFrom(...'A0z+=/{}",: \\n9'), (at, char) => {
      const bent = text.slice(0, at) + char + text.slice(at + 1);
      if (bent === text) return;
      try {
        const verified = verifyRecordProof(parseRecordProof(bent), log);
        // White space between tokens is the only freedom that JSON leaves.
        assert.equal(JSON.stringify(verified.record), whole);
        assert.deepEqual(JSON.parse(bent), JSON.parse(text));
      } catch (error) {
        assert.ok(error instanceof MeshtrailError, (error as Error).stack);
      }
    }),
    { numRuns: 3000 },
  );
});

test('a member that stands in the file twice is refused, whichever a reader would take', async () => {
  const file = await proofOf(3);
  assert.ok(parseRecordProof(file));
  for (const [from, to] of [
    ['{"format":', '{"format":"other","format":'],
    ['"index":', '"index":7,"index":'],
    ['"kind":', '"ki\\u006ed":1,"kind":'],
  ] as const)
    assert.throws(() => parseRecordProof(file.replace(from, to)), { code: 'PROOF_MALFORMED' });
});

test('parts of other proofs do not fit', async () => {
  const [a, b] = [parseRecordProof(await proofOf(1)), parseRecordProof(await proofOf(2))];
  const refused = (document: typeof a): void => assert.throws(() => verifyRecordProof(document, log), MeshtrailError);
  refused({ ...a, record: b.record });
  refused({ ...a, id: b.id });
  refused({ ...a, dictionary: a.dictionary.slice(1) });
  refused({ ...a, dictionary: [...a.dictionary, ...a.dictionary] });
  refused({ ...a, header: a.header.replace('recorded 10', 'recorded 11') });
  refused({ ...a, origin: 'other.mesh/log' });
  assert.throws(() => parseRecordProof(JSON.stringify({ ...a, extra: 1 })), { code: 'PROOF_MALFORMED' });
  assert.throws(() => parseRecordProof('[]'), { code: 'PROOF_MALFORMED' });
  assert.throws(() => parseRecordProof('{'), { code: 'PROOF_MALFORMED' });
});
