// From row and dictionary to the record that people read (docs/formats.md section 6, docs/query.md).
// Strings, connections, outcomes and sides are shared by many records of a batch, and are read once.

import { toHex } from '../bytes.ts';
import type { FlowRecord } from '../record.ts';
import type { Batch } from './batch.ts';
import { rowOf } from './batch.ts';
import { BIT, CONNECTION, KINDS, PHASE_SHIFT, PHASES, ROW, SENSOR_SHIFT, SENSORS, VERDICTS } from './layout.ts';
import { type Connection, type Outcome, readConnection, readOutcome } from './record-parts.ts';
import { isConnectionRow, requestIdText } from './rules.ts';
import { readSides, reporterOf, type Sides, workloadOf } from './sides.ts';
import { durationText, readableText, timeText, uuidText } from './text.ts';
import { hexAt, type Part, present, Texts, u48, viewOf } from './texts.ts';

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

const CUTS = [
  [BIT.pathCut, 'request.path'],
  [BIT.userAgentCut, 'request.useragent'],
  [BIT.headersCut, 'request.headers'],
  [BIT.otherCut, 'other'],
] as const;

const CUT_BITS = BIT.pathCut | BIT.userAgentCut | BIT.headersCut | BIT.otherCut;

/** Reads records of one batch. */
export class RecordReader {
  private readonly context: RecordContext;
  private readonly streamText: string;
  private readonly common: Part<{ readonly cluster: string | undefined; readonly node: FlowRecord['node'] }>;
  private readonly texts: Texts;
  private readonly connections = new Map<number, Part<Connection>>();
  private readonly outcomes = new Map<number, Part<Outcome>>();
  private readonly sides = new Map<number, Part<Sides>>();

