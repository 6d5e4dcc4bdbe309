// Writes a batch anew from what was decoded, field by field: a byte that the decoder overlooked would not come back.

import { concatBytes } from '../../../collector/src/core/bytes.ts';
import { type Batch, type Counters, rowOf } from '../../../collector/src/core/codec/batch.ts';
import { sealBatch } from '../../../collector/src/core/codec/encode.ts';
import {
  BIT,
  CONNECTION,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_STRINGS,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  HEADER,
  MAGIC,
  OUTCOME,
  ROLES,
  ROW,
  ROW_BYTES,
  ROW_STRINGS,
  SHAPES,
  TRAILER_BYTES,
} from '../../../collector/src/core/codec/layout.ts';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
type Copy = (at: number, bytes: number) => void;

/** Fresh bytes that take over only the fields that `take` copies. */
function only(bytes: Uint8Array, take: (copy: Copy, view: DataView) => void): Uint8Array {
  const out = new Uint8Array(bytes.length);
  take((at, length) => out.set(bytes.subarray(at, at + length), at), viewOf(bytes));
  return out;
}

/** The fields that a row has by its bits. */
function row(bytes: Uint8Array): Uint8Array {
  return only(bytes, (copy, view) => {
    const flags = view.getUint32(ROW.flags, true);
    copy(ROW.flags, 4);
    copy(ROW.kind, 1);
    copy(ROW.verdict, 1);
    copy(ROW.startNs, 8);
    for (const at of [ROW.connection, ROW.outcome, ...ROW_STRINGS]) copy(at, 2);
    const numbers = [
      [BIT.duration, ROW.durationUs, 6],
      [BIT.requestBytes, ROW.requestBytes, 6],
      [BIT.responseBytes, ROW.responseBytes, 6],
      [BIT.attempts, ROW.attempts, 1],
      [BIT.requestId, ROW.requestId, 16],
      [BIT.requestIdText, ROW.requestId, 2],
      [BIT.trace, ROW.traceFlags, 1],
      [BIT.trace, ROW.traceId, 16],
      [BIT.trace, ROW.spanId, 8],
    ] as const;
    for (const [bit, at, length] of numbers) if ((flags & bit) !== 0) copy(at, length);
  });
}

function connection(bytes: Uint8Array, version: 1 | 2): Uint8Array {
  return only(bytes, (copy, view) => {
    copy(CONNECTION.id, 8);
    for (const at of [CONNECTION.direction, CONNECTION.mtls, CONNECTION.tlsVersion, CONNECTION.flags]) copy(at, 1);
    copy(CONNECTION.sourceAddress, 2);
    for (const at of CONNECTION_STRINGS) if (version === 2 || at < CONNECTION.filterStatePrincipal) copy(at, 2);
    if ((view.getUint8(CONNECTION.flags) & CONNECTION_HAS_CERTIFICATE) !== 0)
      copy(CONNECTION.peerCertificateSha256, 32);
  });
}

function outcome(bytes: Uint8Array, version: 1 | 2): Uint8Array {
  return only(bytes, (copy) => {
    copy(OUTCOME.code, 2);
    copy(OUTCOME.responseFlags, 8);
    for (const at of [OUTCOME.protocol, OUTCOME.grpcStatus, OUTCOME.policyResult, OUTCOME.shadowResult]) copy(at, 1);
    const { outcomeStringsFrom, outcomeStringsTo } = SHAPES[version];
    for (let at: number = outcomeStringsFrom; at <= outcomeStringsTo; at += 2) copy(at, 2);
  });
}

function entries({ dictionary, version }: Batch): Uint8Array[] {
  return Array.from({ length: dictionary.count }, (_, i) => {
    const kind = dictionary.kind(i + 1);
    const bytes = dictionary.bytes(i + 1);
    const known =
      kind === ENTRY_CONNECTION ? connection(bytes, version) : kind === ENTRY_OUTCOME ? outcome(bytes, version) : bytes;
    return concatBytes(Uint8Array.of(kind, bytes.length & 255, bytes.length >>> 8), known);
  });
}

const COUNTERS: readonly (keyof Counters)[] = [
  'seen',
  'recorded',
  'droppedBuffersFull',
  'droppedUnreadable',
  'truncated',
  'sendFailures',
  'rollbacksSeen',
];

function header(batch: Batch, totalBytes: number, dictionaryBytes: number): Uint8Array {
  const { version, counters, clock, life } = batch;
  const out = new Uint8Array(batch.headerBytes);
  const view = viewOf(out);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, true);
  const u64 = (at: number, value: number | bigint): void => view.setBigUint64(at, BigInt(value), true);
  u32(HEADER.magic, MAGIC);
  u16(HEADER.version, version);
  u16(HEADER.headerBytes, out.length);
  u32(HEADER.totalBytes, totalBytes);
  u32(HEADER.rowCount, batch.rowCount);
  u16(HEADER.rowBytes, ROW_BYTES);
  u16(HEADER.dictionaryCount, batch.dictionary.count);
  u32(HEADER.dictionaryBytes, dictionaryBytes);
  u16(HEADER.flags, (batch.isFin ? 1 : 0) | (batch.isRollbackSeen ? 2 : 0) | (batch.isAlive ? 4 : 0));
  view.setUint8(HEADER.role, ROLES.indexOf(batch.role));
  const [major = 0, minor = 0, patch = 0] = batch.filterVersion.split('.').map(Number);
  u32(HEADER.filterVersion, major * 65_536 + minor * 256 + patch);
  out.set(batch.stream, HEADER.stream);
  u64(HEADER.batchNumber, batch.batchNumber);
  u64(HEADER.firstRecord, batch.firstRecord);
  for (const name of COUNTERS) u64(HEADER[name], counters[name]);
  for (const name of ['openedWallNs', 'sealedWallNs', 'openedMonoNs', 'sealedMonoNs'] as const)
    u64(HEADER[name], clock[name]);
  out.set(batch.previous ?? [], HEADER.previous);
  u64(HEADER.checkpointSize, batch.checkpoint?.size ?? 0);
  out.set(batch.checkpoint?.root ?? [], HEADER.checkpointRoot);
  out.set(batch.secret, HEADER.secret);
  for (const name of ['nodeId', 'nodeCluster', 'meshCluster'] as const) u16(HEADER[name], batch[name]);
  if (life === undefined) return out;
  for (const name of ['droppedNoRandom', 'interim', 'unwatched'] as const) u64(HEADER[name], counters[name]);
  u64(HEADER.proxySinceWallNs, life.proxySinceWallNs ?? 0);
  u32(HEADER.aliveIntervalMs, life.aliveIntervalMs);
  u16(HEADER.vmsKnown, life.vmsKnown);
  u16(HEADER.vmsAlive, life.vmsAlive);
  out.set(life.silentStream ?? [], HEADER.silentStream);
  return out;
}

/** The wire bytes of a decoded batch. */
export function rebuild(batch: Batch): Uint8Array {
  const rows = Array.from({ length: batch.rowCount }, (_, i) => row(rowOf(batch, i)));
  const dictionary = concatBytes(...entries(batch));
  const total = batch.headerBytes + rows.length * ROW_BYTES + dictionary.length + TRAILER_BYTES;
  return sealBatch(
    concatBytes(header(batch, total, dictionary.length), ...rows, dictionary, new Uint8Array(TRAILER_BYTES)),
  );
}
