// The one table of fields that a filter can name: type, unit, whether the proxy observed it or the application claimed it, and Envoy's own name.
// The type checker, the documentation and the API share it.

import type {
  FlowRecord,
  Kind,
  Phase,
  PolicyResult,
  PrincipalFrom,
  Reporter,
  Sensor,
  TraceFormat,
  Verdict,
} from './record.ts';

export type AttributeType = 'string' | 'int' | 'bool' | 'timestamp' | 'duration' | 'map';
/** observed: the proxy's own fact; claimed: what the application said; derived: computed from those; recorder: Meshtrail's own. */
export type AttributeClass = 'observed' | 'claimed' | 'derived' | 'recorder';

/** A value of an attribute: times and durations are ns. */
export type AttributeValue = string | number | boolean | bigint | Readonly<Record<string, string>>;

export interface Attribute {
  readonly name: string;
  readonly type: AttributeType;
  readonly class: AttributeClass;
  readonly description: string;
  /** What a number counts, or how a value is written. */
  readonly unit?: string;
  /** Envoy's attribute, where it has another name or only part of the meaning. */
  readonly envoy?: string;
  /** All values that there are, where the list is closed. */
  readonly choices?: readonly string[];
  /** True or absent, never false. */
  readonly isOnlyTrue?: true;
  /** The value in a record; undefined is absent. */
  readonly of: (row: FilterRow) => AttributeValue | undefined;
}

/** What a filter is evaluated on. */
export interface FilterRow {
  readonly record: FlowRecord;
  /** Unix ns. */
  readonly startNs: bigint;
}

type Row = readonly [name: string, type: AttributeType, of: AttributeClass, description: string, envoy?: string];

const UNITS: Readonly<Record<string, string>> = {
  time: 'ns; written RFC 3339, UTC',
  duration: 'us; written `"0.004512s"`',
  'request.total_size': 'bytes',
  'response.total_size': 'bytes',
  'upstream.request_attempt_count': 'attempts',
};

// As objects, so that the compiler misses a value that is added elsewhere.
const VERDICTS: Readonly<Record<Verdict, true>> = {
  allowed: true,
  denied: true,
  failed: true,
  reset: true,
  invalid: true,
  unrouted: true,
  unknown: true,
};
const REPORTERS: Readonly<Record<Reporter, true>> = { source: true, destination: true, gateway: true, waypoint: true };
const RESULTS: Readonly<Record<PolicyResult, true>> = { allowed: true, denied: true };
const DIRECTIONS: Readonly<Record<NonNullable<FlowRecord['connection']['direction']>, true>> = {
  inbound: true,
  outbound: true,
};
const ORIGINS: Readonly<Record<PrincipalFrom, true>> = { mtls: true, filter_state: true };
const TRACES: Readonly<Record<TraceFormat, true>> = { w3c: true, b3: true };
const KINDS: Readonly<Record<Kind, true>> = { http: true, connection: true };
const PHASES: Readonly<Record<Phase, true>> = { end: true, open: true, interval: true };
const SENSORS: Readonly<Record<Sensor, true>> = {
  http_filter: true,
  network_filter: true,
  http_logger: true,
  connection_logger: true,
};
const CHOICES: ReadonlyMap<string, readonly string[]> = new Map([
  ['verdict', Object.keys(VERDICTS)],
  ['reporter', Object.keys(REPORTERS)],
  ['rbac.result', Object.keys(RESULTS)],
  ['rbac.shadow_result', Object.keys(RESULTS)],
  ['connection.direction', Object.keys(DIRECTIONS)],
  ['source.principal_from', Object.keys(ORIGINS)],
  ['trace.format', Object.keys(TRACES)],
  ['record.kind', Object.keys(KINDS)],
  ['record.phase', Object.keys(PHASES)],
  ['record.sensor', Object.keys(SENSORS)],
]);

const TRACE_HEADERS = 'request.headers["traceparent"], request.headers["b3"], request.headers["x-b3-..."]';

