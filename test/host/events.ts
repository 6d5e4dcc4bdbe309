// What can happen at a listener, with the facts that Envoy was seen to have of it, and who is told of it.

import type { Message, Pairs } from './abi.ts';
import type { Facts } from './contexts.ts';
import type { Chain, Listener } from './listener.ts';

export interface EnvoyEvent {
  readonly name: string;
  /** The chain that it needs: a connection manager, or tcp_proxy. */
  readonly chain: 'http' | 'tcp';
  /** Places that log it, once each. */
  readonly told: readonly (keyof Chain)[];
  /** Lets it happen, with a connection id and a start time of the caller's. */
  readonly run: (listener: Listener, id: bigint, startNs: bigint) => void;
}

const FLAGS = {
  timeout: 0x4n,
  refused: 0x20n,
  reset: 0x40n,
  noRoute: 0x100n,
  clientGone: 0x4000n,
  retries: 0x8000n,
  protocol: 0x40000n,
} as const; // prettier-ignore
const REFUSED = 'delayed connect error: Connection refused';
const BAD_CERTIFICATE =
  'TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate verification error at depth 0: self-signed certificate:TLS_error_end';
const NO_CERTIFICATE =
  'TLS_error:|268435655:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end';
const NO_TLS = 'TLS_error:|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end';

const MTLS: Message = {
  mtls: true,
  tls_version: 'TLSv1.3',
  requested_server_name: 'server.test',
  subject_peer_certificate: 'CN=client,O=mesh',
  uri_san_peer_certificate: 'spiffe://cluster.local/ns/a/sa/client',
  uri_san_local_certificate: 'spiffe://cluster.local/ns/b/sa/server',
  sha256_peer_certificate_digest: '79'.repeat(32),
};
const TLS: Message = {
  ...MTLS,
  mtls: false,
  subject_peer_certificate: '',
  uri_san_peer_certificate: '',
  sha256_peer_certificate_digest: '',
}; // prettier-ignore
const PLAIN: Message = { mtls: false, requested_server_name: '' };

/** Parts of a stream info that differ from event to event. */
interface More {
  readonly connection?: Message;
  readonly request?: Message;
  readonly response?: Message;
  readonly upstream?: Message;
  readonly xds?: Message;
  readonly rbac?: ReadonlyMap<string, string>;
  readonly requestHeaders?: Pairs;
  readonly responseHeaders?: Pairs;
}

/** What each stream info has. */
function factsOf(id: bigint | undefined, startNs: bigint, more: More): Facts {
  const { connection = PLAIN, rbac } = more;
  const filters = new Map(rbac === undefined ? [] : [['envoy.filters.http.rbac', rbac] as const]);
  const properties: Message = {
    ...(id === undefined ? {} : { connection_id: id }),
    connection: { id, ...connection },
    source: { address: '127.0.0.1:60386' },
    destination: { address: '127.0.0.1:10000' },
    request: { time: startNs, duration: 1_500_000n, size: 0n, total_size: 0n, ...more.request },
    response: { flags: 0n, size: 0n, total_size: 0n, ...more.response },
    upstream: { request_attempt_count: 0n, ...more.upstream },
    xds: { filter_chain_name: 'chain', listener_direction: 1n, ...more.xds },
    metadata: { filter_metadata: filters },
  };
  const { requestHeaders, responseHeaders } = more;
  return {
    properties,
    ...(requestHeaders === undefined ? {} : { requestHeaders }),
    ...(responseHeaders === undefined ? {} : { responseHeaders }),
  };
}

const REQUEST: Pairs = [
  [':method', 'GET'],
  [':path', '/ok?q=1'],
  [':authority', '127.0.0.1:10000'],
  [':scheme', 'http'],
  ['user-agent', 'curl/7.88.1'],
  ['x-request-id', 'adbcc141-3980-4e92-af26-f3c999270f7f'],
];

/** An exchange that has its headers, and an answer with this code. */
function answered(code: bigint, details: string, more: More = {}): More {
  const responseHeaders: Pairs = [
    [':status', String(code)],
    ['content-type', 'text/plain'],
    ['content-length', '4'],
  ]; // prettier-ignore
  return {
    requestHeaders: REQUEST,
    responseHeaders,
    ...more,
    request: { protocol: 'HTTP/1.1', total_size: 289n, ...more.request },
    response: { code, code_details: details, total_size: 125n, ...more.response },
  };
}

