// Decoding of the wire batch (docs/formats.md section 1): every rule is checked before a byte is believed.
// This is the ingest hot path: no allocation and no BigInt for a row, cheap checks first.

import { equalBytes } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';
import { sha256 } from '../hash.ts';
import { Dictionary, malformed } from './dictionary.ts';
import {
  BATCH_BYTES_MAX,
  DICTIONARY_ENTRIES_MAX,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PUBLIC,
  FLAG_ALIVE,
  FLAG_FIN,
  FLAG_ROLLBACK_SEEN,
  HEADER,
  HEADER_BYTES_V1,
  MAGIC,
  ROLES,
  ROW,
  ROW_BYTES,
  ROWS_MAX,
  SHAPES,
  type Shape,
  TRAILER_BYTES,
} from './layout.ts';
import {
  checkConnection,
  checkConnectionOutcome,
  checkOutcome,
  checkRow,
  isConnectionRow,
  snakeCase,
} from './rules.ts';

/** Cumulative counters of a stream. */
export interface Counters {
  readonly seen: number;
  readonly recorded: number;
  readonly droppedBuffersFull: number;
  readonly droppedUnreadable: number;
  readonly truncated: number;
  readonly sendFailures: number;
  readonly rollbacksSeen: number;
  readonly droppedNoRandom: number;
  /** Of `recorded`, open and interval records. */
  readonly interim: number;
  /** Long-lived exchanges and connections that have no such records. */
  readonly unwatched: number;
}

/** Of a stream that has told nothing yet, and of what a version does not have. */
export const NO_COUNTERS: Counters = {
  seen: 0,
  recorded: 0,
  droppedBuffersFull: 0,
  droppedUnreadable: 0,
  truncated: 0,
  sendFailures: 0,
  rollbacksSeen: 0,
  droppedNoRandom: 0,
  interim: 0,
  unwatched: 0,
};

/** What the VMs of a proxy know of each other, as of the last tick before the batch was sealed. */
export interface ProxyLife {
  /** Unix ns of their first sign of life; undefined when not known. */
  readonly proxySinceWallNs: bigint | undefined;
  readonly aliveIntervalMs: number;
  /** 0: the proxy has no shared data. */
  readonly vmsKnown: number;
  readonly vmsAlive: number;
  /** Stream of a VM that is known and not alive. */
  readonly silentStream: Uint8Array | undefined;
}

/** A decoded batch: header values, and views into the wire bytes. */
export interface Batch {
  readonly version: Shape['version'];
  /** Where row 0 begins. */
  readonly headerBytes: number;
  readonly wire: Uint8Array;
  readonly view: DataView;
  /** Batch hash: SHA-256 of all bytes before it. */
  readonly hash: Uint8Array;
  readonly rowCount: number;
  readonly dictionary: Dictionary;
  readonly isFin: boolean;
  readonly isRollbackSeen: boolean;
  /** A sign of life of the proxy. */
  readonly isAlive: boolean;
  readonly role: 'sidecar' | 'gateway' | 'waypoint';
  readonly filterVersion: string;
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly firstRecord: number;
  /** Those that version 1 does not have are 0. */
  readonly counters: Counters;
  /** Undefined in version 1. */
  readonly life: ProxyLife | undefined;
  /** Unix ns, and ns of the proxy's monotonic clock. */
  readonly clock: {
    readonly openedWallNs: bigint;
    readonly sealedWallNs: bigint;
    readonly openedMonoNs: bigint;
    readonly sealedMonoNs: bigint;
  };
  /** Undefined in batch 0. */
  readonly previous: Uint8Array | undefined;
  readonly checkpoint: { readonly size: number; readonly root: Uint8Array } | undefined;
  readonly secret: Uint8Array;
  readonly nodeId: number;
  readonly nodeCluster: number;
  readonly meshCluster: number;
}

/** The 88 bytes of row i. */
export function rowOf(batch: Batch, i: number): Uint8Array {
  const at = batch.headerBytes + i * ROW_BYTES;
  return batch.wire.subarray(at, at + ROW_BYTES);
}

function number64(view: DataView, name: keyof typeof HEADER): number {
  const value = view.getUint32(HEADER[name] + 4, true) * 2 ** 32 + view.getUint32(HEADER[name], true);
  if (!Number.isSafeInteger(value)) throw malformed(snakeCase(name), HEADER[name], value, 'at most 2^53 - 1');
  return value;
}