const ROWS: readonly Row[] = [
  ['id', 'string', 'recorder', 'Record id, `<leaf index>.<record index>`'],
  ['time', 'timestamp', 'observed', "Start of the exchange, by the proxy's clock", 'request.time'],
  ['duration', 'duration', 'observed', 'From the first byte received to the last byte sent', 'request.duration'],
  ['verdict', 'string', 'derived', '`allowed`, `denied`, `failed`, `reset`, `invalid`, `unrouted` or `unknown`'],
  ['reporter', 'string', 'derived', 'Which proxy saw it: `source`, `destination`, `gateway` or `waypoint`'],
  [
    'policy',
    'string',
    'observed',
    'The enforced RBAC policy that decided',
    'response.code_details, metadata of the RBAC filter',
  ],
  ['cluster', 'string', 'recorder', 'The mesh cluster, as configured in the filter'],
  ['route', 'string', 'observed', 'Name of the route', 'xds.route_name'],
  ['source.address', 'string', 'observed', 'Address and port of the caller, as Envoy sees it; private'],
  [
    'source.principal',
    'string',
    'observed',
    'SPIFFE id of the caller, from mTLS, else from filter state; never that of a refused certificate',
    'connection.uri_san_peer_certificate, filter_state["io.istio.peer_principal"]',
  ],
  ['source.principal_from', 'string', 'recorder', 'Where it is from: `mtls` or `filter_state`'],
  [
    'source.claimed_principal',
    'string',
    'claimed',
    'URI of the last element of x-forwarded-client-cert',
    'request.headers["x-forwarded-client-cert"]',
  ],
  [
    'source.namespace',
    'string',
    'derived',
    "Namespace in the caller's SPIFFE id; without an id what its proxy claims (claimed)",
  ],
  ['source.service_account', 'string', 'derived', "Service account in the caller's SPIFFE id"],
  [
    'source.workload',
    'string',
    'derived',
    'Workload of the caller, where its own proxy reports; else what that proxy claims (claimed)',
    'xds.node.cluster, filter_state.downstream_peer',
  ],
  [
    'source.cluster',
    'string',
    'claimed',
    "Mesh cluster of the caller, as its proxy claims; `cluster` is the reporter's",
    'filter_state.downstream_peer',
  ],
  ['destination.address', 'string', 'observed', 'Address and port of the callee'],
  [
    'destination.principal',
    'string',
    'observed',
    'SPIFFE id of the callee, from mTLS',
    'connection.uri_san_local_certificate, upstream.uri_san_peer_certificate',
  ],
  [
    'destination.namespace',
    'string',
    'derived',
    "Namespace in the callee's SPIFFE id; without an id what its proxy claims (claimed)",
  ],
  ['destination.service_account', 'string', 'derived', "Service account in the callee's SPIFFE id"],
  [
    'destination.workload',
    'string',
    'derived',
    'Workload of the callee, where its own proxy reports; else what that proxy claims (claimed)',
    'xds.node.cluster, filter_state.upstream_peer',
  ],
  ['request.id', 'string', 'claimed', 'x-request-id'],
  ['request.method', 'string', 'claimed', 'HTTP method'],
  ['request.host', 'string', 'claimed', 'Host or :authority'],
  ['request.path', 'string', 'claimed', 'Path with query, rewritten where the route rewrites; private'],
  ['request.protocol', 'string', 'observed', '`HTTP/1.1`, `HTTP/2`, ...'],
  ['request.useragent', 'string', 'claimed', 'User-Agent; private'],
  ['request.headers', 'map', 'claimed', 'Allow-listed headers, `request.headers["name"]`; private'],
  ['request.content_type', 'string', 'claimed', 'Content type of the request', 'request.headers["content-type"]'],
  [
    'request.content_encoding',
    'string',
    'claimed',
    'Content encoding of the request',
    'request.headers["content-encoding"]',
  ],
  [
    'request.total_size',
    'int',
    'observed',
    'Bytes of headers and body; Envoy counts headers that it added. Of a connection, bytes received',
  ],
  ['response.code', 'int', 'observed', 'HTTP status'],
  ['response.code_details', 'string', 'observed', 'Why Envoy answered so; of exchanges'],
  ['response.flags', 'int', 'observed', "Envoy's response flags as a bit vector"],
  ['response.grpc_status', 'int', 'observed', 'gRPC status, only of gRPC exchanges'],
  ['response.content_type', 'string', 'claimed', 'Content type of the response', 'response.headers["content-type"]'],
  [
    'response.content_encoding',
    'string',
    'claimed',
    'Content encoding of the response',
    'response.headers["content-encoding"]',
  ],
  ['response.total_size', 'int', 'observed', 'Bytes of headers and body. Of a connection, bytes sent'],
  ['connection.id', 'int', 'observed', "Envoy's id of the downstream connection"],
  ['connection.direction', 'string', 'observed', '`inbound` or `outbound`', 'xds.listener_direction'],
  ['connection.mtls', 'bool', 'observed', 'The peer showed a certificate; not that it was accepted'],
  ['connection.tls_version', 'string', 'observed', 'TLS version'],
  ['connection.requested_server_name', 'string', 'observed', 'SNI'],
  ['connection.sha256_peer_certificate_digest', 'string', 'observed', "SHA-256 of the peer's certificate, hex"],
  ['connection.subject_peer_certificate', 'string', 'observed', "Subject of the peer's certificate"],
  ['connection.transport_failure_reason', 'string', 'observed', 'Why TLS failed'],
  [
    'connection.certificate_rejected',
    'bool',
    'derived',
    'TLS failed, so that no certificate of the peer was accepted; only where it is true',
  ],
  [
    'connection.rejected_principal',
    'string',
    'observed',
    'SPIFFE id in a certificate that was not accepted: who tried, not who it was',
    'connection.uri_san_peer_certificate',
  ],
  ['connection.filter_chain', 'string', 'observed', 'Name of the filter chain', 'xds.filter_chain_name'],
  ['connection.termination_details', 'string', 'observed', 'Why Envoy ended a connection; of connections'],
  ['upstream.address', 'string', 'observed', 'Address and port of the upstream host'],
  ['upstream.cluster', 'string', 'observed', 'Upstream cluster', 'xds.cluster_name'],
  [
    'upstream.principal',
    'string',
    'observed',
    'SPIFFE id that the upstream showed',
    'upstream.uri_san_peer_certificate',
  ],
  [
    'upstream.request_attempt_count',
    'int',
    'observed',
    'Attempts, 1 without a retry; absent also where the request said that it was the first',
  ],
  ['upstream.transport_failure_reason', 'string', 'observed', 'Why the upstream could not be reached'],
  ['rbac.result', 'string', 'observed', 'Enforced RBAC: `allowed` or `denied`', 'metadata of the RBAC filter'],
  [
    'rbac.shadow_result',
    'string',
    'observed',
    'Shadow (dry-run) RBAC: `allowed` or `denied`',
    'metadata of the RBAC filter',
  ],
  ['rbac.shadow_policy', 'string', 'observed', 'The shadow RBAC policy that matched', 'metadata of the RBAC filter'],
  ['token.issuer', 'string', 'observed', 'Issuer of a verified token', 'metadata of the JWT filter'],
  ['token.subject', 'string', 'observed', 'Subject of a verified token; private', 'metadata of the JWT filter'],
  ['trace.id', 'string', 'claimed', 'Trace id of W3C or B3, hex', TRACE_HEADERS],
  ['trace.span_id', 'string', 'claimed', 'W3C parent id or B3 span id: the span of the caller', TRACE_HEADERS],
  ['trace.sampled', 'bool', 'claimed', 'The sampled flag; absent where B3 had no decision yet', TRACE_HEADERS],
  ['trace.format', 'string', 'derived', 'Which of them the id is of: `w3c` or `b3`'],
  ['trace.malformed', 'string', 'claimed', 'A traceparent or B3 that does not parse, as it came', TRACE_HEADERS],
  ['node.id', 'string', 'recorder', "Envoy's node id", 'xds.node.id'],
  ['node.cluster', 'string', 'recorder', "Envoy's node cluster", 'xds.node.cluster'],
  ['record.stream', 'string', 'recorder', 'Stream of the record, hex'],
  ['record.number', 'int', 'recorder', 'Number of the record in its stream'],
  ['record.batch', 'int', 'recorder', 'Number of the batch in its stream'],
  [
    'record.kind',
    'string',
    'recorder',
    'What it is of, an exchange or a TCP or TLS connection: `http` or `connection`',
  ],
  ['record.phase', 'string', 'recorder', 'When it was made: `end`, or of what lives on `open`, then `interval`'],
  [
    'record.sensor',
    'string',
    'recorder',
    'Who told of it: `http_filter`, `network_filter`, `http_logger` or `connection_logger`',
  ],
  ['record.repeat', 'bool', 'recorder', 'It is counted by another record; only where it is true'],
];

