// Goal: notes, checkpoints, proofs, tiles and tile paths that were changed at random are refused with a code, or read as what they say:
// whatever is accepted, the writer would write the same way, and what a signature covers is what was signed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, equalBytes, fromUtf8, toBase64, utf8 } from '../../../collector/src/core/bytes.ts';
import { openCheckpoint, parseCheckpoint, signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { auditPath, leafHash, rootOf } from '../../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer, parseNote, parsePrivateKey, parseVkey } from '../../../collector/src/core/tlog/note.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  entryTilePath,
  parseTilePath,
  splitTile,
  tilePath,
} from '../../../collector/src/core/tlog/tile.ts';
import { formatTlogProof, parseTlogProof, verifyTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { changes, mutated, parsed } from './mutate.ts';

const signer = ed25519Signer('mutation.test/log', new Uint8Array(32).fill(5));
const log = parseVkey(signer.vkey);
const entries = Array.from({ length: 11 }, (_, i) => utf8(`entry ${i}\n`));
const leaves = entries.map(leafHash);
const head = { origin: log.name, size: leaves.length, root: rootOf(leaves) };
const note = await signCheckpoint(head, signer);
const RUNS = { numRuns: 4000 };

/** Changes text as bytes; undefined where it is no text any more. */
const mutatedText = (text: string, list: Parameters<typeof mutated>[1]): string | undefined =>
  fromUtf8(mutated(utf8(text), list));

test('notes: what is accepted has one spelling', () => {
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutated(utf8(note), list);
      const read = parsed(() => parseNote(bent));
      if (read === undefined) return;
      const lines = read.signatures.map(({ name, keyId, signature }) => {
        return `\u2014 ${name} ${toBase64(concatBytes(keyId, signature))}\n`;
      });
      assert.equal(fromUtf8(bent), `${read.text}\n${lines.join('')}`);
    }),
    RUNS,
  );
});

test('signed checkpoints: what verifies is what was signed', () => {
  fc.assert(
    fc.property(changes, (list) => {
      const read = parsed(() => openCheckpoint(mutated(utf8(note), list), log));
      if (read !== undefined) assert.deepEqual(read, { ...head, extensions: [] });
    }),
    RUNS,
  );
});

test('checkpoint texts: what is accepted has one spelling', () => {
  const text = `${head.origin}\n${head.size}\n${toBase64(head.root)}\nextension\n`;
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutatedText(text, list);
      const read = bent === undefined ? undefined : parsed(() => parseCheckpoint(bent));
      if (read === undefined) return;
      assert.equal(bent, [read.origin, read.size, toBase64(read.root), ...read.extensions, ''].join('\n'));
    }),
    RUNS,
  );
});

test('tlog-proofs: what is accepted has one spelling, and what verifies is about that entry', () => {
  const text = formatTlogProof({ index: 6, path: auditPath(leaves, 6), note });
  fc.assert(
    fc.property(changes, fc.nat({ max: 10 }), (list, other) => {
      const bent = mutatedText(text, list);
      const proof = bent === undefined ? undefined : parsed(() => parseTlogProof(bent));
      if (proof === undefined) return;
      assert.equal(formatTlogProof(proof), bent);
      const checkpoint = parsed(() => verifyTlogProof(proof, entries[other] as Uint8Array, log));
      if (checkpoint === undefined) return;
      assert.deepEqual([checkpoint.size, checkpoint.root, proof.index, other], [head.size, head.root, 6, 6]);
    }),
    RUNS,
  );
});

test('tile paths: what is accepted has one spelling', () => {
  const paths = [
    'tile/0/000',
    'tile/2/x001/x234/067.p/8',
    'tile/entries/x001/003',
    'tile/entries/012.p/255',
    'tile/63/999',
  ];
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom(...paths), changes, (path, list) => {
      const bent = mutatedText(path, list);
      const at = bent === undefined ? undefined : parsed(() => parseTilePath(bent));
      if (at === undefined) return;
      accepted++;
      const { level, index, width } = at;
      assert.equal(level === 'entries' ? entryTilePath(index, width) : tilePath({ level, index, width }), bent);
    }),
    RUNS,
  );
  assert.ok(accepted > 0, 'no change gave another path');
});

test('tiles: as many hashes and entries as asked for, and nothing behind them', () => {
  const hashes = leaves.slice(0, 5);
  const tile = Uint8Array.from(hashes.flatMap((hash) => [...hash]));
  const entryTile = encodeEntryTile(entries);
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutated(tile, list);
      const read = parsed(() => splitTile(bent, { level: 0, index: 0, width: 5 }));
      if (read !== undefined) assert.ok(read.length === 5 && bent.length === 160);
      const bentEntries = mutated(entryTile, list);
      const whole = parsed(() => decodeEntryTile(bentEntries, entries.length));
      if (whole !== undefined) assert.ok(equalBytes(encodeEntryTile(whole), bentEntries));
    }),
    RUNS,
  );
});

test('keys: what is accepted has one spelling', () => {
  fc.assert(
    fc.property(changes, (list) => {
      const bent = mutatedText(signer.vkey, list);
      const read = bent === undefined ? undefined : parsed(() => parseVkey(bent));
      if (read !== undefined) assert.equal(bent, signer.vkey, 'the key id covers name and key');
      const private_ = mutatedText(
        'PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg',
        list,
      );
      if (private_ !== undefined) parsed(() => parsePrivateKey(private_));
    }),
    RUNS,
  );
});
