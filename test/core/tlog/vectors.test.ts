// Goal: every published vector gives the wanted verdict, including those on which known libraries are lax.
// Method: each case's verdict is accept (no error) or reject (a MeshtrailError, never another error).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import {
  equalBytes,
  fromBase64,
  fromHex,
  parseDecimal,
  toBase64,
  toHex,
  utf8,
} from '../../../collector/src/core/bytes.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { sha256 } from '../../../collector/src/core/hash.ts';
import { openCheckpoint, parseCheckpoint, signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { verifierOf } from '../../../collector/src/core/tlog/ed25519.ts';
import { leafHash, rootOf, verifyConsistency, verifyInclusion } from '../../../collector/src/core/tlog/merkle.ts';
import { cosignatureTime, parseNote, parseVkey, verifyNote } from '../../../collector/src/core/tlog/note.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  entryTilePath,
  parseTilePath,
  tilePath,
  tilesOf,
} from '../../../collector/src/core/tlog/tile.ts';
import { parseTlogProof, verifyTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';

// The files are foreign JSON whose fields differ from case to case.
type Case = Record<string, never> & { readonly [key: string]: unknown };
interface Vectors {
  readonly cases: readonly Case[];
  readonly [key: string]: unknown;
}

function read(path: string): Buffer {
  return readFileSync(new URL(`../../vectors/${path}`, import.meta.url));
}
const load = (name: string): Vectors => JSON.parse(read(`tlog/${name}.json`).toString()) as Vectors;
const text = (value: unknown): string => String(value);
const b64 = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(text(value), 'base64'));

const formulaEntries = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => utf8(`meshtrail reference entry ${i}\n`));

/** A long tile that the file gives by name. */
function longTile(name: string): Uint8Array {
  return encodeEntryTile(
    name === 'max-entry' ? [new Uint8Array(65_535).fill(0)] : formulaEntries(Number.parseInt(name, 10)),
  );
}

/** Size of a vector; those over 2^53 - 1 are refused by name, as every reader of ours does. */
function sizeOf(value: unknown): number {
  const size = parseDecimal(text(value));
  if (size === undefined) throw new MeshtrailError('TREE_SIZE_UNSUPPORTED', text(value));
  return size;
}

let beyondLimit = 0;
function verdict(work: () => unknown): 'accept' | 'reject' | 'beyond' {
  try {
    work();
    return 'accept';
  } catch (error) {
    assert.ok(error instanceof MeshtrailError, `not a coded error: ${(error as Error).stack}`);
    if (error.code !== 'TREE_SIZE_UNSUPPORTED') return 'reject';
    beyondLimit++;
    return 'beyond';
  }
}

function judge(
  name: string,
  cases: readonly Case[],
  work: (c: Case) => unknown,
  want = (c: Case): string => text(c['want']),
): void {
  for (const c of cases) {
    const got = verdict(() => work(c));
    assert.ok(
      got === 'beyond' || got === want(c),
      `${name} ${text(c['name'] ?? c['path'] ?? '')}: ${got}, wanted ${want(c)}`,
    );
  }
}

test('signed notes', () => {
  const { cases, vkeys } = load('notes');
  const known = (vkeys as (string | { vkey: string })[]).map((k) => parseVkey(typeof k === 'string' ? k : k.vkey));
  judge('note', cases, (c) => {
    const note = parseNote(b64(c['note_b64']));
    const verified = verifyNote(note, known);
    assert.equal(note.text, text(c['text']));
    assert.equal(verified.length, (c['verified'] as unknown as string[]).length);
  });
});

test('verifier keys', () => {
  judge('vkey', load('vkeys').cases, (c) =>
    parseVkey(c['vkey_b64'] === undefined ? text(c['vkey']) : Buffer.from(b64(c['vkey_b64'])).toString(), c['kind']),
  );
});

