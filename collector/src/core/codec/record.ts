// From row and dictionary to the record that people read (docs/formats.md section 6, docs/query.md).
// Strings, connections, outcomes and sides are shared by many records of a batch, and are read once.

import { toHex } from '../bytes.ts';
import type { FlowRecord, Peer, PolicyResult, Reporter } from '../record.ts';
import type { Batch } from './batch.ts';
import { rowOf } from './batch.ts';
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
import { requestIdText } from './rules.ts';
import { durationText, type ReadableText, readableText, timeText, uuidText } from './text.ts';

/** What all records of a batch share, from the batch itself or from the part that a proof shows. */
export interface RecordContext {
  readonly leafIndex: number;
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

/** What one record is built from. */
export interface RecordSource {
  readonly reader: RecordReader;
  /** The 88 bytes. */
  readonly row: Uint8Array;
  readonly rowIndex: number;
}

/** Values that records share, with the names of those that are not UTF-8. */
interface Part<T> {
  readonly value: T;
  readonly notUtf8: readonly string[];
}

interface Outcome {
  readonly bytes: DataView;
  readonly policy: string | undefined;
  readonly route: string | undefined;
  readonly method: string | undefined;
  readonly host: string | undefined;
  readonly protocol: string | undefined;
  readonly requestContentType: string | undefined;
  readonly response: FlowRecord['response'];
  readonly upstream: FlowRecord['upstream'];
  readonly rbac: FlowRecord['rbac'];
  readonly tokenIssuer: string | undefined;
}

interface Connection {
  readonly bytes: DataView;
  readonly connection: FlowRecord['connection'];
}

interface Sides {
  readonly source: Peer;
  readonly destination: Peer;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const u48 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
const u64 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
const hexAt = (view: DataView, at: number, length: number): string =>
  toHex(new Uint8Array(view.buffer, view.byteOffset + at, length));
/** A name from a table: absent for 0, `other` for what the table does not have. */
const nameIn = (names: readonly string[], value: number): string | undefined =>
  value === 0 ? undefined : (names[value] ?? 'other');

/** An object without its undefined members: absent is absent. */
function present<T extends object>(value: { readonly [K in keyof T]: T[K] | undefined }): T {
  const out: Record<string, unknown> = {};
  for (const key in value) if (value[key] !== undefined) out[key] = value[key];
  return out as T;
}

const RESULTS: readonly (PolicyResult | undefined)[] = [undefined, 'allowed', 'denied'];
const DIRECTIONS = [undefined, 'inbound', 'outbound'] as const;
const OUTBOUND = 2;
const MTLS_TRUE = 2;
const CUTS = [
  [BIT.pathCut, 'request.path'],
  [BIT.userAgentCut, 'request.useragent'],
  [BIT.headersCut, 'request.headers'],
  [BIT.otherCut, 'other'],
] as const;

/** Reads records of one batch. */
export class RecordReader {
  private readonly context: RecordContext;
  private readonly streamText: string;
  private readonly common: Part<{ readonly cluster: string | undefined; readonly node: FlowRecord['node'] }>;
  private readonly texts = new Map<number, ReadableText>();
  private readonly connections = new Map<number, Part<Connection>>();
  private readonly outcomes = new Map<number, Part<Outcome>>();
  private readonly sides = new Map<number, Part<Sides>>();

  constructor(context: RecordContext) {
    this.context = context;
    this.streamText = toHex(context.stream);
    const notUtf8: string[] = [];
    const text = (name: string, bytes: Uint8Array | undefined): string | undefined => {
      if (bytes === undefined) return undefined;
      const readable = readableText(bytes);
      if (!readable.isUtf8) notUtf8.push(name);
      return readable.text;
    };
    const cluster = text('cluster', context.meshCluster);
    const node = present<FlowRecord['node']>({
      id: text('node.id', context.nodeId),
      cluster: text('node.cluster', context.nodeCluster),
    });
    this.common = { value: { cluster, node }, notUtf8 };
  }

  get leafIndex(): number {
    return this.context.leafIndex;
  }

