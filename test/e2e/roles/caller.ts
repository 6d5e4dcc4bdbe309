// A client of the roles' proxy: every socket goes through `open`, so that lines and records can be found again by its address.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { Identities, ListenerName } from './proxy.ts';
import type { Tokens } from './routes.ts';

const CLOSE_MS_MAX = 3000;
/** More than the proxy takes. */
const HEADERS_BYTES_MAX = 200_000;

export interface Stage {
  readonly ports: Readonly<Record<ListenerName, number>>;
  readonly identities: Identities;
  readonly tokens: Tokens;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly agent?: Agent;
}

/** Both ends of a connection, by which it is known while it lives: one client port may serve two listeners, and be used again. */
export const addressesOf = (client: unknown, listener: unknown): string => `${client} to ${listener}`;

interface Closing {
  readonly closed: boolean;
  on(event: 'error' | 'close', listener: () => void): unknown;
}

/** Resolves when a stream is closed, however it ended. */
export function over(stream: Closing): Promise<void> {
  return new Promise((resolve) => {
    stream.on('error', () => undefined);
    stream.on('close', resolve);
    if (stream.closed) resolve();
  });
}

export class Caller {
  /** All connections that were made: their addresses, and when (Unix ms) they were opened. */
  readonly opened: { readonly addresses: string; readonly ms: number }[] = [];
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  get tokens(): Tokens {
    return this.#stage.tokens;
  }

  async open(listener: ListenerName): Promise<Socket> {
    const ms = Date.now();
    const socket = connect(this.#stage.ports[listener], '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    this.opened.push({ addresses: addressesOf(`127.0.0.1:${socket.localPort}`, `127.0.0.1:${socket.remotePort}`), ms });
    return socket;
  }

  /** TLS with the mesh's certificate, or with `options` instead. Resolves when the client is content; under TLS 1.3 the proxy may not be. */
  async secure(listener: ListenerName, options: ConnectionOptions = {}): Promise<TLSSocket> {
    const { caller, caFile } = this.#stage.identities;
    const socket = connectTls({
      socket: await this.open(listener),
      cert: readFileSync(caller.certificateFile),
      key: readFileSync(caller.keyFile),
      ca: readFileSync(caFile),
      checkServerIdentity: () => undefined,
      ...options,
    });
    socket.on('error', () => undefined);
    await Promise.race([new Promise((resolve) => socket.once('secureConnect', resolve)), over(socket)]);
    return socket;
  }

  /** Client options with the certificate of an authority that the proxy does not know. */
  stranger(): ConnectionOptions {
    const { stranger } = this.#stage.identities;
    return { cert: readFileSync(stranger.certificateFile), key: readFileSync(stranger.keyFile) };
  }

  /** One exchange over HTTP/1.1, read to its end. Returns the status. */
  async ask(path: string, { body, ...more }: Ask = {}): Promise<number> {
    const [answer] = await this.begin(path, body ?? '', more);
    await over(answer.resume());
    return answer.statusCode ?? 0;
  }

  /** Sends a request and waits for the head of the answer. */
  async begin(path: string, body: string, more: RequestOptions): Promise<[IncomingMessage, () => void]> {
    const made = request({ path, ...(await this.#way(more)), ...more });
    made.on('error', () => undefined).end(body);
    const [answer] = (await once(made, 'response')) as [IncomingMessage];
    return [answer, () => made.destroy()];
  }

  async #way({ agent }: RequestOptions): Promise<RequestOptions> {
    if (agent !== undefined) return {};
    const socket = await this.open('web');
    return { createConnection: () => socket };
  }

  /** Keeps one connection for all that is asked through it. */
  async agent(socket?: Socket): Promise<Agent> {
    const only = socket ?? (await this.open('web'));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agent.createConnection = () => only;
    return agent;
  }

  /** Sends bytes as they are; resolves with what came until the proxy closed the connection. */
  async raw(listener: ListenerName, bytes: string): Promise<string> {
    const socket = await this.open(listener);
    let text = '';
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    socket.write(bytes, 'latin1');
    await closed(socket);
    return text;
  }

  /** A session of HTTP/2, closed when `use` is done. */
  async http2<T>(use: (session: ClientHttp2Session) => Promise<T>, socket?: Socket): Promise<T> {
    const own = socket ?? (await this.open('web'));
    const session = connectHttp2('http://proxy.test', {
      createConnection: () => own,
      maxSendHeaderBlockLength: HEADERS_BYTES_MAX,
    });
    session.on('error', () => undefined);
    try {
      return await use(session);
    } finally {
      session.close();
      await closed(own);
    }
  }
}

/** One exchange over HTTP/2, read to its end. */
export async function askHttp2(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body = ''): Promise<void> {
  const stream = session.request({ ':method': body === '' ? 'GET' : 'POST', ...headers }, { endStream: body === '' });
  if (body !== '') stream.end(body);
  await over(stream.resume());
}

/** Waits until a connection is closed from the other side, and closes it when that takes too long. */
export async function closed(socket: Socket): Promise<void> {
  await Promise.race([over(socket.resume()), sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
  socket.destroy();
}

/** Sends bytes and waits for their echo, then closes. */
export async function echoed(socket: Socket, bytes: string): Promise<void> {
  let count = 0;
  const all = new Promise<void>((resolve) => {
    socket.on('data', (data) => {
      count += data.length;
      if (count >= bytes.length) resolve();
    });
  });
  socket.write(bytes);
  await Promise.race([all, over(socket), sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
  socket.end();
  await closed(socket);
}
