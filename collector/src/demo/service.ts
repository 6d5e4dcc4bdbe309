// The stuff that the demo's services are made of: a plain HTTP server that counts what arrives, and a client that counts what it sends.
// A service reaches others only through the outbound listener of its own sidecar.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { childOf, formatTraceparent, parseTraceparent, type TraceContext } from './trace.ts';
import type { IncidentStep, Ledger, TruthVerdict } from './truth.ts';

const REQUEST_MS_MAX = 20_000;
/** A reply that waits to be cut off gives up after this time, so that nothing hangs when nobody cuts. */
const HELD_REPLY_MS_MAX = 10_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
/** Longer than the demo runs: a server that closes an idle connection can lose the request that is just arriving on it. */
const KEEP_ALIVE_MS = 600_000;

/** A request as a handler sees it. */
export interface Arrival {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly trace: TraceContext | undefined;
  readonly requestId: string | undefined;
}

/** What a handler answers: a status with JSON; a beginning, after which the reply is held open; or nothing at all, held open. */
export type Reply =
  | { readonly status: number; readonly json: unknown }
  | { readonly beginning: string }
  | { readonly silence: true };
export type Handler = (arrival: Arrival) => Reply | Promise<Reply>;

/** A request to send. */
export interface Call {
  /** Authority: `orders.shop`, or a host outside. */
  readonly to: string;
  /** Who answers there, when the authority is not `<name>.<namespace>` or a host outside. */
  readonly destination?: string;
  readonly method: string;
  readonly path: string;
  readonly body?: string;
  /** The request on whose behalf this one is made: its trace and request id go on. */
  readonly parent?: Arrival;
  /** A trace context to send as it is, or false: send none, and no request id. */
  readonly trace?: TraceContext | false;
  readonly step?: IncidentStep;
  /** Hang up: after the first piece of the answer, or when a promise says so. */
  readonly cut?: 'first-piece' | Promise<void>;
}

export interface Answer {
  readonly status: number | null;
  readonly verdict: TruthVerdict;
  readonly body: string;
}

/** Sends HTTP requests to one port of this machine, and counts them under a name. */
export class Sender {
  readonly name: string;
  private readonly ledger: Ledger;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 32 });
  private port: number | undefined;

  constructor(name: string, ledger: Ledger) {
    this.name = name;
    this.ledger = ledger;
  }

  /** The proxy that takes this sender's requests. */
  through(port: number): void {
    this.port = port;
  }

  /** Sends one request. Rejects only when the proxy itself does not answer. */
  async call(call: Call): Promise<Answer> {
    if (this.port === undefined) throw new Error(`${this.name} has no proxy to send through`);
    const trace = call.trace === false ? undefined : (call.trace ?? childOf(call.parent?.trace));
    const over = this.ledger.sent({
      source: this.name,
      destination: call.destination ?? call.to.replace(/\.(shop|backend)$/, ''),
      method: call.method,
      path: call.path,
      trace_id: trace?.traceId ?? null,
      span_id: trace?.spanId ?? null,
      step: call.step ?? null,
    });
    const headers: Record<string, string> = { host: call.to, 'user-agent': `${this.name}/1.0` };
    if (trace !== undefined) headers['traceparent'] = formatTraceparent(trace);
    if (call.parent?.requestId !== undefined) headers['x-request-id'] = call.parent.requestId;
    else if (call.trace === undefined) headers['x-request-id'] = randomUUID();
    if (call.body !== undefined) headers['content-type'] = 'application/json';
    const answer = await exchange(this.port, this.agent, call, headers);
    over(answer.status, answer.verdict);
    return answer;
  }

  close(): void {
    this.agent.destroy();
  }
}

/** The services never answer 403 or 503 themselves, so that these are the words of a proxy: refused by a policy, upstream failed. */
function verdictOf(status: number): TruthVerdict {
  return status === 403 ? 'denied' : status === 503 ? 'failed' : 'allowed';
}

function exchange(port: number, agent: Agent, call: Call, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let status: number | null = null;
    let body = '';
    let isCut = false;
    const request = httpRequest({ host: '127.0.0.1', port, agent, method: call.method, path: call.path, headers });
    const cut = (): void => {
      isCut = true;
      request.destroy();
    };
    const fail = (error: Error): void => {
      if (!isCut) reject(new Error(`${call.method} ${call.to}${call.path}: ${error.message}`, { cause: error }));
    };
    request.setTimeout(REQUEST_MS_MAX, () => request.destroy(new Error(`no answer in ${REQUEST_MS_MAX} ms`)));
    request.on('error', fail);
    request.on('close', () => {
      if (isCut) resolve({ status, verdict: 'reset', body });
    });
    request.on('response', (response) => {
      status = response.statusCode ?? null;
      response.setEncoding('utf8');
      response.on('error', fail);
      response.on('data', (piece: string) => {
        if (body.length + piece.length <= ANSWER_BYTES_MAX) body += piece;
        if (call.cut === 'first-piece') cut();
      });
      response.on('end', () => {
        if (!isCut) resolve({ status, verdict: verdictOf(status ?? 0), body });
      });
    });
    if (call.cut instanceof Promise) call.cut.then(cut, reject);
    request.end(call.body);
  });
}

/** A server that counts what arrives under a name. */
export class Receiver {
  readonly name: string;
  private readonly ledger: Ledger;
  private readonly handle: Handler;
  private readonly server = createServer((request, response) => void this.serve(request, response));
  private readonly waiting = new Map<string, () => void>();
  private openCount = 0;

  constructor(name: string, ledger: Ledger, handle: Handler) {
    this.name = name;
    this.ledger = ledger;
    this.handle = handle;
    this.server.keepAliveTimeout = KEEP_ALIVE_MS;
  }

  /** Starts to listen on a free port of loopback, and returns it. */
  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  /** Requests that are being served. */
  get open(): number {
    return this.openCount;
  }

  /** Resolves when a request for a path has arrived. */
  arrival(path: string): Promise<void> {
    return new Promise((resolve) => this.waiting.set(path, resolve));
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.ledger.received(this.name);
    this.openCount++;
    response.once('close', () => this.openCount--);
    const path = request.url ?? '/';
    const arrivals = this.waiting.get(path);
    this.waiting.delete(path);
    arrivals?.();
    try {
      let body = '';
      for await (const piece of request.setEncoding('utf8')) body += piece;
      const { 'x-request-id': requestId, traceparent } = request.headers;
      const reply = await this.handle({
        method: request.method ?? 'GET',
        path,
        body,
        trace: parseTraceparent(typeof traceparent === 'string' ? traceparent : undefined),
        requestId: typeof requestId === 'string' ? requestId : undefined,
      });
      respond(response, reply);
    } catch (error) {
      // The caller hung up, or a handler failed: whoever still listens gets a 500, and the count stands.
      if (!response.headersSent) respond(response, { status: 500, json: { error: (error as Error).message } });
    }
  }

  async close(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }
}

function respond(response: ServerResponse, reply: Reply): void {
  if ('json' in reply) {
    response.writeHead(reply.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(reply.json));
    return;
  }
  if ('beginning' in reply) {
    response.writeHead(200, { 'content-type': 'text/csv' });
    response.write(reply.beginning);
  }
  const timer = setTimeout(() => response.destroy(), HELD_REPLY_MS_MAX);
  response.once('close', () => clearTimeout(timer));
}

/** A service of the mesh: it receives behind its sidecar, and sends through it. */
export interface Service {
  readonly sender: Sender;
  readonly receiver: Receiver;
}
