// Goal: nothing is signed that a reader would not read back as it was meant, and nothing signed can be bent unseen.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concatBytes, fromUtf8, toBase64, utf8 } from '../../../collector/src/core/bytes.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { openCheckpoint, openCosignedCheckpoint, signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { parseCosignature } from '../../../collector/src/core/tlog/cosignature.ts';
import { checkPublicKey } from '../../../collector/src/core/tlog/ed25519.ts';
import { EMPTY_ROOT, leafHash } from '../../../collector/src/core/tlog/merkle.ts';
import {
  ed25519Signer,
  parseNote,
  parseVkey,
  type Signer,
  signNote,
  verifyNote,
} from '../../../collector/src/core/tlog/note.ts';
import { parseTlogProof, verifyTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { b64, load, text } from './vectors.ts';

const origin = 'signing.test/log';
const real = ed25519Signer(origin, new Uint8Array(32).fill(7));
const root = leafHash(utf8('entry'));

/** A signer that says whether its key was used. */
function counted(): { readonly signer: Signer; readonly uses: () => number } {
  let uses = 0;
  const sign = (message: string): Uint8Array | Promise<Uint8Array> => {
    uses++;
    return real.sign(message);
  };
  return { signer: { ...real, sign }, uses: () => uses };
}

test('a tree head that no reader would read back is refused before the key is used', async () => {
  const { signer, uses } = counted();
  const malformed: readonly [string, number, Uint8Array][] = [
    ['', 1, root],
    [`${origin}\n9`, 1, root],
    [`a\n5\n${origin}`, 1, root],
    [`${origin}\r`, 1, root],
    ['with space', 1, root],
    ['with+plus', 1, root],
    ['\ud800', 1, root],
    [origin, 1, root.subarray(1)],
    [origin, 1, concatBytes(root, root)],
    [origin, 1, new Uint8Array(0)],
    [origin, 0, root],
  ];
  for (const [name, size, hash] of malformed)
    await assert.rejects(signCheckpoint({ origin: name, size, root: hash }, signer), { code: 'CHECKPOINT_MALFORMED' });
  for (const size of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 1e21])
    await assert.rejects(signCheckpoint({ origin, size, root }, signer), { code: 'TREE_SIZE_UNSUPPORTED' });
  assert.equal(uses(), 0);

  for (const [size, hash] of [
    [0, EMPTY_ROOT],
    [1, root],
    [Number.MAX_SAFE_INTEGER, root],
  ] as const) {
    const checkpoint = openCheckpoint(await signCheckpoint({ origin, size, root: hash }, signer), parseVkey(real.vkey));
    assert.deepEqual(checkpoint, { origin, size, root: hash, extensions: [] });
  }
  assert.equal(uses(), 3);
});

test('a note that no reader would accept is not made', async () => {
  const { signer, uses } = counted();
  for (const body of ['', 'no line feed', 'tab\there\n', 'nul\0\n', 'carriage return\r\n', 'half \ud800\n'])
    await assert.rejects(signNote(body, [signer]), { code: 'NOTE_MALFORMED' }, JSON.stringify(body));
  await assert.rejects(signNote('text\n', []), { code: 'NOTE_MALFORMED' });
  await assert.rejects(signNote('text\n', new Array<Signer>(101).fill(signer)), { code: 'NOTE_MALFORMED' });
  assert.equal(uses(), 0);
  await assert.rejects(signNote('text\n', [signer, signer]), { code: 'NOTE_MALFORMED' });
  const silent: Signer = { ...real, sign: () => new Uint8Array(0) };
  await assert.rejects(signNote('text\n', [silent]), { code: 'NOTE_MALFORMED' });
});

test('16 and 100 signatures are read, 101 are not', async () => {
  const signers = Array.from({ length: 101 }, (_, i) => ed25519Signer(`s${i}.test`, new Uint8Array(32).fill(i)));
  for (const count of [16, 99, 100]) {
    const some = signers.slice(0, count);
    const note = parseNote(await signNote('text\n', some));
    assert.equal(
      verifyNote(
        note,
        some.map(({ vkey }) => parseVkey(vkey)),
      ).length,
      count,
    );
  }
  const lines =
    (await signNote('text\n', signers.slice(0, 100))) + (await signNote('text\n', signers.slice(100))).slice(6);
  assert.throws(() => parseNote(lines), { code: 'NOTE_MALFORMED' });
});

