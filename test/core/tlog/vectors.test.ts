// Goal: every published vector gives the wanted verdict, including those on which known libraries are lax.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { equalBytes, fromHex, toBase64, toHex, utf8 } from '../../../collector/src/core/bytes.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { sha256 } from '../../../collector/src/core/hash.ts';
import {
  openCheckpoint,
  openCosignedCheckpoint,
  parseCheckpoint,
} from '../../../collector/src/core/tlog/checkpoint.ts';
import { verifierOf } from '../../../collector/src/core/tlog/ed25519.ts';
import { leafHash } from '../../../collector/src/core/tlog/merkle.ts';
import {
  ed25519Signer,
  parseNote,
  parsePrivateKey,
  parseVkey,
  verifyNote,
} from '../../../collector/src/core/tlog/note.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  entryTilePath,
  parseTilePath,
  tilePath,
  tilesOf,
} from '../../../collector/src/core/tlog/tile.ts';
import { formatTlogProof, parseTlogProof, verifyTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { b64, type Case, judge, load, read, sizeOf, text, verdict } from './vectors.ts';

test('signed notes', () => {
  const { cases, vkeys, private_key_texts } = load('notes');
  const known = (vkeys as string[]).map((vkey) => parseVkey(vkey));
  judge(cases, { cases: 31, validBeyond: 0 }, (c) => {
    const note = parseNote(b64(c['note_b64']));
    const verified = verifyNote(note, known).map(({ name, keyId }) => `${name}+${toHex(keyId)}`);
    assert.equal(note.text, text(c['text']));
    assert.deepEqual(verified, c['verified']);
  });
  const made = (private_key_texts as string[]).map((key) => {
    const { name, seed } = parsePrivateKey(key);
    return ed25519Signer(name, seed).vkey;
  });
  assert.deepEqual(made, vkeys);
});

test('verifier keys', () => {
  judge(load('vkeys').cases, { cases: 25, validBeyond: 0 }, (c) =>
    parseVkey(text(c['vkey']), c['kind'] as 'log' | 'witness'),
  );
});

test('checkpoint texts', () => {
  judge(load('checkpoint-texts').cases, { cases: 48, validBeyond: 4 }, (c) => {
    const bytes = b64(c['text_b64']);
    const note = Buffer.from(bytes).toString();
    assert.ok(equalBytes(utf8(note), bytes));
    const parsed = parseCheckpoint(note);
    if (c['origin'] === undefined) return;
    assert.equal(parsed.origin, c['origin']);
    assert.equal(String(parsed.size), c['size']);
    assert.equal(toBase64(parsed.root), c['root']);
    assert.deepEqual(parsed.extensions, c['extensions'] ?? []);
  });
});

test('signed checkpoints', () => {
  const { cases, vkey, origin } = load('checkpoints-signed');
  const log = parseVkey(text(vkey));
  judge(cases, { cases: 54, validBeyond: 1 }, (c) => {
    const { size, root } = openCheckpoint(b64(c['note_b64']), log, text(origin));
    if (c['size'] !== undefined) assert.deepEqual([String(size), toBase64(root)], [c['size'], c['root']]);
  });
});

test('tile paths', () => {
  const { cases, trees } = load('tile-paths');
  judge(cases, { cases: 70, validBeyond: 9 }, (c) => {
    const parsed = parseTilePath(text(c['path']));
    if (parsed === undefined) throw new MeshtrailError('TILE_MALFORMED', 'No tile has this path.');
    const { level, index, width } = parsed;
    assert.deepEqual([String(level), String(index), width], [c['level'], c['n'], c['width']]);
    assert.equal(level === 'entries' ? entryTilePath(index, width) : tilePath({ level, index, width }), c['path']);
  });
  for (const tree of trees as Case[]) {
    // The file names entry tiles just before the tile of their hashes.
    const paths = [...tilesOf(sizeOf(tree['size']))].flatMap((at) =>
      at.level === 0 ? [entryTilePath(at.index, at.width), tilePath(at)] : [tilePath(at)],
    );
    assert.equal(toHex(sha256(utf8(paths.map((path) => `${path}\n`).join('')))), tree['sha256_of_lines']);
    assert.equal(paths.length, tree['count']);
  }
  assert.equal((trees as Case[]).length, 11);
});

/** A long tile, which the file gives by name instead of bytes. */
function longTile(name: string): Uint8Array {
  const entries = Array.from({ length: Number.parseInt(name, 10) || 0 }, (_, i) =>
    utf8(`meshtrail reference entry ${i}\n`),
  );
  return encodeEntryTile(name === 'max-entry' ? [new Uint8Array(65_535)] : entries);
}

test('entry tiles', () => {
  judge(load('entry-tiles').cases, { cases: 18, validBeyond: 0 }, (c) => {
    const data = c['data_b64'] === undefined ? longTile(text(c['name'])) : b64(c['data_b64']);
    if (c['sha256'] !== undefined) assert.equal(toHex(sha256(data)), c['sha256']);
    const entries = decodeEntryTile(data, c['width'] as number);
    assert.deepEqual(encodeEntryTile(entries), data);
    const hashes = entries.map((entry) => toBase64(leafHash(entry)));
    if (Array.isArray(c['leaf_hashes'])) assert.deepEqual(hashes, c['leaf_hashes']);
  });
  assert.throws(() => encodeEntryTile([new Uint8Array(65_536)]), { code: 'TILE_MALFORMED' });
});

test('cosignatures: counted, ignored, or the whole checkpoint refused', () => {
  const { cases, witness_vkey, log_vkey } = load('cosignatures');
  const [log, witness] = [parseVkey(text(log_vkey)), parseVkey(text(witness_vkey), 'witness')];
  const seen = new Map<string, number>();
  for (const c of cases) {
    let count = 0;
    const got = verdict(() => {
      const { cosignatures } = openCosignedCheckpoint(text(c['note']), log, [witness]);
      count = cosignatures.length;
      for (const { timestamp } of cosignatures) assert.equal(String(timestamp), c['time']);
    });
    const judged = got === 'accept' ? (count === 1 ? 'cosigned' : 'ignored') : got;
    assert.equal(judged, c['want'], text(c['name']));
    seen.set(judged, (seen.get(judged) ?? 0) + 1);
  }
  assert.deepEqual(Object.fromEntries(seen), { cosigned: 9, reject: 12, ignored: 3 });
});

test('tlog-proofs', () => {
  const { cases, vkey, origin } = load('tlog-proofs');
  const log = parseVkey(text(vkey));
  judge(cases, { cases: 12, validBeyond: 0 }, (c) => {
    const proof = Buffer.from(b64(c['proof_b64'])).toString();
    const parsed = parseTlogProof(proof);
    verifyTlogProof(parsed, b64(c['entry_b64']), log, text(origin));
    assert.equal(formatTlogProof(parsed), proof);
  });
});

test('Wycheproof Ed25519', () => {
  interface Group {
    readonly publicKey: { readonly pk: string };
    readonly tests: readonly {
      readonly tcId: number;
      readonly msg: string;
      readonly sig: string;
      readonly result: string;
    }[];
  }
  const file = gunzipSync(read('log-integrity/wycheproof_ed25519_test.json.gz')).toString();
  let checked = 0;
  for (const group of (JSON.parse(file) as { testGroups: Group[] }).testGroups) {
    const verify = verifierOf(fromHex(group.publicKey.pk));
    for (const t of group.tests) {
      assert.equal(verify(fromHex(t.msg), fromHex(t.sig)), t.result === 'valid', `tcId ${t.tcId}`);
      checked++;
    }
  }
  assert.equal(checked, 151);
});