  /** Builds the record of one row. The row must be from a checked batch or a verified proof. */
  record(bytes: Uint8Array, rowIndex: number): FlowRecord {
    const { leafIndex, batchNumber, firstRecord, role } = this.context;
    const row = viewOf(bytes);
    const flags = row.getUint32(ROW.flags, true);
    const connectionNumber = row.getUint16(ROW.connection, true);
    const outcomeNumber = row.getUint16(ROW.outcome, true);
    const connection = this.connection(connectionNumber);
    const outcome = this.outcome(outcomeNumber);
    const reporter = reporterOf(role, connection.value.bytes.getUint8(CONNECTION.direction));
    const sides = this.sidesOf(reporter, connectionNumber, outcomeNumber);
    const { policy, route, upstream, rbac, tokenIssuer } = outcome.value;
    const notUtf8: string[] = [];
    const request = this.request(row, flags, outcome.value, notUtf8);
    const tokenSubject = this.text(row, ROW.subject, 'token.subject', notUtf8);
    const trace = this.trace(row, flags, notUtf8);
    notUtf8.push(...connection.notUtf8, ...outcome.notUtf8, ...sides.notUtf8, ...this.common.notUtf8);
    const truncated = CUTS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
    return present<FlowRecord>({
      id: `${leafIndex}.${rowIndex}`,
      time: timeText(row.getBigInt64(ROW.startNs, true)),
      duration: (flags & BIT.duration) === 0 ? undefined : durationText(u48(row, ROW.durationUs)),
      verdict: VERDICTS[row.getUint8(ROW.verdict)] as FlowRecord['verdict'],
      reporter,
      cluster: this.common.value.cluster,
      policy,
      source: sides.value.source,
      destination: sides.value.destination,
      request,
      response:
        (flags & BIT.responseBytes) === 0
          ? outcome.value.response
          : { ...outcome.value.response, total_size: u48(row, ROW.responseBytes) },
      connection: connection.value.connection,
      upstream:
        (flags & BIT.attempts) === 0 ? upstream : { ...upstream, request_attempt_count: row.getUint8(ROW.attempts) },
      route,
      rbac,
      token: present<FlowRecord['token']>({ issuer: tokenIssuer, subject: tokenSubject }),
      trace,
      node: this.common.value.node,
      record: present<FlowRecord['record']>({
        stream: this.streamText,
        number: firstRecord + rowIndex,
        batch: batchNumber,
        truncated: truncated.length > 0 ? truncated : undefined,
        not_utf8: notUtf8.length > 0 ? [...new Set(notUtf8)].sort() : undefined,
      }),
    });
  }

  private text(view: DataView, at: number, name: string, notUtf8: string[]): string | undefined {
    return this.textOf(view.getUint16(at, true), name, notUtf8);
  }

  private textOf(number: number, name: string, notUtf8: string[]): string | undefined {
    if (number === 0) return undefined;
    let readable = this.texts.get(number);
    if (readable === undefined) {
      readable = readableText(this.context.entry(number));
      this.texts.set(number, readable);
    }
    if (!readable.isUtf8) notUtf8.push(name);
    return readable.text;
  }

  private request(row: DataView, flags: number, outcome: Outcome, notUtf8: string[]): FlowRecord['request'] {
    return present<FlowRecord['request']>({
      id:
        (flags & BIT.requestId) === 0
          ? this.textOf(requestIdText(row, 0), 'request.id', notUtf8)
          : uuidText(new Uint8Array(row.buffer, row.byteOffset + ROW.requestId, 16)),
      method: outcome.method,
      host: outcome.host,
      path: this.text(row, ROW.path, 'request.path', notUtf8),
      protocol: outcome.protocol,
      useragent: this.text(row, ROW.userAgent, 'request.useragent', notUtf8),
      headers: headersOf(this.text(row, ROW.headers, 'request.headers', notUtf8)),
      content_type: outcome.requestContentType,
      total_size: (flags & BIT.requestBytes) === 0 ? undefined : u48(row, ROW.requestBytes),
    });
  }

  private trace(row: DataView, flags: number, notUtf8: string[]): FlowRecord['trace'] {
    const hasTrace = (flags & BIT.trace) !== 0;
    return present<FlowRecord['trace']>({
      id: hasTrace ? hexAt(row, ROW.traceId, 16) : undefined,
      span_id: hasTrace ? hexAt(row, ROW.spanId, 8) : undefined,
      sampled: hasTrace ? (row.getUint8(ROW.traceFlags) & 1) === 1 : undefined,
      malformed: this.text(row, ROW.traceText, 'trace.malformed', notUtf8),
    });
  }

