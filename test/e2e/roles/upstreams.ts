// What stands behind the roles' proxy: applications that answer, cut, hang and stream as their path says, and echoes of bytes.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createServer as createTls, type TlsOptions } from 'node:tls';
import type { Identities } from './proxy.ts';

export interface UpstreamPorts {
  readonly http: number;
  /** HTTP/2 in plaintext: gRPC. */
  readonly http2: number;
  /** Over mTLS. */
  readonly https: number;
  readonly echo: number;
  /** Resets a connection when it has heard something. */
  readonly cut: number;
  /** Over mTLS. */
  readonly tlsEcho: number;
  /** Authorizes nothing. */
  readonly authz: number;
}

const PIECE = 'x'.repeat(700);

/** How the application answers, by path; every other path gets a short text. */
const ANSWERS: Readonly<Record<string, (response: ServerResponse, request: IncomingMessage) => void>> = {
  '/timeout': () => undefined,
  '/idle': () => undefined,
  '/app/hang': () => undefined,
  '/app/garbage': (response) => response.socket?.end('no HTTP at all\r\n\r\n'),
  '/app/cut': (response) => response.socket?.destroy(),
  '/app/cut-later': (response) => {
    response.writeHead(200, { 'content-length': '10000' }).write(PIECE);
    setTimeout(() => response.socket?.destroy(), 30);
  },
  '/app/begin': (response) => response.writeHead(200, { 'content-type': 'text/plain' }).write(PIECE),
  '/app/chunked': (response) => {
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.write(PIECE);
    setTimeout(() => response.end(PIECE), 5);
  },
  '/app/stream': (response) => stream(response),
  '/app/length': (response) => response.writeHead(200, { 'content-length': PIECE.length }).end(PIECE),
  '/app/nothing': (response) => response.writeHead(204).end(),
  '/app/unchanged': (response) => response.writeHead(304, { etag: '"1"' }).end(),
  '/app/encoded': (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(PIECE);
  },
  '/app/status': (response) => response.writeHead(500, { 'content-type': 'text/plain' }).end('sorry'),
  '/retry/fails': (response) => response.writeHead(503).end(),
};

/** A piece every 100 ms until the client goes. */
function stream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(PIECE);
  const timer = setInterval(() => response.write(PIECE), 100);
  response.on('close', () => clearInterval(timer));
}

/** Answers; of a path that recovers the first attempt of each request fails. */
function application(): RequestListener {
  const seen = new Set<string>();
  return (request, response) => {
    const path = request.url ?? '';
    const answer = ANSWERS[path];
    request.on('error', () => undefined).resume();
    if (path === '/retry/recovers') {
      const key = String(request.headers['x-request-id']);
      const isFirst = !seen.has(key);
      seen.add(key);
      response.writeHead(isFirst ? 503 : 200, { 'content-type': 'text/plain' }).end(isFirst ? '' : 'at last');
    } else if (answer !== undefined) answer(response, request);
    else
      request.on('end', () =>
        response.writeHead(200, { 'content-type': 'text/plain' }).end(request.method === 'HEAD' ? '' : 'hello'),
      );
  };
}

/** Takes up any offered protocol, unless it is to refuse, and echoes: everything, or `once`. */
function upgrade(request: IncomingMessage, socket: Socket): void {
  socket.on('error', () => undefined);
  if (request.url === '/app/refused') {
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno');
    return;
  }
  const { upgrade: protocol } = request.headers;
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${protocol}\r\n\r\n`);
  if (request.url?.endsWith('once')) socket.once('data', (data) => socket.end(data));
  else socket.pipe(socket);
}

/** A method's name says its gRPC status: `/test.Service/Status5`; `Early` ends with headers alone. */
function answerGrpc(stream: ServerHttp2Stream, path: string): void {
  stream.on('error', () => undefined).resume();
  const type = { ':status': 200, 'content-type': 'application/grpc' };
  const status = /Status(\d+)$/.exec(path)?.[1] ?? '0';
  if (path.endsWith('Early')) {
    stream.respond({ ...type, 'grpc-status': '7' }, { endStream: true });
    return;
  }
  const length = path.endsWith('Trailers') ? { 'content-length': String(PIECE.length) } : {};
  stream.respond({ ...type, ...length }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': 'said so' }));
  stream.end(PIECE);
}

async function listening(t: TestContext, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

function echo(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.pipe(socket);
}

function cut(socket: Socket): void {
  socket.on('error', () => undefined).once('data', () => socket.resetAndDestroy());
}

/** Starts everything; it ends with the test. */
export async function startUpstreams(t: TestContext, { app, caFile }: Identities): Promise<UpstreamPorts> {
  const tls: TlsOptions = {
    cert: readFileSync(app.certificateFile),
    key: readFileSync(app.keyFile),
    ca: readFileSync(caFile),
    requestCert: true,
  };
  const http = createServer(application()).on('upgrade', upgrade);
  const http2 = createHttp2().on('stream', (stream, headers) => answerGrpc(stream, headers[':path'] ?? ''));
  const authz = createServer((_, response) => response.writeHead(403).end('no'));
  return {
    http: await listening(t, http),
    http2: await listening(t, http2 as unknown as Server),
    https: await listening(t, createHttps(tls, application())),
    echo: await listening(t, createTcp(echo)),
    cut: await listening(t, createTcp(cut)),
    // Passed through, it is asked by clients; else by the proxy: both show the mesh's certificates.
    tlsEcho: await listening(t, createTls(tls, echo)),
    authz: await listening(t, authz),
  };
}
