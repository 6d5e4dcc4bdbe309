// Log entries as text (docs/formats.md section 3): one spelling, checked by writing what was read and comparing.

import { equalBytes, fromBase64, fromHex, fromUtf8, toBase64, toHex, utf8 } from '../bytes.ts';
import { MeshtrailError, reasonOf } from '../error.ts';
import { type Batch, type Counters, NO_COUNTERS, type ProxyLife } from './batch.ts';
import { bad, bytesOf, escapeText, Lines, number, unescapeText } from './entry-text.ts';
import { dictionaryRoot, recordRoot } from './roots.ts';

export { escapeText };

/** The sender's verified certificate, where ingest has one. */
export interface PeerIdentity {
  readonly spiffeId: string;
  readonly certificateSha256: Uint8Array;
}

/** The batch header: what one `meshtrail/batch/v1` or `v2` entry says. */
export interface BatchEntry {
  readonly kind: 'batch';
  readonly version: Batch['version'];
  readonly stream: Uint8Array;
  /** Bytes of Envoy's `node.id`; undefined when the proxy did not tell. */
  readonly nodeId: Uint8Array | undefined;
  /** Envoy's `node.cluster`. */
  readonly nodeCluster: Uint8Array | undefined;
  /** The configured name of the mesh's cluster. */
  readonly meshCluster: Uint8Array | undefined;
  readonly batchNumber: number;
  readonly firstRecord: number;
  readonly recordCount: number;
  readonly recordRoot: Uint8Array;
  readonly dictionaryCount: number;
  readonly dictionaryRoot: Uint8Array;
  readonly bodyBytes: number;
  readonly bodyHash: Uint8Array;
  readonly previous: Uint8Array | undefined;
  /** Those that version 1 does not have are 0. */
  readonly counters: Counters;
  /** Undefined in version 1. */
  readonly life: ProxyLife | undefined;
  readonly clock: Batch['clock'];
  readonly checkpoint: { readonly size: number; readonly root: Uint8Array } | undefined;
  readonly isFin: boolean;
  readonly isRollbackSeen: boolean;
  readonly isAlive: boolean;
  readonly filterVersion: string;
  readonly role: Batch['role'];
  readonly peer: PeerIdentity | undefined;
  readonly receivedMs: number;
}

/** Other bytes under a batch number that is taken. */
export interface ConflictEntry {
  readonly kind: 'conflict';
  readonly stream: Uint8Array;
  readonly nodeId: Uint8Array | undefined;
  readonly batchNumber: number;
  readonly firstIndex: number;
  readonly firstHash: Uint8Array;
  readonly refusedBytes: number;
  readonly refusedHash: Uint8Array;
  readonly peer: PeerIdentity | undefined;
  readonly receivedMs: number;
}

/** Nothing else happened. */
export interface HeartbeatEntry {
  readonly kind: 'heartbeat';
  readonly timeMs: number;
}

export type Entry = BatchEntry | ConflictEntry | HeartbeatEntry;

const orDash = (bytes: Uint8Array | undefined, format: (bytes: Uint8Array) => string): string =>
  bytes === undefined ? '-' : format(bytes);

function peerLine(peer: PeerIdentity | undefined): string {
  return peer === undefined
    ? 'peer - -'
    : `peer ${escapeText(utf8(peer.spiffeId))} ${toBase64(peer.certificateSha256)}`;
}

/** Counters by their names in an entry, in its order. */
const COUNTERS_V1 = [
  ['seen', 'seen'],
  ['recorded', 'recorded'],
  ['dropped_buffers_full', 'droppedBuffersFull'],
  ['dropped_unreadable', 'droppedUnreadable'],
  ['truncated', 'truncated'],
  ['send_failures', 'sendFailures'],
  ['rollbacks_seen', 'rollbacksSeen'],
] as const;
const COUNTERS_V2 = [
  ...COUNTERS_V1.slice(0, 4),
  ['dropped_no_random', 'droppedNoRandom'],
  ...COUNTERS_V1.slice(4),
  ['interim', 'interim'],
  ['unwatched', 'unwatched'],
] as const;
const countersOf = (version: Batch['version']): readonly (readonly [string, keyof Counters])[] =>
  version === 1 ? COUNTERS_V1 : COUNTERS_V2;

function lifeLine(life: ProxyLife): string {
  const { proxySinceWallNs, aliveIntervalMs, vmsKnown, vmsAlive, silentStream } = life;
  return `proxy ${proxySinceWallNs ?? '-'} ${aliveIntervalMs} ${vmsKnown} ${vmsAlive} ${orDash(silentStream, toHex)}`;
}

function stateLine({ isFin, isRollbackSeen, isAlive }: BatchEntry): string {
  return `state ${isFin ? 'fin' : 'open'}${isRollbackSeen ? ' rollback' : ''}${isAlive ? ' alive' : ''}`;
}