  private connection(number: number): Part<Connection> {
    const known = this.connections.get(number);
    if (known !== undefined) return known;
    const bytes = viewOf(this.context.entry(number));
    const notUtf8: string[] = [];
    const text = (at: number, name: string): string | undefined => this.text(bytes, at, name, notUtf8);
    const hasCertificate = (bytes.getUint8(CONNECTION.flags) & CONNECTION_HAS_CERTIFICATE) !== 0;
    const mtls = bytes.getUint8(CONNECTION.mtls);
    const connection = present<FlowRecord['connection']>({
      id: u64(bytes, CONNECTION.id) || undefined,
      direction: DIRECTIONS[bytes.getUint8(CONNECTION.direction)],
      mtls: mtls === 0 ? undefined : mtls === MTLS_TRUE,
      tls_version: nameIn(TLS_VERSIONS, bytes.getUint8(CONNECTION.tlsVersion)),
      requested_server_name: text(CONNECTION.requestedServerName, 'connection.requested_server_name'),
      sha256_peer_certificate_digest: hasCertificate ? hexAt(bytes, CONNECTION.peerCertificateSha256, 32) : undefined,
      subject_peer_certificate: text(CONNECTION.peerSubject, 'connection.subject_peer_certificate'),
      transport_failure_reason: text(CONNECTION.transportFailure, 'connection.transport_failure_reason'),
      filter_chain: text(CONNECTION.filterChain, 'connection.filter_chain'),
    });
    const part = { value: { bytes, connection }, notUtf8 };
    this.connections.set(number, part);
    return part;
  }

  private outcome(number: number): Part<Outcome> {
    const known = this.outcomes.get(number);
    if (known !== undefined) return known;
    const bytes = viewOf(this.context.entry(number));
    const notUtf8: string[] = [];
    const text = (at: number, name: string): string | undefined => this.text(bytes, at, name, notUtf8);
    const grpc = bytes.getUint8(OUTCOME.grpcStatus);
    const value: Outcome = {
      bytes,
      policy: text(OUTCOME.policy, 'policy'),
      route: text(OUTCOME.route, 'route'),
      method: text(OUTCOME.method, 'request.method'),
      host: text(OUTCOME.authority, 'request.host'),
      protocol: nameIn(PROTOCOLS, bytes.getUint8(OUTCOME.protocol)),
      requestContentType: text(OUTCOME.requestContentType, 'request.content_type'),
      response: present<FlowRecord['response']>({
        code: bytes.getUint16(OUTCOME.code, true) || undefined,
        code_details: text(OUTCOME.codeDetails, 'response.code_details'),
        flags: u64(bytes, OUTCOME.responseFlags),
        grpc_status: grpc === GRPC_ABSENT ? undefined : grpc,
        content_type: text(OUTCOME.responseContentType, 'response.content_type'),
      }),
      upstream: present<FlowRecord['upstream']>({
        address: text(OUTCOME.upstreamAddress, 'upstream.address'),
        cluster: text(OUTCOME.upstreamCluster, 'upstream.cluster'),
        principal: text(OUTCOME.upstreamPrincipal, 'upstream.principal'),
        transport_failure_reason: text(OUTCOME.upstreamFailure, 'upstream.transport_failure_reason'),
      }),
      rbac: present<FlowRecord['rbac']>({
        result: RESULTS[bytes.getUint8(OUTCOME.policyResult)],
        shadow_result: RESULTS[bytes.getUint8(OUTCOME.shadowResult)],
        shadow_policy: text(OUTCOME.shadowPolicy, 'rbac.shadow_policy'),
      }),
      tokenIssuer: text(OUTCOME.tokenIssuer, 'token.issuer'),
    };
    const part = { value, notUtf8 };
    this.outcomes.set(number, part);
    return part;
  }

