// The proof of one record (docs/formats.md section 5): made from a batch, checked with nothing but the log's verifier key.

import { fromBase64, toBase64, toHex, utf8 } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';
import type { FlowRecord } from '../record.ts';
import type { Checkpoint } from '../tlog/checkpoint.ts';
import { leafHash, verifyInclusion } from '../tlog/merkle.ts';
import type { Verifier } from '../tlog/note.ts';
import { parseTlogProof, verifyTlogProof } from '../tlog/tlog-proof.ts';
import { type Batch, rowOf } from './batch.ts';
import { type BatchEntry, parseEntry } from './entry.ts';
import {
  CONNECTION,
  CONNECTION_BYTES,
  CONNECTION_STRINGS,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  ROW,
  ROW_BYTES,
  ROW_STRINGS,
  SALT_BYTES,
  SHAPES,
  type Shape,
} from './layout.ts';
import { RecordReader } from './record.ts';
import { dictionaryLeafEntry, dictionaryPaths, recordPath, saltOf } from './roots.ts';
import {
  checkConnection,
  checkConnectionOutcome,
  checkOutcome,
  checkRow,
  isConnectionRow,
  requestIdText,
} from './rules.ts';

export const PROOF_FORMAT = 'meshtrail/record-proof/v1';
export const PROOF_BYTES_MAX = 4 * 1024 * 1024;

/** One dictionary entry that the record refers to. */
export interface ProofEntry {
  readonly number: number;
  readonly kind: number;
  readonly bytes: string;
  readonly salt?: string;
  readonly path: readonly string[];
}

/** The document, as JSON holds it. */
export interface RecordProof {
  readonly format: typeof PROOF_FORMAT;
  readonly id: string;
  readonly origin: string;
  readonly record: { readonly index: number; readonly row: string; readonly path: readonly string[] };
  readonly dictionary: readonly ProofEntry[];
  readonly header: string;
  readonly proof: string;
}

/** Numbers and kinds of the entries that a row reaches: its own references, then those of its connection and outcome. */
function referencesOf(row: DataView, entry: (number: number) => Uint8Array, shape: Shape): Map<number, number> {
  const reached = new Map<number, number>();
  const add = (number: number, kind: number): void => {
    if (number !== 0) reached.set(number, kind);
  };
  const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const at of ROW_STRINGS) add(row.getUint16(at, true), ENTRY_PRIVATE);
  add(requestIdText(row, 0), ENTRY_PRIVATE);
  const connectionNumber = row.getUint16(ROW.connection, true);
  const outcomeNumber = row.getUint16(ROW.outcome, true);
  add(connectionNumber, ENTRY_CONNECTION);
  add(outcomeNumber, ENTRY_OUTCOME);
  const connection = viewOf(entry(connectionNumber));
  const outcome = viewOf(entry(outcomeNumber));
  if (connection.byteLength !== CONNECTION_BYTES || outcome.byteLength !== shape.outcomeBytes)
    throw notVerified('connection and outcome do not have the length of their kinds');
  add(connection.getUint16(CONNECTION.sourceAddress, true), ENTRY_PRIVATE);
  for (const at of CONNECTION_STRINGS) add(connection.getUint16(at, true), ENTRY_PUBLIC);
  for (let at: number = shape.outcomeStringsFrom; at <= shape.outcomeStringsTo; at += 2)
    add(outcome.getUint16(at, true), ENTRY_PUBLIC);
  return reached;
}

/** Makes the proof of row `rowIndex` of a batch whose header is `header` and stands in the log as `tlogProof` says. */
export function makeRecordProof(
  batch: Batch,
  rowIndex: number,
  leafIndex: number,
  header: string,
  tlogProof: string,
  origin: string,
): RecordProof {
  const row = rowOf(batch, rowIndex);
  const { dictionary, secret } = batch;
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const references = referencesOf(view, (number) => dictionary.bytes(number), SHAPES[batch.version]);
  const numbers = [...references.keys()].sort((a, b) => a - b);
  const paths = dictionaryPaths(batch, numbers);
  return {
    format: PROOF_FORMAT,
    id: `${leafIndex}.${rowIndex}`,
    origin,
    record: { index: rowIndex, row: toBase64(row), path: recordPath(batch, rowIndex).map(toBase64) },
    dictionary: numbers.map((number, i) => ({
      number,
      kind: dictionary.kind(number),
      bytes: toBase64(dictionary.bytes(number)),
      ...(dictionary.kind(number) === ENTRY_PRIVATE ? { salt: toBase64(saltOf(secret, number)) } : {}),
      path: (paths[i] ?? []).map(toBase64),
    })),
    header,
    proof: tlogProof,
  };
}