  constructor(context: RecordContext) {
    this.context = context;
    this.texts = new Texts((number) => context.entry(number));
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
    const { leafIndex, role } = this.context;
    const row = viewOf(bytes);
    const flags = row.getUint32(ROW.flags, true);
    const connectionNumber = row.getUint16(ROW.connection, true);
    const outcomeNumber = row.getUint16(ROW.outcome, true);
    const connection = this.connection(connectionNumber);
    const outcome = this.outcome(outcomeNumber, isConnectionRow(row, 0));
    const reporter = reporterOf(role, connection.value.bytes.getUint8(CONNECTION.direction));
    const sides = this.sidesOf(reporter, connectionNumber, outcomeNumber, connection.value, outcome.value);
    const { policy, route, upstream, rbac, tokenIssuer, terminationDetails } = outcome.value;
    const notUtf8: string[] = [];
    const request = this.request(row, flags, outcome.value, notUtf8);
    const tokenSubject = this.texts.at(row, ROW.subject, 'token.subject', notUtf8);
    const trace = this.trace(row, flags, notUtf8);
    notUtf8.push(...connection.notUtf8, ...outcome.notUtf8, ...sides.notUtf8, ...this.common.notUtf8);
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
      connection:
        terminationDetails === undefined
          ? connection.value.connection
          : { ...connection.value.connection, termination_details: terminationDetails },
      upstream:
        (flags & BIT.attempts) === 0 ? upstream : { ...upstream, request_attempt_count: row.getUint8(ROW.attempts) },
      route,
      rbac,
      token: present<FlowRecord['token']>({ issuer: tokenIssuer, subject: tokenSubject }),
      trace,
      node: this.common.value.node,
      record: this.place(row, flags, rowIndex, notUtf8),
    });
  }

  private place(row: DataView, flags: number, rowIndex: number, notUtf8: readonly string[]): FlowRecord['record'] {
    const { firstRecord, batchNumber } = this.context;
    const place: { -readonly [K in keyof FlowRecord['record']]: FlowRecord['record'][K] } = {
      stream: this.streamText,
      number: firstRecord + rowIndex,
      batch: batchNumber,
      kind: KINDS[row.getUint8(ROW.kind)] as FlowRecord['record']['kind'],
      phase: PHASES[(flags >>> PHASE_SHIFT) & 3] as FlowRecord['record']['phase'],
      sensor: SENSORS[(flags >>> SENSOR_SHIFT) & 3] as FlowRecord['record']['sensor'],
    };
    // Most rows end here.
    if ((flags & BIT.repeat) !== 0) place.repeat = true;
    if ((flags & CUT_BITS) !== 0) place.truncated = CUTS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
    if (notUtf8.length > 0) place.not_utf8 = [...new Set(notUtf8)].sort();
    return place;
  }

  private request(row: DataView, flags: number, outcome: Outcome, notUtf8: string[]): FlowRecord['request'] {
    return present<FlowRecord['request']>({
      id:
        (flags & BIT.requestId) === 0
          ? this.texts.of(requestIdText(row, 0), 'request.id', notUtf8)
          : uuidText(new Uint8Array(row.buffer, row.byteOffset + ROW.requestId, 16)),
      method: outcome.method,
      host: outcome.host,
      path: this.texts.at(row, ROW.path, 'request.path', notUtf8),
      protocol: outcome.protocol,
      useragent: this.texts.at(row, ROW.userAgent, 'request.useragent', notUtf8),
      headers: headersOf(this.texts.at(row, ROW.headers, 'request.headers', notUtf8)),
      content_type: outcome.requestContentType,
      content_encoding: outcome.requestContentEncoding,
      total_size: (flags & BIT.requestBytes) === 0 ? undefined : u48(row, ROW.requestBytes),
    });
  }

  private trace(row: DataView, flags: number, notUtf8: string[]): FlowRecord['trace'] {
    const malformed = this.texts.at(row, ROW.traceText, 'trace.malformed', notUtf8);
    if ((flags & BIT.trace) === 0) return present<FlowRecord['trace']>({ malformed });
    const isB3 = (flags & BIT.b3) !== 0;
    const traceFlags = row.getUint8(ROW.traceFlags);
    return present<FlowRecord['trace']>({
      // An id of 64 bits as it came, without the zeros that fill its place.
      id: (flags & BIT.b3Short) === 0 ? hexAt(row, ROW.traceId, 16) : hexAt(row, ROW.traceId + 8, 8),
      span_id: hexAt(row, ROW.spanId, 8),
      sampled: isB3 ? sampledOfB3(traceFlags) : (traceFlags & 1) === 1,
      format: isB3 ? 'b3' : 'w3c',
      malformed,
    });
  }

  private connection(number: number): Part<Connection> {
    const known = this.connections.get(number);
    if (known !== undefined) return known;
    const part = readConnection(viewOf(this.context.entry(number)), this.texts);
    this.connections.set(number, part);
    return part;
  }

  private outcome(number: number, isConnection: boolean): Part<Outcome> {
    const key = isConnection ? -number : number;
    const known = this.outcomes.get(key);
    if (known !== undefined) return known;
    const part = readOutcome(viewOf(this.context.entry(number)), this.texts, isConnection);
    this.outcomes.set(key, part);
    return part;
  }

  private sidesOf(
    reporter: FlowRecord['reporter'],
    connectionNumber: number,
    outcomeNumber: number,
    connection: Connection,
    outcome: Outcome,
  ): Part<Sides> {
    const key = connectionNumber * 65_536 + outcomeNumber;
    const known = this.sides.get(key);
    if (known !== undefined) return known;
    const own = workloadOf(this.common.value.node.cluster);
    const part = readSides(reporter, connection.bytes, outcome.bytes, own, this.texts);
    this.sides.set(key, part);
    return part;
  }
}

const B3_SAMPLED = 1;
const B3_DEBUG = 2;
const B3_UNDECIDED = 4;

/** Debug implies sampled; before a decision neither is so. */
function sampledOfB3(traceFlags: number): boolean | undefined {
  if ((traceFlags & (B3_SAMPLED | B3_DEBUG)) !== 0) return true;
  return (traceFlags & B3_UNDECIDED) === 0 ? false : undefined;
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