  /** Who spoke to whom (docs/query.md has the table). A peer's certificate is an identity only when the connection did not fail its verification. */
  private sidesOf(reporter: Reporter, connectionNumber: number, outcomeNumber: number): Part<Sides> {
    const key = connectionNumber * 65_536 + outcomeNumber;
    const known = this.sides.get(key);
    if (known !== undefined) return known;
    const connection = this.connection(connectionNumber).value.bytes;
    const outcome = this.outcome(outcomeNumber).value.bytes;
    const notUtf8: string[] = [];
    const isSource = reporter === 'source';
    const isDestination = reporter === 'destination';
    const isVerified =
      connection.getUint8(CONNECTION.mtls) === MTLS_TRUE &&
      connection.getUint16(CONNECTION.transportFailure, true) === 0;
    const own = workloadOf(this.common.value.node.cluster);
    const caller = isSource
      ? this.text(outcome, OUTCOME.upstreamLocalPrincipal, 'source.principal', notUtf8)
      : isVerified
        ? this.text(connection, CONNECTION.peerPrincipal, 'source.principal', notUtf8)
        : undefined;
    const callee = isDestination
      ? this.text(connection, CONNECTION.localPrincipal, 'destination.principal', notUtf8)
      : this.text(outcome, OUTCOME.upstreamPrincipal, 'destination.principal', notUtf8);
    const host = isDestination ? 0 : outcome.getUint16(OUTCOME.upstreamAddress, true);
    const calleeAddress = host === 0 ? connection.getUint16(CONNECTION.destinationAddress, true) : host;
    const value: Sides = {
      source: peerOf(
        this.text(connection, CONNECTION.sourceAddress, 'source.address', notUtf8),
        caller,
        isSource ? own : undefined,
      ),
      destination: peerOf(
        this.textOf(calleeAddress, 'destination.address', notUtf8),
        callee,
        isDestination ? own : undefined,
      ),
    };
    const part = { value, notUtf8 };
    this.sides.set(key, part);
    return part;
  }
}

/** A side, with namespace and service account of `spiffe://<domain>/ns/<namespace>/sa/<account>`, as Istio names workloads. */
function peerOf(address: string | undefined, principal: string | undefined, workload: string | undefined): Peer {
  const match = principal === undefined ? null : /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal);
  return present<Peer>({ address, principal, namespace: match?.[1], service_account: match?.[2], workload });
}

/** The workload of a `node.cluster` of the form `name.namespace`. */
function workloadOf(nodeCluster: string | undefined): string | undefined {
  return nodeCluster === undefined ? undefined : /^([^.]+)\.[^.]+$/.exec(nodeCluster)?.[1];
}

/** A sidecar's listener of unspecified direction counts as inbound. */
function reporterOf(role: Batch['role'], direction: number): Reporter {
  if (role !== 'sidecar') return role;
  return direction === OUTBOUND ? 'source' : 'destination';
}

/** Header lines as a map; a name that comes twice has its values joined by `, `. */
function headersOf(block: string | undefined): Readonly<Record<string, string>> | undefined {
  if (block === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 2);
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  // Object.fromEntries makes plain members even of a header that is called __proto__.
  return Object.fromEntries(headers);
}

const readers = new WeakMap<Batch, RecordReader>();

/** The reader of a decoded batch that is entry `leafIndex` of the log; a batch keeps its reader. */
export function readerOf(batch: Batch, leafIndex: number): RecordReader {
  const known = readers.get(batch);
  if (known !== undefined && known.leafIndex === leafIndex) return known;
  const { dictionary, role, stream, batchNumber, firstRecord } = batch;
  const entry = (number: number): Uint8Array => dictionary.bytes(number);
  const optional = (number: number): Uint8Array | undefined => (number === 0 ? undefined : entry(number));
  const reader = new RecordReader({
    leafIndex,
    role,
    stream,
    batchNumber,
    firstRecord,
    nodeId: optional(batch.nodeId),
    nodeCluster: optional(batch.nodeCluster),
    meshCluster: optional(batch.meshCluster),
    entry,
  });
  readers.set(batch, reader);
  return reader;
}

/** The source of row i of a decoded batch. */
export function sourceOf(batch: Batch, leafIndex: number, rowIndex: number): RecordSource {
  return { reader: readerOf(batch, leafIndex), row: rowOf(batch, rowIndex), rowIndex };
}

/** Builds one record. */
export function recordOf({ reader, row, rowIndex }: RecordSource): FlowRecord {
  return reader.record(row, rowIndex);
}