const bad = (why: string): MeshtrailError =>
  new MeshtrailError('PROOF_MALFORMED', `The proof file is malformed: ${why}.`);
const notVerified = (why: string): MeshtrailError =>
  new MeshtrailError('PROOF_NOT_VERIFIED', `The proof does not verify: ${why}.`);

/** Checks one layer of a proof; who reads the refusal must know which of its hash trees does not fit. */
function inLayer<T>(what: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    if (!(cause instanceof MeshtrailError) || cause.code !== 'PROOF_NOT_VERIFIED') throw cause;
    const why = cause.message.replace(/^The /, 'the ').replace(/\.$/, '');
    throw new MeshtrailError('PROOF_NOT_VERIFIED', `The proof does not verify: ${what} (${why}).`, { cause });
  }
}

type Json = Readonly<Record<string, unknown>>;

function objectWith(value: unknown, what: string, required: readonly string[], optional: readonly string[] = []): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(`${what} is no object`);
  for (const key of required) if (!Object.hasOwn(value, key)) throw bad(`${what} has no "${key}"`);
  for (const key of Object.keys(value))
    if (!required.includes(key) && !optional.includes(key))
      throw bad(`${what} has the unknown key ${JSON.stringify(key.slice(0, 80))}`);
  return value as Json;
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw bad(`${what} is no text`);
  return value;
}

function index(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw bad(`${what} is no index`);
  return value;
}

