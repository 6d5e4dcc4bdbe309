// Problem details (RFC 9457): how every refusal looks over HTTP, on both listeners.

import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { utf8 } from './core/bytes.ts';
import { ERROR_CODES, type ErrorCode, type ErrorPosition, MeshtrailError } from './core/error.ts';

/** What a refused sender is told to wait. */
const RETRY_AFTER_S = 1;
/** RFC 9457 defines no charset parameter, and JSON is UTF-8 anyway. */
const MEDIA_TYPE = 'application/problem+json';

export interface Problem {
  /** A reference to docs/errors.md. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly position?: ErrorPosition;
  readonly nearest?: string;
}

/** The problem document of an error. */
export function problemOf(error: MeshtrailError): Problem {
  const { http, title } = ERROR_CODES[error.code];
  return {
    type: `/errors#${error.code.toLowerCase()}`,
    title,
    status: http,
    detail: error.message,
    code: error.code,
    ...(error.position === undefined ? {} : { position: error.position }),
    ...(error.nearest === undefined ? {} : { nearest: error.nearest }),
  };
}

function headersOf(error: MeshtrailError): Record<string, string> {
  return {
    'content-type': MEDIA_TYPE,
    // A tile that is missing now may be there in a second.
    'cache-control': 'no-store',
    ...(ERROR_CODES[error.code].http === 503 ? { 'retry-after': String(RETRY_AFTER_S) } : {}),
  };
}

/** Answers a request with the problem document of an error. */
export function refuse(reply: FastifyReply, error: MeshtrailError): FastifyReply {
  // As bytes: to a text Fastify would add a charset.
  return reply
    .code(ERROR_CODES[error.code].http)
    .headers(headersOf(error))
    .send(Buffer.from(utf8(JSON.stringify(problemOf(error)))));
}

/** Refuses a request that names no host (RFC 9112, section 3.2); Node would do it without a problem document. Throws REQUEST_MALFORMED. */
export async function requireHost({ headers, raw }: FastifyRequest): Promise<void> {
  if (headers.host === undefined && raw.httpVersion === '1.1')
    throw new MeshtrailError('REQUEST_MALFORMED', 'The request has no Host header.');
}

/** The error of bytes that never became a request: Node's HTTP parser gave up, or its patience ended. Undefined when the peer is just gone. */
export function connectionError({ code }: NodeJS.ErrnoException): MeshtrailError | undefined {
  switch (code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return undefined;
    case 'HPE_INVALID_EOF_STATE':
      return new MeshtrailError('REQUEST_MALFORMED', 'The connection ended before the request was whole.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new MeshtrailError('REQUEST_TIMEOUT', 'The request did not arrive in time. Send it again, whole.');
    case 'HPE_HEADER_OVERFLOW':
      return new MeshtrailError('HEADERS_TOO_LARGE', 'The headers of the request are longer than this listener takes.');
    default:
      return new MeshtrailError('REQUEST_MALFORMED', `What arrived is no HTTP request (${code ?? 'unknown reason'}).`);
  }
}

/** Answers a broken request on its bare connection, which ends with it. */
export function refuseConnection(socket: Socket, error: MeshtrailError | undefined): void {
  if (error === undefined || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(problemOf(error));
  const { http } = ERROR_CODES[error.code];
  const headers = { ...headersOf(error), 'content-length': String(Buffer.byteLength(body)), connection: 'close' };
  socket.end(
    [
      `HTTP/1.1 ${http} ${STATUS_CODES[http]}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      '',
      body,
    ].join('\r\n'),
  );
  // What is still on its way is not read: a sender that never stops would keep the connection.
  socket.destroySoon();
}
