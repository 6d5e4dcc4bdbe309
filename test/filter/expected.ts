// What docs/formats.md says that the record of an exchange must hold: written from the page, not from the filter.

import { bytesOf, type Pairs, type Text, type Value } from '../host/abi.ts';
import { type Exchange, headerOf } from './exchange.ts';
import { type Flat, withoutAbsent } from './flat.ts';
import { claimedPrincipalOf, requestIdOf, traceOf } from './headers-expected.ts';

export const LIMITS = {
  path: 1024,
  userAgent: 256,
  authority: 256,
  headers: 1024,
  principal: 512,
  failure: 512,
  other: 256,
} as const;
export const DENIAL = 'rbac_access_denied_matched_policy[';
export const U48_MAX = 2n ** 48n - 1n;
const NUMBER_MAX = 2n ** 53n - 1n;
export const I64_MAX = 2n ** 63n - 1n;

const CUTS = ['pathCut', 'userAgentCut', 'headersCut', 'otherCut'] as const;
type Cut = (typeof CUTS)[number];

/** Cuts texts to their limits and remembers which kinds were cut, and how many values. */
export class Cutter {
  readonly kinds = new Set<Cut>();
  values = 0;

  /** The kinds, as `flatten` has them. */
  get cuts(): string | undefined {
    return CUTS.filter((kind) => this.kinds.has(kind)).join(' ') || undefined;
  }

  text(value: Text | undefined, limit: number = LIMITS.other, kind: Cut = 'otherCut'): string | undefined {
    const bytes = value === undefined ? undefined : bytesOf(value);
    if (bytes === undefined || bytes.length === 0) return undefined;
    if (bytes.length > limit) {
      this.kinds.add(kind);
      this.values++;
    }
    return Buffer.from(bytes.subarray(0, limit)).toString('latin1');
  }
}

const latin1 = (value: Text): string => Buffer.from(bytesOf(value)).toString('latin1');
export const textIn = (map: ReadonlyMap<string, Value> | undefined, key: string): Text | undefined => {
  const value = map?.get(key);
  return (typeof value === 'string' || value instanceof Uint8Array) && value.length > 0 ? value : undefined;
};
export const resultIn = (map: ReadonlyMap<string, Value> | undefined, key: string): number | undefined => {
  const value = textIn(map, key);
  return value === 'allowed' ? 1 : value === 'denied' ? 2 : undefined;
};
export const atMost = (value: bigint | undefined, max: bigint): number | undefined =>
  value === undefined ? undefined : Number(BigInt.asUintN(64, value) > max ? max : BigInt.asUintN(64, value));

/** Bits beyond 2^53 would be refused by every reader; Envoy has none. */
export const flagsOf = ({ responseFlags = 0n }: Exchange): bigint => responseFlags & NUMBER_MAX;

/** The code of the response's header map; without one Envoy's own, where a code that no response can have is none. */
function codeOf({ code, responseHeaders }: Exchange): bigint | undefined {
  const statuses = (responseHeaders ?? []).flatMap(([name, value]) =>
    latin1(name) === ':status' ? [latin1(value)] : [],
  );
  const status = statuses.filter((one) => /^[1-9]\d\d$/.test(one)).at(-1);
  if (status !== undefined) return BigInt(status);
  return code === 0n || (code ?? 0n) > 65_535n ? undefined : code;
}

/** When the emulated Envoy logs what a test records before it lets time pass. */
export const LOGGED_NS = 1_795_521_600_000_000_000n;
const SECOND_NS = 1_000_000_000n;

/** Of a short exchange the start is the moment of the log without its duration. */
function startOf({ startNs = LOGGED_NS, durationNs }: Exchange): bigint {
  if (durationNs !== undefined && durationNs >= 0n && durationNs < SECOND_NS) return LOGGED_NS - durationNs;
  const word = BigInt.asUintN(64, startNs);
  return word > I64_MAX ? I64_MAX : word;
}

/** Envoy's size of a response is that of its header map, and of its body, whose length the map tells. */
export function responseBytesOf(exchange: Exchange): bigint | undefined {
  const { responseHeaders = [], responseTrailers = [] } = exchange;
  const code = codeOf(exchange) ?? 0n;
  const lengths = responseHeaders
    .filter(([name]) => latin1(name) === 'content-length')
    .map(([, value]) => latin1(value));
  const [length = ''] = lengths;
  const method = headerOf(exchange.requestHeaders, ':method');
  const isTold =
    flagsOf(exchange) === 0n &&
    code >= 200n &&
    code < 400n &&
    code !== 204n &&
    code !== 304n &&
    (method === undefined || !['HEAD', 'CONNECT'].includes(latin1(method))) &&
    lengths.length === 1 &&
    /^(?:0|[1-9]\d{0,15})$/.test(length) &&
    BigInt(length) <= NUMBER_MAX &&
    responseTrailers.length === 0;
  if (!isTold) return exchange.responseBytes;
  const sum = responseHeaders.reduce((bytes, [name, value]) => bytes + bytesOf(name).length + bytesOf(value).length, 0);
  return BigInt(sum) + BigInt(length);
}

