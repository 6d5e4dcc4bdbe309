// An encoder of wire batches, for tests, benchmarks and golden files: the proxies' encoder is the filter.

import { concatBytes, toHex, utf8 } from '../bytes.ts';
import { sha256 } from '../hash.ts';
import type { Counters, ProxyLife } from './batch.ts';
import {
  BIT,
  CONNECTION,
  CONNECTION_BYTES,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_REJECTED,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  FLAG_ALIVE,
  FLAG_FIN,
  FLAG_ROLLBACK_SEEN,
  GRPC_ABSENT,
  HEADER,
  KINDS,
  MAGIC,
  OUTCOME,
  PHASE_SHIFT,
  PHASES,
  PROTOCOLS,
  ROLES,
  ROW,
  ROW_BYTES,
  SENSOR_SHIFT,
  SENSORS,
  SHAPES,
  type Shape,
  TLS_VERSIONS,
  TRAILER_BYTES,
  VERDICTS,
  VERSION,
} from './layout.ts';

type Text = string | Uint8Array;
const bytesOfText = (text: Text): Uint8Array => (typeof text === 'string' ? utf8(text) : text);

export interface ConnectionFacts {
  readonly id?: number;
  readonly direction?: 0 | 1 | 2;
  readonly mtls?: boolean;
  readonly tlsVersion?: (typeof TLS_VERSIONS)[number];
  readonly sourceAddress?: Text;
  readonly destinationAddress?: Text;
  readonly peerPrincipal?: Text;
  readonly localPrincipal?: Text;
  readonly requestedServerName?: Text;
  readonly transportFailure?: Text;
  readonly filterChain?: Text;
  readonly peerSubject?: Text;
  readonly peerCertificateSha256?: Uint8Array;
  readonly filterStatePrincipal?: Text;
  readonly peerWorkload?: Text;
  readonly peerNamespace?: Text;
  readonly peerCluster?: Text;
}

export interface OutcomeFacts {
  readonly code?: number;
  readonly protocol?: (typeof PROTOCOLS)[number];
  readonly grpcStatus?: number;
  readonly responseFlags?: number;
  readonly policyResult?: 0 | 1 | 2;
  readonly shadowResult?: 0 | 1 | 2;
  readonly method?: Text;
  readonly authority?: Text;
  readonly route?: Text;
  readonly upstreamCluster?: Text;
  readonly upstreamAddress?: Text;
  readonly upstreamPrincipal?: Text;
  readonly upstreamLocalPrincipal?: Text;
  readonly codeDetails?: Text;
  readonly policy?: Text;
  readonly shadowPolicy?: Text;
  readonly tokenIssuer?: Text;
  readonly requestContentType?: Text;
  readonly responseContentType?: Text;
  readonly upstreamFailure?: Text;
  readonly claimedPrincipal?: Text;
  readonly requestEncoding?: Text;
  readonly responseEncoding?: Text;
  readonly upstreamWorkload?: Text;
  readonly upstreamNamespace?: Text;
}

export interface RowFacts {
  /** An exchange where it is not given. */
  readonly kind?: Exclude<(typeof KINDS)[number], ''>;
  /** The end where it is not given; the others are repeats. */
  readonly phase?: (typeof PHASES)[number];
  /** The filter of its kind where it is not given. */
  readonly sensor?: (typeof SENSORS)[number];
  readonly verdict: Exclude<(typeof VERDICTS)[number], ''>;
  readonly connection: ConnectionFacts;
  readonly outcome: OutcomeFacts;
  readonly startNs: bigint;
  readonly durationUs?: number;
  readonly path?: Text;
  readonly userAgent?: Text;
  readonly subject?: Text;
  readonly headers?: Text;
  readonly traceText?: Text;
  readonly requestBytes?: number;
  readonly responseBytes?: number;
  readonly attempts?: number;
  /** 16 bytes of a UUID, or another text. */
  readonly requestId?: Uint8Array | string;
  readonly trace?: {
    readonly id: Uint8Array;
    readonly span: Uint8Array;
    readonly flags: number;
    readonly isB3?: boolean;
  };
  /** Further bits: cut, priority, repeat, short or malformed B3. */
  readonly flags?: number;
}

