// Bootstraps of the demo's proxies: a sidecar (inbound mTLS with RBAC, outbound to its peers and to hosts outside) and the ingress.

import type { WorkloadIdentity } from './certificates.ts';
import {
  type Bootstrap,
  COLLECTOR_CLUSTER,
  cluster,
  downstreamTls,
  httpManager,
  type Listener,
  loopback,
  type NamedFilter,
  type RecorderOptions,
  rbacFilters,
  recorderFilter,
  tlsInspector,
  type VirtualHost,
} from './envoy-parts.ts';
import type { WorkloadPolicies } from './policies.ts';

/** A service that a proxy can send to. */
export interface Peer {
  readonly name: string;
  readonly namespace: string;
  /** SPIFFE id that it must show. */
  readonly spiffeId: string;
  /** Port of its sidecar's inbound listener. */
  readonly inboundPort: number;
}

interface ProxyInput {
  readonly name: string;
  readonly namespace: string;
  readonly identity: WorkloadIdentity;
  readonly caFile: string;
  readonly trustDomain: string;
  /** Absent: the proxy does not record. */
  readonly recorder?: RecorderOptions;
  /** Where to write access logs, `<directory>/<name>-<listener>.json`; for tests. */
  readonly accessLogDir?: string;
}

export interface SidecarInput extends ProxyInput {
  readonly ports: { readonly inbound: number; readonly outbound: number; readonly app: number };
  readonly policies: WorkloadPolicies;
  readonly peers: readonly Peer[];
  /** Port of what stands for every host outside the mesh. */
  readonly outsidePort: number;
}

export interface IngressInput extends ProxyInput {
  readonly port: number;
  /** Where every request goes. */
  readonly peer: Peer;
}

/** The cluster of traffic that leaves the mesh: no mTLS, no identity on the other side. */
export const OUTSIDE_CLUSTER = 'PassthroughCluster';
/** `node.cluster` of a workload's proxy, as Istio writes it. */
export function nodeClusterOf({ name, namespace }: { readonly name: string; readonly namespace: string }): string {
  return `${name}.${namespace}`;
}

const hostOf = nodeClusterOf;
const clusterOf = (peer: Peer): string => `outbound|80||${hostOf(peer)}.svc.cluster.local`;

function nodeOf(kind: 'sidecar' | 'router', { name, namespace }: ProxyInput): Bootstrap['node'] {
  return {
    id: `${kind}~127.0.0.1~${name}-0.${namespace}~${namespace}.svc.cluster.local`,
    cluster: hostOf({ name, namespace }),
    metadata: { NAME: `${name}-0`, NAMESPACE: namespace, WORKLOAD_NAME: name },
  };
}

const recorderFirst = (input: ProxyInput, role: 'sidecar' | 'gateway'): readonly NamedFilter[] =>
  input.recorder === undefined ? [] : [recorderFilter(input.recorder, role)];

function bootstrap(
  kind: 'sidecar' | 'router',
  input: ProxyInput,
  listeners: readonly Listener[],
  clusters: Bootstrap['static_resources']['clusters'],
): Bootstrap {
  const { recorder } = input;
  const collector =
    recorder === undefined ? [] : [cluster(COLLECTOR_CLUSTER, recorder.ingest.host, recorder.ingest.port)];
  return {
    node: nodeOf(kind, input),
    // Port 0: Envoy takes a free one and writes it to a file.
    admin: { address: loopback(0) },
    static_resources: { listeners, clusters: [...clusters, ...collector] },
  };
}

function listener(
  input: ProxyInput,
  name: 'inbound' | 'outbound' | 'ingress',
  port: number,
  filters: readonly NamedFilter[],
  virtualHosts: readonly VirtualHost[],
): Listener {
  const accessLog =
    input.accessLogDir === undefined ? {} : { accessLogFile: `${input.accessLogDir}/${input.name}-${name}.json` };
  const manager = httpManager({ name, filters, virtualHosts, isEdge: name === 'ingress', ...accessLog });
  const tls =
    name === 'inbound' ? { transport_socket: downstreamTls(input.identity, input.caFile, input.trustDomain) } : {};
  return {
    name,
    address: loopback(port),
    traffic_direction: name === 'inbound' ? 'INBOUND' : 'OUTBOUND',
    // With reuse, a second mesh on this machine could take the same port without an error, and get half of this one's connections.
    enable_reuse_port: false,
    ...(name === 'inbound' ? { listener_filters: [tlsInspector()] } : {}),
    filter_chains: [{ name, filters: [manager], ...tls }],
  };
}

function peerCluster(input: ProxyInput, peer: Peer) {
  const { identity, caFile } = input;
  return cluster(clusterOf(peer), '127.0.0.1', peer.inboundPort, {
    identity,
    caFile,
    peer: peer.spiffeId,
    sni: hostOf(peer),
  });
}

const peerHost = (peer: Peer): VirtualHost => ({
  name: hostOf(peer),
  domains: [hostOf(peer), `${hostOf(peer)}:*`],
  cluster: clusterOf(peer),
});

/** Bootstrap of a sidecar. The recorder is first in both chains, so that it sees what the filters behind it refuse. */
export function sidecarConfig(input: SidecarInput): Bootstrap {
  const { ports, peers, policies } = input;
  const app = { name: 'inbound|8080||', port: ports.app };
  const inboundFilters = [...recorderFirst(input, 'sidecar'), ...rbacFilters(policies)];
  const inboundHosts = [{ name: 'inbound', domains: ['*'], cluster: app.name }];
  const outboundHosts = [...peers.map(peerHost), { name: 'outside', domains: ['*'], cluster: OUTSIDE_CLUSTER }];
  return bootstrap(
    'sidecar',
    input,
    [
      listener(input, 'inbound', ports.inbound, inboundFilters, inboundHosts),
      listener(input, 'outbound', ports.outbound, recorderFirst(input, 'sidecar'), outboundHosts),
    ],
    [
      cluster(app.name, '127.0.0.1', app.port),
      ...peers.map((peer) => peerCluster(input, peer)),
      cluster(OUTSIDE_CLUSTER, '127.0.0.1', input.outsidePort),
    ],
  );
}

/** Bootstrap of the ingress: plaintext from outside, mTLS into the mesh. */
export function ingressConfig(input: IngressInput): Bootstrap {
  const host = { ...peerHost(input.peer), domains: ['*'] };
  return bootstrap(
    'router',
    input,
    [listener(input, 'ingress', input.port, recorderFirst(input, 'gateway'), [host])],
    [peerCluster(input, input.peer)],
  );
}
