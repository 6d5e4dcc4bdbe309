// Exchanges that end otherwise: refused, not routed, failed behind the proxy, given up by the client.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { askHttp2, over } from './caller.ts';
import { answered, ended, http, type RoleEvent } from './event.ts';
import { COUNTED_HOST } from './routes.ts';

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

export const POLICIES: readonly RoleEvent[] = [
  http(
    'RBAC, enforced',
    (caller) => caller.ask('/app/denied'),
    ended('denied', 403, '-', 'rbac_access_denied_matched_policy[no-denied]', {
      record: ({ policy, rbac }) => assert.deepEqual([policy, rbac.result], ['no-denied', 'denied']),
    }),
  ),
  http(
    'RBAC, enforced, gRPC',
    (caller) =>
      caller.http2((session) =>
        askHttp2(session, { ':path': '/app/denied', 'content-type': 'application/grpc' }, 'a message'),
      ),
    // Told as gRPC tells it: 200, and a status.
    ended('denied', 200, '-', 'rbac_access_denied_matched_policy[no-denied]', {
      record: ({ policy, response }) => assert.deepEqual([policy, response.grpc_status], ['no-denied', 7]),
    }),
  ),
  http(
    'RBAC, shadow',
    (caller) => caller.ask('/app/shadow'),
    answered(200, {
      line: { shadow_result: 'denied', shadow_policy: 'dry' },
      record: ({ policy }) => assert.equal(policy, undefined),
    }),
  ),
  http(
    'JWT, good',
    (caller) => caller.ask('/app/jwt', bearer(caller.tokens.good)),
    answered(200, { line: { token_issuer: 'https://issuer.test', token_subject: 'alice' } }),
  ),
  http(
    'JWT, missing',
    (caller) => caller.ask('/app/jwt'),
    ended('denied', 401, '-', 'jwt_authn_access_denied{Jwt_is_missing}'),
  ),
  http(
    'JWT, bad',
    (caller) => caller.ask('/app/jwt', bearer(caller.tokens.bad)),
    ended('denied', 401, '-', /^jwt_authn_access_denied\{/, {
      record: ({ token }) => assert.deepEqual(token, {}),
    }),
  ),
  http(
    'external authorization',
    (caller) => caller.ask('/authorized'),
    ended('denied', 403, 'UAEX', 'ext_authz_denied'),
  ),
  http(
    'rate limit',
    async (caller) => {
      const agent = await caller.agent();
      await caller.ask('/limited', { agent });
      await caller.ask('/limited', { agent });
      agent.destroy();
    },
    [answered(200), ended('denied', 429, 'RL', 'local_rate_limited')],
  ),
];

export const ROUTING: readonly RoleEvent[] = [
  http('no route', (caller) => caller.ask('/nowhere'), ended('unrouted', 404, 'NR', 'route_not_found')),
  http('no such cluster', (caller) => caller.ask('/no-cluster'), ended('failed', 503, 'NC', 'cluster_not_found')),
  http('direct response', (caller) => caller.ask('/direct'), ended('allowed', 200, '-', 'direct_response')),
  http('redirect', (caller) => caller.ask('/redirect'), ended('allowed', 301, '-', 'direct_response')),
  http(
    'a rewritten path',
    (caller) => caller.ask('/rewritten'),
    answered(200, { record: ({ request }) => assert.equal(request.path, '/app/rewritten') }),
  ),
];

const TOLD: readonly RoleEvent[] = [undefined, COUNTED_HOST].flatMap((host) => {
  const headers = (id: string) => ({ headers: { ...(host === undefined ? {} : { host }), 'x-request-id': id } });
  const with_ = host === undefined ? '' : ', attempts told to the upstream';
  return [
    http(
      `one attempt${with_}`,
      (caller) => caller.ask('/app/ok', headers('one')),
      answered(200, { line: { attempts: 1 } }),
    ),
    http(
      `a retry that helps${with_}`,
      (caller) => caller.ask('/retry/recovers', headers(randomUUID())),
      answered(200, { line: { attempts: 2 } }),
    ),
    http(
      `retries that do not help${with_}`,
      (caller) => caller.ask('/retry/fails', headers('none')),
      ended('failed', 503, 'URX', 'via_upstream', { line: { attempts: 3 } }),
    ),
  ];
});

/** The header by which Envoy tells an upstream of its attempts, sent by a client to a proxy that does not write it. */
const FORGED = http(
  'a retry that helps, a forged count of attempts',
  (caller) =>
    caller.ask('/retry/recovers', { headers: { 'x-request-id': randomUUID(), 'x-envoy-attempt-count': '1' } }),
  answered(200, { line: { attempts: 2, said_attempts: '1' } }),
);

export const RETRIES: readonly RoleEvent[] = [...TOLD, FORGED];

export const FAILURES: readonly RoleEvent[] = [
  http('500 from the upstream', (caller) => caller.ask('/app/status'), answered(500)),
  http(
    'upstream refuses the connection',
    (caller) => caller.ask('/refused'),
    ended('failed', 503, 'UF', /^upstream_reset_before_response_started\{/, { line: { upstream_failure: /refused/i } }),
  ),
  http('no upstream host', (caller) => caller.ask('/no-host'), ended('failed', 503, 'UH', 'no_healthy_upstream')),
  http('circuit breaker', (caller) => caller.ask('/full'), ended('failed', 503, 'UO', /overflow/)),
  http('timeout', (caller) => caller.ask('/timeout'), ended('failed', 504, 'UT', 'response_timeout')),
  http(
    'idle timeout of the stream',
    (caller) => caller.ask('/idle'),
    ended('failed', 504, 'SI', 'stream_idle_timeout'),
  ),
  http(
    'an answer that is no HTTP',
    (caller) => caller.ask('/app/garbage'),
    ended('failed', 502, 'UPE', /protocol_error/),
  ),
  http(
    'reset by the upstream before its answer',
    (caller) => caller.ask('/app/cut'),
    ended('failed', 503, 'UC', /^upstream_reset_before_response_started\{/),
  ),
  http(
    'reset by the upstream in its answer',
    (caller) => caller.ask('/app/cut-later'),
    ended('failed', 200, 'UPE', /^upstream_reset_after_response_started\{/),
  ),
];

export const GIVEN_UP: readonly RoleEvent[] = [
  http(
    'reset by the client before the answer',
    async (caller) => {
      const socket = await caller.open('web');
      socket.write('GET /app/hang HTTP/1.1\r\nhost: a\r\n\r\n');
      await sleep(150);
      socket.resetAndDestroy();
    },
    ended('reset', 0, 'DC', 'downstream_remote_disconnect'),
  ),
  http(
    'reset by the client in the answer',
    async (caller) => {
      const [answer, cancel] = await caller.begin('/app/begin', '', {});
      await once(answer, 'data');
      cancel();
      await sleep(50);
    },
    ended('reset', 200, 'DC', 'downstream_remote_disconnect'),
  ),
  http(
    'reset by the client in its body',
    async (caller) => {
      const socket = await caller.open('web');
      socket.write('POST /app/ok HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nten bytes.');
      await sleep(100);
      socket.resetAndDestroy();
    },
    ended('reset', 0, 'DC', 'downstream_remote_disconnect', { line: { received: 10 } }),
  ),
  http(
    'RST_STREAM by the client before the answer',
    (caller) =>
      caller.http2(async (session) => {
        const stream = session.request({ ':path': '/app/hang' });
        stream.on('error', () => undefined);
        await sleep(150);
        stream.close(8);
        await over(stream);
        await sleep(50);
      }),
    ended('reset', 0, 'DR', 'http2.remote_reset'),
  ),
  http(
    'RST_STREAM by the client in the answer',
    (caller) =>
      caller.http2(async (session) => {
        const stream = session.request({ ':path': '/app/begin' });
        stream.on('error', () => undefined);
        await once(stream, 'data');
        stream.close(8);
        await over(stream);
        await sleep(50);
      }),
    ended('reset', 200, 'DR', 'http2.remote_reset'),
  ),
];
