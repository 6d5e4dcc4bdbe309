// The client of the ingest benchmark, a process of its own: prepares bodies before a round, sends them over kept-alive
// connections in the round, and takes the time of every acknowledgement.

import { randomFillSync } from 'node:crypto';
import type { RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { HEADER } from '../../../collector/src/core/codec/layout.ts';
import { percentile } from '../lib/figures.ts';
import { serveParent } from '../lib/processes.ts';
import { RawConnection } from '../lib/raw-http.ts';
import { Chain, fullBatchRows, jsonRecord, Traffic } from '../lib/traffic.ts';

/** Different batches that the bodies are made from; ids, secret and chain link are new in each body. */
const TEMPLATES = 64;

export interface ClientRequest {
  readonly kind: 'batch' | 'json';
  readonly port: number;
  readonly path: string;
  readonly batches: number;
  readonly connections: number;
}

export interface ClientReply {
  readonly batches: number;
  readonly records: number;
  readonly bodyBytes: number;
  readonly elapsedMs: number;
  readonly ackMsP50: number;
  readonly ackMsP99: number;
}

interface Template {
  readonly rows: readonly RowFacts[];
  readonly wire: Uint8Array;
}

const traffic = new Traffic({ seed: 17, recordsPerTrace: 1 });
const templates: Template[] = Array.from({ length: TEMPLATES }, () => {
  const rows = fullBatchRows(traffic);
  return { rows, wire: new Chain().batch(rows) };
});
const json = templates.map(({ rows }) => rows.map(jsonRecord));
/** One stream for each connection and target, as one proxy has; it goes on from round to round. */
const chains = new Map<string, Chain>();

function chainOf(port: number, connection: number): Chain {
  const key = `${port}/${connection}`;
  const chain = chains.get(key) ?? new Chain();
  chains.set(key, chain);
  return chain;
}

function jsonBody(template: number): Uint8Array {
  const records = json[template] as Record<string, string | number>[];
  for (const record of records) {
    const id = randomFillSync(Buffer.alloc(40)).toString('hex');
    record['request_id'] =
      `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20, 32)}`;
    record['traceparent'] = `00-${id.slice(32, 64)}-${id.slice(64, 80)}-01`;
  }
  return Buffer.from(JSON.stringify(records));
}

interface Prepared {
  readonly head: string;
  readonly body: Uint8Array;
  readonly records: number;
}

function prepare({ kind, port, path, batches, connections }: ClientRequest): Prepared[][] {
  const queues: Prepared[][] = Array.from({ length: connections }, () => []);
  const type = kind === 'batch' ? 'application/vnd.meshtrail.batch' : 'application/json';
  for (let i = 0; i < batches; i++) {
    const connection = i % connections;
    const { rows, wire } = templates[i % TEMPLATES] as Template;
    const body = kind === 'batch' ? chainOf(port, connection).copy(wire) : jsonBody(i % TEMPLATES);
    const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n`;
    queues[connection]?.push({ head, body, records: rows.length });
  }
  return queues;
}

/** An acknowledgement must name the stream and the batch number that were sent. */
function isAck(kind: ClientRequest['kind'], sent: Uint8Array, status: number, body: Buffer): boolean {
  if (kind === 'json') return status === 200;
  const named = Buffer.from(sent.buffer, sent.byteOffset + HEADER.stream, 24);
  return status === 200 && body.length === 80 && named.equals(body.subarray(8, 32));
}

async function run(request: ClientRequest): Promise<ClientReply> {
  const queues = prepare(request);
  const all = queues.flat();
  const sockets = await Promise.all(queues.map(() => RawConnection.open(request.port)));
  const ackMs: number[] = [];
  const started = performance.now();
  await Promise.all(
    sockets.map(async (socket, i) => {
      for (const { head, body } of queues[i] ?? []) {
        const sentAt = performance.now();
        const reply = await socket.exchange(head, body);
        if (!isAck(request.kind, body, reply.status, reply.body))
          throw new Error(`no acknowledgement but ${reply.status}: ${reply.body.toString().slice(0, 300)}`);
        ackMs.push(performance.now() - sentAt);
      }
    }),
  );
  const elapsedMs = performance.now() - started;
  for (const socket of sockets) socket.close();
  return {
    batches: all.length,
    records: all.reduce((sum, { records }) => sum + records, 0),
    bodyBytes: all.reduce((sum, { body }) => sum + body.length, 0),
    elapsedMs,
    ackMsP50: percentile(ackMs, 0.5),
    ackMsP99: percentile(ackMs, 0.99),
  };
}

serveParent(run);
