// What a variant asks of the host for a request: counted in the emulated Envoy, since a real one does not tell.

import { type Exchange, factsOf, ordinary, withHeaders } from '../../filter/exchange.ts';
import { acknowledge } from '../../filter/recorder.ts';
import type { Facts } from '../../host/contexts.ts';
import { Envoy, type Use } from '../../host/envoy.ts';
import { Listener } from '../../host/listener.ts';
import type { Place, Variant } from './variants.ts';

const EXCHANGES = 500;
const CLUSTER = 'collector';

/** For each ordinary request on a known connection. */
export interface Calls {
  /** Calls of host functions. */
  readonly all: number;
  /** Of these, the ones that hand over data, for which the host enters the VM again. */
  readonly data: number;
}

/** As the load generator sends it and the proxy of the benchmark has it at the end. */
function request(tls: 'none' | 'mtls'): Facts {
  const exchange = withHeaders(ordinary({ connectionId: 1n }), {
    accept: 'application/json',
    'accept-encoding': 'gzip, br',
    'x-envoy-attempt-count': '1',
  });
  const secured = tls === 'mtls' ? exchange : { ...exchange, ...PLAINTEXT };
  const responseHeaders = [...(exchange.responseHeaders ?? []), ['content-length', '538'] as const];
  const facts = factsOf({ ...secured, responseHeaders });
  // Envoy hands over the metadata of no filter too: a map without entries.
  return { ...facts, properties: { ...facts.properties, metadata: { filter_metadata: new Map() } } };
}

const PLAINTEXT: Exchange = {
  mtls: false,
  tlsVersion: undefined,
  requestedServerName: '',
  peerPrincipal: undefined,
  localPrincipal: undefined,
  peerSubject: undefined,
  peerDigest: undefined,
};

/** Counts the calls of a variant that has a module; the average of many requests, batches sealed meanwhile included. */
export function callsOf(variant: Variant, tls: 'none' | 'mtls', code: Uint8Array): Calls | undefined {
  if (variant.kind !== 'wasm') return undefined;
  const node = { id: 'sidecar~127.0.0.1~bench-0.shop~shop.svc.cluster.local', cluster: 'bench.shop' };
  const envoy = new Envoy({ properties: { xds: { node } } });
  envoy.upstreams.clusters.set(CLUSTER, acknowledge);
  const at = (place: Place): Use[] => {
    if (!variant.places.includes(place)) return [];
    const layer = place === 'listenerLog' ? { layer: 'connection' } : {};
    const settings = variant.module === 'counting' ? {} : { collector_cluster: CLUSTER, ...variant.settings, ...layer };
    return [envoy.load({ code, rootId: place, vmId: 'bench', configuration: JSON.stringify(settings) })];
  };
  const chain = {
    listenerLoggers: at('listenerLog'),
    network: at('networkFilter'),
    http: at('httpFilter'),
    httpLoggers: at('managerLog'),
  };
  const [use] = Object.values(chain).flat();
  if (use === undefined) return undefined;
  const connection = new Listener(envoy, chain).connect(request(tls));
  const exchange = (): void => connection.request().end(request(tls));
  const machine = envoy.machine(use);
  const count = (): number => [...machine.hostCalls.values()].reduce((sum, calls) => sum + calls, 0);
  exchange();
  const [before, allocations] = [count(), machine.entries.allocations];
  for (let i = 0; i < EXCHANGES; i++) exchange();
  return {
    all: (count() - before) / EXCHANGES,
    data: (machine.entries.allocations - allocations) / EXCHANGES,
  };
}
