// Bootstraps of the filter benchmark: the proxy under test in its variants, and the upstream, which answers by itself.

import type { WorkloadIdentity } from '../../../collector/src/demo/certificates.ts';
import {
  type Bootstrap,
  type Cluster,
  COLLECTOR_CLUSTER,
  cluster,
  downstreamTls,
  type Json,
  type Listener,
  loopback,
  type NamedFilter,
  tlsInspector,
  typed,
} from '../../../collector/src/demo/envoy-parts.ts';
import type { Module, Place, Setting, Variant } from './variants.ts';

export const AUTHORITY = 'orders.shop.svc.cluster.local';
/** Paths below it are answered 404 by the upstream. */
export const MISSING_PREFIX = '/missing';
const ALS_CLUSTER = 'als_sink';
const UPSTREAM_CLUSTER = 'inbound|8080||';
const UPSTREAM_BODY = JSON.stringify({
  orders: Array.from({ length: 12 }, (_, i) => ({ id: i, state: 'open', sum: 990 })),
});
const VM = 'meshtrail';

/** The facts of our record as far as Envoy's log formatter has them. */
const JSON_FIELDS = {
  start_time: '%START_TIME%',
  duration: '%DURATION%',
  protocol: '%PROTOCOL%',
  method: '%REQ(:METHOD)%',
  authority: '%REQ(:AUTHORITY)%',
  path: '%REQ(:PATH)%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  route_name: '%ROUTE_NAME%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_principal: '%UPSTREAM_PEER_URI_SAN%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  traceparent: '%REQ(TRACEPARENT)%',
  request_content_type: '%REQ(CONTENT-TYPE)%',
  response_content_type: '%RESP(CONTENT-TYPE)%',
  source_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  destination_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  peer_principal: '%DOWNSTREAM_PEER_URI_SAN%',
  local_principal: '%DOWNSTREAM_LOCAL_URI_SAN%',
  peer_certificate: '%DOWNSTREAM_PEER_FINGERPRINT_256%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  tls_version: '%DOWNSTREAM_TLS_VERSION%',
  connection_id: '%CONNECTION_ID%',
} as const;

/** Where the proxy's recorders and logs deliver to. */
export interface Receivers {
  readonly ingestPort: number;
  readonly alsPort: number;
  readonly jsonPath: string;
}

/** Identity of the proxy's listener; clients show one of the same authority. */
export interface ListenerTls {
  readonly identity: WorkloadIdentity;
  readonly caFile: string;
  readonly trustDomain: string;
}

export interface ProxyInput {
  readonly name: string;
  readonly port: number;
  readonly upstreamPort: number;
  readonly setting: Setting;
  readonly variant: Variant;
  readonly receivers: Receivers;
  readonly wasmFiles: Readonly<Record<Module, string>>;
  /** Required with mTLS. */
  readonly tls: ListenerTls;
}

/** A root of the recorder: all places of a proxy share code and VM. */
function plugin(input: ProxyInput, place: Place): Json {
  const { variant, receivers, wasmFiles } = input;
  if (variant.kind !== 'wasm') throw new Error(`${variant.kind} has no module`);
  const settings =
    variant.module === 'counting'
      ? {}
      : {
          collector_cluster: COLLECTOR_CLUSTER,
          collector_authority: `127.0.0.1:${receivers.ingestPort}`,
          ...variant.settings,
          ...(place === 'listenerLog' ? { layer: 'connection' } : {}),
        };
  return {
    name: `${VM}.${place}`,
    root_id: `${VM}.${place}`,
    fail_open: true,
    configuration: typed('google.protobuf.StringValue', { value: JSON.stringify(settings) }),
    vm_config: {
      vm_id: VM,
      runtime: 'envoy.wasm.runtime.v8',
      code: { local: { filename: wasmFiles[variant.module] } },
    },
  };
}

const WASM_TYPES: Readonly<Record<Place, readonly [name: string, type: string]>> = {
  httpFilter: ['envoy.filters.http.wasm', 'envoy.extensions.filters.http.wasm.v3.Wasm'],
  networkFilter: ['envoy.filters.network.wasm', 'envoy.extensions.filters.network.wasm.v3.Wasm'],
  managerLog: ['envoy.access_loggers.wasm', 'envoy.extensions.access_loggers.wasm.v3.WasmAccessLog'],
  listenerLog: ['envoy.access_loggers.wasm', 'envoy.extensions.access_loggers.wasm.v3.WasmAccessLog'],
};

/** The recorder in one place; nothing where the variant has none. */
function wasmAt(input: ProxyInput, place: Place): NamedFilter[] {
  const { variant } = input;
  if (variant.kind !== 'wasm' || !variant.places.includes(place)) return [];
  const [name, type] = WASM_TYPES[place];
  return [{ name, typed_config: typed(type, { config: plugin(input, place) }) }];
}

