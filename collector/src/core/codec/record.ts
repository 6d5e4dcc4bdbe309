// From row and dictionary to the record that people read (docs/formats.md section 6, docs/query.md).

import { toHex } from '../bytes.ts';
import type { FlowRecord, Peer, PolicyResult, Reporter } from '../record.ts';
import type { Batch } from './batch.ts';
import { rowOf } from './batch.ts';
import { requestIdText } from './dictionary.ts';
import {
  BIT,
  CONNECTION,
  CONNECTION_HAS_CERTIFICATE,
  GRPC_ABSENT,
  OUTCOME,
  PROTOCOLS,
  ROW,
  TLS_VERSIONS,
  VERDICTS,
} from './layout.ts';

/** What a record is built from: a batch, or the part of one that a proof shows. */
export interface RecordSource {
  /** The 88 bytes. */
  readonly row: Uint8Array;
  readonly leafIndex: number;
  readonly rowIndex: number;
  readonly role: Batch['role'];
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly firstRecord: number;
  readonly nodeId: Uint8Array | undefined;
  readonly nodeCluster: Uint8Array | undefined;
  readonly meshCluster: Uint8Array | undefined;
  /** Bytes of a dictionary entry, by number. */
  entry(number: number): Uint8Array;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** UTF-8 text; bytes that do not decode become `%XX`, and the second value says that there were some. */
export function readableText(bytes: Uint8Array): readonly [string, boolean] {
  const text = decoder.decode(bytes);
  if (!text.includes('\uFFFD')) return [text, true];
  let readable = '';
  let isUtf8 = true;
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      readable += `%${(bytes[at] ?? 0).toString(16).toUpperCase().padStart(2, '0')}`;
      isUtf8 = false;
    } else {
      readable += decoder.decode(bytes.subarray(at, at + length));
    }
    at += Math.max(1, length);
  }
  return [readable, isUtf8];
}

/** Length of the UTF-8 sequence at an offset, 0 where there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    const part = bytes.subarray(at, at + length);
    const text = decoder.decode(part);
    if ([...text].length === 1 && equal(encoder.encode(text), part)) return length;
  }
  return 0;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

const u48 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;

const SECOND_NS = 1_000_000_000n;

/** RFC 3339 in UTC with nanoseconds. */
export function timeText(ns: bigint): string {
  const seconds = ns / SECOND_NS;
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) return `@${ns}ns`;
  return `${date.toISOString().slice(0, -5)}.${(ns % SECOND_NS).toString().padStart(9, '0')}Z`;
}

/** Microseconds as decimal seconds, `0.004512s`. */
export function durationText(us: number): string {
  return `${Math.floor(us / 1e6)}.${String(us % 1e6).padStart(6, '0')}s`;
}

function uuidText(bytes: Uint8Array): string {
  const hex = toHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Reads one row with its connection and outcome; keeps the names of fields that are not UTF-8. */
class Reader {
  readonly row: DataView;
  readonly connection: DataView;
  readonly outcome: DataView;
  readonly notUtf8: string[] = [];
  private readonly source: RecordSource;

  constructor(source: RecordSource) {
    this.source = source;
    this.row = viewOf(source.row);
    this.connection = viewOf(source.entry(this.row.getUint16(ROW.connection, true)));
    this.outcome = viewOf(source.entry(this.row.getUint16(ROW.outcome, true)));
  }

  text(name: string, view: DataView, at: number): string | undefined {
    return this.bytesText(name, view.getUint16(at, true));
  }

  bytesText(name: string, number: number): string | undefined {
    return number === 0 ? undefined : this.plainText(name, this.source.entry(number));
  }

  plainText(name: string, bytes: Uint8Array | undefined): string | undefined {
    if (bytes === undefined) return undefined;
    const [text, isUtf8] = readableText(bytes);
    if (!isUtf8) this.notUtf8.push(name);
    return text;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** An object without its undefined members: absent is absent. */
function present<T extends object>(value: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}

/** Namespace and service account of `spiffe://<domain>/ns/<namespace>/sa/<account>`, as Istio names workloads. */
function peerOf(principal: string | undefined, address: string | undefined, workload: string | undefined): Peer {
  const match = principal === undefined ? null : /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal);
  return present<Peer>({ address, principal, namespace: match?.[1], service_account: match?.[2], workload });
}

function reporterOf(role: Batch['role'], direction: number): Reporter {
  if (role !== 'sidecar') return role;
  return direction === 2 ? 'source' : 'destination';
}

/** Who spoke to whom. A peer's certificate is an identity only when the connection did not fail its verification. */
function sidesOf(
  r: Reader,
  reporter: Reporter,
  nodeCluster: string | undefined,
): { readonly source: Peer; readonly destination: Peer } {
  const { connection, outcome } = r;
  const isVerified =
    connection.getUint8(CONNECTION.mtls) === 2 && connection.getUint16(CONNECTION.transportFailure, true) === 0;
  const sourceAddress = r.text('source.address', connection, CONNECTION.sourceAddress);
  const listener = r.text('destination.address', connection, CONNECTION.destinationAddress);
  const upstream = r.text('upstream.address', outcome, OUTCOME.upstreamAddress);
  const own =
    nodeCluster !== undefined && /^[^.]+\.[^.]+$/.test(nodeCluster)
      ? nodeCluster.slice(0, nodeCluster.indexOf('.'))
      : undefined;
  if (reporter === 'destination') {
    const peer = isVerified ? r.text('source.principal', connection, CONNECTION.peerPrincipal) : undefined;
    const self = r.text('destination.principal', connection, CONNECTION.localPrincipal);
    return { source: peerOf(peer, sourceAddress, undefined), destination: peerOf(self, listener, own) };
  }
  const upstreamPrincipal = r.text('destination.principal', outcome, OUTCOME.upstreamPrincipal);
  const local = r.text('source.principal', outcome, OUTCOME.upstreamLocalPrincipal);
  const peer = isVerified ? r.text('source.principal', connection, CONNECTION.peerPrincipal) : undefined;
  const isSource = reporter === 'source';
  return {
    source: peerOf(isSource ? local : peer, sourceAddress, isSource ? own : undefined),
    destination: peerOf(upstreamPrincipal, upstream ?? listener, undefined),
  };
}

function headersOf(block: string | undefined): Record<string, string> | undefined {
  if (block === undefined) return undefined;
  const headers: Record<string, string> = {};
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 2);
    headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value;
  }
  return headers;
}

