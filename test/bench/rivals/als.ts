// A durable receiver of Envoy's gRPC access log, a process: `node als.ts records|messages DIR`. Both store what they read with synced
// LevelDB batches, one write for all that waits, and neither hashes, signs, indexes or checks completeness; the protocol has no
// acknowledgement either, so that what a crash or a lost stream takes is not known to anybody.
// records: decodes every entry and stores each under its start time, in Envoy's own encoding: can be read by time.
// messages: a floor: counts the entries and stores each message as one value.

import { once } from 'node:events';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Level } from 'level';
import { readGrpcStream } from '../lib/grpc-stream.ts';
import { serveParent } from '../lib/processes.ts';
import { type AlsRecord, decodeAlsEntry } from './als-entry.ts';
import { Reader } from './protobuf.ts';

export interface AlsReply {
  readonly port: number;
  readonly messages: number;
  /** Entries that are on disk. */
  readonly stored: number;
  readonly bytes: number;
  /** The newest entry, where entries are decoded. */
  readonly newest: AlsRecord | undefined;
}

interface Put {
  readonly type: 'put';
  readonly key: Buffer;
  readonly value: Buffer;
}

const HTTP_LOGS = 2;
const LOG_ENTRY = 1;

const [kind = '', dir = ''] = process.argv.slice(2);
const database = new Level<Buffer, Buffer>(dir, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
let messages = 0;
let stored = 0;
let bytes = 0;
let number = 0;
let newest: AlsRecord | undefined;
let waiting: Put[] = [];
let waitingEntries = 0;
let writing: Promise<void> = Promise.resolve();
let isWriting = false;

async function write(): Promise<void> {
  isWriting = true;
  while (waiting.length > 0) {
    const [group, entries] = [waiting, waitingEntries];
    waiting = [];
    waitingEntries = 0;
    await database.batch(group, { sync: true });
    stored += entries;
  }
  isWriting = false;
}

/** Start time, then a number that no other key has, both big-endian. */
function keyOf(startNs: bigint): Buffer {
  const key = Buffer.allocUnsafe(14);
  key.writeBigUInt64BE(startNs, 0);
  key.writeUIntBE(number++, 8, 6);
  return key;
}

function take(message: Buffer): void {
  messages++;
  const reader = new Reader(message);
  let entries = 0;
  while (reader.next()) {
    if (reader.field !== HTTP_LOGS) {
      reader.skip();
      continue;
    }
    const logs = reader.message();
    while (logs.next()) {
      if (logs.field !== LOG_ENTRY || kind === 'messages') {
        if (logs.field === LOG_ENTRY) entries++;
        logs.skip();
        continue;
      }
      entries++;
      const value = logs.bytes();
      newest = decodeAlsEntry(value);
      waiting.push({ type: 'put', key: keyOf(newest.startNs), value });
    }
  }
  if (kind === 'messages') waiting.push({ type: 'put', key: keyOf(0n), value: message });
  waitingEntries += entries;
  if (!isWriting) writing = write();
}

function received(size: number): void {
  bytes += size;
}

await database.open();
const server = createServer();
server.on('stream', (stream) => readGrpcStream(stream, received, take));
server.on('sessionError', () => undefined);
server.listen(0, '127.0.0.1');
await once(server, 'listening');
serveParent(async (): Promise<AlsReply> => {
  await writing;
  return { port: (server.address() as AddressInfo).port, messages, stored, bytes, newest };
});
process.once('SIGTERM', () => {
  const end = (): never => process.exit(0);
  writing.then(() => database.close()).then(end, end);
});