export interface BatchFacts {
  /** The newest where it is not given; what an older one has no place for is left out. */
  readonly version?: Shape['version'];
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly firstRecord: number;
  readonly rows: readonly RowFacts[];
  readonly secret?: Uint8Array;
  readonly previous?: Uint8Array;
  readonly checkpoint?: { readonly size: number; readonly root: Uint8Array };
  readonly isFin?: boolean;
  readonly isRollbackSeen?: boolean;
  readonly isAlive?: boolean;
  readonly life?: Partial<ProxyLife>;
  readonly role?: Exclude<(typeof ROLES)[number], ''>;
  readonly nodeId?: string;
  readonly nodeCluster?: string;
  readonly meshCluster?: string;
  readonly counters?: Partial<Counters>;
  readonly clock?: readonly [bigint, bigint, bigint, bigint];
}

/** Collects dictionary entries; equal ones get one number. */
class DictionaryBuilder {
  readonly parts: Uint8Array[] = [];
  private readonly numbers = new Map<string, number>();
  private readonly shape: Shape;

  constructor(shape: Shape) {
    this.shape = shape;
  }

  add(kind: number, bytes: Uint8Array): number {
    const key = `${kind} ${toHex(bytes)}`;
    const known = this.numbers.get(key);
    if (known !== undefined) return known;
    this.parts.push(concatBytes(Uint8Array.of(kind, bytes.length & 255, bytes.length >>> 8), bytes));
    this.numbers.set(key, this.parts.length);
    return this.parts.length;
  }

  text(kind: number, text: Text | undefined): number {
    return text === undefined ? 0 : this.add(kind, bytesOfText(text));
  }

  connection(facts: ConnectionFacts): number {
    const bytes = new Uint8Array(CONNECTION_BYTES);
    const view = new DataView(bytes.buffer);
    const set = (at: number, text: Text | undefined, kind = ENTRY_PUBLIC): void =>
      view.setUint16(at, this.text(kind, text), true);
    view.setBigUint64(CONNECTION.id, BigInt(facts.id ?? 0), true);
    view.setUint8(CONNECTION.direction, facts.direction ?? 0);
    view.setUint8(CONNECTION.mtls, facts.mtls === undefined ? 0 : facts.mtls ? 2 : 1);
    view.setUint8(CONNECTION.tlsVersion, TLS_VERSIONS.indexOf(facts.tlsVersion ?? ''));
    set(CONNECTION.sourceAddress, facts.sourceAddress, ENTRY_PRIVATE);
    set(CONNECTION.destinationAddress, facts.destinationAddress);
    set(CONNECTION.peerPrincipal, facts.peerPrincipal);
    set(CONNECTION.localPrincipal, facts.localPrincipal);
    set(CONNECTION.requestedServerName, facts.requestedServerName);
    set(CONNECTION.transportFailure, facts.transportFailure);
    set(CONNECTION.filterChain, facts.filterChain);
    set(CONNECTION.peerSubject, facts.peerSubject);
    if (this.shape.version === 2) {
      set(CONNECTION.filterStatePrincipal, facts.filterStatePrincipal);
      set(CONNECTION.peerWorkload, facts.peerWorkload);
      set(CONNECTION.peerNamespace, facts.peerNamespace);
      set(CONNECTION.peerCluster, facts.peerCluster);
    }
    const hasCertificate = facts.peerCertificateSha256 !== undefined ? CONNECTION_HAS_CERTIFICATE : 0;
    const isRejected = facts.transportFailure !== undefined ? CONNECTION_REJECTED : 0;
    view.setUint8(CONNECTION.flags, (hasCertificate | isRejected) & this.shape.connectionFlags);
    bytes.set(facts.peerCertificateSha256 ?? [], CONNECTION.peerCertificateSha256);
    return this.add(ENTRY_CONNECTION, bytes);
  }

  outcome(facts: OutcomeFacts): number {
    const bytes = new Uint8Array(this.shape.outcomeBytes);
    const view = new DataView(bytes.buffer);
    view.setUint16(OUTCOME.code, facts.code ?? 0, true);
    view.setUint8(OUTCOME.protocol, PROTOCOLS.indexOf(facts.protocol ?? ''));
    view.setUint8(OUTCOME.grpcStatus, facts.grpcStatus ?? GRPC_ABSENT);
    view.setBigUint64(OUTCOME.responseFlags, BigInt(facts.responseFlags ?? 0), true);
    view.setUint8(OUTCOME.policyResult, facts.policyResult ?? 0);
    view.setUint8(OUTCOME.shadowResult, facts.shadowResult ?? 0);
    const texts = [
      facts.claimedPrincipal,
      facts.method,
      facts.authority,
      facts.route,
      facts.upstreamCluster,
      facts.upstreamAddress,
      facts.upstreamPrincipal,
      facts.upstreamLocalPrincipal,
      facts.codeDetails,
      facts.policy,
      facts.shadowPolicy,
      facts.tokenIssuer,
      facts.requestContentType,
      facts.responseContentType,
      facts.upstreamFailure,
      facts.requestEncoding,
      facts.responseEncoding,
      facts.upstreamWorkload,
      facts.upstreamNamespace,
    ];
    for (const [i, text] of texts.entries()) {
      const at = OUTCOME.claimedPrincipal + 2 * i;
      if (at >= this.shape.outcomeStringsFrom && at <= this.shape.outcomeStringsTo)
        view.setUint16(at, this.text(ENTRY_PUBLIC, text), true);
    }
    return this.add(ENTRY_OUTCOME, bytes);
  }
}