function requestOf(r: Reader, flags: number): FlowRecord['request'] {
  const { row, outcome } = r;
  const uuid =
    (flags & BIT.requestId) === 0
      ? undefined
      : uuidText(new Uint8Array(row.buffer, row.byteOffset + ROW.requestId, 16));
  return present<FlowRecord['request']>({
    id: uuid ?? r.bytesText('request.id', requestIdText(row, 0)),
    method: r.text('request.method', outcome, OUTCOME.method),
    host: r.text('request.host', outcome, OUTCOME.authority),
    path: r.text('request.path', row, ROW.path),
    protocol:
      PROTOCOLS[outcome.getUint8(OUTCOME.protocol)] || (outcome.getUint8(OUTCOME.protocol) === 0 ? undefined : 'other'),
    useragent: r.text('request.useragent', row, ROW.userAgent),
    headers: headersOf(r.text('request.headers', row, ROW.headers)),
    content_type: r.text('request.content_type', outcome, OUTCOME.requestContentType),
    total_size: (flags & BIT.requestBytes) === 0 ? undefined : u48(row, ROW.requestBytes),
  });
}

function responseOf(r: Reader, flags: number): FlowRecord['response'] {
  const { row, outcome } = r;
  const grpc = outcome.getUint8(OUTCOME.grpcStatus);
  return present<FlowRecord['response']>({
    code: outcome.getUint16(OUTCOME.code, true) || undefined,
    code_details: r.text('response.code_details', outcome, OUTCOME.codeDetails),
    flags:
      outcome.getUint32(OUTCOME.responseFlags, true) + outcome.getUint32(OUTCOME.responseFlags + 4, true) * 2 ** 32,
    grpc_status: grpc === GRPC_ABSENT ? undefined : grpc,
    content_type: r.text('response.content_type', outcome, OUTCOME.responseContentType),
    total_size: (flags & BIT.responseBytes) === 0 ? undefined : u48(row, ROW.responseBytes),
  });
}

function connectionOf(r: Reader): FlowRecord['connection'] {
  const { connection } = r;
  const id = connection.getUint32(CONNECTION.id, true) + connection.getUint32(CONNECTION.id + 4, true) * 2 ** 32;
  const mtls = connection.getUint8(CONNECTION.mtls);
  const tls = connection.getUint8(CONNECTION.tlsVersion);
  const digest = new Uint8Array(connection.buffer, connection.byteOffset + CONNECTION.peerCertificateSha256, 32);
  const direction = connection.getUint8(CONNECTION.direction);
  return present<FlowRecord['connection']>({
    id: id || undefined,
    direction: direction === 1 ? 'inbound' : direction === 2 ? 'outbound' : undefined,
    mtls: mtls === 0 ? undefined : mtls === 2,
    tls_version: TLS_VERSIONS[tls] || (tls === 0 ? undefined : 'other'),
    requested_server_name: r.text('connection.requested_server_name', connection, CONNECTION.requestedServerName),
    sha256_peer_certificate_digest:
      connection.getUint8(CONNECTION.flags) & CONNECTION_HAS_CERTIFICATE ? toHex(digest) : undefined,
    subject_peer_certificate: r.text('connection.subject_peer_certificate', connection, CONNECTION.peerSubject),
    transport_failure_reason: r.text('connection.transport_failure_reason', connection, CONNECTION.transportFailure),
    filter_chain: r.text('connection.filter_chain', connection, CONNECTION.filterChain),
  });
}