function mustBe(view: DataView, name: keyof typeof HEADER, want: number, bytes: 1 | 2 | 4): void {
  const at = HEADER[name];
  const value = bytes === 1 ? view.getUint8(at) : bytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  if (value !== want) throw malformed(snakeCase(name), at, value, String(want));
}

/** The shape of a batch's version. Throws BATCH_VERSION_UNSUPPORTED. */
function shapeOf(view: DataView): Shape {
  const version = view.getUint16(HEADER.version, true);
  if (version === 1 || version === 2) return SHAPES[version];
  throw new MeshtrailError(
    'BATCH_VERSION_UNSUPPORTED',
    `The batch has version ${version}; this collector reads versions 1 and 2. Upgrade the collector before the filter.`,
  );
}

function tooShort(length: number, headerBytes: number): MeshtrailError {
  return new MeshtrailError(
    'BATCH_TRUNCATED',
    `The batch has ${length} bytes; header and hash alone take ${headerBytes + TRAILER_BYTES}. The sender keeps it and sends it again.`,
  );
}

/** Lengths and versions: what a truncated, foreign or oversized body fails first. */
function checkFrame(wire: Uint8Array, view: DataView): Shape {
  if (wire.length > BATCH_BYTES_MAX)
    throw new MeshtrailError(
      'BATCH_TOO_LARGE',
      `The batch has ${wire.length} bytes; at most ${BATCH_BYTES_MAX} are accepted.`,
    );
  if (wire.length >= 4 && view.getUint32(0, true) !== MAGIC)
    throw malformed('magic', 0, view.getUint32(0, true), '"MTB1"');
  if (wire.length < HEADER_BYTES_V1 + TRAILER_BYTES) throw tooShort(wire.length, HEADER_BYTES_V1);
  const shape = shapeOf(view);
  const { headerBytes } = shape;
  mustBe(view, 'headerBytes', headerBytes, 2);
  mustBe(view, 'rowBytes', ROW_BYTES, 2);
  if (wire.length < headerBytes + TRAILER_BYTES) throw tooShort(wire.length, headerBytes);
  const total = view.getUint32(HEADER.totalBytes, true);
  if (total > wire.length)
    throw new MeshtrailError(
      'BATCH_TRUNCATED',
      `The batch says that it has ${total} bytes, and ${wire.length} arrived. The sender keeps it and sends it again.`,
    );
  const rows = view.getUint32(HEADER.rowCount, true);
  if (rows > ROWS_MAX) throw malformed('row_count', HEADER.rowCount, rows, `at most ${ROWS_MAX}`);
  const want = headerBytes + rows * ROW_BYTES + view.getUint32(HEADER.dictionaryBytes, true) + TRAILER_BYTES;
  if (total !== wire.length || total !== want)
    throw malformed(
      'total_bytes',
      HEADER.totalBytes,
      total,
      `${want}, the sum of its parts, and the ${wire.length} received`,
    );
  return shape;
}

function checkReserved(view: DataView, { version, headerFlags }: Shape): void {
  mustBe(view, 'reserved27', 0, 1);
  if (version === 1 && view.getBigUint64(HEADER.droppedNoRandom, true) !== 0n)
    throw malformed('reserved', HEADER.droppedNoRandom, view.getBigUint64(HEADER.droppedNoRandom, true), '0');
  mustBe(view, 'reserved270', 0, 2);
  const flags = view.getUint16(HEADER.flags, true);
  if ((flags & ~headerFlags) !== 0) throw malformed('flags', HEADER.flags, flags, 'known bits only');
}

