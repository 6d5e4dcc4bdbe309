// What docs/formats.md says that the records of connections must hold, and those of what lives: written from the page.

import { bytesOf, type Text } from '../host/abi.ts';
import type { Exchange } from './exchange.ts';
import {
  atMost,
  Cutter,
  connectionOf,
  DENIAL,
  FAILURES,
  flagsOf,
  has,
  I64_MAX,
  LIMITS,
  LOGGED_NS,
  nameIn,
  PROTOCOLS,
  resultIn,
  textIn,
  U48_MAX,
  upstreamOf,
} from './expected.ts';
import { type Flat, withoutAbsent } from './flat.ts';

const RESPONSE_FLAG_NR = 8;
const RESPONSE_FLAG_DPE = 18;
const latin1 = (text: Text | undefined): string =>
  text === undefined ? '' : Buffer.from(bytesOf(text)).toString('latin1');

/** Why it ended; of a connection that no filter chain matched the code details tell. */
function detailsOf({ terminationDetails, codeDetails, ...exchange }: Exchange): string {
  const details = latin1(terminationDetails);
  return details === '' && has(flagsOf(exchange), RESPONSE_FLAG_NR) ? latin1(codeDetails) : details;
}

/** The first rule of docs/formats.md 1.2 that matches. */
function verdictOf(exchange: Exchange): string {
  const flags = flagsOf(exchange);
  if (detailsOf(exchange).startsWith('rbac_access_denied')) return 'denied';
  if (has(flags, RESPONSE_FLAG_NR)) return 'unrouted';
  if (latin1(exchange.transportFailure) !== '' || has(flags, ...FAILURES)) return 'failed';
  return has(flags, RESPONSE_FLAG_DPE) ? 'invalid' : 'allowed';
}

const clamped = (ns: bigint | undefined): bigint => (ns === undefined ? LOGGED_NS : ns > I64_MAX ? I64_MAX : ns);
const ageOf = (startNs: bigint | undefined, nowNs: bigint): bigint | undefined =>
  startNs === undefined || startNs > nowNs ? undefined : nowNs - startNs;
const microsOf = (ns: bigint | undefined): number | undefined =>
  ns === undefined || ns > I64_MAX ? undefined : atMost(ns / 1000n, U48_MAX);

/** What an end, an open and an interval record of a connection share. */
function commonOf(exchange: Exchange): Flat {
  return {
    start_ns: clamped(exchange.startNs),
    request_bytes: atMost(exchange.requestBytes, U48_MAX),
    response_bytes: atMost(exchange.responseBytes, U48_MAX),
    response_flags: flagsOf(exchange),
    protocol: nameIn(PROTOCOLS, exchange.protocol),
  };
}

/** The record of a connection that is over. `sensor`: who told of it. */
export function expectedConnection(exchange: Exchange, sensor: string): Flat {
  const cutter = new Cutter();
  const { durationNs, rbac, claims, startNs } = exchange;
  const details = detailsOf(exchange);
  const isNamed = details.startsWith(DENIAL);
  // The name stands in the details as far as they are kept.
  const named = details.slice(0, LIMITS.other).slice(DENIAL.length, -1);
  const enforced = textIn(rbac, 'enforced_effective_policy_id');
  const policy = !isNamed ? enforced : (enforced ?? (named === 'none' ? undefined : Buffer.from(named, 'latin1')));
  const verdict = verdictOf(exchange);
  const { attempts: _, ...upstream } = upstreamOf(exchange, cutter);
  // A subject is an exchange's; when it is too long, that it was cut is all there is of it.
  cutter.text(textIn(claims, 'sub'));
  const all = {
    kind: 'connection',
    sensor,
    repeat: nameIn(PROTOCOLS, exchange.protocol) === undefined ? undefined : 1,
    verdict,
    priority: verdict === 'denied' || verdict === 'failed' ? 1 : undefined,
    ...commonOf(exchange),
    duration_us: microsOf(durationNs !== undefined && durationNs <= I64_MAX ? durationNs : ageOf(startNs, LOGGED_NS)),
    policy_result: isNamed ? 2 : resultIn(rbac, 'enforced_engine_result'),
    shadow_result: resultIn(rbac, 'shadow_engine_result'),
    policy: cutter.text(policy),
    shadow_policy: cutter.text(textIn(rbac, 'shadow_effective_policy_id')),
    token_issuer: cutter.text(textIn(claims, 'iss')),
    code_details: cutter.text(Buffer.from(details, 'latin1')),
    ...upstream,
    ...connectionOf(exchange, cutter),
  };
  return withoutAbsent({ ...all, cuts: cutter.cuts });
}

/** The open record of an exchange, or of a connection, that lives `nowNs`: nothing of TLS, of headers, of other filters. */
export function expectedOpen(exchange: Exchange, kind: 'http' | 'connection', nowNs: bigint): Flat {
  const cutter = new Cutter();
  const { code, connectionId, direction, startNs } = exchange;
  const all = {
    ...(kind === 'connection' ? { kind, sensor: 'network_filter' } : {}),
    phase: 'open',
    repeat: 1,
    verdict: 'unknown',
    ...commonOf(exchange),
    duration_us: microsOf(ageOf(startNs, nowNs)),
    code: kind === 'http' && code !== 0n && code !== undefined && code <= 65_535n ? Number(code) : undefined,
    upstream_cluster: cutter.text(exchange.upstreamCluster),
    upstream_address: cutter.text(exchange.upstreamAddress),
    connection_id: connectionId,
    direction: Number(direction ?? 0n),
    source_address: cutter.text(exchange.sourceAddress),
    destination_address: cutter.text(exchange.destinationAddress),
    requested_server_name: cutter.text(exchange.requestedServerName),
    filter_chain: cutter.text(exchange.filterChain),
  };
  return withoutAbsent({ ...all, cuts: cutter.cuts });
}
