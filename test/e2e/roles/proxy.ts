// The bootstrap of the roles' proxy: three listeners for HTTP, six for TCP and TLS, recorders and file logs in every place.

import type { WorkloadIdentity } from '../../../collector/src/demo/certificates.ts';
import { endpointOf } from '../../../collector/src/demo/collector.ts';
import type { Cluster, Json, NamedFilter } from '../../../collector/src/demo/envoy-parts.ts';
import { cluster, loopback, tlsInspector, typed } from '../../../collector/src/demo/envoy-parts.ts';
import { fileLog } from './access-logs.ts';
import { COLLECTOR, recordersIn } from './places.ts';
import { httpManager, type ManagerInput } from './routes.ts';
import type { UpstreamPorts } from './upstreams.ts';

/** Names of the listeners; those for HTTP have a connection manager, the others `tcp_proxy`. */
export const HTTP_LISTENERS = ['web', 'secure', 'told'] as const;
export const TCP_LISTENERS = ['tcp', 'tcp-refused', 'tcp-cut', 'tcp-short', 'by-name', 'terminated'] as const;
export type ListenerName = (typeof HTTP_LISTENERS)[number] | (typeof TCP_LISTENERS)[number];
export const LISTENERS: readonly ListenerName[] = [...HTTP_LISTENERS, ...TCP_LISTENERS];

/** Server names that the listeners by name know. */
export const PASSED = 'passed.test';
export const DENIED = 'denied.test';
export const NET_POLICY = 'net-no-denied';
/** Server name that a policy denies which is only tried. */
export const TRIED = 'tried.test';
export const NET_DRY_POLICY = 'net-dry';
/** Whom the `told` listener has in its filter state, as a node's proxy in an ambient mesh tells it. */
export const TOLD_PRINCIPAL = 'spiffe://roles.test/ns/shop/sa/told';

export interface Identities {
  readonly trustDomain: string;
  readonly caFile: string;
  readonly proxy: WorkloadIdentity;
  readonly caller: WorkloadIdentity;
  readonly app: WorkloadIdentity;
  /** Of an authority that the proxy does not know. */
  readonly stranger: WorkloadIdentity;
}

export interface ProxyInput extends ManagerInput {
  readonly node: string;
  readonly ports: Readonly<Record<ListenerName, number>>;
  readonly upstreams: UpstreamPorts;
  /** A port that refuses every connection. */
  readonly refusedPort: number;
  readonly identities: Identities;
}

interface Chain {
  readonly name: string;
  readonly filters: readonly NamedFilter[];
  /** Server name by which it is chosen; absent: every connection. */
  readonly serverName?: string;
  readonly tls?: NamedFilter;
}

function downstreamTls({ identities: { proxy, caFile, trustDomain } }: ProxyInput, alpn: readonly string[]) {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
      require_client_certificate: true,
      common_tls_context: {
        alpn_protocols: alpn,
        tls_certificates: [
          { certificate_chain: { filename: proxy.certificateFile }, private_key: { filename: proxy.keyFile } },
        ],
        validation_context: {
          trusted_ca: { filename: caFile },
          match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: `spiffe://${trustDomain}/` } }],
        },
      },
    }),
  };
}

const plain = ({ name, typed_config }: NamedFilter): Json => ({ name, typed_config });

function tcpProxy(input: ProxyInput, to: string, more: { readonly [field: string]: Json } = {}): NamedFilter {
  const logs = [fileLog(input.logDir, 'tcp_proxy'), ...recordersIn(input, 'tcp_proxy_logger')];
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
      stat_prefix: to,
      cluster: to,
      access_log: logs.map(plain),
      ...more,
    }),
  };
}

function networkRbac(): NamedFilter {
  const rules = (policy: string, serverName: string): Json => {
    const permission = { requested_server_name: { exact: serverName } };
    return { action: 'DENY', policies: { [policy]: { permissions: [permission], principals: [{ any: true }] } } };
  };
  return {
    name: 'envoy.filters.network.rbac',
    typed_config: typed('envoy.extensions.filters.network.rbac.v3.RBAC', {
      stat_prefix: 'net',
      rules: rules(NET_POLICY, DENIED),
      shadow_rules: rules(NET_DRY_POLICY, TRIED),
      shadow_rules_stat_prefix: 'istio_dry_run_deny_',
    }),
  };
}