/** Refused by the codec: no headers of the request, and no protocol. */
function unparsed(code: bigint, details: string): More {
  const { requestHeaders: _none, ...more } = answered(code, details, {
    request: { protocol: undefined, total_size: 0n },
    response: { flags: FLAGS.protocol },
  });
  return more;
}

const UPSTREAM: Message = { address: '127.0.0.1:18080', request_attempt_count: 1n, transport_failure_reason: '' };
const TO_APP = { upstream: UPSTREAM, xds: { cluster_name: 'app', route_name: 'r-ok' } } as const;
const TO_NOBODY = { upstream: { ...UPSTREAM, address: '127.0.0.1:18099', transport_failure_reason: REFUSED } } as const;

const OF_HTTP = ['http', 'httpLoggers', 'network', 'listenerLoggers'] as const;
const OF_CONNECTION = ['network', 'listenerLoggers'] as const;
const OF_TCP = ['network', 'listenerLoggers', 'tcpLoggers'] as const;

type How = 'end' | 'codec' | 'reset' | 'unfinished';

/** One exchange on a connection of its own. */
function http(name: string, exchange: More, how: How = 'end', connection: More = {}): EnvoyEvent {
  const told = how === 'unfinished' ? OF_HTTP.slice(1) : OF_HTTP;
  return {
    name,
    chain: 'http',
    told,
    run(listener, id, startNs) {
      const protocol = exchange.request?.['protocol'];
      const shared = { request: { protocol, total_size: 141n }, response: { total_size: 154n } };
      const whole = factsOf(id, startNs, { ...shared, ...connection });
      const facts = factsOf(id, startNs, { ...exchange, connection: connection.connection ?? PLAIN });
      const open = listener.connect(whole);
      if (how === 'codec') open.codecError(facts);
      else if (how !== 'unfinished') {
        const stream = open.request(facts);
        if (how === 'end') stream.end(facts);
      }
      open.close(2, whole, how === 'unfinished' ? { unfinished: facts } : { open: facts });
    },
  };
}

/** A connection without any exchange. */
function tcp(
  name: string,
  more: More,
  by: 1 | 2 = 1,
  chain: 'http' | 'tcp' = 'tcp',
  isHandshakeOver = true,
): EnvoyEvent {
  return {
    name,
    chain,
    told: chain === 'tcp' ? OF_TCP : OF_CONNECTION,
    run(listener, id, startNs) {
      const facts = factsOf(id, startNs, more);
      listener.connect(facts, 1, isHandshakeOver).close(by, facts);
    },
  };
}

const failed = (reason: string, connection: Message = {}): More => ({
  connection: { ...PLAIN, ...connection, transport_failure_reason: reason },
}); // prettier-ignore
const REJECTED: Message = {
  ...MTLS,
  subject_peer_certificate: 'CN=bad',
  uri_san_peer_certificate: '',
  sha256_peer_certificate_digest: '1d'.repeat(32),
}; // prettier-ignore
const bytes = (request: bigint, response: bigint): More => ({
  request: { total_size: request },
  response: { total_size: response },
}); // prettier-ignore
const NET_DENY: Message = { termination_details: 'rbac_access_denied_matched_policy[net-deny]' };
const DENIED = new Map([
  ['enforced_engine_result', 'denied'],
  ['enforced_effective_policy_id', 'deny-pol'],
]); // prettier-ignore
const UPGRADE: Pairs = [...REQUEST, ['upgrade', 'websocket'], ['connection', 'upgrade']];