const RESULTS: readonly (PolicyResult | undefined)[] = [undefined, 'allowed', 'denied'];

function traceOf(r: Reader, flags: number): FlowRecord['trace'] {
  const { row } = r;
  const hasTrace = (flags & BIT.trace) !== 0;
  const hex = (at: number, length: number): string => toHex(new Uint8Array(row.buffer, row.byteOffset + at, length));
  return present<FlowRecord['trace']>({
    id: hasTrace ? hex(ROW.traceId, 16) : undefined,
    span_id: hasTrace ? hex(ROW.spanId, 8) : undefined,
    sampled: hasTrace ? (row.getUint8(ROW.traceFlags) & 1) === 1 : undefined,
    malformed: r.text('trace.malformed', row, ROW.traceText),
  });
}

const CUTS = [
  [BIT.pathCut, 'request.path'],
  [BIT.userAgentCut, 'request.useragent'],
  [BIT.headersCut, 'request.headers'],
  [BIT.otherCut, 'other'],
] as const;

/** Builds the record of one row. The row must be from a checked batch or a verified proof. */
export function recordOf(source: RecordSource): FlowRecord {
  const r = new Reader(source);
  const { row, outcome } = r;
  const flags = row.getUint32(ROW.flags, true);
  const reporter = reporterOf(source.role, r.connection.getUint8(CONNECTION.direction));
  const nodeCluster = r.plainText('node.cluster', source.nodeCluster);
  const attempts = (flags & BIT.attempts) === 0 ? undefined : row.getUint8(ROW.attempts);
  const truncated = CUTS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  const body = {
    id: `${source.leafIndex}.${source.rowIndex}`,
    time: timeText(row.getBigInt64(ROW.startNs, true)),
    duration: (flags & BIT.duration) === 0 ? undefined : durationText(u48(row, ROW.durationUs)),
    verdict: VERDICTS[row.getUint8(ROW.verdict)] as FlowRecord['verdict'],
    reporter,
    cluster: r.plainText('cluster', source.meshCluster),
    policy: r.text('policy', outcome, OUTCOME.policy),
    ...sidesOf(r, reporter, nodeCluster),
    request: requestOf(r, flags),
    response: responseOf(r, flags),
    connection: connectionOf(r),
    upstream: present<FlowRecord['upstream']>({
      address: r.text('upstream.address', outcome, OUTCOME.upstreamAddress),
      cluster: r.text('upstream.cluster', outcome, OUTCOME.upstreamCluster),
      principal: r.text('upstream.principal', outcome, OUTCOME.upstreamPrincipal),
      request_attempt_count: attempts,
      transport_failure_reason: r.text('upstream.transport_failure_reason', outcome, OUTCOME.upstreamFailure),
    }),
    route: r.text('route', outcome, OUTCOME.route),
    rbac: present<FlowRecord['rbac']>({
      result: RESULTS[outcome.getUint8(OUTCOME.policyResult)],
      shadow_result: RESULTS[outcome.getUint8(OUTCOME.shadowResult)],
      shadow_policy: r.text('rbac.shadow_policy', outcome, OUTCOME.shadowPolicy),
    }),
    token: present<FlowRecord['token']>({
      issuer: r.text('token.issuer', outcome, OUTCOME.tokenIssuer),
      subject: r.text('token.subject', row, ROW.subject),
    }),
    trace: traceOf(r, flags),
    node: present<FlowRecord['node']>({ id: r.plainText('node.id', source.nodeId), cluster: nodeCluster }),
  };
  const record = present<FlowRecord['record']>({
    stream: toHex(source.stream),
    number: source.firstRecord + source.rowIndex,
    batch: source.batchNumber,
    truncated: truncated.length > 0 ? truncated : undefined,
    not_utf8: r.notUtf8.length > 0 ? [...new Set(r.notUtf8)] : undefined,
  });
  return present<FlowRecord>({ ...body, record });
}

/** The source of row i of a decoded batch. */
export function sourceOf(batch: Batch, leafIndex: number, rowIndex: number): RecordSource {
  const { dictionary, role, stream, batchNumber, firstRecord } = batch;
  const entry = (number: number): Uint8Array => dictionary.bytes(number);
  const optional = (number: number): Uint8Array | undefined => (number === 0 ? undefined : entry(number));
  return {
    row: rowOf(batch, rowIndex),
    leafIndex,
    rowIndex,
    role,
    stream,
    batchNumber,
    firstRecord,
    nodeId: optional(batch.nodeId),
    nodeCluster: optional(batch.nodeCluster),
    meshCluster: optional(batch.meshCluster),
    entry,
  };
}