/** An answer of the upstream that needs no explaining: the proxy is not asked for one. */
function isOrdinary(exchange: Exchange): boolean {
  const { upstreamAddress } = exchange;
  const code = codeOf(exchange) ?? 0n;
  const hasUpstream = upstreamAddress !== undefined && bytesOf(upstreamAddress).length > 0;
  return flagsOf(exchange) === 0n && code >= 200n && code < 400n && hasUpstream;
}

const detailsOf = (exchange: Exchange): string =>
  exchange.codeDetails === undefined || isOrdinary(exchange) ? '' : latin1(exchange.codeDetails).slice(0, LIMITS.other);

interface Policy {
  readonly result: number | undefined;
  readonly name: Text | undefined;
}

function policyOf(exchange: Exchange): Policy {
  const { rbac } = exchange;
  const details = detailsOf(exchange);
  const enforced = textIn(rbac, 'enforced_effective_policy_id');
  if (!details.startsWith(DENIAL)) return { result: resultIn(rbac, 'enforced_engine_result'), name: enforced };
  const named = details.slice(DENIAL.length, -1);
  return { result: 2, name: enforced ?? (named === 'none' ? undefined : Buffer.from(named, 'latin1')) };
}

const FAILURE_BITS = {
  UMSDR: 19,
  DF: 26,
  UH: 1,
  UF: 5,
  UC: 6,
  UT: 2,
  UR: 4,
  UO: 7,
  URX: 15,
  NC: 24,
  LR: 3,
  LH: 0,
  DT: 22,
  UPE: 23,
  SI: 16,
  OM: 25,
  DO: 27,
};
export const FAILURES = Object.values(FAILURE_BITS);
const bit = (place: number): bigint => 1n << BigInt(place);
export const has = (flags: bigint, ...places: number[]): boolean => places.some((place) => (flags & bit(place)) !== 0n);

/** The first rule of docs/formats.md 1.2 that matches. */
/** Both sides took up another protocol. */
function isTunnel(exchange: Exchange): boolean {
  const code = codeOf(exchange);
  const method = headerOf(exchange.requestHeaders, ':method');
  const isConnect = method !== undefined && latin1(method) === 'CONNECT';
  return code === 101n || (code === 200n && isConnect && exchange.upstreamAddress !== undefined);
}

export function verdictOf(exchange: Exchange): string {
  const details = detailsOf(exchange);
  const flags = flagsOf(exchange);
  const isRefused = /^(?:rbac_access_denied|jwt_authn_access_denied|ext_authz_)/.test(details);
  if (
    policyOf(exchange).result === 2 ||
    isRefused ||
    has(flags, 11, 12) ||
    /^(?:local_|request_)rate_limited$/.test(details)
  )
    return 'denied';
  if (
    has(flags, 17, 18) ||
    /^(?:http[13]\.|http2\.(?!remote_))/.test(details) ||
    ['missing_host_header', 'upgrade_failed'].includes(details)
  )
    return 'invalid';
  if (isTunnel(exchange)) return 'allowed';
  if (has(flags, 14, 28) || details === 'downstream_remote_disconnect' || codeOf(exchange) === undefined)
    return 'reset';
  if (has(flags, 8)) return 'unrouted';
  if (has(flags, ...FAILURES)) return 'failed';
  return isOrdinary(exchange) || details === 'via_upstream' || details === 'direct_response' ? 'allowed' : 'unknown';
}

/** The block of allow-listed headers, `name: value` lines in wire order. */
function blockOf(pairs: Pairs | undefined, allowed: readonly string[]): Uint8Array | undefined {
  const lines = (pairs ?? []).filter(([name]) => allowed.includes(latin1(name)));
  if (lines.length === 0) return undefined;
  return Buffer.concat(
    lines.flatMap(([name, value]) => [bytesOf(name), Buffer.from(': '), bytesOf(value), Buffer.from('\n')]),
  );
}

export const PROTOCOLS = ['HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3'];
const TLS_VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];
export const nameIn = (names: readonly string[], value: Text | undefined): string | undefined =>
  value === undefined || bytesOf(value).length === 0
    ? undefined
    : names.includes(latin1(value))
      ? latin1(value)
      : 'other';

export function connectionOf(exchange: Exchange, cutter: Cutter): Flat {
  const { mtls, connectionId = 0n, direction = 0n } = exchange;
  const tlsVersion = nameIn(TLS_VERSIONS, exchange.tlsVersion);
  const failure = cutter.text(exchange.transportFailure, LIMITS.failure);
  return {
    connection_id: connectionId === 0n || connectionId > NUMBER_MAX ? undefined : connectionId,
    direction: direction > 2n ? 0 : Number(direction),
    mtls: mtls === undefined ? undefined : mtls ? 2 : 1,
    tls_version: tlsVersion,
    source_address: cutter.text(exchange.sourceAddress),
    destination_address: cutter.text(exchange.destinationAddress),
    requested_server_name: cutter.text(exchange.requestedServerName),
    filter_chain: cutter.text(exchange.filterChain),
    transport_failure: failure,
    is_rejected: failure === undefined ? undefined : 1,
    filter_state_principal: cutter.text(exchange.filterStatePrincipal, LIMITS.principal),
    // Without TLS there is no certificate to ask for.
    ...(tlsVersion === undefined && failure === undefined ? {} : certificatesOf(exchange, cutter)),
  };
}

