// Traffic of every kind through one proxy, and the upstream that answers it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 15_000;
/** What is malformed is answered by Envoy, which keeps the connection open for another second; this is for the case that it is not. */
const RAW_MS_MAX = 3000;

/** Starts the upstream; it ends with the test. Returns its port. */
export async function startApp(t: TestContext): Promise<number> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    request.resume();
    if (path.startsWith('/cut')) response.socket?.destroy();
    else if (path.startsWith('/hang')) response.writeHead(200).write('beginning');
    else if (!path.startsWith('/slow')) response.writeHead(200, { 'content-type': 'text/plain' }).end('hello');
  });
  server.keepAliveTimeout = 60_000;
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
    socket.on('data', (data: Buffer) => socket.write(data));
    socket.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** One way to use a proxy. `raw` ones are malformed: the proxy never learns a path. */
export const KINDS = [
  'ok',
  'post',
  'http2',
  'denied',
  'unauthenticated',
  'authenticated',
  'nowhere',
  'direct',
  'refused',
  'cut',
  'slow',
  'abort',
  'socket',
  'raw long',
  'raw garbage',
  'raw no host',
] as const;
export type Kind = (typeof KINDS)[number];

const PATHS: Readonly<Partial<Record<Kind, string>>> = {
  post: '/ok',
  http2: '/ok',
  unauthenticated: '/jwt',
  authenticated: '/jwt',
  abort: '/hang',
};

/** The status that a client must see; the others see none, or are checked by their kind. */
export const STATUS: Readonly<Partial<Record<Kind, number>>> = {
  ok: 200,
  post: 200,
  http2: 200,
  denied: 403,
  unauthenticated: 401,
  authenticated: 200,
  nowhere: 404,
  direct: 200,
  refused: 503,
  cut: 503,
  slow: 504,
};

/** Mostly ordinary, with some of everything; those that take long are rarer. */
export function kindOf(i: number): Kind {
  const turn = i % 40;
  if (turn >= 2 * KINDS.length) return 'ok';
  const kind = KINDS[turn % KINDS.length] as Kind;
  return kind === 'slow' && i % 120 >= 40 ? 'ok' : kind;
}

export const pathOf = (kind: Kind, i: number): string => `${PATHS[kind] ?? `/${kind}`}/${i}`;

/** A client of every kind. */
export class Client {
  readonly #port: number;
  readonly #token: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  #session: ClientHttp2Session | undefined;

  constructor(port: number, token: string) {
    this.#port = port;
    this.#token = token;
  }

  /** Sends exchanges `from` to `to - 1`, several at once, and returns how many of each kind. */
  async sendAll(from: number, to: number, atOnce = 24): Promise<Map<Kind, number>> {
    const counts = new Map<Kind, number>();
    let next = from;
    const worker = async (): Promise<void> => {
      while (next < to) {
        const i = next++;
        const kind = kindOf(i);
        counts.set(kind, (counts.get(kind) ?? 0) + 1);
        await this.send(kind, i);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    return counts;
  }

  /** Sends GETs, several at once, and sees each end with a status. */
  async getAll(paths: readonly string[], status: number, atOnce = 16): Promise<void> {
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let path = paths[next++]; path !== undefined; path = paths[next++])
        assert.equal(await this.#ask('ok', path), status, path);
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }

  /** Sends one exchange and sees it end as it must. */
  async send(kind: Kind, i: number): Promise<void> {
    const path = pathOf(kind, i);
    const status = STATUS[kind];
    if (kind === 'raw long') await this.#raw(`GET ${path} HTTP/1.1\r\nhost: a\r\nx-long: ${'a'.repeat(9000)}\r\n\r\n`);
    else if (kind === 'raw garbage') await this.#raw('GARBAGE\r\n\r\n');
    else if (kind === 'raw no host') await this.#raw(`GET ${path} HTTP/1.1\r\n\r\n`);
    else if (kind === 'socket') await this.#socket(path);
    else if (kind === 'abort') await this.#abort(path);
    else if (kind === 'http2') assert.equal(await this.#http2(path), status, `${kind} ${i}`);
    else assert.equal(await this.#ask(kind, path), status, `${kind} ${i}`);
  }

  close(): void {
    this.#agent.destroy();
    this.#session?.destroy();
  }

  #ask(kind: Kind, path: string): Promise<number> {
    const method = kind === 'post' ? 'POST' : 'GET';
    const headers = kind === 'authenticated' ? { authorization: `Bearer ${this.#token}` } : {};
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        { port: this.#port, host: '127.0.0.1', path, method, headers, agent: this.#agent, timeout: PATIENCE_MS },
        (answer) => {
          answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
          answer.on('error', reject);
        },
      );
      request.on('timeout', () => request.destroy(new Error(`no answer to ${path}`)));
      request.on('error', reject).end(kind === 'post' ? 'some body' : undefined);
    });
  }

  async #abort(path: string): Promise<void> {
    const request = httpRequest({ port: this.#port, host: '127.0.0.1', path, agent: false });
    request.on('error', () => undefined).end();
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    answer.on('error', () => undefined);
    await once(answer, 'data');
    request.destroy();
  }

  async #http2(path: string): Promise<number> {
    this.#session ??= connectHttp2(`http://127.0.0.1:${this.#port}`);
    const stream = this.#session.request({ ':path': path });
    let status = 0;
    stream.on('response', (headers) => (status = Number(headers[':status'])));
    stream.resume();
    await once(stream, 'close');
    return status;
  }

  async #raw(text: string): Promise<void> {
    const socket = connect(this.#port, '127.0.0.1');
    socket.on('error', () => undefined);
    const answered = Promise.race([once(socket, 'data'), once(socket, 'close')]);
    socket.write(text);
    const over = new AbortController();
    await Promise.race([answered, sleep(RAW_MS_MAX, undefined, { signal: over.signal }).catch(() => undefined)]);
    over.abort();
    socket.end();
  }

  async #socket(path: string): Promise<void> {
    const socket = connect(this.#port, '127.0.0.1');
    const lines = ['host: a', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-key: AA'];
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(String(answer), /^HTTP\/1.1 101 /);
    socket.write('ping');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.destroy();
    await closed;
  }
}
