// What Envoy's own JSON access logs say, at the three places that have one: the connection manager, the listener, `tcp_proxy`.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Json, type NamedFilter, typed } from '../../../collector/src/demo/envoy-parts.ts';

export const LOGS = ['manager', 'listener', 'tcp_proxy'] as const;
export type Log = (typeof LOGS)[number];
export type Value = string | number | null;
export type Line = Readonly<Record<string, Value>>;

const rbac = (layer: string, what: string): string => `%DYNAMIC_METADATA(envoy.filters.${layer}.rbac:${what})%`;

/** Facts of a connection; every log has them. */
const CONNECTION_FIELDS = {
  start: '%START_TIME(%s.%9f)%',
  duration_ms: '%DURATION%',
  protocol: '%PROTOCOL%',
  flags: '%RESPONSE_FLAGS%',
  flag_bits: '%CEL(response.flags)%',
  details: '%RESPONSE_CODE_DETAILS%',
  termination: '%CONNECTION_TERMINATION_DETAILS%',
  received: '%BYTES_RECEIVED%',
  sent: '%BYTES_SENT%',
  request_bytes: '%CEL(request.total_size)%',
  response_bytes: '%CEL(response.total_size)%',
  connection_id: '%CONNECTION_ID%',
  remote: '%DOWNSTREAM_REMOTE_ADDRESS%',
  // The address of the socket, whatever x-forwarded-for says: it tells whose connection this is.
  direct: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%',
  local: '%DOWNSTREAM_LOCAL_ADDRESS%',
  peer: '%DOWNSTREAM_PEER_URI_SAN%',
  net_enforced_result: rbac('network', 'enforced_engine_result'),
  net_shadow_result: rbac('network', 'istio_dry_run_deny_shadow_engine_result'),
  net_shadow_policy: rbac('network', 'istio_dry_run_deny_shadow_effective_policy_id'),
  told: '%FILTER_STATE(io.istio.peer_principal:PLAIN)%',
  own: '%DOWNSTREAM_LOCAL_URI_SAN%',
  subject: '%DOWNSTREAM_PEER_SUBJECT%',
  digest: '%DOWNSTREAM_PEER_FINGERPRINT_256%',
  tls: '%DOWNSTREAM_TLS_VERSION%',
  tls_failure: '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%',
  sni: '%REQUESTED_SERVER_NAME%',
  filter_chain: '%FILTER_CHAIN_NAME%',
  cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream: '%UPSTREAM_HOST%',
  upstream_peer: '%UPSTREAM_PEER_URI_SAN%',
  upstream_own: '%UPSTREAM_LOCAL_URI_SAN%',
  upstream_failure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
} as const;

const token = (claim: string): string => `%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:${claim})%`;

/** And of an exchange. */
const EXCHANGE_FIELDS = {
  method: '%REQ(:METHOD)%',
  authority: '%REQ(:AUTHORITY)%',
  path: '%REQ(:PATH)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  traceparent: '%REQ(TRACEPARENT)%',
  b3: '%REQ(B3)%',
  b3_trace: '%REQ(X-B3-TRACEID)%',
  b3_span: '%REQ(X-B3-SPANID)%',
  xfcc: '%REQ(X-FORWARDED-CLIENT-CERT)%',
  tenant: '%REQ(X-TENANT)%',
  request_type: '%REQ(CONTENT-TYPE)%',
  request_encoding: '%REQ(CONTENT-ENCODING)%',
  response_type: '%RESP(CONTENT-TYPE)%',
  response_encoding: '%RESP(CONTENT-ENCODING)%',
  code: '%RESPONSE_CODE%',
  grpc: '%GRPC_STATUS_NUMBER%',
  // Envoy's attribute has a status, made from the code, where there was no gRPC.
  grpc_attribute: '%CEL(response.grpc_status)%',
  route: '%ROUTE_NAME%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  said_attempts: '%REQ(X-ENVOY-ATTEMPT-COUNT)%',
  enforced_result: rbac('http', 'enforced_engine_result'),
  shadow_result: rbac('http', 'istio_dry_run_deny_shadow_engine_result'),
  shadow_policy: rbac('http', 'istio_dry_run_deny_shadow_effective_policy_id'),
  token_issuer: token('iss'),
  token_subject: token('sub'),
} as const;

/** The file logger of a place. */
export function fileLog(dir: string, log: Log): NamedFilter {
  const fields = log === 'manager' ? { ...CONNECTION_FIELDS, ...EXCHANGE_FIELDS } : CONNECTION_FIELDS;
  const cel = typed('envoy.extensions.formatter.cel.v3.Cel');
  const format: Json = {
    json_format: fields,
    formatters: [{ name: 'envoy.formatter.cel', typed_config: cel }],
  };
  const file = typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
    path: join(dir, `${log}.json`),
    log_format: format,
  });
  return { name: 'envoy.access_loggers.file', typed_config: file };
}

/** Lines of a log in the order of their writing. */
export function linesOf(dir: string, log: Log): readonly Line[] {
  const texts = readFileSync(join(dir, `${log}.json`), 'utf8').split('\n');
  return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as Line);
}
