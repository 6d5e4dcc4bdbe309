// What is cached by connection: never a wrong fact, whatever comes on one connection.

import { test } from 'node:test';
import { type Exchange, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { assertRecorded } from './recorded.ts';

/** Envoy takes the source address from x-forwarded-for where the listener trusts it. */
const forwarded = (connectionId: bigint, address: string): Exchange =>
  withHeaders(ordinary({ connectionId, sourceAddress: `${address}:0` }), { 'x-forwarded-for': address });
const direct = (connectionId: bigint): Exchange => ordinary({ connectionId, sourceAddress: '10.0.0.9:40000' });

test('an address from x-forwarded-for belongs to its exchange, in every order', () => {
  const orders: ((id: bigint) => Exchange[])[] = [
    (id) => [forwarded(id, '1.1.1.1'), forwarded(id, '2.2.2.2'), forwarded(id, '1.1.1.1')],
    (id) => [direct(id), forwarded(id, '1.1.1.1'), direct(id)],
    (id) => [forwarded(id, '1.1.1.1'), direct(id), direct(id), forwarded(id, '2.2.2.2'), direct(id)],
  ];
  for (const order of orders) assertRecorded(order(newConnectionId()));
});

test('connections with the same place in the cache do not mix', () => {
  const base = 1_000_000n;
  const ids = [0n, 256n, 65_536n, 2n ** 32n, 2n ** 40n].map((more) => base + more);
  const exchanges = ids.map((connectionId, i) =>
    ordinary({ connectionId, sourceAddress: `10.9.0.${i}:1`, mtls: i % 2 === 0 }),
  );
  assertRecorded([...exchanges, ...exchanges.toReversed(), ...exchanges]);
});

test('a connection seen in one batch is whole in the next', () => {
  const connectionId = newConnectionId();
  const exchanges = Array.from({ length: 200 }, (_, i) =>
    withHeaders(ordinary({ connectionId }), { ':path': `/${i}/${'x'.repeat(900)}` }),
  );
  assertRecorded(exchanges);
});

test('a connection whose first exchange could not be understood', () => {
  const connectionId = newConnectionId();
  const broken = ordinary({
    connectionId,
    protocol: undefined,
    requestHeaders: [],
    code: 400n,
    codeDetails: 'http1.codec_error',
    responseFlags: 0x40000n,
    upstreamAddress: undefined,
  });
  assertRecorded([broken, ordinary({ connectionId })]);
});

test('plaintext connections have no identities, and one that failed its handshake has its reason', () => {
  const plain = {
    mtls: undefined,
    tlsVersion: undefined,
    peerPrincipal: undefined,
    localPrincipal: undefined,
    peerSubject: undefined,
    peerDigest: undefined,
  };
  const failed = {
    transportFailure: 'TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end',
  };
  assertRecorded([ordinary(plain), ordinary({ ...failed }), ordinary({ mtls: false, tlsVersion: 'TLSv1.2' })]);
});

test('the largest records that there can be fit, and none is lost', () => {
  const exchanges = Array.from({ length: 60 }, (_, i) => {
    const long = (length: number, name: string): string => `${name}${i}-`.padEnd(length, 'z');
    const largest = ordinary({
      code: 503n,
      responseFlags: 0x20n,
      codeDetails: long(256, 'details'),
      route: long(256, 'route'),
      upstreamCluster: long(256, 'cluster'),
      upstreamAddress: long(256, 'address'),
      upstreamPrincipal: long(512, 'up'),
      upstreamLocalPrincipal: long(512, 'local-up'),
      upstreamFailure: long(256, 'failure'),
      rbac: new Map([
        ['enforced_engine_result', 'allowed'],
        ['enforced_effective_policy_id', long(256, 'policy')],
        ['shadow_engine_result', 'denied'],
        ['shadow_effective_policy_id', long(256, 'shadow')],
      ]),
      claims: new Map([
        ['iss', long(256, 'issuer')],
        ['sub', long(256, 'subject')],
      ]),
      requestedServerName: long(256, 'sni'),
      sourceAddress: long(256, 'source'),
      destinationAddress: long(256, 'destination'),
      peerPrincipal: long(512, 'peer'),
      localPrincipal: long(512, 'local'),
      peerSubject: long(256, 'subject'),
      transportFailure: long(256, 'transport'),
      filterChain: long(256, 'chain'),
      responseHeaders: [['content-type', long(256, 'response')]],
    });
    return withHeaders(largest, {
      ':path': long(1024, '/'),
      ':method': long(256, 'method'),
      ':authority': long(256, 'authority'),
      'user-agent': long(256, 'agent'),
      'content-type': long(256, 'type'),
      'x-request-id': long(256, 'id'),
      traceparent: long(256, 'trace'),
    });
  });
  assertRecorded(exchanges);
});
