// One Envoy that can end an exchange in every way the HTTP role sees: each ending is one record, and says what happened.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttp, request as httpRequest } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import { type AddressInfo, connect, type Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { startEnvoy } from '../../collector/src/demo/envoy.ts';
import type { Bootstrap } from '../../collector/src/demo/envoy-parts.ts';
import { freePorts, refusingPort } from '../../collector/src/demo/ports.ts';
import { readRecords, waitForEnds } from '../../collector/src/demo/recorded.ts';
import { makeTokens, outcomesBootstrap } from './outcomes-config.ts';
import { scratch, startCollector, withEnvoy } from './support.ts';

const envoy = withEnvoy();
const NODE = 'gateway.edge';

async function listening(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    (server as { closeAllConnections?: () => void }).closeAllConnections?.();
  });
  return (server.address() as AddressInfo).port;
}

async function startApps(t: TestContext): Promise<{ readonly http: number; readonly grpc: number }> {
  const http = createHttp((request, response) => {
    if (request.url === '/cut') response.socket?.destroy();
    else if (request.url === '/slow') return;
    else if (request.url === '/hang-up') response.writeHead(200).write('beginning');
    else response.writeHead(request.url === '/retry' ? 503 : 200, { 'content-type': 'text/plain' }).end('hello');
  });
  const grpc = createHttp2();
  grpc.on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '5' }));
    stream.end('x');
  });
  return { http: await listening(t, http), grpc: await listening(t, grpc as unknown as Server) };
}

function ask(port: number, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { port, path, headers: { 'x-request-id': idOf(path, headers), ...headers } },
      (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      },
    );
    request.on('error', reject).end();
  });
}

/** A request id by which a test finds its record again; no UUID, so it is kept as text. */
const idOf = (path: string, headers: Record<string, string>): string => `case ${path} ${headers['case'] ?? ''}`.trim();

/** Sends bytes as they are and waits until the proxy closes the connection. */
async function raw(port: number, text: string): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.resume();
  socket.write(text);
  await Promise.race([once(socket, 'close'), sleep(2000)]);
  socket.destroy();
}

async function hangUp(port: number): Promise<void> {
  const request = httpRequest({ port, path: '/hang-up', headers: { 'x-request-id': 'case /hang-up' } });
  request.on('error', () => undefined).end();
  const [answer] = await once(request, 'response');
  await once(answer, 'data');
  request.destroy();
}

async function overHttp2(port: number, path: string, contentType: string): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const stream = session.request({
    ':path': path,
    ':method': 'POST',
    'content-type': contentType,
    'x-request-id': `case ${path}`,
  });
  stream.resume().end('abc');
  await once(stream, 'close');
  session.close();
}

async function playAll(port: number, second: number, tokens: { readonly good: string }): Promise<void> {
  await ask(port, '/ok', {
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'x-tenant': 'acme',
  });
  await ask(port, '/bad-trace', { traceparent: '00-xyz' });
  for (const path of ['/direct', '/redirect', '/refused', '/slow', '/cut', '/retry', '/denied', '/nowhere', '/shadow'])
    await ask(port, path);
  await ask(port, '/limited', { case: 'first' });
  await ask(port, '/limited', { case: 'second' });
  await ask(port, '/jwt', { case: 'none' });
  await ask(port, '/jwt', { case: 'good', authorization: `Bearer ${tokens.good}` });
  await hangUp(port);
  await raw(port, 'GARBAGE\r\n\r\n');
  await raw(port, 'GET /no-host HTTP/1.1\r\n\r\n');
  await raw(port, `GET /long HTTP/1.1\r\nhost: a\r\nx-long: ${'a'.repeat(80_000)}\r\n\r\n`);
  await overHttp2(port, '/ok-h2', 'text/plain');
  await overHttp2(port, '/grpc.Service/Method', 'application/grpc');
  await ask(second, '/ok', { case: 'second root' });
}