function batchLines(e: BatchEntry): string[] {
  return [
    `meshtrail/batch/v${e.version}`,
    `stream ${toHex(e.stream)} ${[e.nodeId, e.nodeCluster, e.meshCluster].map((text) => orDash(text, escapeText)).join(' ')}`,
    `batch ${e.batchNumber}`,
    `records ${e.firstRecord} ${e.recordCount} ${toBase64(e.recordRoot)}`,
    `dictionary ${e.dictionaryCount} ${toBase64(e.dictionaryRoot)}`,
    `body ${e.bodyBytes} ${toBase64(e.bodyHash)}`,
    `previous ${orDash(e.previous, toBase64)}`,
    `counters ${countersOf(e.version)
      .map(([name, key]) => `${name} ${e.counters[key]}`)
      .join(' ')}`,
    ...(e.life === undefined ? [] : [lifeLine(e.life)]),
    `clock ${e.clock.openedWallNs} ${e.clock.sealedWallNs} ${e.clock.openedMonoNs} ${e.clock.sealedMonoNs}`,
    e.checkpoint === undefined ? 'checkpoint -' : `checkpoint ${e.checkpoint.size} ${toBase64(e.checkpoint.root)}`,
    stateLine(e),
    `filter ${e.filterVersion} ${e.role}`,
    peerLine(e.peer),
    `received ${e.receivedMs}`,
  ];
}

function conflictLines(e: ConflictEntry): string[] {
  return [
    'meshtrail/conflict/v1',
    `stream ${toHex(e.stream)} ${orDash(e.nodeId, escapeText)}`,
    `batch ${e.batchNumber}`,
    `first ${e.firstIndex} ${toBase64(e.firstHash)}`,
    `refused ${e.refusedBytes} ${toBase64(e.refusedHash)}`,
    peerLine(e.peer),
    `received ${e.receivedMs}`,
  ];
}

/** The bytes of an entry. */
export function formatEntry(entry: Entry): Uint8Array {
  const lines =
    entry.kind === 'batch'
      ? batchLines(entry)
      : entry.kind === 'conflict'
        ? conflictLines(entry)
        : ['meshtrail/heartbeat/v1', `time ${entry.timeMs}`];
  return utf8(`${lines.join('\n')}\n`);
}

const hash = (text: string | undefined): Uint8Array => bytesOf(text, 32, fromBase64);
const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
  text === '-' ? undefined : parse(text ?? '');

function parsePeer([spiffeId = '', certificate = '']: string[]): PeerIdentity | undefined {
  if (spiffeId === '-' && certificate === '-') return undefined;
  const text = fromUtf8(unescapeText(spiffeId));
  if (text === undefined) throw bad('the peer is not UTF-8');
  return { spiffeId: text, certificateSha256: hash(certificate) };
}

function parseCounters(lines: Lines, version: Batch['version']): Counters {
  const names = countersOf(version);
  const fields = lines.fields('counters', 2 * names.length);
  const counters: Record<keyof Counters, number> = { ...NO_COUNTERS };
  for (const [i, [, key]] of names.entries()) counters[key] = number(fields[2 * i + 1]);
  return counters;
}

function clockValue(text: string): bigint {
  if (!/^-?\d{1,20}$/.test(text)) throw bad(`${JSON.stringify(text)} is no clock value`);
  return BigInt(text);
}

/** Absence is `-`, and not zero. */
function sinceOf(text: string): bigint {
  const since = clockValue(text);
  if (since <= 0n) throw bad(`${JSON.stringify(text)} is no time since 1970`);
  return since;
}

function silentOf(text: string): Uint8Array {
  const stream = bytesOf(text, 16, fromHex);
  if (stream.every((byte) => byte === 0)) throw bad('a silent stream is all zeros');
  return stream;
}

function parseLife(lines: Lines): ProxyLife {
  const [since, aliveIntervalMs, vmsKnown, vmsAlive, silentStream] = lines.fields('proxy', 5);
  return {
    proxySinceWallNs: optional(since, sinceOf),
    aliveIntervalMs: number(aliveIntervalMs),
    vmsKnown: number(vmsKnown),
    vmsAlive: number(vmsAlive),
    silentStream: optional(silentStream, silentOf),
  };
}

function parseClock(fields: string[]): Batch['clock'] {
  const [openedWallNs, sealedWallNs, openedMonoNs, sealedMonoNs] = fields.map(clockValue) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  return { openedWallNs, sealedWallNs, openedMonoNs, sealedMonoNs };
}

