// Exchanges that go well: protocols, bodies, upgrades, and what clients say of themselves.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { askHttp2, type Caller, closed, echoed, over } from './caller.ts';
import { answered, ended, http, type RoleEvent } from './event.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const UUID = '0e3f9d52-7a51-4c68-9c0d-6f4f4b1f2a11';
const BODY = 'b'.repeat(1234);
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

/** A tunnel has no other end than that somebody leaves: Envoy says so of the client. */
const LEFT = ended('allowed', 101, 'DC', 'downstream_remote_disconnect', { line: { received: 140, sent: 140 } });

async function upgraded(caller: Caller, protocol: string, path = '/app/upgrade'): Promise<void> {
  const socket = await caller.open('web');
  socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: ${protocol}\r\n\r\n`);
  await once(socket, 'data');
  await echoed(socket, 'frames '.repeat(20));
}

async function connectMethod(caller: Caller): Promise<void> {
  const socket = await caller.open('web');
  socket.write('CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\n');
  await once(socket, 'data');
  await echoed(socket, 'through the tunnel');
}

async function connectHttp2(caller: Caller, headers: Record<string, string>): Promise<void> {
  await caller.http2(async (session) => {
    if (headers[':protocol'] !== undefined) await once(session, 'remoteSettings');
    const stream = session.request({ ':method': 'CONNECT', ...headers }, { endStream: false });
    stream.on('error', () => undefined);
    await once(stream, 'response');
    stream.write('through the tunnel');
    await once(stream, 'data');
    // A tunnel to a WebSocket has no half-close: it is left.
    if (headers[':protocol'] === undefined) stream.end();
    else stream.close(8);
    await over(stream.resume());
  });
}

export const PROTOCOLS: readonly RoleEvent[] = [
  http('HTTP/1.1', (caller) => caller.ask('/app/ok'), answered(200, { line: { protocol: 'HTTP/1.1' } })),
  http(
    'HTTP/1.1, two exchanges on one connection',
    async (caller) => {
      const agent = await caller.agent();
      await caller.ask('/app/ok', { agent });
      await caller.ask('/app/second', { agent });
      agent.destroy();
    },
    [answered(200, { line: { path: '/app/ok' } }), answered(200, { line: { path: '/app/second' } })],
  ),
  http(
    'HTTP/1.1, two exchanges sent at once',
    async (caller) => {
      const request = (path: string, more: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${more}\r\n`;
      await caller.raw('web', request('/app/first', '') + request('/app/last', 'connection: close\r\n'));
    },
    [answered(200, { line: { path: '/app/first' } }), answered(200, { line: { path: '/app/last' } })],
  ),
  http(
    'HTTP/2, several streams on one connection',
    (caller) =>
      caller.http2((session) =>
        Promise.all(
          [1, 2, 3].map((n) => askHttp2(session, { ':path': `/app/${n}`, 'content-type': 'text/plain' }, BODY)),
        ),
      ),
    Array.from({ length: 3 }, () =>
      answered(200, { line: { protocol: 'HTTP/2', grpc: null, grpc_attribute: '2', received: BODY.length } }),
    ),
  ),
  http(
    'gRPC, status OK',
    (caller) =>
      caller.http2((session) =>
        askHttp2(session, { ':path': '/test.Service/Status0', 'content-type': 'application/grpc' }, BODY),
      ),
    answered(200, { record: ({ response }) => assert.equal(response.grpc_status, 0) }),
  ),
  http(
    'gRPC, an error in the trailers',
    (caller) =>
      caller.http2((session) =>
        askHttp2(session, { ':path': '/test.Service/Status5', 'content-type': 'application/grpc+proto' }, BODY),
      ),
    answered(200, { record: ({ response }) => assert.equal(response.grpc_status, 5) }),
  ),
  http(
    'gRPC, an error without trailers',
    (caller) =>
      caller.http2((session) =>
        askHttp2(session, { ':path': '/test.Service/Early', 'content-type': 'application/grpc' }, BODY),
      ),
    answered(200, { record: ({ response }) => assert.equal(response.grpc_status, 7) }),
  ),
  http('WebSocket, closed by the client', (caller) => upgraded(caller, 'websocket'), LEFT),
  http('WebSocket, closed by the upstream', (caller) => upgraded(caller, 'websocket', '/app/upgrade-once'), [
    ended('allowed', 101, 'UC', /^upstream_reset_after_response_started/, { line: { received: 140, sent: 140 } }),
  ]),
  http(
    'an upgrade that the proxy does not know',
    (caller) => caller.raw('web', `GET /app/ok HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n`),
    ended('invalid', 403, '-', 'upgrade_failed'),
  ),
  http(
    'a WebSocket that the upstream refuses',
    async (caller) => {
      const socket = await caller.open('web');
      socket.write('GET /app/refused HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
      await once(socket, 'data');
      socket.end();
      await closed(socket);
    },
    answered(400),
  ),
  http('another upgrade', (caller) => upgraded(caller, 'echo'), LEFT),
  http(
    'CONNECT, HTTP/1.1',
    connectMethod,
    ended('allowed', 200, 'DC', 'downstream_remote_disconnect', {
      line: { method: 'CONNECT', received: 18, sent: 18 },
    }),
  ),
  http(
    'CONNECT, HTTP/2',
    (caller) => connectHttp2(caller, { ':authority': 'far.test:443' }),
    answered(200, { line: { method: 'CONNECT', protocol: 'HTTP/2', received: 18, sent: 18 } }),
  ),
  http(
    'extended CONNECT: WebSocket over HTTP/2',
    (caller) =>
      connectHttp2(caller, {
        ':protocol': 'websocket',
        ':scheme': 'http',
        ':path': '/app/upgrade',
        ':authority': 'a',
      }),
    ended('allowed', 101, 'DR', 'http2.remote_reset', { line: { protocol: 'HTTP/2', received: 18, sent: 18 } }),
  ),
  http(
    'an upstream over mTLS',
    (caller) => caller.ask('/secured'),
    answered(200, { line: { upstream_peer: /\/sa\/app$/ } }),
  ),
];

