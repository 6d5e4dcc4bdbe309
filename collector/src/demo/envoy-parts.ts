// Typed pieces of an Envoy 1.40 bootstrap (xDS v3 as JSON): only what the demo's mesh uses.

import type { WorkloadIdentity } from './certificates.ts';
import type { Policy, WorkloadPolicies } from './policies.ts';

export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json };

export interface TypedConfig {
  readonly '@type': string;
  readonly [field: string]: Json;
}
export interface NamedFilter {
  readonly name: string;
  readonly typed_config: TypedConfig;
}
export interface Address {
  readonly socket_address: { readonly address: string; readonly port_value: number };
}
export interface FilterChain {
  readonly name: string;
  readonly filters: readonly NamedFilter[];
  readonly transport_socket?: NamedFilter;
}
export interface Listener {
  readonly name: string;
  readonly address: Address;
  readonly traffic_direction: 'INBOUND' | 'OUTBOUND';
  readonly enable_reuse_port: boolean;
  readonly listener_filters?: readonly NamedFilter[];
  readonly filter_chains: readonly FilterChain[];
}
export interface Cluster {
  readonly name: string;
  readonly type: 'STATIC';
  readonly connect_timeout: string;
  readonly load_assignment: Json;
  readonly transport_socket?: NamedFilter;
}
export interface Bootstrap {
  readonly node: { readonly id: string; readonly cluster: string; readonly metadata: Json };
  readonly admin: { readonly address: Address };
  readonly static_resources: { readonly listeners: readonly Listener[]; readonly clusters: readonly Cluster[] };
}

/** What the recorder in a proxy is told. */
export interface RecorderOptions {
  /** The compiled filter. */
  readonly wasmFile: string;
  /** The collector's ingest listener. */
  readonly ingest: { readonly host: string; readonly port: number };
  readonly flushIntervalMs: number;
  /** Further settings of the filter (docs/filter.md). */
  readonly settings?: { readonly [name: string]: string | number | boolean };
}

/** Envoy's name of the cluster that batches go to. */
export const COLLECTOR_CLUSTER = 'meshtrail_collector';
const RECORDER_NAME = 'meshtrail';

export function typed(name: string, fields: { readonly [field: string]: Json } = {}): TypedConfig {
  return { '@type': `type.googleapis.com/${name}`, ...fields };
}

export function loopback(port: number): Address {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** A cluster of one fixed address; `tls` makes it mTLS. */
export function cluster(
  name: string,
  host: string,
  port: number,
  tls?: { readonly identity: WorkloadIdentity; readonly caFile: string; readonly peer: string; readonly sni: string },
): Cluster {
  const endpoint = { endpoint: { address: { socket_address: { address: host, port_value: port } } } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
    ...(tls === undefined ? {} : { transport_socket: upstreamTls(tls) }),
  };
}

function commonTls(identity: WorkloadIdentity, caFile: string, matcher: { readonly [kind: string]: string }): Json {
  return {
    // Envoy's clients would stop at 1.2.
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [
      { certificate_chain: { filename: identity.certificateFile }, private_key: { filename: identity.keyFile } },
    ],
    validation_context: {
      trusted_ca: { filename: caFile },
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher }],
    },
  };
}

function upstreamTls(tls: {
  readonly identity: WorkloadIdentity;
  readonly caFile: string;
  readonly peer: string;
  readonly sni: string;
}): NamedFilter {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
      sni: tls.sni,
      common_tls_context: commonTls(tls.identity, tls.caFile, { exact: tls.peer }),
    }),
  };
}

/** TLS of an inbound listener: no connection without a certificate of the mesh. */
export function downstreamTls(identity: WorkloadIdentity, caFile: string, trustDomain: string): NamedFilter {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
      require_client_certificate: true,
      common_tls_context: commonTls(identity, caFile, { prefix: `spiffe://${trustDomain}/` }),
    }),
  };
}

/** Reads the server name that a client asks for, before TLS begins. */
export function tlsInspector(): NamedFilter {
  const name = 'envoy.filters.listener.tls_inspector';
  return { name, typed_config: typed('envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector') };
}

/**
 * The recorder as an HTTP filter. `fail_open: true` is the legacy field on purpose: it is the only setting under which a dead
 * module harms no stream, not even those that are open (`failure_policy` closes them).
 */
export function recorderFilter(recorder: RecorderOptions, role: 'sidecar' | 'gateway'): NamedFilter {
  const settings = {
    collector_cluster: COLLECTOR_CLUSTER,
    collector_authority: `${recorder.ingest.host}:${recorder.ingest.port}`,
    flush_interval_ms: recorder.flushIntervalMs,
    role,
    ...recorder.settings,
  };
  return {
    name: RECORDER_NAME,
    typed_config: typed('envoy.extensions.filters.http.wasm.v3.Wasm', {
      config: {
        name: RECORDER_NAME,
        root_id: RECORDER_NAME,
        fail_open: true,
        configuration: typed('google.protobuf.StringValue', { value: JSON.stringify(settings) }),
        // One vm_id for all chains of this proxy: one VM on each thread, so one stream of records.
        vm_config: {
          vm_id: RECORDER_NAME,
          runtime: 'envoy.wasm.runtime.v8',
          code: { local: { filename: recorder.wasmFile } },
        },
      },
    }),
  };
}

