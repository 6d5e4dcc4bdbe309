// Goal: a whole log is judged as an independent checker judges it, and the place of damage is named.
// Method: 85 copies of a log, good and damaged, with the arguments that the checker got; Tessera's log made again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBase64 } from '../../../collector/src/core/bytes.ts';
import { ERROR_CODES, MeshtrailError } from '../../../collector/src/core/error.ts';
import { checkLog, LOG_FINDINGS_MAX, type LogReader } from '../../../collector/src/core/tlog/check-log.ts';
import { openCheckpoint, openCosignedCheckpoint, signCheckpoint } from '../../../collector/src/core/tlog/checkpoint.ts';
import { EMPTY_ROOT, leafHash, verifyInclusion } from '../../../collector/src/core/tlog/merkle.ts';
import { ed25519Signer, parsePrivateKey, parseVkey } from '../../../collector/src/core/tlog/note.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  entryTilePath,
  inclusionProof,
  TreeEdge,
  tilePath,
} from '../../../collector/src/core/tlog/tile.ts';
import { parseTlogProof, verifyTlogProof } from '../../../collector/src/core/tlog/tlog-proof.ts';
import { b64, load, read, text } from './vectors.ts';

type Files = ReadonlyMap<string, Uint8Array>;

function readerOf(files: Files): LogReader {
  return {
    tile: async (level, index, width) => files.get(tilePath({ level, index, width })),
    entryTile: async (index, width) => files.get(entryTilePath(index, width)),
  };
}

const vectors = load('logs');
const log = parseVkey(text(vectors['vkey']));
const origin = text(vectors['origin']);

function filesOf(changed: unknown): Files {
  const files = new Map<string, Uint8Array>();
  const all = { ...(vectors['files'] as object), ...((changed ?? {}) as object) } as Record<string, string | null>;
  for (const [path, data] of Object.entries(all)) if (data !== null) files.set(path, b64(data));
  return files;
}

interface Verdict {
  readonly exit: number;
  readonly places: readonly string[];
}

/** Does what the independent checker does with these arguments, by the pieces of the product. */
async function check(files: Files, args: readonly string[]): Promise<Verdict> {
  const values = (name: string): string[] => args.flatMap((arg, i) => (arg === name ? [text(args[i + 1])] : []));
  const file = (path: string): Uint8Array => files.get(path.replace('{}/', '')) as Uint8Array;
  const witnesses = values('-witness').map((vkey) => parseVkey(vkey, 'witness'));
  try {
    for (const path of values('-proof'))
      verifyTlogProof(parseTlogProof(Buffer.from(file(path)).toString()), file(text(values('-entry')[0])), log, origin);
    if (values('-proof').length > 0) return { exit: 0, places: [] };
    const note = files.get('checkpoint');
    if (note === undefined) return { exit: 3, places: [] };
    const { checkpoint: head, cosignatures } = openCosignedCheckpoint(note, log, witnesses, origin);
    if (cosignatures.length < witnesses.length) return { exit: 1, places: ['checkpoint'] };
    const older = values('-old').map((path) => openCheckpoint(file(path), log, origin));
    const listed = [...files.keys()].filter((path) => path.startsWith('tile/'));
    const { findings, isComplete } = await checkLog({ reader: readerOf(files), head, older, listed });
    assert.ok(isComplete || findings.length > 0);
    for (const index of values('-index').map(Number)) {
      const path = await inclusionProof(readerOf(files), index, head.size);
      verifyInclusion(leafHash(file(text(values('-entry')[0]))), index, head.size, path, head.root);
    }
    return { exit: findings.length === 0 ? 0 : 1, places: findings.map(({ place }) => place) };
  } catch (error) {
    assert.ok(error instanceof MeshtrailError, (error as Error).stack);
    return { exit: ERROR_CODES[error.code].exit, places: ['checkpoint'] };
  }
}

test('85 logs, good and damaged, get the exit code of the independent checker', async () => {
  let placed = 0;
  for (const c of vectors.cases) {
    const changed = Object.keys((c['changed_files'] ?? {}) as object);
    const { exit, places } = await check(filesOf(c['changed_files']), (c['args'] ?? []) as string[]);
    assert.equal(exit, c['exit'], `${text(c['name'])}: ${places.join(', ')}`);
    // A change in a single file must be found in that file, and before anything that follows from it.
    if (exit === 0 || changed.length !== 1 || !changed[0]?.startsWith('tile/')) continue;
    assert.equal(places[0], changed[0], text(c['name']));
    placed++;
  }
  assert.equal(vectors.cases.length, 85);
  assert.equal(placed, 17);
});

test('one flipped bit anywhere in any tile is found, and its file named', async () => {
  const files = filesOf({});
  const head = openCheckpoint(files.get('checkpoint') as Uint8Array, log, origin);
  const listed = [...files.keys()].filter((path) => path.startsWith('tile/'));
  for (const path of listed) {
    const whole = files.get(path) as Uint8Array;
    for (const at of [0, 1, Math.floor(whole.length / 2), whole.length - 1]) {
      const bytes = Uint8Array.from(whole);
      bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
      const reader = readerOf(new Map([...files, [path, bytes]]));
      const { findings } = await checkLog({ reader, head, listed });
      assert.equal(findings[0]?.place, path, `byte ${at} of ${path}: ${JSON.stringify(findings[0])}`);
    }
  }
});

