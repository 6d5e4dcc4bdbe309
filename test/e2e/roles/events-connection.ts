// TCP and TLS: connections that are carried, refused by policy, or never come about.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import { askHttp2, type Caller, closed, echoed } from './caller.ts';
import {
  answered,
  BEFORE_CHAIN,
  connection,
  http,
  NO_CHAIN,
  NO_REQUEST,
  type RoleEvent,
  type Seen,
  TCP,
} from './event.ts';
import { DENIED, type ListenerName, NET_DRY_POLICY, NET_POLICY, PASSED, TOLD_PRINCIPAL, TRIED } from './proxy.ts';

const CALLER = /\/ns\/shop\/sa\/caller$/;
const BYTES = 'these are forty bytes, and not one more.';

async function tlsEchoed(caller: Caller, listener: ListenerName, options: ConnectionOptions): Promise<void> {
  await echoed(await caller.secure(listener, options), BYTES);
}

/** Tries TLS that the proxy will not accept. */
async function refused(caller: Caller, listener: ListenerName, options: ConnectionOptions): Promise<void> {
  const socket = await caller.secure(listener, options);
  socket.write('hello?');
  await closed(socket);
}

const WITHOUT: ConnectionOptions = { cert: undefined, key: undefined };

/** A handshake that failed: the reason, and a certificate that proves nothing. */
function failedTls(reason: RegExp, showsCertificate: boolean): Seen {
  return {
    verdict: 'failed',
    line: { tls_failure: reason, digest: showsCertificate ? /^[0-9a-f]{64}$/ : null },
    record: ({ source, connection: of }) => {
      assert.equal(source.principal, undefined, 'a refused certificate is no identity');
      assert.equal(of.certificate_rejected, true);
      if (showsCertificate) assert.match(of.rejected_principal ?? '', /\/sa\/stranger$/);
    },
  };
}

export const TCP_EVENTS: readonly RoleEvent[] = [
  connection(
    'TCP',
    async (caller) => echoed(await caller.open('tcp'), BYTES),
    { verdict: 'allowed', line: { received: BYTES.length, sent: BYTES.length, cluster: 'echo' } },
    TCP,
  ),
  connection(
    'TCP, reset by the client',
    async (caller) => {
      const socket = await caller.open('tcp');
      socket.write(BYTES);
      await sleep(50);
      socket.resetAndDestroy();
    },
    { verdict: 'allowed', line: { received: BYTES.length } },
    TCP,
  ),
  connection(
    'TCP, reset by the upstream',
    async (caller) => {
      const socket = await caller.open('tcp-cut');
      socket.write(BYTES);
      await closed(socket);
    },
    { verdict: 'failed', line: { received: BYTES.length, sent: 0, flags: 'UR' } },
    TCP,
  ),
  connection(
    'TCP, longer than the proxy lets it live',
    async (caller) => {
      const socket = await caller.open('tcp-short');
      socket.write(BYTES);
      await closed(socket);
    },
    { verdict: 'failed', line: { flags: 'DT', received: BYTES.length, sent: BYTES.length } },
    TCP,
  ),
  connection(
    'TCP, upstream refuses',
    async (caller) => {
      const socket = await caller.open('tcp-refused');
      socket.write(BYTES);
      await closed(socket);
    },
    { verdict: 'failed', line: { flags: /UF/, upstream_failure: /refused/i } },
    TCP,
  ),
  connection(
    'TLS passed through by its server name',
    (caller) => tlsEchoed(caller, 'by-name', { servername: PASSED }),
    { verdict: 'allowed', line: { sni: PASSED, tls: null, peer: null } },
    TCP,
  ),
  connection(
    'TLS passed through, denied by network RBAC',
    (caller) => refused(caller, 'by-name', { servername: DENIED }),
    denied(),
    TCP,
  ),
  connection(
    'TLS, no filter chain matches',
    (caller) => refused(caller, 'by-name', { servername: 'unknown.test' }),
    {
      verdict: 'unrouted',
      line: { flags: 'NR', details: 'filter_chain_not_found', sni: 'unknown.test' },
      record: ({ connection: of }) => assert.equal(of.id, undefined),
    },
    NO_CHAIN,
  ),
  connection(
    'mTLS to TCP',
    (caller) => tlsEchoed(caller, 'terminated', { servername: 'a.test' }),
    {
      verdict: 'allowed',
      line: { received: 40, sent: 40, tls: 'TLSv1.3', peer: CALLER, upstream_peer: /\/sa\/app$/ },
      record: ({ source }) => assert.match(source.principal ?? '', CALLER),
    },
    TCP,
  ),
  connection(
    'mTLS to TCP, shadow network RBAC',
    (caller) => tlsEchoed(caller, 'terminated', { servername: TRIED }),
    {
      verdict: 'allowed',
      line: { net_shadow_result: 'denied', net_shadow_policy: NET_DRY_POLICY },
      record: ({ policy }) => assert.equal(policy, undefined),
    },
    TCP,
  ),
  connection(
    'mTLS to TCP, TLS 1.2',
    (caller) => tlsEchoed(caller, 'terminated', { maxVersion: 'TLSv1.2' }),
    { verdict: 'allowed', line: { received: 40, sent: 40, tls: 'TLSv1.2', peer: CALLER } },
    TCP,
  ),
  connection(
    'mTLS to TCP, denied by network RBAC',
    (caller) => refused(caller, 'terminated', { servername: DENIED }),
    denied({ peer: CALLER }),
    TCP,
  ),
];

