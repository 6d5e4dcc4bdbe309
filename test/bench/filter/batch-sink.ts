// A live receiver of our batches, a process of its own with a port for each proxy: checks the batch hash, reads every row's head,
// acknowledges. It stores nothing, as the sink of Envoy's gRPC log does not: what is measured with it is the proxy.

import { hash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { encodeAck } from '../../../collector/src/core/codec/ack.ts';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { HEADER, KIND_HTTP, ROW, ROW_BYTES, TRAILER_BYTES } from '../../../collector/src/core/codec/layout.ts';
import { serveParent } from '../lib/processes.ts';

export interface BatchSinkRequest {
  /** One port for each; those known keep theirs. */
  readonly names: readonly string[];
}

/** What came to one port. */
export interface Received {
  readonly port: number;
  readonly batches: number;
  readonly records: number;
  readonly bytes: number;
  /** Ends of HTTP exchanges that are not repeats: one for each request, if nothing was lost. */
  readonly exchanges: number;
  /** Streams with an exchange: one for each worker that had requests. */
  readonly streams: number;
  /** Counters of the streams' newest batches, summed. */
  readonly seen: number;
  readonly recorded: number;
  /** Batches whose hash or length was wrong, and newest batches of streams that the collector's decoder refuses. */
  readonly invalid: number;
}
export type BatchSinkReply = Readonly<Record<string, Received>>;

const REPEAT = 1 << 25;
const PHASES = 3 << 26;

class Port {
  readonly #newest = new Map<string, Buffer>();
  readonly #busy = new Set<string>();
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const ack = this.#take(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
      response.writeHead(ack === undefined ? 400 : 200, { 'content-length': ack?.length ?? 0 });
      response.end(ack);
    });
  });
  #batches = 0;
  #records = 0;
  #bytes = 0;
  #exchanges = 0;
  #invalid = 0;

  async listen(): Promise<void> {
    // As the collector: longer than a proxy's ticks, so that connections stay warm.
    this.#server.keepAliveTimeout = 120_000;
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
  }

  #take(body: Buffer): Uint8Array | undefined {
    const end = body.length - TRAILER_BYTES;
    if (end < HEADER.stream || !hash('sha256', body.subarray(0, end), 'buffer').equals(body.subarray(end))) {
      this.#invalid++;
      return undefined;
    }
    const stream = body.subarray(HEADER.stream, HEADER.batchNumber);
    const before = this.#exchanges;
    const rows = body.readUInt32LE(HEADER.rowCount);
    this.#batches++;
    this.#records += rows;
    this.#bytes += body.length;
    for (let row = 0; row < rows; row++) {
      const at = body.readUInt16LE(HEADER.headerBytes) + row * ROW_BYTES;
      const isEnd = (body.readUInt32LE(at + ROW.flags) & (REPEAT | PHASES)) === 0;
      if (isEnd && body[at + ROW.kind] === KIND_HTTP) this.#exchanges++;
    }
    if (this.#exchanges > before) this.#busy.add(stream.toString('hex'));
    this.#newest.set(stream.toString('hex'), body);
    const batchNumber = Number(body.readBigUInt64LE(HEADER.batchNumber));
    const checkpointRoot = new Uint8Array(32).fill(1);
    return encodeAck({ stream, batchNumber, index: batchNumber, checkpointSize: 1, checkpointRoot });
  }

  received(): Received {
    const bodies = [...this.#newest.values()];
    const sum = (offset: number): number => bodies.reduce((all, body) => all + Number(body.readBigUInt64LE(offset)), 0);
    const refused = bodies.filter((body) => {
      try {
        decodeBatch(body);
        return false;
      } catch {
        // Counted, and the benchmark's check fails.
        return true;
      }
    });
    return {
      port: (this.#server.address() as AddressInfo).port,
      batches: this.#batches,
      records: this.#records,
      bytes: this.#bytes,
      exchanges: this.#exchanges,
      streams: this.#busy.size,
      seen: sum(HEADER.seen),
      recorded: sum(HEADER.recorded),
      invalid: this.#invalid + refused.length,
    };
  }
}

const ports = new Map<string, Port>();
serveParent(async ({ names }: BatchSinkRequest): Promise<BatchSinkReply> => {
  for (const name of names) {
    if (ports.has(name)) continue;
    const port = new Port();
    await port.listen();
    ports.set(name, port);
  }
  return Object.fromEntries([...ports].map(([name, port]) => [name, port.received()]));
});
