// A live receiver of Envoy's gRPC access log, a process of its own: answers the stream, reads every message, and counts the entries in it.

import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { readGrpcStream } from '../lib/grpc-stream.ts';
import { serveParent } from '../lib/processes.ts';

export interface SinkReply {
  readonly port: number;
  readonly entries: number;
  readonly messages: number;
  readonly bytes: number;
}

/** `StreamAccessLogsMessage.http_logs`, and `HTTPAccessLogEntries.log_entry` in it. */
const HTTP_LOGS = 2;
const LOG_ENTRY = 1;
const LENGTH_DELIMITED = 2;

let entries = 0;
let messages = 0;
let bytes = 0;

/** The length-delimited fields of a protobuf message with a number. The messages of this service have no others at these levels. */
function fieldsOf(message: Buffer, number: number): Buffer[] {
  const fields: Buffer[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    if ((tag & 7) !== LENGTH_DELIMITED) throw new Error(`the access log has a field of wire type ${tag & 7}`);
    const length = varint();
    if (tag >>> 3 === number) fields.push(message.subarray(at, at + length));
    at += length;
  }
  return fields;
}

function take(message: Buffer): void {
  messages++;
  for (const logs of fieldsOf(message, HTTP_LOGS)) entries += fieldsOf(logs, LOG_ENTRY).length;
}

function received(size: number): void {
  bytes += size;
}

const server = createServer();
server.on('stream', (stream) => readGrpcStream(stream, received, take));
server.on('sessionError', () => undefined);
const listening = new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
serveParent(async (): Promise<SinkReply> => {
  await listening;
  return { port: (server.address() as AddressInfo).port, entries, messages, bytes };
});