function parseBatchEntry(lines: Lines, version: Batch['version']): BatchEntry {
  const [stream, nodeId, nodeCluster, meshCluster] = lines.fields('stream', 4);
  const [batchNumber] = lines.fields('batch', 1);
  const [firstRecord, recordCount, recordRootText] = lines.fields('records', 3);
  const [dictionaryCount, dictionaryRootText] = lines.fields('dictionary', 2);
  const [bodyBytes, bodyHash] = lines.fields('body', 2);
  const [previous] = lines.fields('previous', 1);
  const counters = parseCounters(lines, version);
  const life = version === 1 ? undefined : parseLife(lines);
  const clock = parseClock(lines.fields('clock', 4));
  const [size, root] = lines.fields('checkpoint', 1, 2);
  const [state, ...states] = lines.fields('state', 1, version === 1 ? 2 : 3);
  const [filterVersion, role] = lines.fields('filter', 2);
  const peer = parsePeer(lines.fields('peer', 2));
  const [receivedMs] = lines.fields('received', 1);
  if (role !== 'sidecar' && role !== 'gateway' && role !== 'waypoint') throw bad(`${JSON.stringify(role)} is no role`);
  if (!/^\d{1,5}\.\d{1,3}\.\d{1,3}$/.test(filterVersion ?? ''))
    throw bad(`${JSON.stringify(filterVersion)} is no filter version`);
  return {
    kind: 'batch',
    version,
    stream: bytesOf(stream, 16, fromHex),
    nodeId: optional(nodeId, unescapeText),
    nodeCluster: optional(nodeCluster, unescapeText),
    meshCluster: optional(meshCluster, unescapeText),
    batchNumber: number(batchNumber),
    firstRecord: number(firstRecord),
    recordCount: number(recordCount),
    recordRoot: hash(recordRootText),
    dictionaryCount: number(dictionaryCount),
    dictionaryRoot: hash(dictionaryRootText),
    bodyBytes: number(bodyBytes),
    bodyHash: hash(bodyHash),
    previous: optional(previous, hash),
    counters,
    life,
    clock,
    checkpoint: size === '-' ? undefined : { size: number(size), root: hash(root) },
    isFin: state === 'fin',
    isRollbackSeen: states.includes('rollback'),
    isAlive: states.includes('alive'),
    filterVersion: filterVersion ?? '',
    role,
    peer,
    receivedMs: number(receivedMs),
  };
}

function parseConflictEntry(lines: Lines): ConflictEntry {
  const [stream, nodeId] = lines.fields('stream', 2);
  const [batchNumber] = lines.fields('batch', 1);
  const [firstIndex, firstHash] = lines.fields('first', 2);
  const [refusedBytes, refusedHash] = lines.fields('refused', 2);
  const peer = parsePeer(lines.fields('peer', 2));
  const [receivedMs] = lines.fields('received', 1);
  return {
    kind: 'conflict',
    stream: bytesOf(stream, 16, fromHex),
    nodeId: optional(nodeId, unescapeText),
    batchNumber: number(batchNumber),
    firstIndex: number(firstIndex),
    firstHash: hash(firstHash),
    refusedBytes: number(refusedBytes),
    refusedHash: hash(refusedHash),
    peer,
    receivedMs: number(receivedMs),
  };
}

/** Parses an entry of any kind. Throws ENTRY_MALFORMED; another spelling of the same facts is malformed too. */
export function parseEntry(bytes: Uint8Array): Entry {
  const text = fromUtf8(bytes);
  if (text === undefined || !text.endsWith('\n')) throw bad('it is not UTF-8 text that ends with a line feed');
  const [first, ...rest] = text.slice(0, -1).split('\n');
  const lines = new Lines(rest);
  let entry: Entry;
  try {
    if (first === 'meshtrail/batch/v1') entry = parseBatchEntry(lines, 1);
    else if (first === 'meshtrail/batch/v2') entry = parseBatchEntry(lines, 2);
    else if (first === 'meshtrail/conflict/v1') entry = parseConflictEntry(lines);
    else if (first === 'meshtrail/heartbeat/v1')
      entry = { kind: 'heartbeat', timeMs: number(lines.fields('time', 1)[0]) };
    else throw bad(`${JSON.stringify((first ?? '').slice(0, 80))} is no kind of entry that this version knows`);
  } catch (error) {
    if (error instanceof MeshtrailError && error.code !== 'ENTRY_MALFORMED') throw bad(reasonOf(error));
    throw error;
  }
  if (!equalBytes(formatEntry(entry), bytes)) throw bad('it is not spelled the one accepted way');
  return entry;
}

/** The header of an admitted batch; the clock of the collector comes when it is sequenced. Computes both roots. */
export function headerOf(batch: Batch, peer: PeerIdentity | undefined): (receivedMs: number) => BatchEntry {
  const text = (number: number): Uint8Array | undefined => (number === 0 ? undefined : batch.dictionary.bytes(number));
  const header: Omit<BatchEntry, 'receivedMs'> = {
    kind: 'batch',
    version: batch.version,
    stream: batch.stream,
    nodeId: text(batch.nodeId),
    nodeCluster: text(batch.nodeCluster),
    meshCluster: text(batch.meshCluster),
    batchNumber: batch.batchNumber,
    firstRecord: batch.firstRecord,
    recordCount: batch.rowCount,
    recordRoot: recordRoot(batch),
    dictionaryCount: batch.dictionary.count,
    dictionaryRoot: dictionaryRoot(batch),
    bodyBytes: batch.wire.length,
    bodyHash: batch.hash,
    previous: batch.previous,
    counters: batch.counters,
    life: batch.life,
    clock: batch.clock,
    checkpoint: batch.checkpoint,
    isFin: batch.isFin,
    isRollbackSeen: batch.isRollbackSeen,
    isAlive: batch.isAlive,
    filterVersion: batch.filterVersion,
    role: batch.role,
    peer,
  };
  return (receivedMs) => ({ ...header, receivedMs });
}
