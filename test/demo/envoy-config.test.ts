// The bootstraps of the demo's proxies: what must hold for the recorder to see everything and to harm nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ingressConfig,
  nodeClusterOf,
  type SidecarInput,
  sidecarConfig,
} from '../../collector/src/demo/envoy-config.ts';
import type { Bootstrap, NamedFilter, RecorderOptions } from '../../collector/src/demo/envoy-parts.ts';
import { INGRESS, POLICIES, SERVICES, spiffeIdOf, TRUST_DOMAIN } from '../../collector/src/demo/policies.ts';

const recorder: RecorderOptions = {
  wasmFile: '/some where/build/filter.wasm',
  ingest: { host: '127.0.0.1', port: 4601 },
  flushIntervalMs: 250,
};
const identityOf = (namespace: string, name: string) => ({
  spiffeId: spiffeIdOf(namespace, name),
  certificateFile: `/tls/${name}.crt`,
  keyFile: `/tls/${name}.key`,
});
const peers = SERVICES.map(({ name, namespace }, i) => ({
  name,
  namespace,
  spiffeId: spiffeIdOf(namespace, name),
  inboundPort: 20_000 + i,
}));
const common = { caFile: '/tls/ca.crt', trustDomain: TRUST_DOMAIN };

function sidecar(more: Partial<SidecarInput> = {}): Bootstrap {
  return sidecarConfig({
    ...common,
    name: 'orders',
    namespace: 'shop',
    identity: identityOf('shop', 'orders'),
    recorder,
    ports: { inbound: 20_001, outbound: 20_101, app: 20_201 },
    policies: POLICIES.orders,
    peers: peers.filter(({ name }) => name !== 'orders'),
    outsidePort: 20_300,
    ...more,
  });
}
const ingress = (): Bootstrap =>
  ingressConfig({
    ...common,
    ...INGRESS,
    identity: identityOf(INGRESS.namespace, INGRESS.name),
    recorder,
    port: 20_400,
    peer: peers[0]!,
  });

/** HTTP filters of every chain, by listener. */
function httpFilters(config: Bootstrap): Map<string, NamedFilter[]> {
  return new Map(
    config.static_resources.listeners.map((listener) => {
      const manager = listener.filter_chains[0]?.filters[0]?.typed_config as unknown as { http_filters: NamedFilter[] };
      return [listener.name, manager.http_filters];
    }),
  );
}

interface WasmConfig {
  readonly fail_open: boolean;
  readonly failure_policy?: string;
  readonly root_id: string;
  readonly configuration: { readonly value: string };
  readonly vm_config: { readonly vm_id: string; readonly code: { readonly local: { readonly filename: string } } };
}
const wasmOf = (filter: NamedFilter | undefined): WasmConfig => filter?.typed_config['config'] as unknown as WasmConfig;

test('the recorder is the first filter of every chain, fails open, and shares one VM in a proxy', () => {
  for (const [config, role] of [
    [sidecar(), 'sidecar'],
    [ingress(), 'gateway'],
  ] as const) {
    const chains = httpFilters(config);
    assert.equal(chains.size, role === 'sidecar' ? 2 : 1);
    const vms = new Set<string>();
    for (const [first, ...others] of chains.values()) {
      const wasm = wasmOf(first);
      assert.equal(wasm.fail_open, true);
      assert.equal(wasm.failure_policy, undefined);
      assert.equal(wasm.vm_config.code.local.filename, recorder.wasmFile);
      assert.deepEqual(JSON.parse(wasm.configuration.value), {
        collector_cluster: 'meshtrail_collector',
        collector_authority: '127.0.0.1:4601',
        flush_interval_ms: 250,
        role,
      });
      vms.add(`${wasm.vm_config.vm_id} ${wasm.root_id}`);
      assert.ok(others.every(({ typed_config }) => !typed_config['@type'].includes('wasm')));
      assert.equal(others.at(-1)?.name, 'envoy.filters.http.router');
    }
    assert.equal(vms.size, 1);
    assert.ok(config.static_resources.clusters.some(({ name }) => name === 'meshtrail_collector'));
  }
});

test('without a recorder there is no filter of it, and no cluster', () => {
  const config = sidecarConfig({
    ...common,
    name: 'orders',
    namespace: 'shop',
    identity: identityOf('shop', 'orders'),
    ports: { inbound: 1, outbound: 2, app: 3 },
    policies: POLICIES.orders,
    peers: [],
    outsidePort: 4,
  });
  assert.ok(!JSON.stringify(config).includes('wasm'));
  assert.ok(!JSON.stringify(config).includes('meshtrail_collector'));
});

test('inbound traffic needs a certificate of the mesh, and every peer must show its own SPIFFE id', () => {
  const { listeners, clusters } = sidecar().static_resources;
  const [inbound, outbound] = listeners;
  const tls = JSON.stringify(inbound?.filter_chains[0]?.transport_socket);
  assert.match(tls, /"require_client_certificate":true/);
  assert.match(tls, /"prefix":"spiffe:\/\/demo\.mesh\/"/);
  assert.equal(inbound?.traffic_direction, 'INBOUND');
  assert.equal(outbound?.traffic_direction, 'OUTBOUND');
  for (const { name, namespace, spiffeId } of peers.filter((peer) => peer.name !== 'orders')) {
    const cluster = clusters.find((one) => one.name === `outbound|80||${name}.${namespace}.svc.cluster.local`);
    assert.ok(JSON.stringify(cluster?.transport_socket).includes(`{"exact":"${spiffeId}"}`));
  }
  assert.equal(clusters.find(({ name }) => name === 'PassthroughCluster')?.transport_socket, undefined);
});

test('no listener shares its port with another process', () => {
  for (const config of [sidecar(), ingress()])
    for (const listener of config.static_resources.listeners) assert.equal(listener.enable_reuse_port, false);
});

test('every policy has a name of its own, and request ids are made at the edge alone', () => {
  const names = SERVICES.flatMap(({ name }) => {
    const { deny, allow, dryRunDeny } = POLICIES[name];
    return [...deny, ...allow, ...dryRunDeny].map((policy) => policy.name);
  });
  assert.equal(new Set(names).size, names.length);
  assert.match(JSON.stringify(ingress()), /"generate_request_id":true/);
  assert.doesNotMatch(JSON.stringify(sidecar()), /"generate_request_id":true/);
});

test('a node names itself as Istio would', () => {
  assert.deepEqual(sidecar().node, {
    id: 'sidecar~127.0.0.1~orders-0.shop~shop.svc.cluster.local',
    cluster: 'orders.shop',
    metadata: { NAME: 'orders-0', NAMESPACE: 'shop', WORKLOAD_NAME: 'orders' },
  });
  assert.equal(ingress().node.id, 'router~127.0.0.1~ingress-0.edge~edge.svc.cluster.local');
  assert.equal(nodeClusterOf(INGRESS), 'ingress.edge');
});