function envoyLogs({ variant, receivers }: ProxyInput): NamedFilter[] {
  if (variant.kind === 'jsonFile')
    return [
      {
        name: 'envoy.access_loggers.file',
        typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
          path: receivers.jsonPath,
          log_format: { json_format: JSON_FIELDS },
        }),
      },
    ];
  if (variant.kind !== 'grpcAls') return [];
  return [
    {
      name: 'envoy.access_loggers.http_grpc',
      typed_config: typed('envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig', {
        common_config: {
          log_name: 'bench',
          transport_api_version: 'V3',
          grpc_service: { envoy_grpc: { cluster_name: ALS_CLUSTER } },
        },
        additional_request_headers_to_log: ['traceparent', 'content-type'],
        additional_response_headers_to_log: ['content-type'],
      }),
    },
  ];
}

function receiverClusters({ variant, receivers }: ProxyInput): Cluster[] {
  if (variant.kind === 'wasm') return [cluster(COLLECTOR_CLUSTER, '127.0.0.1', receivers.ingestPort)];
  if (variant.kind !== 'grpcAls') return [];
  const http2 = {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      { explicit_http_config: { http2_protocol_options: {} } },
    ),
  };
  const sink = { ...cluster(ALS_CLUSTER, '127.0.0.1', receivers.alsPort), typed_extension_protocol_options: http2 };
  return [sink];
}

interface ManagerInput {
  readonly name: string;
  readonly filters: readonly NamedFilter[];
  readonly logs: readonly NamedFilter[];
  readonly virtualHost: Readonly<Record<string, Json>>;
}

/** A connection manager as a sidecar's: it leaves request ids alone and writes the attempt into the request. */
function manager({ name, filters, logs, virtualHost }: ManagerInput): NamedFilter {
  const router = {
    name: 'envoy.filters.http.router',
    typed_config: typed('envoy.extensions.filters.http.router.v3.Router'),
  };
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
      stat_prefix: name,
      codec_type: 'AUTO',
      generate_request_id: false,
      preserve_external_request_id: true,
      use_remote_address: false,
      route_config: {
        name,
        virtual_hosts: [{ name, domains: ['*'], include_request_attempt_count: true, ...virtualHost }],
      },
      http_filters: [...filters, router].map(({ name: filter, typed_config }) => ({ name: filter, typed_config })),
      access_log: logs.map(({ name: log, typed_config }) => ({ name: log, typed_config })),
    }),
  };
}

function bootstrap(name: string, listener: Listener, clusters: readonly Cluster[]): Bootstrap {
  return {
    node: { id: `sidecar~127.0.0.1~${name}-0.shop~shop.svc.cluster.local`, cluster: `${name}.shop`, metadata: {} },
    admin: { address: loopback(0) },
    static_resources: { listeners: [listener], clusters },
  };
}

const listenerAt = (port: number): Omit<Listener, 'filter_chains'> => ({
  name: 'inbound',
  address: loopback(port),
  traffic_direction: 'INBOUND',
  enable_reuse_port: false,
});

/** The proxy under test: a sidecar's inbound listener; what it records goes to the receivers. */
export function proxyConfig(input: ProxyInput): Bootstrap {
  const { name, port, upstreamPort, setting, tls } = input;
  const http = manager({
    name: 'inbound',
    filters: wasmAt(input, 'httpFilter'),
    logs: [...envoyLogs(input), ...wasmAt(input, 'managerLog')],
    virtualHost: {
      routes: [{ name: 'default', match: { prefix: '/' }, route: { cluster: UPSTREAM_CLUSTER, timeout: '15s' } }],
    },
  });
  const isTls = setting.tls === 'mtls';
  const listener = {
    ...listenerAt(port),
    // Else one worker may get all of the few connections.
    ...(setting.workers > 1 ? { connection_balance_config: { exact_balance: {} } } : {}),
    ...(isTls ? { listener_filters: [tlsInspector()] } : {}),
    access_log: wasmAt(input, 'listenerLog').map(({ name: log, typed_config }) => ({ name: log, typed_config })),
    filter_chains: [
      {
        name: 'inbound',
        filters: [...wasmAt(input, 'networkFilter'), http],
        ...(isTls ? { transport_socket: downstreamTls(tls.identity, tls.caFile, tls.trustDomain) } : {}),
      },
    ],
  };
  return bootstrap(name, listener, [cluster(UPSTREAM_CLUSTER, '127.0.0.1', upstreamPort), ...receiverClusters(input)]);
}

/** The upstream: a second Envoy that answers from its configuration. */
export function upstreamConfig(port: number): Bootstrap {
  const answer = (prefix: string, status: number): Json => ({
    match: { prefix },
    direct_response: { status, body: { inline_string: UPSTREAM_BODY } },
    response_headers_to_add: [
      { header: { key: 'content-type', value: 'application/json' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    ],
  });
  const http = manager({
    name: 'upstream',
    filters: [],
    logs: [],
    virtualHost: { routes: [answer(MISSING_PREFIX, 404), answer('/', 200)] },
  });
  return bootstrap('upstream', { ...listenerAt(port), filter_chains: [{ name: 'upstream', filters: [http] }] }, []);
}