function policyRule(policy: Policy): Json {
  const ids = (names: readonly string[]): Json[] =>
    names.map((exact) => ({ authenticated: { principal_name: { exact } } }));
  const principals: Json[] =
    policy.callers !== undefined
      ? ids(policy.callers)
      : policy.exceptCallers !== undefined
        ? [{ not_id: { or_ids: { ids: ids(policy.exceptCallers) } } }]
        : [{ any: true }];
  const permissions: Json[] =
    policy.paths === undefined ? [{ any: true }] : policy.paths.map((prefix) => ({ url_path: { path: { prefix } } }));
  return { permissions, principals };
}

function rules(action: 'ALLOW' | 'DENY', policies: readonly Policy[]): Json {
  return { action, policies: Object.fromEntries(policies.map((policy) => [policy.name, policyRule(policy)])) };
}

/** RBAC filters of a workload: deny (with its dry run), then allow. */
export function rbacFilters({ deny, allow, dryRunDeny }: WorkloadPolicies): readonly NamedFilter[] {
  const name = 'envoy.filters.http.rbac';
  const type = 'envoy.extensions.filters.http.rbac.v3.RBAC';
  const shadow: { readonly [field: string]: Json } =
    dryRunDeny.length === 0
      ? {}
      : { shadow_rules: rules('DENY', dryRunDeny), shadow_rules_stat_prefix: 'istio_dry_run_deny_' };
  return [
    { name, typed_config: typed(type, { rules: rules('DENY', deny), ...shadow }) },
    { name, typed_config: typed(type, { rules: rules('ALLOW', allow) }) },
  ];
}

export interface VirtualHost {
  readonly name: string;
  readonly domains: readonly string[];
  readonly cluster: string;
}

export interface HttpInput {
  readonly name: string;
  readonly filters: readonly NamedFilter[];
  readonly virtualHosts: readonly VirtualHost[];
  /** A proxy at the edge makes request ids; one inside the mesh must leave them alone. */
  readonly isEdge: boolean;
  readonly accessLogFile?: string;
}

/** What a proxy says of an exchange in a log of its own, for tests that hold the records against it. */
const ACCESS_LOG_FIELDS = {
  start: '%START_TIME(%s.%9f)%',
  duration_ms: '%DURATION%',
  method: '%REQ(:METHOD)%',
  authority: '%REQ(:AUTHORITY)%',
  path: '%REQ(:PATH)%',
  protocol: '%PROTOCOL%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  traceparent: '%REQ(TRACEPARENT)%',
  code: '%RESPONSE_CODE%',
  flags: '%RESPONSE_FLAGS%',
  details: '%RESPONSE_CODE_DETAILS%',
  request_headers_bytes: '%REQUEST_HEADERS_BYTES%',
  request_body_bytes: '%BYTES_RECEIVED%',
  response_headers_bytes: '%RESPONSE_HEADERS_BYTES%',
  response_body_bytes: '%BYTES_SENT%',
  connection_id: '%CONNECTION_ID%',
  remote: '%DOWNSTREAM_REMOTE_ADDRESS%',
  local: '%DOWNSTREAM_LOCAL_ADDRESS%',
  peer: '%DOWNSTREAM_PEER_URI_SAN%',
  own: '%DOWNSTREAM_LOCAL_URI_SAN%',
  peer_digest: '%DOWNSTREAM_PEER_FINGERPRINT_256%',
  tls: '%DOWNSTREAM_TLS_VERSION%',
  sni: '%REQUESTED_SERVER_NAME%',
  route: '%ROUTE_NAME%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream: '%UPSTREAM_HOST%',
  upstream_peer: '%UPSTREAM_PEER_URI_SAN%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  shadow_result: '%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_deny_shadow_engine_result)%',
  shadow_policy: '%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_deny_shadow_effective_policy_id)%',
} as const;

/** The HTTP connection manager: given filters, then the router. */
export function httpManager(input: HttpInput): NamedFilter {
  const { name, filters, virtualHosts, isEdge, accessLogFile } = input;
  const router = {
    name: 'envoy.filters.http.router',
    typed_config: typed('envoy.extensions.filters.http.router.v3.Router'),
  };
  const log = typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
    path: accessLogFile ?? '',
    log_format: { json_format: ACCESS_LOG_FIELDS },
  });
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
      stat_prefix: name,
      codec_type: 'AUTO',
      generate_request_id: isEdge,
      preserve_external_request_id: true,
      use_remote_address: isEdge,
      route_config: {
        name,
        virtual_hosts: virtualHosts.map((host) => ({
          name: host.name,
          domains: host.domains,
          routes: [{ name: host.name, match: { prefix: '/' }, route: { cluster: host.cluster, timeout: '15s' } }],
        })),
      },
      http_filters: [...filters, router].map((filter) => ({ name: filter.name, typed_config: filter.typed_config })),
      ...(accessLogFile === undefined
        ? {}
        : { access_log: [{ name: 'envoy.access_loggers.file', typed_config: log }] }),
    }),
  };
}