function checkCounters(counters: Counters, firstRecord: number, rowCount: number): void {
  const { seen, recorded, droppedBuffersFull, droppedUnreadable, droppedNoRandom, interim } = counters;
  if (seen < recorded + droppedBuffersFull + droppedUnreadable + droppedNoRandom)
    throw malformed('seen', HEADER.seen, seen, 'at least recorded and dropped together');
  if (recorded < firstRecord + rowCount)
    throw malformed(
      'recorded',
      HEADER.recorded,
      recorded,
      `at least ${firstRecord + rowCount}, the number after the last row`,
    );
  if (recorded < interim) throw malformed('interim', HEADER.interim, interim, `at most ${recorded}, as recorded says`);
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** A wall clock, which log entries hold without a sign. */
function wallNs(view: DataView, name: 'openedWallNs' | 'sealedWallNs' | 'proxySinceWallNs'): bigint {
  const ns = view.getBigInt64(HEADER[name], true);
  if (ns < 0n) throw malformed(snakeCase(name), HEADER[name], ns, 'a time since 1970');
  return ns;
}

function versionText(packed: number): string {
  return `${packed >>> 16}.${(packed >>> 8) & 255}.${packed & 255}`;
}

function readCounters(view: DataView, shape: Shape): Counters {
  const newer = (name: 'droppedNoRandom' | 'interim' | 'unwatched'): number =>
    shape.version === 1 ? 0 : number64(view, name);
  return {
    seen: number64(view, 'seen'),
    recorded: number64(view, 'recorded'),
    droppedBuffersFull: number64(view, 'droppedBuffersFull'),
    droppedUnreadable: number64(view, 'droppedUnreadable'),
    truncated: number64(view, 'truncated'),
    sendFailures: number64(view, 'sendFailures'),
    rollbacksSeen: number64(view, 'rollbacksSeen'),
    droppedNoRandom: newer('droppedNoRandom'),
    interim: newer('interim'),
    unwatched: newer('unwatched'),
  };
}

function readLife(wire: Uint8Array, view: DataView): ProxyLife {
  const vmsKnown = view.getUint16(HEADER.vmsKnown, true);
  const vmsAlive = view.getUint16(HEADER.vmsAlive, true);
  if (vmsAlive > vmsKnown)
    throw malformed('vms_alive', HEADER.vmsAlive, vmsAlive, `at most ${vmsKnown}, as vms_known says`);
  const silentStream = wire.subarray(HEADER.silentStream, HEADER.silentStream + 16);
  return {
    proxySinceWallNs: wallNs(view, 'proxySinceWallNs') || undefined,
    aliveIntervalMs: view.getUint32(HEADER.aliveIntervalMs, true),
    vmsKnown,
    vmsAlive,
    silentStream: isZero(silentStream) ? undefined : silentStream,
  };
}

function readHeader(wire: Uint8Array, view: DataView, dictionary: Dictionary, shape: Shape): Omit<Batch, 'hash'> {
  const role = ROLES[view.getUint8(HEADER.role)];
  if (role === undefined || role === '') throw malformed('role', HEADER.role, view.getUint8(HEADER.role), '1, 2 or 3');
  const flags = view.getUint16(HEADER.flags, true);
  const rowCount = view.getUint32(HEADER.rowCount, true);
  const batchNumber = number64(view, 'batchNumber');
  const firstRecord = number64(view, 'firstRecord');
  const counters = readCounters(view, shape);
  checkCounters(counters, firstRecord, rowCount);
  const previous = wire.subarray(HEADER.previous, HEADER.previous + 32);
  if (batchNumber === 0 && (!isZero(previous) || firstRecord !== 0))
    throw malformed('previous', HEADER.previous, 'set', 'zero with first_record 0, in batch 0');
  const checkpointSize = number64(view, 'checkpointSize');
  const checkpointRoot = wire.subarray(HEADER.checkpointRoot, HEADER.checkpointRoot + 32);
  const hasCheckpoint = !isZero(checkpointRoot);
  if (!hasCheckpoint && checkpointSize !== 0)
    throw malformed('checkpoint_size', HEADER.checkpointSize, checkpointSize, '0 where the root is zero');
  if (rowCount === 0 && (flags & (FLAG_FIN | FLAG_ALIVE)) === 0)
    throw malformed(
      'row_count',
      HEADER.rowCount,
      0,
      'at least 1 in a batch that is neither a last one nor a sign of life',
    );
  return {
    version: shape.version,
    headerBytes: shape.headerBytes,
    wire,
    view,
    rowCount,
    dictionary,
    isFin: (flags & FLAG_FIN) !== 0,
    isRollbackSeen: (flags & FLAG_ROLLBACK_SEEN) !== 0,
    isAlive: (flags & FLAG_ALIVE) !== 0,
    role,
    filterVersion: versionText(view.getUint32(HEADER.filterVersion, true)),
    stream: wire.subarray(HEADER.stream, HEADER.stream + 16),
    batchNumber,
    firstRecord,
    counters,
    life: shape.version === 1 ? undefined : readLife(wire, view),
    clock: {
      openedWallNs: wallNs(view, 'openedWallNs'),
      sealedWallNs: wallNs(view, 'sealedWallNs'),
      openedMonoNs: view.getBigUint64(HEADER.openedMonoNs, true),
      sealedMonoNs: view.getBigUint64(HEADER.sealedMonoNs, true),
    },
    previous: batchNumber === 0 ? undefined : previous,
    checkpoint: hasCheckpoint ? { size: checkpointSize, root: checkpointRoot } : undefined,
    secret: wire.subarray(HEADER.secret, HEADER.secret + 32),
    nodeId: view.getUint16(HEADER.nodeId, true),
    nodeCluster: view.getUint16(HEADER.nodeCluster, true),
    meshCluster: view.getUint16(HEADER.meshCluster, true),
  };
}

function readDictionary(wire: Uint8Array, view: DataView, { headerBytes, outcomeBytes }: Shape): Dictionary {
  const count = view.getUint16(HEADER.dictionaryCount, true);
  if (count > DICTIONARY_ENTRIES_MAX)
    throw malformed('dictionary_count', HEADER.dictionaryCount, count, `at most ${DICTIONARY_ENTRIES_MAX}`);
  const start = headerBytes + view.getUint32(HEADER.rowCount, true) * ROW_BYTES;
  return new Dictionary(wire, view, start, wire.length - TRAILER_BYTES, count, outcomeBytes);
}

/** Every rule of sections 1.2 to 1.5 about what the dictionary and the rows hold. */
function checkContents(batch: Batch, shape: Shape): void {
  const { view, dictionary } = batch;
  dictionary.checkUnique();
  for (let number = 1; number <= dictionary.count; number++) {
    const kind = dictionary.kind(number);
    if (kind === ENTRY_CONNECTION) checkConnection(view, dictionary.start(number), number, dictionary, shape);
    else if (kind === ENTRY_OUTCOME) checkOutcome(view, dictionary.start(number), number, dictionary, shape);
  }
  for (const name of ['nodeId', 'nodeCluster', 'meshCluster'] as const) {
    if (batch[name] !== 0 && dictionary.kind(batch[name]) !== ENTRY_PUBLIC)
      throw malformed(snakeCase(name), HEADER[name], batch[name], '0 or the number of a public string');
  }
  for (let i = 0; i < batch.rowCount; i++) {
    const at = batch.headerBytes + i * ROW_BYTES;
    checkRow(view, at, i, dictionary, shape);
    if (!isConnectionRow(view, at)) continue;
    const outcome = view.getUint16(at + ROW.outcome, true);
    checkConnectionOutcome(view, dictionary.start(outcome), outcome);
  }
}

/**
 * Decodes a wire batch and checks every rule of docs/formats.md section 1.
 * The batch shares memory with `wire`. Throws BATCH_TOO_LARGE, BATCH_TRUNCATED, BATCH_VERSION_UNSUPPORTED,
 * BATCH_CHECKSUM_MISMATCH, or BATCH_MALFORMED with field, offset, value and rule.
 */
export function decodeBatch(wire: Uint8Array): Batch {
  const view = new DataView(wire.buffer, wire.byteOffset, wire.byteLength);
  const shape = checkFrame(wire, view);
  const hash = wire.subarray(wire.length - TRAILER_BYTES);
  // Before the contents: a damaged body is told as damaged, not as whatever rule the damage happens to break.
  if (!equalBytes(sha256(wire.subarray(0, wire.length - TRAILER_BYTES)), hash)) {
    throw new MeshtrailError(
      'BATCH_CHECKSUM_MISMATCH',
      'The batch does not match the hash at its end: it was damaged on the way. The sender keeps it and sends it again.',
    );
  }
  checkReserved(view, shape);
  const dictionary = readDictionary(wire, view, shape);
  const batch = { ...readHeader(wire, view, dictionary, shape), hash };
  checkContents(batch, shape);
  return batch;
}

/** Decodes a batch that was checked before it was stored: the frame is checked, the contents are trusted. */
export function decodeStoredBatch(wire: Uint8Array): Batch {
  const view = new DataView(wire.buffer, wire.byteOffset, wire.byteLength);
  const shape = checkFrame(wire, view);
  const header = readHeader(wire, view, readDictionary(wire, view, shape), shape);
  return { ...header, hash: wire.subarray(wire.length - TRAILER_BYTES) };
}