function setU48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint16(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Bits that say what kind of report a row is. */
function reportBits({ kind = 'http', phase = 'end', sensor, trace }: RowFacts): number {
  const by = sensor ?? (kind === 'http' ? 'http_filter' : 'network_filter');
  const place = (PHASES.indexOf(phase) << PHASE_SHIFT) | (SENSORS.indexOf(by) << SENSOR_SHIFT);
  return place | (phase === 'end' ? 0 : BIT.repeat) | (trace?.isB3 === true ? BIT.b3 : 0);
}

function encodeRow(facts: RowFacts, dictionary: DictionaryBuilder, shape: Shape): Uint8Array {
  const bytes = new Uint8Array(ROW_BYTES);
  const view = new DataView(bytes.buffer);
  let flags = ((facts.flags ?? 0) | reportBits(facts)) & shape.rowFlags;
  const number = (value: number | undefined, bit: number, set: (value: number) => void): void => {
    if (value === undefined) return;
    flags |= bit;
    set(value);
  };
  view.setUint8(ROW.kind, KINDS.indexOf(facts.kind ?? 'http'));
  view.setUint8(ROW.verdict, VERDICTS.indexOf(facts.verdict));
  view.setUint16(ROW.connection, dictionary.connection(facts.connection), true);
  view.setUint16(ROW.outcome, dictionary.outcome(facts.outcome), true);
  for (const [at, text] of [
    [ROW.path, facts.path],
    [ROW.userAgent, facts.userAgent],
    [ROW.subject, facts.subject],
    [ROW.headers, facts.headers],
    [ROW.traceText, facts.traceText],
  ] as const)
    view.setUint16(at, dictionary.text(ENTRY_PRIVATE, text), true);
  view.setBigInt64(ROW.startNs, facts.startNs, true);
  number(facts.durationUs, BIT.duration, (value) => setU48(view, ROW.durationUs, value));
  number(facts.requestBytes, BIT.requestBytes, (value) => setU48(view, ROW.requestBytes, value));
  number(facts.responseBytes, BIT.responseBytes, (value) => setU48(view, ROW.responseBytes, value));
  number(facts.attempts, BIT.attempts, (value) => view.setUint8(ROW.attempts, value));
  if (typeof facts.requestId === 'string') {
    flags |= BIT.requestIdText;
    view.setUint16(ROW.requestId, dictionary.text(ENTRY_PRIVATE, facts.requestId), true);
  } else if (facts.requestId !== undefined) {
    flags |= BIT.requestId;
    bytes.set(facts.requestId, ROW.requestId);
  }
  if (facts.trace !== undefined) {
    flags |= BIT.trace;
    view.setUint8(ROW.traceFlags, facts.trace.flags);
    bytes.set(facts.trace.id, ROW.traceId);
    bytes.set(facts.trace.span, ROW.spanId);
  }
  view.setUint32(ROW.flags, flags, true);
  return bytes;
}

function setCounters(view: DataView, { counters = {}, firstRecord, rows }: BatchFacts, shape: Shape): void {
  const recorded = counters.recorded ?? firstRecord + rows.length;
  const dropped = (counters.droppedBuffersFull ?? 0) + (counters.droppedUnreadable ?? 0);
  const values: Counters = {
    recorded,
    seen: recorded + dropped + (counters.droppedNoRandom ?? 0),
    droppedBuffersFull: 0,
    droppedUnreadable: 0,
    truncated: 0,
    sendFailures: 0,
    rollbacksSeen: 0,
    droppedNoRandom: 0,
    interim: rows.filter(({ phase = 'end' }) => phase !== 'end').length,
    unwatched: 0,
    ...counters,
  };
  const newer: readonly (keyof Counters)[] = ['droppedNoRandom', 'interim', 'unwatched'];
  for (const name of Object.keys(values) as (keyof Counters)[])
    if (shape.version === 2 || !newer.includes(name)) view.setBigUint64(HEADER[name], BigInt(values[name]), true);
}

function setLife(wire: Uint8Array, view: DataView, life: Partial<ProxyLife>): void {
  view.setBigInt64(HEADER.proxySinceWallNs, life.proxySinceWallNs ?? 0n, true);
  view.setUint32(HEADER.aliveIntervalMs, life.aliveIntervalMs ?? 60_000, true);
  view.setUint16(HEADER.vmsKnown, life.vmsKnown ?? 0, true);
  view.setUint16(HEADER.vmsAlive, life.vmsAlive ?? 0, true);
  wire.set(life.silentStream ?? [], HEADER.silentStream);
}

function setHeader(wire: Uint8Array, view: DataView, facts: BatchFacts, shape: Shape): void {
  view.setUint32(HEADER.magic, MAGIC, true);
  view.setUint16(HEADER.version, shape.version, true);
  view.setUint16(HEADER.headerBytes, shape.headerBytes, true);
  view.setUint32(HEADER.totalBytes, wire.length, true);
  view.setUint32(HEADER.rowCount, facts.rows.length, true);
  view.setUint16(HEADER.rowBytes, ROW_BYTES, true);
  const flags =
    (facts.isFin ? FLAG_FIN : 0) | (facts.isRollbackSeen ? FLAG_ROLLBACK_SEEN : 0) | (facts.isAlive ? FLAG_ALIVE : 0);
  view.setUint16(HEADER.flags, flags, true);
  view.setUint8(HEADER.role, ROLES.indexOf(facts.role ?? 'sidecar'));
  view.setUint32(HEADER.filterVersion, 256, true);
  wire.set(facts.stream, HEADER.stream);
  view.setBigUint64(HEADER.batchNumber, BigInt(facts.batchNumber), true);
  view.setBigUint64(HEADER.firstRecord, BigInt(facts.firstRecord), true);
  setCounters(view, facts, shape);
  if (shape.version === 2) setLife(wire, view, facts.life ?? {});
  const start = facts.rows[0]?.startNs ?? 0n;
  const [openedWall, sealedWall, openedMono, sealedMono] = facts.clock ?? [
    start,
    start + 1_000_000_000n,
    1_000_000_000n,
    2_000_000_000n,
  ];
  view.setBigInt64(HEADER.openedWallNs, openedWall, true);
  view.setBigInt64(HEADER.sealedWallNs, sealedWall, true);
  view.setBigUint64(HEADER.openedMonoNs, openedMono, true);
  view.setBigUint64(HEADER.sealedMonoNs, sealedMono, true);
  if (facts.previous !== undefined) wire.set(facts.previous, HEADER.previous);
  if (facts.checkpoint !== undefined) {
    view.setBigUint64(HEADER.checkpointSize, BigInt(facts.checkpoint.size), true);
    wire.set(facts.checkpoint.root, HEADER.checkpointRoot);
  }
  wire.set(
    facts.secret ?? sha256(concatBytes(utf8('test secret'), facts.stream, utf8(String(facts.batchNumber)))),
    HEADER.secret,
  );
}

/** Encodes a batch; the result follows docs/formats.md for every set of facts within its limits. */
export function encodeBatch(facts: BatchFacts): Uint8Array {
  const shape = SHAPES[facts.version ?? VERSION];
  const { headerBytes } = shape;
  const dictionary = new DictionaryBuilder(shape);
  const [nodeId, nodeCluster, meshCluster] = [facts.nodeId, facts.nodeCluster, facts.meshCluster].map((text) =>
    dictionary.text(ENTRY_PUBLIC, text),
  ) as [number, number, number];
  const rows = concatBytes(...facts.rows.map((row) => encodeRow(row, dictionary, shape)));
  const entries = concatBytes(...dictionary.parts);
  const wire = new Uint8Array(headerBytes + rows.length + entries.length + TRAILER_BYTES);
  const view = new DataView(wire.buffer);
  setHeader(wire, view, facts, shape);
  view.setUint16(HEADER.dictionaryCount, dictionary.parts.length, true);
  view.setUint32(HEADER.dictionaryBytes, entries.length, true);
  view.setUint16(HEADER.nodeId, nodeId, true);
  view.setUint16(HEADER.nodeCluster, nodeCluster, true);
  view.setUint16(HEADER.meshCluster, meshCluster, true);
  wire.set(rows, headerBytes);
  wire.set(entries, headerBytes + rows.length);
  return sealBatch(wire);
}

/** Puts the batch hash at the end of a batch, after a change of its bytes. */
export function sealBatch(wire: Uint8Array): Uint8Array {
  wire.set(sha256(wire.subarray(0, wire.length - TRAILER_BYTES)), wire.length - TRAILER_BYTES);
  return wire;
}