function filterState(): NamedFilter {
  return {
    name: 'envoy.filters.network.set_filter_state',
    typed_config: typed('envoy.extensions.filters.network.set_filter_state.v3.Config', {
      on_new_connection: [
        {
          object_key: 'io.istio.peer_principal',
          factory_key: 'envoy.string',
          format_string: { text_format_source: { inline_string: TOLD_PRINCIPAL } },
        },
      ],
    }),
  };
}

function listener(input: ProxyInput, name: ListenerName, chains: readonly Chain[]) {
  const logs = [fileLog(input.logDir, 'listener'), ...recordersIn(input, 'listener_logger')];
  const before = recordersIn(input, 'network_filter');
  return {
    name,
    address: loopback(input.ports[name]),
    stat_prefix: name,
    traffic_direction: 'INBOUND' as const,
    enable_reuse_port: false,
    // Each worker gets as many connections as the others.
    connection_balance_config: { exact_balance: {} },
    ...(['secure', 'by-name', 'terminated'].includes(name) ? { listener_filters: [tlsInspector()] } : {}),
    filter_chains: chains.map(({ name: chain, filters, serverName, tls }) => ({
      name: chain,
      ...(serverName === undefined ? {} : { filter_chain_match: { server_names: [serverName] } }),
      filters: [...before, ...filters],
      ...(tls === undefined ? {} : { transport_socket: tls }),
    })),
    access_log: logs.map(plain),
  };
}

function listeners(input: ProxyInput) {
  const one = (name: string, ...filters: NamedFilter[]): Chain => ({ name, filters });
  const byName = (serverName: string): Chain => ({
    ...one(serverName, networkRbac(), tcpProxy(input, 'tls-echo')),
    serverName,
  });
  const terminated = one('terminated', networkRbac(), tcpProxy(input, 'secured-echo'));
  return [
    listener(input, 'web', [one('web', httpManager(input, 'web'))]),
    listener(input, 'secure', [
      { ...one('secure', httpManager(input, 'secure')), tls: downstreamTls(input, ['h2', 'http/1.1']) },
    ]),
    listener(input, 'told', [one('told', filterState(), httpManager(input, 'told'))]),
    listener(input, 'tcp', [one('tcp', tcpProxy(input, 'echo'))]),
    listener(input, 'tcp-refused', [one('tcp-refused', tcpProxy(input, 'refused'))]),
    listener(input, 'tcp-cut', [one('tcp-cut', tcpProxy(input, 'cut'))]),
    listener(input, 'tcp-short', [
      one('tcp-short', tcpProxy(input, 'echo', { max_downstream_connection_duration: '0.2s' })),
    ]),
    listener(input, 'by-name', [byName(PASSED), byName(DENIED)]),
    listener(input, 'terminated', [{ ...terminated, tls: downstreamTls(input, []) }]),
  ];
}

const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      { explicit_http_config: { http2_protocol_options: {} } },
    ),
  },
};

const limits = (thresholds: { readonly [name: string]: number }) => ({
  circuit_breakers: { thresholds: [thresholds] },
});

function clusters(input: ProxyInput): readonly Cluster[] {
  const { upstreams, identities, refusedPort, ingest, authzPort } = input;
  const local = (name: string, port: number): Cluster => cluster(name, '127.0.0.1', port);
  const mtls = {
    identity: identities.proxy,
    caFile: identities.caFile,
    peer: identities.app.spiffeId,
    sni: 'app.test',
  };
  const { host, port } = endpointOf(ingest);
  return [
    { ...local('app', upstreams.http), ...limits({ max_retries: 100 }) },
    { ...local('full', upstreams.http), ...limits({ max_requests: 0 }) },
    { ...local('http2', upstreams.http2), ...HTTP2 },
    local('echo', upstreams.echo),
    local('cut', upstreams.cut),
    local('tls-echo', upstreams.tlsEcho),
    cluster('secured', '127.0.0.1', upstreams.https, mtls),
    cluster('secured-echo', '127.0.0.1', upstreams.tlsEcho, mtls),
    local('refused', refusedPort),
    local('authz', authzPort),
    { ...local('empty', 1), load_assignment: { cluster_name: 'empty', endpoints: [] } },
    cluster(COLLECTOR, host, port),
  ];
}

/** The whole bootstrap. */
export function proxyBootstrap(input: ProxyInput) {
  return {
    node: { id: `${input.node}-0`, cluster: input.node, metadata: {} },
    admin: { address: loopback(0) },
    static_resources: { listeners: listeners(input), clusters: clusters(input) },
  };
}