/** Ordinary exchanges have no details: the upstream answered, and nothing is flagged. */
const EXPECTED: readonly (readonly [
  id: string,
  verdict: string,
  code: number | undefined,
  details: RegExp | undefined,
])[] = [
  ['case /ok', 'allowed', 200, undefined],
  ['case /bad-trace', 'allowed', 200, undefined],
  ['case /direct', 'allowed', 200, /^direct_response$/],
  ['case /redirect', 'allowed', 301, /^direct_response$/],
  ['case /refused', 'failed', 503, /^upstream_reset_before_response_started\{/],
  ['case /slow', 'failed', 504, /^response_timeout$/],
  ['case /cut', 'failed', 503, /^upstream_reset_before_response_started\{/],
  ['case /retry', 'failed', 503, /^via_upstream$/],
  ['case /denied', 'denied', 403, /^rbac_access_denied_matched_policy\[no-denied\]$/],
  ['case /nowhere', 'unrouted', 404, /^route_not_found$/],
  ['case /shadow', 'allowed', 200, undefined],
  ['case /limited first', 'allowed', 200, undefined],
  ['case /limited second', 'denied', 429, /^local_rate_limited$/],
  ['case /jwt none', 'denied', 401, /^jwt_authn_access_denied\{/],
  ['case /jwt good', 'allowed', 200, undefined],
  ['case /hang-up', 'reset', 200, /^downstream_remote_disconnect$/],
  ['case /ok-h2', 'allowed', 200, undefined],
  ['case /grpc.Service/Method', 'allowed', 200, undefined],
  ['case /ok second root', 'allowed', 200, undefined],
];

function assertRecords(records: readonly FlowRecord[]): void {
  const byId = (id: string): FlowRecord => {
    const found = records.filter(({ request }) => request.id === id);
    assert.equal(found.length, 1, `${id}: ${found.length} records`);
    return found[0] as FlowRecord;
  };
  for (const [id, verdict, code, details] of EXPECTED) {
    const record = byId(id);
    assert.deepEqual([record.verdict, record.response.code], [verdict, code], `${id}: ${JSON.stringify(record)}`);
    if (details === undefined) assert.equal(record.response.code_details, undefined, id);
    else assert.match(record.response.code_details ?? '', details, id);
    assert.ok(record.duration !== undefined && record.connection.id !== undefined, id);
    assert.ok(record.source.address?.startsWith('127.0.0.1:'), id);
  }
  assert.deepEqual(byId('case /ok').trace, {
    id: '0af7651916cd43dd8448eb211c80319c',
    span_id: 'b7ad6b7169203331',
    sampled: true,
  });
  assert.deepEqual(byId('case /ok').request.headers, { 'x-tenant': 'acme' });
  assert.deepEqual(byId('case /bad-trace').trace, { malformed: '00-xyz' });
  assert.equal(byId('case /denied').policy, 'no-denied');
  assert.deepEqual(
    [byId('case /shadow').rbac.shadow_result, byId('case /shadow').rbac.shadow_policy],
    ['denied', 'dry'],
  );
  assert.deepEqual(byId('case /jwt good').token, { issuer: 'https://issuer.test', subject: 'alice' });
  assert.equal(byId('case /retry').upstream.request_attempt_count, 3);
  assert.equal(byId('case /grpc.Service/Method').response.grpc_status, 5);
  assert.equal(byId('case /ok').response.grpc_status, undefined);
  assert.equal(byId('case /ok-h2').request.protocol, 'HTTP/2');
  assert.match(byId('case /refused').upstream.transport_failure_reason ?? '', /refused/i);
  const invalid = records.filter(({ verdict }) => verdict === 'invalid').map(({ response }) => response.code);
  assert.deepEqual(invalid.toSorted(), [400, 400, 431]);
}

test('every ending of an HTTP exchange is one record that says what happened', envoy.options, async (t) => {
  const dir = scratch(t);
  const collector = await startCollector(t, dir);
  const apps = await startApps(t);
  const refusing = await refusingPort();
  t.after(() => refusing.release());
  const [first, second] = (await freePorts(2)) as [number, number];
  const tokens = makeTokens();
  const bootstrap = outcomesBootstrap({
    ...apps,
    refused: refusing.port,
    ports: [first, second],
    wasm: envoy.filter,
    ingest: collector.ingest,
    jwks: tokens.jwks,
    node: NODE,
  });
  const proxy = await startEnvoy(envoy.binary, 'outcomes', join(dir, 'envoy'), bootstrap as unknown as Bootstrap);
  t.after(() => proxy.stop());
  await playAll(first, second, tokens);
  await sleep(600);
  await proxy.stop();
  assert.ok(await waitForEnds(collector.url, collector.vkey, [NODE], 15_000), 'the stream did not end with FIN');
  const { records } = await readRecords(collector.url);
  assert.equal(
    records.length,
    22,
    records.map(({ request, response }) => `${request.path} ${response.code}`).join(', '),
  );
  assert.equal(new Set(records.map(({ record }) => record.stream)).size, 1, 'two roots of one VM share one stream');

  assertRecords(records);
});