export const EVENTS: readonly EnvoyEvent[] = [
  http('an answer of the upstream', answered(200n, 'via_upstream', TO_APP)),
  http('an answer over mTLS', answered(200n, 'via_upstream', TO_APP), 'end', { connection: MTLS }),
  http('HTTP/2 without TLS', answered(200n, 'via_upstream', { ...TO_APP, request: { protocol: 'HTTP/2' } })),
  http(
    'denied by RBAC',
    answered(403n, 'rbac_access_denied_matched_policy[deny-pol]', { rbac: DENIED, xds: TO_APP.xds }),
  ),
  http('denied by JWT', answered(401n, 'jwt_authn_access_denied{Jwt_is_missing}', { xds: TO_APP.xds })),
  http('no route', answered(404n, 'route_not_found', { response: { flags: FLAGS.noRoute } })),
  http('a direct response', answered(200n, 'direct_response')),
  http(
    'an upstream that refuses',
    answered(
      503n,
      'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      {
        ...TO_NOBODY,
        response: { flags: FLAGS.refused },
      },
    ),
  ),
  http(
    'a time-out of the upstream',
    answered(504n, 'response_timeout', { ...TO_APP, response: { flags: FLAGS.timeout } }),
  ),
  http(
    'a reset by the upstream',
    answered(503n, 'upstream_reset_before_response_started{connection_termination}', {
      ...TO_APP,
      response: { flags: FLAGS.reset },
    }),
  ), // prettier-ignore
  http(
    'a reset by the client',
    answered(200n, 'downstream_remote_disconnect', { ...TO_APP, response: { flags: FLAGS.clientGone } }),
    'reset',
  ), // prettier-ignore
  http('a WebSocket', answered(101n, 'via_upstream', { ...TO_APP, requestHeaders: UPGRADE }), 'reset'),
  http('headers too large', unparsed(431n, 'http1.headers_too_large'), 'codec'),
  http('garbage', unparsed(400n, 'http1.codec_error'), 'codec'),
  http('no host', answered(400n, 'missing_host_header'), 'codec'),
  http(
    'a half request',
    { request: { protocol: 'HTTP/1.1', total_size: 27n }, response: { flags: FLAGS.clientGone } },
    'unfinished',
  ), // prettier-ignore
  tcp('a bad HTTP/2 preface', { response: { flags: FLAGS.protocol } }, 2, 'http'),
  tcp('an empty connection', {}, 2, 'http'),
  tcp('TLS without a certificate', failed(NO_CERTIFICATE, TLS), 2, 'http', false),
  tcp('TLS with a certificate that is rejected', failed(BAD_CERTIFICATE, REJECTED), 2, 'http', false),
  tcp('plaintext where TLS is wanted', failed(NO_TLS), 2, 'http', false),
  {
    name: 'no filter chain',
    chain: 'http',
    told: ['listenerLoggers'],
    run: (listener, _id, startNs) =>
      listener.matchNothing(
        factsOf(undefined, startNs, {
          connection: { mtls: false, requested_server_name: 'other.test' },
          response: { flags: FLAGS.noRoute, code_details: 'filter_chain_not_found' },
          xds: { filter_chain_name: '' },
        }),
      ),
  },
  tcp('TCP', { ...bytes(5n, 10n), upstream: UPSTREAM, xds: { cluster_name: 'tcpapp' } }),
  tcp('TCP over mTLS', { ...bytes(6n, 12n), connection: MTLS, upstream: UPSTREAM, xds: { cluster_name: 'tcpapp' } }),
  tcp('TCP over TLS without a certificate', failed(NO_CERTIFICATE, TLS), 2, 'tcp', false),
  // tcp_proxy dials before the denial.
  tcp('TCP denied by RBAC', { ...bytes(6n, 0n), connection: { ...MTLS, ...NET_DENY }, upstream: UPSTREAM }),
  tcp('TLS passed through', {
    ...bytes(423n, 2799n),
    connection: { ...PLAIN, requested_server_name: 'pass.test' },
    upstream: UPSTREAM,
  }), // prettier-ignore
  tcp('TLS passed through, denied by its name', {
    ...bytes(315n, 0n),
    connection: { ...PLAIN, requested_server_name: 'deny.test', ...NET_DENY },
    upstream: UPSTREAM,
  }), // prettier-ignore
  tcp('an upstream that refuses TCP', {
    ...TO_NOBODY,
    response: { flags: FLAGS.refused | FLAGS.retries },
    xds: { cluster_name: 'down' },
  }), // prettier-ignore
];
