// One exchange as the emulated Envoy knows it, and as docs/formats.md says that it must be recorded.

import { bytesOf, type Message, type Pairs, Protobuf, type Text, type Value } from '../host/abi.ts';
import type { Facts } from '../host/contexts.ts';

/** What is absent here is absent in the proxy. */
export interface Exchange {
  readonly requestHeaders?: Pairs | undefined;
  readonly responseHeaders?: Pairs | undefined;
  readonly responseTrailers?: Pairs | undefined;
  readonly startNs?: bigint | undefined;
  readonly durationNs?: bigint | undefined;
  readonly requestBytes?: bigint | undefined;
  readonly responseBytes?: bigint | undefined;
  readonly attempts?: bigint | undefined;
  readonly code?: bigint | undefined;
  readonly protocol?: Text | undefined;
  readonly grpcStatus?: bigint | undefined;
  readonly responseFlags?: bigint | undefined;
  readonly codeDetails?: Text | undefined;
  readonly route?: Text | undefined;
  readonly upstreamCluster?: Text | undefined;
  readonly upstreamAddress?: Text | undefined;
  readonly upstreamPrincipal?: Text | undefined;
  readonly upstreamLocalPrincipal?: Text | undefined;
  readonly upstreamFailure?: Text | undefined;
  /** Dynamic metadata of the RBAC filter, and claims of a verified token. */
  readonly rbac?: ReadonlyMap<string, Value> | undefined;
  /** Of the network RBAC filter. */
  readonly networkRbac?: ReadonlyMap<string, Value> | undefined;
  readonly claims?: ReadonlyMap<string, Value> | undefined;
  /** Dynamic metadata of some other filter. */
  readonly otherMetadata?: Value | undefined;
  readonly connectionId?: bigint | undefined;
  readonly direction?: bigint | undefined;
  readonly mtls?: boolean | undefined;
  readonly tlsVersion?: Text | undefined;
  readonly requestedServerName?: Text | undefined;
  readonly sourceAddress?: Text | undefined;
  readonly destinationAddress?: Text | undefined;
  readonly peerPrincipal?: Text | undefined;
  readonly localPrincipal?: Text | undefined;
  readonly peerSubject?: Text | undefined;
  readonly peerDigest?: Text | undefined;
  readonly transportFailure?: Text | undefined;
  readonly filterChain?: Text | undefined;
  /** `io.istio.peer_principal` of the filter state. */
  readonly filterStatePrincipal?: Text | undefined;
  /** What the peers say of themselves, as Istio keeps it in filter state. */
  readonly downstreamPeer?: ReadonlyMap<string, Value> | undefined;
  readonly upstreamPeer?: ReadonlyMap<string, Value> | undefined;
  /** Why the proxy ended a connection. */
  readonly terminationDetails?: Text | undefined;
}