function certificatesOf(exchange: Exchange, cutter: Cutter): Flat {
  const digest = exchange.peerDigest === undefined ? '' : latin1(exchange.peerDigest);
  return {
    peer_certificate_sha256: /^[0-9a-f]{64}$/.test(digest) ? digest : undefined,
    peer_principal: cutter.text(exchange.peerPrincipal, LIMITS.principal),
    local_principal: cutter.text(exchange.localPrincipal, LIMITS.principal),
    peer_subject: cutter.text(exchange.peerSubject),
  };
}

function isGrpc({ requestHeaders }: Exchange): boolean {
  const type = headerOf(requestHeaders, 'content-type');
  return type !== undefined && latin1(type).startsWith('application/grpc');
}

export function upstreamOf(exchange: Exchange, cutter: Cutter): Flat {
  const address = cutter.text(exchange.upstreamAddress);
  const { attempts, requestHeaders } = exchange;
  const said = headerOf(requestHeaders, 'x-envoy-attempt-count');
  const isSaidOnce = isOrdinary(exchange) && said !== undefined && latin1(said) === '1';
  return {
    upstream_cluster: cutter.text(exchange.upstreamCluster),
    upstream_address: address,
    upstream_failure: has(flagsOf(exchange), ...FAILURES)
      ? cutter.text(exchange.upstreamFailure, LIMITS.failure)
      : undefined,
    // Where no host was chosen there is nothing more to ask.
    ...(address === undefined
      ? {}
      : {
          attempts: isSaidOnce || attempts === 0n ? undefined : atMost(attempts, 255n),
          upstream_principal: cutter.text(exchange.upstreamPrincipal, LIMITS.principal),
          upstream_local_principal: cutter.text(exchange.upstreamLocalPrincipal, LIMITS.principal),
        }),
  };
}

/** The record, and how many of its values were cut. */
export function expectedOf(
  exchange: Exchange,
  allowed: readonly string[] = [],
): { readonly flat: Flat; readonly cut: number } {
  const cutter = new Cutter();
  const { requestHeaders, responseHeaders, rbac, claims } = exchange;
  const policy = policyOf(exchange);
  const verdict = verdictOf(exchange);
  const { durationNs, grpcStatus } = exchange;
  const micros = durationNs === undefined || durationNs > I64_MAX ? undefined : durationNs / 1000n;
  const flat = {
    verdict,
    priority: verdict === 'denied' || verdict === 'failed' ? 1 : undefined,
    start_ns: startOf(exchange),
    duration_us: atMost(micros, U48_MAX),
    request_bytes: atMost(exchange.requestBytes, U48_MAX),
    response_bytes: atMost(responseBytesOf(exchange), U48_MAX),
    ...requestIdOf(requestHeaders, (value) => cutter.text(value)),
    ...traceOf(requestHeaders, (value) => cutter.text(value)),
    claimed_principal: cutter.text(claimedPrincipalOf(requestHeaders), LIMITS.principal),
    path: cutter.text(headerOf(requestHeaders, ':path'), LIMITS.path, 'pathCut'),
    user_agent: cutter.text(headerOf(requestHeaders, 'user-agent'), LIMITS.userAgent, 'userAgentCut'),
    subject: cutter.text(textIn(claims, 'sub')),
    headers: cutter.text(blockOf(requestHeaders, allowed), LIMITS.headers, 'headersCut'),
    code: atMost(codeOf(exchange), 65_535n),
    protocol: nameIn(PROTOCOLS, exchange.protocol),
    grpc_status: isGrpc(exchange) && grpcStatus !== undefined && grpcStatus < 255n ? Number(grpcStatus) : undefined,
    response_flags: flagsOf(exchange),
    policy_result: policy.result,
    shadow_result: resultIn(rbac, 'shadow_engine_result'),
    method: cutter.text(headerOf(requestHeaders, ':method')),
    authority: cutter.text(headerOf(requestHeaders, ':authority'), LIMITS.authority),
    route: isOrdinary(exchange) ? undefined : cutter.text(exchange.route),
    code_details: isOrdinary(exchange) ? undefined : cutter.text(exchange.codeDetails),
    policy: cutter.text(policy.name),
    shadow_policy: cutter.text(textIn(rbac, 'shadow_effective_policy_id')),
    token_issuer: cutter.text(textIn(claims, 'iss')),
    request_content_type: cutter.text(headerOf(requestHeaders, 'content-type')),
    response_content_type: cutter.text(headerOf(responseHeaders, 'content-type')),
    response_encoding: cutter.text(headerOf(responseHeaders, 'content-encoding')),
    request_encoding: cutter.text(headerOf(requestHeaders, 'content-encoding')),
    ...upstreamOf(exchange, cutter),
    ...connectionOf(exchange, cutter),
  };
  return { flat: withoutAbsent({ ...flat, cuts: cutter.cuts }), cut: cutter.values };
}