function base64(value: unknown, what: string): string {
  try {
    return toBase64(fromBase64(text(value, what)));
  } catch (cause) {
    throw new MeshtrailError('PROOF_MALFORMED', `The proof file is malformed: ${what}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function path(value: unknown, what: string): string[] {
  if (!Array.isArray(value) || value.length > 64) throw bad(`${what} is no list of at most 64 hashes`);
  return value.map((hash) => base64(hash, what));
}

function parseProofEntry(value: unknown): ProofEntry {
  const entry = objectWith(value, 'a dictionary entry', ['number', 'kind', 'bytes', 'path'], ['salt']);
  return {
    number: index(entry['number'], 'number of a dictionary entry'),
    kind: index(entry['kind'], 'kind of a dictionary entry'),
    bytes: base64(entry['bytes'], 'bytes of a dictionary entry'),
    ...(entry['salt'] === undefined ? {} : { salt: base64(entry['salt'], 'salt of a dictionary entry') }),
    path: path(entry['path'], 'path of a dictionary entry'),
  };
}

/** Members of all objects in a parsed JSON value. */
function membersOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const inner = Object.values(value).reduce((sum: number, one) => sum + membersOf(one), 0);
  return Array.isArray(value) ? inner : inner + Object.keys(value).length;
}

/** Whether a JSON text names a member twice: one reader would take the first, another the last. Each member has one colon outside of strings. */
function hasRepeatedMember(json: string, parsed: unknown): boolean {
  const colons = json.replaceAll(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1;
  return colons !== membersOf(parsed);
}

/** Reads a proof file strictly: known keys only, right types, one spelling of base64. Throws PROOF_MALFORMED. */
export function parseRecordProof(file: string): RecordProof {
  if (file.length > PROOF_BYTES_MAX) throw bad(`it is longer than ${PROOF_BYTES_MAX} bytes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(file);
  } catch (cause) {
    throw bad(`it is not JSON (${(cause as Error).message})`);
  }
  const whole = objectWith(parsed, 'the document', [
    'format',
    'id',
    'origin',
    'record',
    'dictionary',
    'header',
    'proof',
  ]);
  if (whole['format'] !== PROOF_FORMAT)
    throw bad(`its format is ${JSON.stringify(whole['format'])}, not ${PROOF_FORMAT}`);
  const record = objectWith(whole['record'], '"record"', ['index', 'row', 'path']);
  const dictionary = whole['dictionary'];
  if (!Array.isArray(dictionary) || dictionary.length > 64) throw bad('"dictionary" is no list of at most 64 entries');
  const proof: RecordProof = {
    format: PROOF_FORMAT,
    id: text(whole['id'], '"id"'),
    origin: text(whole['origin'], '"origin"'),
    record: {
      index: index(record['index'], '"record.index"'),
      row: base64(record['row'], '"record.row"'),
      path: path(record['path'], '"record.path"'),
    },
    dictionary: dictionary.map(parseProofEntry),
    header: text(whole['header'], '"header"'),
    proof: text(whole['proof'], '"proof"'),
  };
  // Last, when nothing of unknown depth is in it any more.
  if (hasRepeatedMember(file, parsed)) throw bad('it names a member twice');
  return proof;
}

/** A verified record: what was shown to be true, and under which checkpoint. */
export interface VerifiedRecord {
  readonly record: FlowRecord;
  readonly header: BatchEntry;
  readonly checkpoint: Checkpoint;
  /** What the proof shows, in plain sentences. */
  readonly proven: readonly string[];
  /** What it does not show. */
  readonly notProven: readonly string[];
}

type ProvenEntries = ReadonlyMap<number, { readonly kind: number; readonly bytes: Uint8Array }>;

function verifyDictionary(proof: RecordProof, header: BatchEntry): ProvenEntries {
  const entries = new Map<number, { readonly kind: number; readonly bytes: Uint8Array }>();
  let last = 0;
  for (const { number, kind, bytes: bytesText, salt: saltText, path: pathTexts } of proof.dictionary) {
    if (number <= last) throw bad('dictionary entries are not in ascending order');
    last = number;
    const bytes = fromBase64(bytesText);
    const salt = saltText === undefined ? undefined : fromBase64(saltText);
    if (
      kind < ENTRY_PUBLIC ||
      kind > ENTRY_OUTCOME ||
      (kind === ENTRY_PRIVATE) !== (salt !== undefined) ||
      (salt !== undefined && salt.length !== SALT_BYTES)
    ) {
      throw notVerified(`dictionary entry ${number} has not the form of its kind`);
    }
    inLayer(
      `dictionary entry ${number} is not the one that the batch header names; it, its salt or its path was changed`,
      () =>
        verifyInclusion(
          leafHash(dictionaryLeafEntry(kind, salt, bytes)),
          number - 1,
          header.dictionaryCount,
          pathTexts.map(fromBase64),
          header.dictionaryRoot,
        ),
    );
    entries.set(number, { kind, bytes });
  }
  return entries;
}

/**
 * Verifies a record proof with the log's key; no key, name or claim of the file is trusted.
 * Throws PROOF_NOT_VERIFIED, PROOF_MALFORMED, ENTRY_MALFORMED and the codes of note and checkpoint.
 */
export function verifyRecordProof(proof: RecordProof, log: Verifier): VerifiedRecord {
  if (proof.origin !== log.name)
    throw notVerified(
      `it is of the log ${JSON.stringify(proof.origin.slice(0, 200))}, and the key is of ${JSON.stringify(log.name)}`,
    );
  const tlogProof = parseTlogProof(proof.proof);
  const headerBytes = utf8(proof.header);
  const checkpoint = inLayer(
    `the batch header is not entry ${tlogProof.index} of the log that the checkpoint signs; the header, its index or its path was changed`,
    () => verifyTlogProof(tlogProof, headerBytes, log),
  );
  const header = parseEntry(headerBytes);
  if (header.kind !== 'batch') throw notVerified(`the log entry is a ${header.kind} entry, not a batch`);
  if (proof.id !== `${tlogProof.index}.${proof.record.index}`)
    throw notVerified(
      `its id ${JSON.stringify(proof.id.slice(0, 80))} is not that of what it holds, ${tlogProof.index}.${proof.record.index}`,
    );
  const row = fromBase64(proof.record.row);
  if (row.length !== ROW_BYTES) throw notVerified(`the record has ${row.length} bytes, not ${ROW_BYTES}`);
  inLayer(
    `the record's row is not row ${proof.record.index} of the batch that the header names; the row, its index or its path was changed`,
    () =>
      verifyInclusion(
        leafHash(row),
        proof.record.index,
        header.recordCount,
        proof.record.path.map(fromBase64),
        header.recordRoot,
      ),
  );
  const entries = verifyDictionary(proof, header);
  const entry = (number: number): Uint8Array => {
    const found = entries.get(number);
    if (found === undefined)
      throw notVerified(`dictionary entry ${number}, which the record refers to, is not in the file`);
    return found.bytes;
  };
  const shape = SHAPES[header.version];
  const references = referencesOf(new DataView(row.buffer, row.byteOffset, row.byteLength), entry, shape);
  for (const [number, kind] of references) {
    entry(number);
    if (entries.get(number)?.kind !== kind)
      throw notVerified(`dictionary entry ${number} is of kind ${entries.get(number)?.kind}, not ${kind}`);
  }
  if (references.size !== entries.size) throw bad('it holds dictionary entries that the record does not refer to');
  checkRules(row, proof.record.index, entries, shape);
  const { role, stream, batchNumber, firstRecord, nodeId, nodeCluster, meshCluster } = header;
  const context = {
    leafIndex: tlogProof.index,
    role,
    stream,
    batchNumber,
    firstRecord,
    nodeId,
    nodeCluster,
    meshCluster,
  };
  const record = new RecordReader({ ...context, entry }).record(row, proof.record.index);
  return { record, header, checkpoint, ...statements(record, header, checkpoint, log) };
}

/** What ingest demands of a batch, demanded of the part that the proof shows: a log's owner may have sealed anything. */
function checkRules(row: Uint8Array, rowIndex: number, entries: ProvenEntries, shape: Shape): void {
  const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kinds = { kind: (number: number) => entries.get(number)?.kind ?? 0 };
  try {
    checkRow(viewOf(row), 0, rowIndex, kinds, shape);
    const isConnection = isConnectionRow(viewOf(row), 0);
    for (const [number, { kind, bytes }] of entries) {
      if (kind === ENTRY_CONNECTION) checkConnection(viewOf(bytes), 0, number, kinds, shape);
      else if (kind === ENTRY_OUTCOME) {
        checkOutcome(viewOf(bytes), 0, number, kinds, shape);
        // The proof holds one outcome: the row's.
        if (isConnection) checkConnectionOutcome(viewOf(bytes), 0, number);
      }
    }
  } catch (cause) {
    throw new MeshtrailError('PROOF_NOT_VERIFIED', `The proof does not verify: ${(cause as Error).message}`, { cause });
  }
}

function statements(
  record: FlowRecord,
  header: BatchEntry,
  checkpoint: Checkpoint,
  log: Verifier,
): Pick<VerifiedRecord, 'proven' | 'notProven'> {
  const node = record.node.id ?? 'a proxy that did not name itself';
  return {
    proven: [
      `Record ${record.id} is, byte for byte, record ${record.record.number} of stream ${toHex(header.stream)}, sent by ${node}.`,
      `The collector says that it received the batch at ${new Date(header.receivedMs).toISOString()}.`,
      `The batch is entry ${record.id.slice(0, record.id.indexOf('.'))} of the log ${log.name}, whose key signed the checkpoint of size ${checkpoint.size}.`,
    ],
    notProven: [
      'That the proxy told the truth, or that its clock was right.',
      'That no other record exists: this is about one record.',
      header.peer === undefined
        ? 'That the sender was this proxy: the collector took the batch without a verified certificate.'
        : 'That the certificate of the sender was not stolen.',
      'That the log showed everybody the same history: this needs witnesses, or somebody who kept another checkpoint.',
    ],
  };
}