/** The exchange as properties and header maps of the emulated host. */
export function factsOf(exchange: Exchange): Facts {
  const filters = new Map<string, Value>();
  if (exchange.rbac !== undefined) filters.set('envoy.filters.http.rbac', exchange.rbac);
  if (exchange.networkRbac !== undefined) filters.set('envoy.filters.network.rbac', exchange.networkRbac);
  if (exchange.claims !== undefined)
    filters.set('envoy.filters.http.jwt_authn', new Map([['payload', exchange.claims]]));
  if (exchange.otherMetadata !== undefined) filters.set('com.example.other', exchange.otherMetadata);
  const properties: Message = {
    request: {
      time: exchange.startNs,
      duration: exchange.durationNs,
      total_size: exchange.requestBytes,
      protocol: exchange.protocol,
    },
    response: {
      code: exchange.code,
      code_details: exchange.codeDetails,
      flags: exchange.responseFlags,
      grpc_status: exchange.grpcStatus,
      total_size: exchange.responseBytes,
    },
    source: { address: exchange.sourceAddress },
    destination: { address: exchange.destinationAddress },
    connection_id: exchange.connectionId,
    connection: {
      id: exchange.connectionId,
      mtls: exchange.mtls,
      tls_version: exchange.tlsVersion,
      requested_server_name: exchange.requestedServerName,
      uri_san_peer_certificate: exchange.peerPrincipal,
      uri_san_local_certificate: exchange.localPrincipal,
      subject_peer_certificate: exchange.peerSubject,
      sha256_peer_certificate_digest: exchange.peerDigest,
      transport_failure_reason: exchange.transportFailure,
      termination_details: exchange.terminationDetails,
    },
    filter_state: {
      'io.istio.peer_principal': exchange.filterStatePrincipal,
      downstream_peer: exchange.downstreamPeer,
      upstream_peer: exchange.upstreamPeer,
    },
    upstream: {
      address: exchange.upstreamAddress,
      uri_san_peer_certificate: exchange.upstreamPrincipal,
      uri_san_local_certificate: exchange.upstreamLocalPrincipal,
      transport_failure_reason: exchange.upstreamFailure,
      request_attempt_count: exchange.attempts,
    },
    xds: {
      route_name: exchange.route,
      cluster_name: exchange.upstreamCluster,
      filter_chain_name: exchange.filterChain,
      listener_direction: exchange.direction,
    },
    // As a message it has no bytes when it says nothing; as a map it has its count.
    metadata: new Protobuf(Uint8Array.from(filters.size === 0 ? [] : [10, 0]), { filter_metadata: filters }),
  };
  return {
    properties,
    ...(exchange.requestHeaders === undefined ? {} : { requestHeaders: exchange.requestHeaders }),
    ...(exchange.responseHeaders === undefined ? {} : { responseHeaders: exchange.responseHeaders }),
    ...(exchange.responseTrailers === undefined ? {} : { responseTrailers: exchange.responseTrailers }),
  };
}

let nextConnection = 1n;

/** An ordinary exchange: a GET over mTLS that the upstream answered. */
export function ordinary(more: Exchange = {}): Exchange {
  const { code = 200n } = more;
  const hasResponse = code >= 100n && code <= 999n && (more.code !== undefined || !Object.hasOwn(more, 'code'));
  return {
    requestHeaders: [
      [':method', 'GET'],
      [':path', '/orders/7?full=1'],
      [':authority', 'orders.shop'],
      [':scheme', 'http'],
      ['user-agent', 'curl/8.0'],
      ['x-forwarded-proto', 'http'],
      ['x-request-id', '5e0d6a1c-2b3f-4c5d-8e7f-00112233aabb'],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ],
    responseHeaders: [
      ...(hasResponse ? [[':status', String(code)] as const] : []),
      ['content-type', 'application/json'],
      ['server', 'envoy'],
    ],
    startNs: 1_795_521_599_995_487_001n,
    durationNs: 4_512_999n,
    requestBytes: 289n,
    responseBytes: 1125n,
    attempts: 1n,
    code: 200n,
    protocol: 'HTTP/1.1',
    grpcStatus: 2n,
    responseFlags: 0n,
    codeDetails: 'via_upstream',
    route: 'default',
    upstreamCluster: 'inbound|8080||',
    upstreamAddress: '127.0.0.1:8080',
    connectionId: nextConnection++,
    direction: 1n,
    mtls: true,
    tlsVersion: 'TLSv1.3',
    requestedServerName: 'orders.shop.svc',
    sourceAddress: '10.0.0.9:40000',
    destinationAddress: '10.0.0.7:15006',
    peerPrincipal: 'spiffe://demo.mesh/ns/shop/sa/frontend',
    localPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    peerSubject: 'CN=frontend',
    peerDigest: 'ab'.repeat(32),
    filterChain: 'inbound',
    ...more,
  };
}

/** A connection that no other exchange has. */
export function newConnectionId(): bigint {
  return nextConnection++;
}

/** The value of a header: the first one when it is repeated. */
export function headerOf(pairs: Pairs | undefined, name: string): Uint8Array | undefined {
  const found = pairs?.find(
    ([other, value]) => bytesOf(value).length > 0 && Buffer.from(bytesOf(other)).equals(Buffer.from(name)),
  );
  return found === undefined ? undefined : bytesOf(found[1]);
}

/** The same request with other values for some headers; undefined takes a header away. */
export function withHeaders(exchange: Exchange, headers: Readonly<Record<string, Text | undefined>>): Exchange {
  const kept = (exchange.requestHeaders ?? []).filter(([name]) => !Object.hasOwn(headers, String(name)));
  const added = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return { ...exchange, requestHeaders: [...kept, ...added] };
}