const ONLY_TRUE: readonly string[] = ['connection.certificate_rejected', 'record.repeat'];

function durationNs(text: string | undefined): bigint | undefined {
  return text === undefined ? undefined : BigInt(text.slice(0, -1).replace('.', '')) * 1000n;
}

function accessor(name: string): Attribute['of'] {
  if (name === 'time') return ({ startNs }) => startNs;
  if (name === 'duration') return ({ record }) => durationNs(record.duration);
  const [head, tail] = name.split('.') as [keyof FlowRecord, string | undefined];
  if (tail === undefined) return ({ record }) => record[head] as AttributeValue | undefined;
  return ({ record }) => (record[head] as unknown as Record<string, AttributeValue | undefined>)[tail];
}

/** Every attribute by its name. */
export const ATTRIBUTES: ReadonlyMap<string, Attribute> = new Map(
  ROWS.map(([name, type, kind, description, envoy]) => [
    name,
    {
      ...{ name, type, class: kind, description, of: accessor(name) },
      ...(UNITS[name] === undefined ? {} : { unit: UNITS[name] }),
      ...(envoy === undefined ? {} : { envoy }),
      ...(ONLY_TRUE.includes(name) ? { isOnlyTrue: true as const } : {}),
      ...(CHOICES.has(name) ? { choices: CHOICES.get(name) as readonly string[] } : {}),
    },
  ]),
);

