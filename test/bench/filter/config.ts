// Bootstraps of the filter benchmark: the proxy under test in its variants, and the upstream, which answers by itself.

import {
  type Bootstrap,
  type Cluster,
  COLLECTOR_CLUSTER,
  cluster,
  httpManager,
  type Json,
  loopback,
  type NamedFilter,
  recorderFilter,
  typed,
} from '../../../collector/src/demo/envoy-parts.ts';

export const AUTHORITY = 'orders.shop.svc.cluster.local';
/** Paths below it are answered 404 by the upstream. */
export const MISSING_PREFIX = '/missing';
const ALS_CLUSTER = 'als_sink';
const UPSTREAM_CLUSTER = 'inbound|8080||';
const UPSTREAM_BODY = JSON.stringify({
  orders: Array.from({ length: 12 }, (_, i) => ({ id: i, state: 'open', sum: 990 })),
});

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
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  tls_version: '%DOWNSTREAM_TLS_VERSION%',
  connection_id: '%CONNECTION_ID%',
} as const;

/** What a variant adds to the proxy. */
export type Variant =
  | { readonly kind: 'none' }
  | { readonly kind: 'meshtrail'; readonly wasmFile: string; readonly ingestPort: number }
  | { readonly kind: 'jsonFile'; readonly path: string }
  | { readonly kind: 'grpcAls'; readonly sinkPort: number };

function accessLog(variant: Variant): Json[] {
  if (variant.kind === 'jsonFile')
    return [
      {
        name: 'envoy.access_loggers.file',
        typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
          path: variant.path,
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

function receivers(variant: Variant): Cluster[] {
  if (variant.kind === 'meshtrail') return [cluster(COLLECTOR_CLUSTER, '127.0.0.1', variant.ingestPort)];
  if (variant.kind !== 'grpcAls') return [];
  const http2 = {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      { explicit_http_config: { http2_protocol_options: {} } },
    ),
  };
  const sink = { ...cluster(ALS_CLUSTER, '127.0.0.1', variant.sinkPort), typed_extension_protocol_options: http2 };
  return [sink];
}

function bootstrap(name: string, port: number, manager: NamedFilter, clusters: readonly Cluster[]): Bootstrap {
  return {
    node: { id: `sidecar~127.0.0.1~${name}-0.shop~shop.svc.cluster.local`, cluster: `${name}.shop`, metadata: {} },
    admin: { address: loopback(0) },
    static_resources: {
      listeners: [
        {
          name: 'inbound',
          address: loopback(port),
          traffic_direction: 'INBOUND',
          enable_reuse_port: false,
          filter_chains: [{ name: 'inbound', filters: [manager] }],
        },
      ],
      clusters,
    },
  };
}

/** The proxy under test: a sidecar's inbound listener without TLS. */
export function proxyConfig(port: number, upstreamPort: number, variant: Variant): Bootstrap {
  const filters =
    variant.kind === 'meshtrail'
      ? [
          recorderFilter(
            {
              wasmFile: variant.wasmFile,
              ingest: { host: '127.0.0.1', port: variant.ingestPort },
              flushIntervalMs: 1000,
            },
            'sidecar',
          ),
        ]
      : [];
  const manager = httpManager({
    name: 'inbound',
    filters,
    virtualHosts: [{ name: 'inbound', domains: ['*'], cluster: UPSTREAM_CLUSTER }],
    isEdge: false,
  });
  const log = accessLog(variant);
  const logged =
    log.length === 0 ? manager : { ...manager, typed_config: { ...manager.typed_config, access_log: log } };
  return bootstrap(variant.kind, port, logged, [
    cluster(UPSTREAM_CLUSTER, '127.0.0.1', upstreamPort),
    ...receivers(variant),
  ]);
}

/** The upstream: a second Envoy that answers from its configuration. */
export function upstreamConfig(port: number): Bootstrap {
  const manager = httpManager({ name: 'upstream', filters: [], virtualHosts: [], isEdge: false });
  const answer = (prefix: string, status: number): Json => ({
    match: { prefix },
    direct_response: { status, body: { inline_string: UPSTREAM_BODY } },
    response_headers_to_add: [
      { header: { key: 'content-type', value: 'application/json' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    ],
  });
  const routes = {
    name: 'upstream',
    virtual_hosts: [{ name: 'upstream', domains: ['*'], routes: [answer(MISSING_PREFIX, 404), answer('/', 200)] }],
  };
  return bootstrap(
    'upstream',
    port,
    { ...manager, typed_config: { ...manager.typed_config, route_config: routes } },
    [],
  );
}