test('checkpoint texts', () => {
  judge('checkpoint', load('checkpoint-texts').cases, (c) => {
    const bytes = b64(c['text_b64']);
    const note = Buffer.from(bytes).toString();
    if (!equalBytes(utf8(note), bytes)) throw new MeshtrailError('CHECKPOINT_MALFORMED', 'not UTF-8');
    const parsed = parseCheckpoint(note);
    if (c['origin'] === undefined) return;
    assert.equal(parsed.origin, text(c['origin']));
    assert.equal(String(parsed.size), text(c['size']));
    assert.equal(toBase64(parsed.root), text(c['root']));
  });
});

test('signed checkpoints', () => {
  const { cases, vkey, origin } = load('checkpoints-signed');
  const log = parseVkey(text(vkey));
  judge('signed checkpoint', cases, (c) => openCheckpoint(b64(c['note_b64']), log, text(origin)));
});

test('tile paths', () => {
  const { cases, trees } = load('tile-paths');
  judge('path', cases, (c) => {
    const parsed = parseTilePath(text(c['path']));
    if (parsed === undefined) throw new MeshtrailError('TILE_MALFORMED', 'path');
    assert.equal(String(parsed.level), text(c['level']));
    assert.equal(String(parsed.index), text(c['n']));
    assert.equal(parsed.width, c['width'] as unknown as number);
    const path =
      parsed.level === 'entries'
        ? entryTilePath(parsed.index, parsed.width)
        : tilePath({ ...parsed, level: parsed.level });
    assert.equal(path, text(c['path']));
  });
  assert.ok(Array.isArray(trees) ? trees.length > 0 : Object.keys(trees as object).length > 0);
});

test('entry tiles', () => {
  judge('entry tile', load('entry-tiles').cases, (c) => {
    // A long tile is given by its formula instead of its bytes.
    const data = c['data_b64'] === undefined ? longTile(text(c['name'])) : b64(c['data_b64']);
    const entries = decodeEntryTile(data, c['width'] as unknown as number);
    if (Array.isArray(c['leaf_hashes']))
      assert.deepEqual(
        entries.map((entry) => toBase64(leafHash(entry))),
        c['leaf_hashes'],
      );
    if (c['sha256'] !== undefined) assert.equal(toHex(sha256(data)), c['sha256']);
  });
});

test('inclusion proofs', () => {
  judge('inclusion', load('inclusion').cases, (c) =>
    verifyInclusion(
      b64(c['leaf_hash']),
      sizeOf(c['index']),
      sizeOf(c['size']),
      (c['proof'] as unknown as string[]).map(b64),
      b64(c['root']),
    ),
  );
});

test('consistency proofs', () => {
  judge('consistency', load('consistency').cases, (c) =>
    verifyConsistency(
      sizeOf(c['size1']),
      sizeOf(c['size2']),
      (c['proof'] as unknown as string[]).map(b64),
      b64(c['root1']),
      b64(c['root2']),
    ),
  );
});

test('Merkle roots', () => {
  const { cases, rfc, rfc_leaves_hex: leaves } = load('merkle-roots');
  const hashes = (leaves as string[]).map((hex) => leafHash(fromHex(hex)));
  for (const { size, root_hex } of rfc as { size: number; root_hex: string }[])
    assert.equal(toHex(rootOf(hashes.slice(0, size))), root_hex);
  for (const c of cases) {
    const size = Number(c['size']);
    if (size > 100_000) continue;
    const formula = formulaEntries(size).map(leafHash);
    assert.equal(toBase64(rootOf(formula)), text(c['root']), `size ${size}`);
  }
});

test('cosignatures', () => {
  const { cases, witness_vkey: witness } = load('cosignatures');
  const key = parseVkey(text(witness), 'witness');
  for (const c of cases) {
    let got = 'not cosigned';
    try {
      const note = parseNote(c['note_b64'] === undefined ? text(c['note']) : b64(c['note_b64']));
      const line = note.signatures.find((s) => s.name === key.name && equalBytes(s.keyId, key.keyId));
      if (line !== undefined && key.verify(note.text, line.signature)) {
        got = 'cosigned';
        assert.equal(String(cosignatureTime(line.signature)), text(c['time']));
      }
    } catch (error) {
      assert.ok(error instanceof MeshtrailError);
    }
    assert.equal(got === 'cosigned', c['want'] === ('cosigned' as never), text(c['name']));
  }
});