function denied(more: Seen['line'] = {}): Seen {
  const termination = `rbac_access_denied_matched_policy[${NET_POLICY}]`;
  return {
    verdict: 'denied',
    line: { termination, ...more },
    record: ({ policy, connection: of }) => {
      assert.equal(of.termination_details, termination);
      assert.equal(policy, NET_POLICY);
    },
  };
}

/** The three ways to fail a handshake, before HTTP and before TCP. */
export const FAILED_TLS: readonly RoleEvent[] = (['secure', 'terminated'] as const).flatMap((listener) => {
  const sights = listener === 'secure' ? NO_REQUEST : TCP;
  const before = listener === 'secure' ? 'HTTP' : 'TCP';
  return [
    connection(
      `TLS before ${before} without a certificate`,
      (caller) => refused(caller, listener, WITHOUT),
      failedTls(/PEER_DID_NOT_RETURN_A_CERTIFICATE/, false),
      sights,
    ),
    connection(
      `TLS before ${before} with a certificate of another authority`,
      (caller) => refused(caller, listener, caller.stranger()),
      failedTls(/CERTIFICATE_VERIFY_FAILED/, true),
      sights,
    ),
    connection(
      `plaintext to the port of TLS before ${before}`,
      (caller) => caller.raw(listener, 'GET /app/ok HTTP/1.1\r\nhost: a\r\n\r\n'),
      failedTls(/HTTP_REQUEST|WRONG_VERSION_NUMBER/, false),
      sights,
    ),
  ];
});

const secured = answered(200, {
  line: { tls: 'TLSv1.3', peer: CALLER, sni: 'web.test' },
  record: ({ source }) => assert.match(source.principal ?? '', CALLER),
});

export const SECURED: readonly RoleEvent[] = [
  http(
    'HTTP/1.1 over mTLS',
    async (caller) => {
      const socket = await caller.secure('secure', { servername: 'web.test', ALPNProtocols: ['http/1.1'] });
      const agent = await caller.agent(socket);
      await caller.ask('/app/ok', { agent });
      agent.destroy();
    },
    secured,
  ),
  http(
    'HTTP/2 over mTLS',
    async (caller) => {
      const socket = await caller.secure('secure', { servername: 'web.test', ALPNProtocols: ['h2'] });
      await caller.http2((session) => askHttp2(session, { ':path': '/app/ok' }), socket);
    },
    secured,
  ),
  http(
    '`x-forwarded-client-cert` over mTLS, which the proxy removes',
    async (caller) => {
      const socket = await caller.secure('secure', { servername: 'web.test', ALPNProtocols: ['http/1.1'] });
      const agent = await caller.agent(socket);
      await caller.ask('/app/ok', { agent, headers: { 'x-forwarded-client-cert': 'URI=spiffe://a/forged' } });
      agent.destroy();
    },
    answered(200, {
      line: { peer: CALLER, xfcc: null },
      record: ({ source }) => assert.equal(source.claimed_principal, undefined),
    }),
  ),
  http(
    'HTTP with an identity from the filter state',
    async (caller) => {
      const agent = await caller.agent(await caller.open('told'));
      await caller.ask('/app/ok', { agent });
      agent.destroy();
    },
    answered(200, {
      line: { told: TOLD_PRINCIPAL, tls: null },
      record: ({ source }) => assert.equal(source.principal, TOLD_PRINCIPAL),
    }),
  ),
];

/** Listener filters wait for the client's first words: without these there is no filter chain, and no connection id. */
export const UNSPOKEN: readonly RoleEvent[] = [
  connection(
    'a port of TLS, closed without a word',
    async (caller) => {
      const socket = await caller.open('secure');
      await sleep(50);
      socket.end();
      await closed(socket);
    },
    { verdict: 'allowed', line: { received: 0, connection_id: 0 } },
    BEFORE_CHAIN,
  ),
  connection(
    'a port of TLS, half a handshake',
    async (caller) => {
      const socket = await caller.open('secure');
      socket.write(Buffer.from('160301020001', 'hex'));
      await sleep(50);
      socket.end();
      await closed(socket);
    },
    { verdict: 'allowed', line: { received: 0, connection_id: 0 } },
    BEFORE_CHAIN,
  ),
];
