// An entry of Envoy's gRPC access log (envoy.data.accesslog.v3.HTTPAccessLogEntry) as facts like those of our record.

import { Reader } from './protobuf.ts';

/** Texts are empty and numbers 0 where Envoy said nothing, as protobuf has it. */
export interface AlsRecord {
  startNs: bigint;
  durationNs: number;
  protocol: number;
  method: number;
  scheme: string;
  authority: string;
  path: string;
  userAgent: string;
  requestId: string;
  requestBytes: number;
  requestHeaders: Record<string, string>;
  code: number;
  responseBytes: number;
  responseHeaders: Record<string, string>;
  codeDetails: string;
  /** Field numbers of the response flags that are set. */
  flags: number[];
  routeName: string;
  upstreamCluster: string;
  attempts: number;
  terminationDetails: string;
  upstreamFailure: string;
  sourceAddress: string;
  destinationAddress: string;
  upstreamAddress: string;
  tlsVersion: number;
  serverName: string;
  peerPrincipals: string[];
  peerSubject: string;
  localPrincipals: string[];
}

const NS_IN_S = 1_000_000_000;

/** `Timestamp` or `Duration`: seconds and nanoseconds. */
function time(reader: Reader): readonly [seconds: number, ns: number] {
  let seconds = 0;
  let ns = 0;
  while (reader.next()) {
    if (reader.field === 1) seconds = reader.varint();
    else if (reader.field === 2) ns = reader.varint();
    else reader.skip();
  }
  return [seconds, ns];
}

/** `Address.socket_address` as address and port. */
function address(reader: Reader): string {
  let host = '';
  let port = 0;
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const socket = reader.message();
    while (socket.next()) {
      if (socket.field === 2) host = socket.text();
      else if (socket.field === 3) port = socket.varint();
      else socket.skip();
    }
  }
  return host === '' ? '' : `${host}:${port}`;
}

/** The first field of a wrapper message, a number. */
function wrapped(reader: Reader): number {
  let value = 0;
  while (reader.next()) {
    if (reader.field === 1) value = reader.varint();
    else reader.skip();
  }
  return value;
}

/** One entry of a map from text to text. */
function mapEntry(reader: Reader, into: Record<string, string>): void {
  let key = '';
  let value = '';
  while (reader.next()) {
    if (reader.field === 1) key = reader.text();
    else if (reader.field === 2) value = reader.text();
    else reader.skip();
  }
  into[key] = value;
}

function certificate(reader: Reader, principals: string[]): string {
  let subject = '';
  while (reader.next()) {
    if (reader.field === 2) subject = reader.text();
    else if (reader.field !== 1) reader.skip();
    else {
      const name = reader.message();
      while (name.next()) {
        if (name.field === 1 || name.field === 2) principals.push(name.text());
        else name.skip();
      }
    }
  }
  return subject;
}

function tls(reader: Reader, record: AlsRecord): void {
  while (reader.next()) {
    if (reader.field === 1) record.tlsVersion = reader.varint();
    else if (reader.field === 3) record.serverName = reader.text();
    else if (reader.field === 4) certificate(reader.message(), record.localPrincipals);
    else if (reader.field === 5) record.peerSubject = certificate(reader.message(), record.peerPrincipals);
    else reader.skip();
  }
}

function common(reader: Reader, record: AlsRecord): void {
  while (reader.next()) {
    const { field } = reader;
    if (field === 2) record.sourceAddress = address(reader.message());
    else if (field === 3) record.destinationAddress = address(reader.message());
    else if (field === 4) tls(reader.message(), record);
    else if (field === 5) {
      const [seconds, ns] = time(reader.message());
      record.startNs = BigInt(seconds) * BigInt(NS_IN_S) + BigInt(ns);
    } else if (field === 13) record.upstreamAddress = address(reader.message());
    else if (field === 15) record.upstreamCluster = reader.text();
    else if (field === 16) {
      const flags = reader.message();
      while (flags.next()) {
        record.flags.push(flags.field);
        flags.skip();
      }
    } else if (field === 18) record.upstreamFailure = reader.text();
    else if (field === 19) record.routeName = reader.text();
    else if (field === 23) {
      const [seconds, ns] = time(reader.message());
      record.durationNs = seconds * NS_IN_S + ns;
    } else if (field === 24) record.attempts = reader.varint();
    else if (field === 25) record.terminationDetails = reader.text();
    else reader.skip();
  }
}

function request(reader: Reader, record: AlsRecord): void {
  while (reader.next()) {
    const { field } = reader;
    if (field === 1) record.method = reader.varint();
    else if (field === 2) record.scheme = reader.text();
    else if (field === 3) record.authority = reader.text();
    else if (field === 5) record.path = reader.text();
    else if (field === 6) record.userAgent = reader.text();
    else if (field === 9) record.requestId = reader.text();
    else if (field === 11 || field === 12) record.requestBytes += reader.varint();
    else if (field === 13) mapEntry(reader.message(), record.requestHeaders);
    else reader.skip();
  }
}

function response(reader: Reader, record: AlsRecord): void {
  while (reader.next()) {
    const { field } = reader;
    if (field === 1) record.code = wrapped(reader.message());
    else if (field === 2 || field === 3) record.responseBytes += reader.varint();
    else if (field === 4) mapEntry(reader.message(), record.responseHeaders);
    else if (field === 6) record.codeDetails = reader.text();
    else reader.skip();
  }
}

function empty(): AlsRecord {
  return {
    startNs: 0n,
    durationNs: 0,
    protocol: 0,
    method: 0,
    scheme: '',
    authority: '',
    path: '',
    userAgent: '',
    requestId: '',
    requestBytes: 0,
    requestHeaders: {},
    code: 0,
    responseBytes: 0,
    responseHeaders: {},
    codeDetails: '',
    flags: [],
    routeName: '',
    upstreamCluster: '',
    attempts: 0,
    terminationDetails: '',
    upstreamFailure: '',
    sourceAddress: '',
    destinationAddress: '',
    upstreamAddress: '',
    tlsVersion: 0,
    serverName: '',
    peerPrincipals: [],
    peerSubject: '',
    localPrincipals: [],
  };
}

/** Reads one entry. Throws when its bytes are cut. */
export function decodeAlsEntry(entry: Buffer): AlsRecord {
  const record = empty();
  const reader = new Reader(entry);
  while (reader.next()) {
    if (reader.field === 1) common(reader.message(), record);
    else if (reader.field === 2) record.protocol = reader.varint();
    else if (reader.field === 3) request(reader.message(), record);
    else if (reader.field === 4) response(reader.message(), record);
    else reader.skip();
  }
  return record;
}
