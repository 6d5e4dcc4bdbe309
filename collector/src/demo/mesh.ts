// The demo's mesh: an ingress and one sidecar for each service, real Envoys over mTLS, on ports that were free.

import { join } from 'node:path';
import { makeAuthority } from './certificates.ts';
import { type Envoy, PortClash, startEnvoy } from './envoy.ts';
import { ingressConfig, type Peer, sidecarConfig } from './envoy-config.ts';
import type { Bootstrap, RecorderOptions } from './envoy-parts.ts';
import { INGRESS, POLICIES, SERVICES, type ServiceName, spiffeIdOf, TRUST_DOMAIN } from './policies.ts';
import { freePorts } from './ports.ts';

const PORT_ATTEMPTS_MAX = 5;

export interface MeshInput {
  /** Path of the Envoy binary. */
  readonly envoy: string;
  /** Directory for certificates, bootstraps and logs. */
  readonly dir: string;
  /** Port on which each service listens behind its sidecar. */
  readonly appPorts: Readonly<Record<ServiceName, number>>;
  /** Port of what stands for hosts outside the mesh. */
  readonly outsidePort: number;
  /** A service that is known to the mesh and has no instance: connections to it are refused. */
  readonly absentPeer: Peer;
  readonly recorder?: RecorderOptions;
  readonly accessLogDir?: string;
}

export interface Mesh {
  readonly ingressPort: number;
  /** Port of the outbound listener of a service's sidecar. */
  readonly outboundPorts: Readonly<Record<ServiceName, number>>;
  readonly envoys: readonly Envoy[];
  /** Stops all proxies; each sends what its recorder holds. */
  stop(): Promise<void>;
}

interface Ports {
  readonly ingress: number;
  readonly inbound: Readonly<Record<ServiceName, number>>;
  readonly outbound: Readonly<Record<ServiceName, number>>;
}

async function allocate(): Promise<Ports> {
  const free = await freePorts(1 + 2 * SERVICES.length);
  const take = (): number => free.pop() as number;
  const each = (): Record<ServiceName, number> =>
    Object.fromEntries(SERVICES.map(({ name }) => [name, take()])) as Record<ServiceName, number>;
  return { ingress: take(), inbound: each(), outbound: each() };
}

/** Bootstraps of all proxies by name. */
async function bootstraps(input: MeshInput, ports: Ports): Promise<ReadonlyMap<string, Bootstrap>> {
  const authority = await makeAuthority(join(input.dir, 'tls'), TRUST_DOMAIN);
  const common = {
    caFile: authority.caFile,
    trustDomain: TRUST_DOMAIN,
    ...(input.recorder === undefined ? {} : { recorder: input.recorder }),
    ...(input.accessLogDir === undefined ? {} : { accessLogDir: input.accessLogDir }),
  };
  const peers: Peer[] = SERVICES.map(({ name, namespace }) => ({
    name,
    namespace,
    spiffeId: spiffeIdOf(namespace, name),
    inboundPort: ports.inbound[name],
  }));
  const made = new Map<string, Bootstrap>();
  for (const { name, namespace } of SERVICES) {
    made.set(
      name,
      sidecarConfig({
        ...common,
        name,
        namespace,
        identity: await authority.issue(namespace, name),
        ports: { inbound: ports.inbound[name], outbound: ports.outbound[name], app: input.appPorts[name] },
        policies: POLICIES[name],
        peers: [...peers.filter((peer) => peer.name !== name), input.absentPeer],
        outsidePort: input.outsidePort,
      }),
    );
  }
  const identity = await authority.issue(INGRESS.namespace, INGRESS.name);
  const [frontend] = peers as [Peer, ...Peer[]];
  made.set(INGRESS.name, ingressConfig({ ...common, ...INGRESS, identity, port: ports.ingress, peer: frontend }));
  return made;
}

/** Starts all proxies at once; when another process was quicker to take a port, tries again on other ones. */
export async function startMesh(input: MeshInput): Promise<Mesh> {
  for (let attempt = 1; ; attempt++) {
    const ports = await allocate();
    const configs = [...(await bootstraps(input, ports))];
    const started = await Promise.allSettled(
      configs.map(([name, config]) => startEnvoy(input.envoy, name, join(input.dir, name), config)),
    );
    const envoys = started.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
    const stop = async (): Promise<void> => {
      await Promise.all(envoys.map((envoy) => envoy.stop()));
    };
    const failures = started.filter((result) => result.status === 'rejected').map(({ reason }) => reason as Error);
    if (failures.length === 0) return { ingressPort: ports.ingress, outboundPorts: ports.outbound, envoys, stop };
    await stop();
    const serious = failures.find((failure) => !(failure instanceof PortClash));
    if (serious !== undefined || attempt === PORT_ATTEMPTS_MAX) throw serious ?? failures[0];
  }
}
