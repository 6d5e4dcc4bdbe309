// An encoder of wire batches, for tests, benchmarks and golden files: the proxies' encoder is the filter.

import { concatBytes, toHex, utf8 } from '../bytes.ts';
import { sha256 } from '../hash.ts';
import {
  BIT,
  CONNECTION,
  CONNECTION_BYTES,
  CONNECTION_HAS_CERTIFICATE,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  FLAG_FIN,
  FLAG_ROLLBACK_SEEN,
  GRPC_ABSENT,
  HEADER,
  HEADER_BYTES,
  KIND_HTTP,
  MAGIC,
  OUTCOME,
  OUTCOME_BYTES,
  PROTOCOLS,
  ROLES,
  ROW,
  ROW_BYTES,
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
}

export interface RowFacts {
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
  readonly trace?: { readonly id: Uint8Array; readonly span: Uint8Array; readonly flags: number };
  /** Further bits: cut, priority. */
  readonly flags?: number;
}

export interface BatchFacts {
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly firstRecord: number;
  readonly rows: readonly RowFacts[];
  readonly secret?: Uint8Array;
  readonly previous?: Uint8Array;
  readonly checkpoint?: { readonly size: number; readonly root: Uint8Array };
  readonly isFin?: boolean;
  readonly isRollbackSeen?: boolean;
  readonly role?: Exclude<(typeof ROLES)[number], ''>;
  readonly nodeId?: string;
  readonly nodeCluster?: string;
  readonly meshCluster?: string;
  readonly counters?: Partial<
    Record<
      'seen' | 'recorded' | 'droppedBuffersFull' | 'droppedUnreadable' | 'truncated' | 'sendFailures' | 'rollbacksSeen',
      number
    >
  >;
  readonly clock?: readonly [bigint, bigint, bigint, bigint];
}

/** Collects dictionary entries; equal ones get one number. */
class DictionaryBuilder {
  readonly parts: Uint8Array[] = [];
  private readonly numbers = new Map<string, number>();

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
    if (facts.peerCertificateSha256 !== undefined) {
      view.setUint8(CONNECTION.flags, CONNECTION_HAS_CERTIFICATE);
      bytes.set(facts.peerCertificateSha256, CONNECTION.peerCertificateSha256);
    }
    return this.add(ENTRY_CONNECTION, bytes);
  }

  outcome(facts: OutcomeFacts): number {
    const bytes = new Uint8Array(OUTCOME_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint16(OUTCOME.code, facts.code ?? 0, true);
    view.setUint8(OUTCOME.protocol, PROTOCOLS.indexOf(facts.protocol ?? ''));
    view.setUint8(OUTCOME.grpcStatus, facts.grpcStatus ?? GRPC_ABSENT);
    view.setBigUint64(OUTCOME.responseFlags, BigInt(facts.responseFlags ?? 0), true);
    view.setUint8(OUTCOME.policyResult, facts.policyResult ?? 0);
    view.setUint8(OUTCOME.shadowResult, facts.shadowResult ?? 0);
    const texts = [
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
    ];
    for (const [i, text] of texts.entries())
      view.setUint16(OUTCOME.method + 2 * i, this.text(ENTRY_PUBLIC, text), true);
    return this.add(ENTRY_OUTCOME, bytes);
  }
}

function setU48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint16(at + 4, Math.floor(value / 2 ** 32), true);
}

function encodeRow(facts: RowFacts, dictionary: DictionaryBuilder): Uint8Array {
  const bytes = new Uint8Array(ROW_BYTES);
  const view = new DataView(bytes.buffer);
  let flags = facts.flags ?? 0;
  const number = (value: number | undefined, bit: number, set: (value: number) => void): void => {
    if (value === undefined) return;
    flags |= bit;
    set(value);
  };
  view.setUint8(ROW.kind, KIND_HTTP);
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

function setCounters(view: DataView, { counters = {}, firstRecord, rows }: BatchFacts): void {
  const recorded = counters.recorded ?? firstRecord + rows.length;
  const values = {
    recorded,
    seen: counters.seen ?? recorded + (counters.droppedBuffersFull ?? 0) + (counters.droppedUnreadable ?? 0),
    droppedBuffersFull: 0,
    droppedUnreadable: 0,
    truncated: 0,
    sendFailures: 0,
    rollbacksSeen: 0,
    ...counters,
  };
  for (const name of [
    'seen',
    'recorded',
    'droppedBuffersFull',
    'droppedUnreadable',
    'truncated',
    'sendFailures',
    'rollbacksSeen',
  ] as const) {
    view.setBigUint64(HEADER[name], BigInt(values[name]), true);
  }
}

function setHeader(wire: Uint8Array, view: DataView, facts: BatchFacts): void {
  view.setUint32(HEADER.magic, MAGIC, true);
  view.setUint16(HEADER.version, VERSION, true);
  view.setUint16(HEADER.headerBytes, HEADER_BYTES, true);
  view.setUint32(HEADER.totalBytes, wire.length, true);
  view.setUint32(HEADER.rowCount, facts.rows.length, true);
  view.setUint16(HEADER.rowBytes, ROW_BYTES, true);
  view.setUint16(HEADER.flags, (facts.isFin ? FLAG_FIN : 0) | (facts.isRollbackSeen ? FLAG_ROLLBACK_SEEN : 0), true);
  view.setUint8(HEADER.role, ROLES.indexOf(facts.role ?? 'sidecar'));
  view.setUint32(HEADER.filterVersion, 256, true);
  wire.set(facts.stream, HEADER.stream);
  view.setBigUint64(HEADER.batchNumber, BigInt(facts.batchNumber), true);
  view.setBigUint64(HEADER.firstRecord, BigInt(facts.firstRecord), true);
  setCounters(view, facts);
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
  const dictionary = new DictionaryBuilder();
  const [nodeId, nodeCluster, meshCluster] = [facts.nodeId, facts.nodeCluster, facts.meshCluster].map((text) =>
    dictionary.text(ENTRY_PUBLIC, text),
  ) as [number, number, number];
  const rows = concatBytes(...facts.rows.map((row) => encodeRow(row, dictionary)));
  const entries = concatBytes(...dictionary.parts);
  const wire = new Uint8Array(HEADER_BYTES + rows.length + entries.length + TRAILER_BYTES);
  const view = new DataView(wire.buffer);
  setHeader(wire, view, facts);
  view.setUint16(HEADER.dictionaryCount, dictionary.parts.length, true);
  view.setUint32(HEADER.dictionaryBytes, entries.length, true);
  view.setUint16(HEADER.nodeId, nodeId, true);
  view.setUint16(HEADER.nodeCluster, nodeCluster, true);
  view.setUint16(HEADER.meshCluster, meshCluster, true);
  wire.set(rows, HEADER_BYTES);
  wire.set(entries, HEADER_BYTES + rows.length);
  return sealBatch(wire);
}

/** Puts the batch hash at the end of a batch, after a change of its bytes. */
export function sealBatch(wire: Uint8Array): Uint8Array {
  wire.set(sha256(wire.subarray(0, wire.length - TRAILER_BYTES)), wire.length - TRAILER_BYTES);
  return wire;
}
