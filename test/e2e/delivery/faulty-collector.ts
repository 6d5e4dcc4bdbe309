// A collector that can misbehave in every way a network and a process can: it decodes what it is sent with the collector's own
// codec, keeps each batch once, and may hand it on to a real collector, whose acknowledgement is then its own.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeAck } from '../../../collector/src/core/codec/ack.ts';
import { type Batch, decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import type { FlowRecord } from '../../../collector/src/core/record.ts';

export const FAULTS = [
  /** 503, nothing stored. */
  'unavailable',
  /** The connection is reset before an answer, nothing stored. */
  'reset',
  /** Stored, and the connection is reset before the answer. */
  'lost',
  /** Stored, and the answer breaks off. */
  'cut',
  /** No answer at all, nothing stored. */
  'hang',
  /** The acknowledgement of another batch, nothing stored. */
  'other',
  /** The acknowledgement of the batch that was acknowledged last, nothing stored. */
  'stale',
  /** Stored, and acknowledged twice on one connection. */
  'twice',
  /** The listener goes away for a while, with all its connections. */
  'down',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Delivery {
  readonly stream: string;
  readonly number: number;
  readonly bytes: number;
  readonly fault: Fault | undefined;
}

const ACK_TYPE = 'application/vnd.meshtrail.ack';
/** As long as the real collector keeps a connection that is idle. */
const KEEP_ALIVE_MS = 120_000;
const DOWN_MS = 1000;
const ROOT = new Uint8Array(32).fill(7);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export class FaultyCollector {
  /** What to do with the nth delivery; undefined: store and acknowledge. */
  plan: (delivery: number, batch: Batch) => Fault | undefined = () => undefined;
  /** How long an answer is held back. */
  delayMs = 0;
  readonly deliveries: Delivery[] = [];
  /** Bodies that are no whole batch: the status with which the real collector refuses each, or 400. */
  readonly broken: number[] = [];
  /** Deliveries whose bytes differ from those of an earlier one of the same batch. */
  readonly changed: string[] = [];
  readonly #streams = new Map<string, Map<number, Batch>>();
  readonly #digests = new Map<string, string>();
  readonly #sockets = new Set<Socket>();
  readonly #forward: string | undefined;
  readonly #isHttp2: boolean;
  #server: Server | undefined;
  #port = 0;
  #acknowledged: Uint8Array | undefined;
  #isOver = false;

  private constructor(forward: string | undefined, isHttp2: boolean) {
    this.#forward = forward;
    this.#isHttp2 = isHttp2;
  }

  /** Listens; ends with the test. `forward`: HOST:PORT of a real collector. Over HTTP/2 no fault that cuts off is at hand. */
  static async start(t: TestContext, forward?: string, isHttp2 = false): Promise<FaultyCollector> {
    const collector = new FaultyCollector(forward, isHttp2);
    await collector.up();
    t.after(async () => {
      collector.#isOver = true;
      await collector.down();
    });
    return collector;
  }

  /** HOST:PORT. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Listens, again on the same port. */
  async up(): Promise<void> {
    if (this.#server !== undefined || this.#isOver) return;
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      // What a fault cuts off ends in an error on both sides; the proxy sends again.
      this.#answer(request, response).catch(() => request.destroy());
    };
    const server: Server = this.#isHttp2
      ? (createHttp2(answer as never) as unknown as Server)
      : createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, answer);
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Stops listening and resets every connection. */
  async down(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  /** Batches by stream, in the order of their numbers. */
  streams(): ReadonlyMap<string, readonly Batch[]> {
    const byNumber = (a: Batch, b: Batch): number => a.batchNumber - b.batchNumber;
    return new Map([...this.#streams].map(([stream, batches]) => [stream, [...batches.values()].sort(byNumber)]));
  }

  /** Records of all stored batches. */
  records(): FlowRecord[] {
    return [...this.streams().values()].flatMap((batches) => batches.flatMap(recordsOf));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const wire = await bodyOf(request);
    let batch: Batch;
    try {
      batch = decodeBatch(wire);
    } catch {
      this.broken.push(this.#forward === undefined ? 400 : (await post(this.#forward, wire)).status);
      response.writeHead(400).end();
      return;
    }
    this.#compare(batch);
    const fault = this.plan(this.deliveries.length, batch);
    this.deliveries.push({ stream: hex(batch.stream), number: batch.batchNumber, bytes: wire.length, fault });
    if (this.delayMs > 0) await sleep(this.delayMs);
    await this.#carryOut(fault, batch, request.socket, response);
  }

  async #carryOut(fault: Fault | undefined, batch: Batch, socket: Socket, response: ServerResponse): Promise<void> {
    const headers = { 'content-type': ACK_TYPE, 'content-length': 80 };
    const acknowledge = (ack: Uint8Array): void => void response.writeHead(200, headers).end(ack);
    if (fault === 'unavailable') response.writeHead(503).end();
    else if (fault === 'reset') socket.resetAndDestroy();
    else if (fault === 'other') acknowledge(ackOf(batch, batch.batchNumber + 1));
    else if (fault === 'stale') acknowledge(this.#acknowledged ?? ackOf(batch, batch.batchNumber + 1));
    else if (fault === 'down') {
      const back = this.down().then(() => sleep(DOWN_MS));
      await back;
      await this.up();
    } else if (fault !== 'hang') await this.#storeAnd(fault, batch, socket, response, headers);
  }

  async #storeAnd(
    fault: Fault | undefined,
    batch: Batch,
    socket: Socket,
    response: ServerResponse,
    headers: Readonly<Record<string, string | number>>,
  ): Promise<void> {
    const ack = await this.#store(batch);
    if (fault === 'lost') {
      socket.resetAndDestroy();
      return;
    }
    response.writeHead(200, headers);
    if (fault === 'cut') {
      response.write(ack.subarray(0, 40));
      await sleep(20);
      socket.resetAndDestroy();
      return;
    }
    this.#acknowledged = ack;
    response.end(ack);
    if (fault !== 'twice') return;
    await once(response, 'finish');
    socket.write(`HTTP/1.1 200 OK\r\ncontent-type: ${ACK_TYPE}\r\ncontent-length: 80\r\n\r\n`);
    socket.write(ack);
  }

  async #store(batch: Batch): Promise<Uint8Array> {
    const ack = this.#forward === undefined ? ackOf(batch) : await forwarded(this.#forward, batch);
    const stream = hex(batch.stream);
    const batches = this.#streams.get(stream) ?? new Map<number, Batch>();
    batches.set(batch.batchNumber, batch);
    this.#streams.set(stream, batches);
    return ack;
  }

  #compare(batch: Batch): void {
    const name = `${hex(batch.stream)} ${batch.batchNumber}`;
    const digest = createHash('sha256').update(batch.wire).digest('hex');
    const first = this.#digests.get(name);
    if (first === undefined) this.#digests.set(name, digest);
    else if (first !== digest) this.changed.push(name);
  }
}

/** What arrived of a body, also of one that was cut off: an intact head must not be enough to be believed. */
async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('error', () => undefined);
  await new Promise<void>((resolve) => {
    request.once('end', resolve).once('close', resolve);
  });
  return Buffer.concat(chunks);
}

function ackOf(batch: Batch, batchNumber = batch.batchNumber): Uint8Array {
  const { stream } = batch;
  return encodeAck({ stream, batchNumber, index: batchNumber, checkpointSize: 1, checkpointRoot: ROOT });
}

const post = (address: string, body: Uint8Array): Promise<Response> =>
  fetch(`http://${address}/v1/batches`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.meshtrail.batch' },
    body: new Uint8Array(body),
  });

async function forwarded(address: string, batch: Batch): Promise<Uint8Array> {
  const response = await post(address, batch.wire);
  const body = new Uint8Array(await response.arrayBuffer());
  if (response.status !== 200) throw new Error(`the collector answers ${response.status}`);
  return body;
}

function recordsOf(batch: Batch): FlowRecord[] {
  return Array.from({ length: batch.rowCount }, (_, i) => recordOf(sourceOf(batch, batch.batchNumber, i)));
}

/** Batch numbers, record numbers and hashes go on without a hole from the first batch; returns the last. */
export function assertWhole(batches: readonly Batch[]): Batch {
  let next = 0;
  batches.forEach((batch, i) => {
    assert.equal(batch.batchNumber, i, 'batch numbers are dense');
    assert.equal(batch.firstRecord, next, `record numbers are dense at batch ${i}`);
    const before = batches[i - 1];
    assert.deepEqual(batch.previous && hex(batch.previous), before && hex(before.hash), `batch ${i} is chained`);
    next += batch.rowCount;
  });
  const last = batches.at(-1);
  assert.ok(last !== undefined, 'there is a batch');
  return last;
}