test('tlog-proofs', () => {
  const { cases, vkey, origin } = load('tlog-proofs');
  const log = parseVkey(text(vkey));
  judge('tlog-proof', cases, (c) =>
    verifyTlogProof(
      parseTlogProof(Buffer.from(b64(c['proof_b64'])).toString()),
      b64(c['entry_b64']),
      log,
      text(origin),
    ),
  );
});

test('proofs of transparency-dev/merkle', () => {
  const wants = (c: Case): string => ((c['wantErr'] as unknown) === true ? 'reject' : 'accept');
  // These files hold sizes over 2^53 as JSON numbers, so integers are read as text.
  const parse = (name: string): readonly Case[] => {
    const raw = read(`log-integrity/${name}.json`)
      .toString()
      .replace(/:\s*(\d+)(?=\s*[,}\]])/g, ': "$1"');
    const parsed = JSON.parse(raw) as Case[] | Vectors;
    return Array.isArray(parsed) ? parsed : (parsed as Vectors).cases;
  };
  const hashes = (value: unknown): Uint8Array[] => ((value ?? []) as string[]).map(b64);
  judge(
    'merkle inclusion',
    parse('merkle_inclusion'),
    (c) =>
      verifyInclusion(
        b64(c['leafHash'] ?? ''),
        sizeOf(c['leafIdx']),
        sizeOf(c['treeSize']),
        hashes(c['proof']),
        b64(c['root'] ?? ''),
      ),
    wants,
  );
  judge(
    'merkle consistency',
    parse('merkle_consistency'),
    (c) =>
      verifyConsistency(
        sizeOf(c['size1']),
        sizeOf(c['size2']),
        hashes(c['proof']),
        b64(c['root1'] ?? ''),
        b64(c['root2'] ?? ''),
      ),
    wants,
  );
});

test("Tessera's log, rebuilt from its leaves", async () => {
  const log = JSON.parse(read('log-integrity/tessera_tlog_tiles_log.json').toString()) as {
    files?: Record<string, string>;
  } & Record<string, string>;
  const files = Object.entries(log.files ?? log);
  const vkey = parseVkey('example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx');
  const entryTile = files
    .filter(([path]) => path.includes('tile/entries/'))
    .sort(([, a], [, b]) => b.length - a.length)[0];
  assert.ok(entryTile);
  const width = Number(/\.p\/(\d+)$/.exec(entryTile[0])?.[1]);
  const hashes = decodeEntryTile(b64(entryTile[1]), width).map(leafHash);
  let checkpoints = 0;
  for (const [path, data] of files.filter(([p]) => /checkpoint/.test(p))) {
    const checkpoint = openCheckpoint(b64(data), vkey);
    assert.deepEqual(rootOf(hashes.slice(0, checkpoint.size)), Uint8Array.from(checkpoint.root), path);
    checkpoints++;
  }
  assert.ok(checkpoints >= 16);
  await assert.rejects(
    async () =>
      await signCheckpoint(
        { origin: 'x', size: 0, root: new Uint8Array(32) },
        { name: 'x', keyId: new Uint8Array(4), vkey: '', sign: () => Promise.reject(new Error('no key')) },
      ),
  );
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
  const { testGroups } = JSON.parse(gunzipSync(read('log-integrity/wycheproof_ed25519_test.json.gz')).toString()) as {
    testGroups: Group[];
  };
  let checked = 0;
  for (const group of testGroups) {
    const verify = verifierOf(fromHex(group.publicKey.pk));
    for (const t of group.tests) {
      assert.equal(verify(fromHex(t.msg), fromHex(t.sig)), t.result === 'valid', `tcId ${t.tcId}`);
      checked++;
    }
  }
  assert.equal(checked, 151);
});

test('sizes over 2^53 - 1 are refused by name, and are few', (t) => {
  t.diagnostic(`${beyondLimit} cases have sizes over 2^53 - 1`);
  assert.ok(beyondLimit > 0);
  assert.throws(() => [...tilesOf(2 ** 53)], { code: 'TREE_SIZE_UNSUPPORTED' });
  assert.equal(fromBase64('').length, 0);
});