test('a note of 1,000,000 bytes is read, one byte more is not, and nothing is decoded for it', async () => {
  const whole = await signNote(`${'x'.repeat(999_000)}\n`, [real]);
  const padded = `${'x'.repeat(1_000_000 - whole.length)}${whole}`;
  assert.equal(parseNote(padded).text.length, padded.length - whole.length + 999_001);
  assert.throws(() => parseNote(`x${padded}`), /longer than/);
  assert.throws(() => parseNote(new Uint8Array(1_000_001).fill(0xff)), /longer than/);
});

test('a seed of another length is a coded error', () => {
  for (const length of [0, 31, 33, 64])
    assert.throws(() => ed25519Signer('name', new Uint8Array(length)), { code: 'KEY_INVALID' });
});

test('points of low order and non-canonical points are refused, with either sign', () => {
  const last = (bytes: Uint8Array, byte: number): Uint8Array => concatBytes(bytes.subarray(0, 31), Uint8Array.of(byte));
  const zero = new Uint8Array(32);
  const one = concatBytes(Uint8Array.of(1), new Uint8Array(31));
  const minusOne = last(concatBytes(Uint8Array.of(0xec), new Uint8Array(31).fill(0xff)), 0x7f);
  for (const y of [zero, one, minusOne])
    for (const sign of [0, 0x80])
      assert.throws(() => checkPublicKey(last(y, (y[31] as number) | sign)), { code: 'VKEY_MALFORMED' });
  // p + 0 to p + 18 are second spellings of 0 to 18.
  for (let low = 0xed; low <= 0xff; low++)
    for (const high of [0x7f, 0xff]) {
      const y = last(concatBytes(Uint8Array.of(low), new Uint8Array(31).fill(0xff)), high);
      assert.throws(() => checkPublicKey(y), /not a canonical/);
    }
  for (const length of [0, 31, 33])
    assert.throws(() => checkPublicKey(new Uint8Array(length)), { code: 'VKEY_MALFORMED' });
});

test('a cosignature of another form is undefined, never a crash', () => {
  for (const length of [0, 3, 8, 64, 71, 73, 200]) assert.equal(parseCosignature(new Uint8Array(length)), undefined);
  assert.equal(parseCosignature(concatBytes(Uint8Array.of(0x80), new Uint8Array(71))), undefined);
  const latest = concatBytes(Uint8Array.of(0x7f), new Uint8Array(7).fill(0xff), new Uint8Array(64));
  assert.equal(parseCosignature(latest)?.timestamp, 2n ** 63n - 1n);
});

test("a witness's line does not stand in for the log's", () => {
  const { cases, vkey, origin: name } = load('checkpoints-signed');
  const whole = load('logs').cases.find((c) => c['name'] === 'cosig-only');
  assert.ok(whole);
  const witness = parseVkey(text((whole['args'] as string[])[1]), 'witness');
  const note = b64(cases.find((c) => c['name'] === 'cosig-only')?.['note_b64']);
  const log = parseVkey(text(vkey));
  assert.equal(verifyNote(parseNote(note), [witness]).length, 1);
  assert.throws(() => openCosignedCheckpoint(note, log, [witness], text(name)), { code: 'NOTE_NOT_VERIFIED' });
});

test('a proof whose hashes have another length, or that has too many, is malformed', () => {
  const proof = (hashes: readonly number[]): string =>
    `c2sp.org/tlog-proof@v1\nindex 0\n${hashes.map((length) => `${toBase64(new Uint8Array(length))}\n`).join('')}\nnote`;
  assert.equal(parseTlogProof(proof([32, 32])).path.length, 2);
  assert.equal(parseTlogProof(proof(new Array<number>(64).fill(32))).path.length, 64);
  for (const hashes of [[31], [33], [32, 1], [32, 64], new Array<number>(65).fill(32)])
    assert.throws(() => parseTlogProof(proof(hashes)), { code: 'PROOF_MALFORMED' });
});

test('every single flipped bit of a proof and its checkpoint is refused with a code', () => {
  const { cases, vkey, origin: name } = load('tlog-proofs');
  const log = parseVkey(text(vkey));
  const good = cases.find((c) => c['name'] === 'ok-proof');
  const [proof, entry] = [b64(good?.['proof_b64']), b64(good?.['entry_b64'])];
  const judge = (bytes: Uint8Array): string => {
    try {
      verifyTlogProof(parseTlogProof(fromUtf8(bytes) ?? ''), entry, log, text(name));
      return 'accept';
    } catch (error) {
      assert.ok(error instanceof MeshtrailError, (error as Error).stack);
      return error.code;
    }
  };
  assert.equal(judge(proof), 'accept');
  for (let bit = 0; bit < 8 * proof.length; bit++) {
    const bent = Uint8Array.from(proof);
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.notEqual(judge(bent), 'accept', `bit ${bit}`);
  }
});