export const BODIES: readonly RoleEvent[] = [
  http(
    'bodies with a content length, both ways',
    (caller) => caller.ask('/app/length', { method: 'POST', body: BODY, headers: { 'content-length': '1234' } }),
    answered(200, { line: { received: 1234, sent: 700 } }),
  ),
  http(
    'bodies in chunks, both ways',
    async (caller) => {
      const head = 'POST /app/chunked HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n';
      await caller.raw('web', `${head}${chunk(BODY)}${chunk(BODY)}0\r\n\r\n`);
    },
    answered(200, { line: { received: /^2\d+$/, sent: /^1\d+$/ } }),
  ),
  http('HEAD', (caller) => caller.ask('/app/length', { method: 'HEAD' }), answered(200, { line: { sent: 0 } })),
  http(
    'HEAD, answered by the proxy',
    (caller) => caller.ask('/direct', { method: 'HEAD' }),
    ended('allowed', 200, '-', 'direct_response', { line: { sent: 0 } }),
  ),
  http(
    'an answer with a content length and trailers',
    (caller) => caller.http2((session) => askHttp2(session, { ':path': '/test.Service/Trailers' })),
    answered(200, { line: { sent: 700 } }),
  ),
  http('204', (caller) => caller.ask('/app/nothing'), answered(204)),
  http('304', (caller) => caller.ask('/app/unchanged'), answered(304)),
  http(
    'encoded bodies',
    (caller) =>
      caller.ask('/app/encoded', {
        method: 'PUT',
        body: BODY,
        headers: { 'content-encoding': 'br', 'content-type': 'a/b' },
      }),
    answered(200, { line: { request_encoding: 'br', response_encoding: 'gzip', request_type: 'a/b' } }),
  ),
  http(
    'HTTP/1.1 with 100 Continue',
    (caller) => caller.ask('/app/ok', { method: 'POST', body: BODY, headers: { expect: '100-continue' } }),
    answered(200, { line: { received: 1234 } }),
  ),
];

/** Of the client's own words, `traceparent` and others; the record says what came of them. */
function said(
  name: string,
  headers: Readonly<Record<string, string>>,
  record: NonNullable<ReturnType<typeof answered>['record']>,
): RoleEvent {
  return http(name, (caller) => caller.ask('/app/ok', { headers }), answered(200, { record }));
}

export const IDENTIFIERS: readonly RoleEvent[] = [
  said('`traceparent`', { traceparent: `00-${TRACE}-${SPAN}-01` }, ({ trace }) => {
    const { format, ...others } = trace;
    assert.deepEqual(others, { id: TRACE, span_id: SPAN, sampled: true });
    assert.equal(format ?? 'w3c', 'w3c');
  }),
  said('a malformed `traceparent`', { traceparent: '00-xyz' }, ({ trace }) =>
    assert.deepEqual(trace, { malformed: '00-xyz' }),
  ),
  said('B3 in one header', { b3: `${TRACE}-${SPAN}-1` }, ({ trace }) =>
    assert.deepEqual([trace.id, trace.span_id, trace.sampled, trace.format], [TRACE, SPAN, true, 'b3']),
  ),
  said(
    'B3 in several headers, 64 bits',
    { 'x-b3-traceid': TRACE.slice(16), 'x-b3-spanid': SPAN, 'x-b3-sampled': '0' },
    ({ trace }) =>
      assert.deepEqual([trace.id, trace.span_id, trace.sampled, trace.format], [TRACE.slice(16), SPAN, false, 'b3']),
  ),
  said('malformed B3', { 'x-b3-traceid': 'nothing', 'x-b3-spanid': SPAN }, ({ trace }) => {
    assert.equal(trace.id, undefined);
    assert.match(trace.malformed ?? '', /x-b3-traceid: nothing\n/);
  }),
  said('`traceparent` and B3', { traceparent: `00-${TRACE}-${SPAN}-00`, b3: `${SPAN}-${SPAN}` }, ({ trace }) =>
    assert.deepEqual([trace.id, trace.span_id, trace.sampled], [TRACE, SPAN, false]),
  ),
  said('`x-request-id`, a UUID', { 'x-request-id': UUID }, ({ request }) => assert.equal(request.id, UUID)),
  said('`x-request-id`, another text', { 'x-request-id': 'No. 7' }, ({ request }) => assert.equal(request.id, 'No. 7')),
  said(
    '`x-forwarded-client-cert`',
    { 'x-forwarded-client-cert': 'Hash=00;URI=spiffe://a/x,Subject="CN=a,b;c";URI=spiffe://a/y;DNS=z' },
    ({ source }) => {
      assert.equal(source.claimed_principal, 'spiffe://a/y');
      assert.equal(source.principal, undefined);
    },
  ),
  // Envoy takes the address from the header where it is told to trust it; the connection's own record has the socket's.
  said('`x-forwarded-for`', { 'x-forwarded-for': '192.0.2.7' }, ({ source }) =>
    assert.equal(source.address, '192.0.2.7:0'),
  ),
  said('an allowed header', { 'x-tenant': 'acme' }, ({ request }) =>
    assert.deepEqual(request.headers, { 'x-tenant': 'acme' }),
  ),
];