/** Names that others use for what has another name here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  status: 'response.code',
  'response.status': 'response.code',
  'response.status_code': 'response.code',
  'request.user_agent': 'request.useragent',
  'request.authority': 'request.host',
  'request.size': 'request.total_size',
  'response.size': 'response.total_size',
};

/** The known name that was probably meant: one that others use, one whose end it is, or the nearest by edit distance. */
export function nearestAttribute(name: string): string | undefined {
  if (Object.hasOwn(ELSEWHERE, name)) return ELSEWHERE[name];
  const whole = [...ATTRIBUTES.keys()].find((known) => known.endsWith(`.${name}`));
  if (whole !== undefined) return whole;
  return nearestWord(name, [...ATTRIBUTES.keys()]);
}

/** The value of a closed list that was probably meant: in other letters, slightly misspelt, or with the same beginning. */
export function nearestChoice(value: string, choices: readonly string[]): string | undefined {
  const word = value.trim().toLowerCase();
  if (word === '') return undefined;
  return (
    nearestWord(word, choices) ??
    choices.find((choice) => choice.startsWith(word) || choice.slice(0, 3) === word.slice(0, 3))
  );
}

function nearestWord(name: string, words: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(name.length / 3)) + 1;
  for (const known of words) {
    const distance = editDistance(name, known, bestDistance);
    if (distance < bestDistance) [best, bestDistance] = [known, distance];
  }
  return best;
}

/** Levenshtein's distance, or `limit` when it is not below it. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min(
          (row[j] as number) + 1,
          (next[j - 1] as number) + 1,
          (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    }
    row = next;
  }
  return Math.min(limit, row[b.length] as number);
}