test('a log that claims 2^53 - 1 entries and has none ends after a bounded number of findings', async () => {
  let reads = 0;
  const nothing = async (): Promise<undefined> => {
    reads++;
    return undefined;
  };
  const head = { size: Number.MAX_SAFE_INTEGER, root: EMPTY_ROOT };
  const report = await checkLog({ reader: { tile: nothing, entryTile: nothing }, head });
  assert.equal(report.isComplete, false);
  assert.ok(report.findings.length >= LOG_FINDINGS_MAX && reads <= LOG_FINDINGS_MAX + 2);
  const beyond = { reader: { tile: nothing, entryTile: nothing }, head: { ...head, size: 2 ** 53 } };
  await assert.rejects(checkLog(beyond), { code: 'TREE_SIZE_UNSUPPORTED' });
});

test('full tiles of upper levels and older heads are checked, in a log of 65,793 entries', async () => {
  const size = 65_793;
  const files = new Map<string, Uint8Array>();
  const edge = new TreeEdge();
  const older: { size: number; root: Uint8Array }[] = [];
  let tail: Uint8Array[] = [];
  for (let i = 0; i < size; i++) {
    const entry = Uint8Array.of(i >>> 16, i >>> 8, i);
    edge.append(leafHash(entry), (at, bytes) => files.set(tilePath(at), bytes));
    tail.push(entry);
    if (tail.length === 256 || edge.size === size) {
      files.set(entryTilePath(Math.floor(i / 256), tail.length), encodeEntryTile(tail));
      tail = [];
    }
    if ([1, 256, 257, 65_535, 65_536].includes(edge.size)) older.push({ size: edge.size, root: edge.root() });
  }
  for (const { bytes, ...at } of edge.partials()) files.set(tilePath(at), bytes);
  const head = { size, root: edge.root() };
  const whole = { reader: readerOf(files), head, older: [{ size: 0, root: EMPTY_ROOT }, ...older, head] };
  assert.deepEqual(await checkLog(whole), { findings: [], entries: size, isComplete: true });
  const forked = older.map(({ size: at }) => ({ size: at, root: EMPTY_ROOT }));
  const { findings } = await checkLog({ ...whole, older: forked });
  assert.deepEqual(
    findings.map(({ code }) => code),
    older.map(() => 'STORE_DIVERGED'),
  );
  for (const path of ['tile/1/000', 'tile/1/001.p/1', 'tile/2/000.p/1']) {
    const bytes = Uint8Array.from(files.get(path) as Uint8Array);
    bytes[31] = (bytes[31] as number) ^ 1;
    const bent = await checkLog({ ...whole, reader: readerOf(new Map([...files, [path, bytes]])) });
    assert.deepEqual(
      bent.findings.map(({ code, place }) => [code, place]),
      [['STORE_CORRUPT', path]],
    );
    const holed = new Map(files);
    holed.delete(path);
    const missing = await checkLog({ ...whole, reader: readerOf(holed) });
    assert.deepEqual(
      missing.findings.map(({ code, place }) => [code, place]),
      [['TILE_MISSING', path]],
    );
  }
});

test('what a reader throws is no verdict', async () => {
  const broken = async (): Promise<never> => {
    throw new Error('connection reset');
  };
  const input = { reader: { tile: broken, entryTile: broken }, head: { size: 1, root: EMPTY_ROOT } };
  await assert.rejects(checkLog(input), /connection reset/);
});

test('a directory full of stray files ends after a bounded number of findings', async () => {
  const listed = Array.from({ length: 10 * LOG_FINDINGS_MAX }, (_, i) => `tile/0/${i}.tmp`);
  const report = await checkLog({ reader: readerOf(new Map()), head: { size: 0, root: EMPTY_ROOT }, listed });
  assert.deepEqual([report.findings.length, report.isComplete], [LOG_FINDINGS_MAX, false]);
});

test('the empty log is whole', async () => {
  const report = await checkLog({ reader: readerOf(new Map()), head: { size: 0, root: EMPTY_ROOT } });
  assert.deepEqual(report, { findings: [], entries: 0, isComplete: true });
});

test("Tessera's log, made again byte for byte", async () => {
  // The key pair is printed in Tessera's testdata/build_log.sh; it signs nothing else.
  const { name, seed } = parsePrivateKey(
    'PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg',
  );
  const signer = ed25519Signer(name, seed);
  assert.equal(signer.vkey, 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx');
  const { files } = JSON.parse(read('log-integrity/tessera_tlog_tiles_log.json').toString()) as {
    files: Record<string, string>;
  };
  const entries = decodeEntryTile(b64(files['tile/entries/000.p/15']), 15);
  const made: Record<string, string> = {};
  const edge = new TreeEdge();
  for (let size = 0; size <= entries.length; size++) {
    made[`checkpoint.${size}`] = await signCheckpoint({ origin: name, size, root: edge.root() }, signer);
    for (const { bytes, ...at } of edge.partials()) made[tilePath(at)] = toBase64(bytes);
    if (size > 0) made[entryTilePath(0, size)] = toBase64(encodeEntryTile(entries.slice(0, size)));
    if (size < entries.length) edge.append(leafHash(entries[size] as Uint8Array), () => assert.fail('no tile is full'));
  }
  made['checkpoint'] = text(made['checkpoint.15']);
  for (const [path, data] of Object.entries(made))
    if (path.startsWith('checkpoint')) made[path] = toBase64(new TextEncoder().encode(data));
  assert.deepEqual(made, files);
  assert.equal(Object.keys(made).length, 47);
});
