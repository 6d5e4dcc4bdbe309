// Makes envoy-configs/demo: bootstraps as the demo gives them to its proxies, with readable paths and ports, as YAML.
//   node collector/bin/node24.js test/demo/envoy-examples.ts

import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ingressConfig, type Peer, sidecarConfig } from '../../collector/src/demo/envoy-config.ts';
import { INGRESS, POLICIES, SERVICES, spiffeIdOf, TRUST_DOMAIN } from '../../collector/src/demo/policies.ts';

export const EXAMPLES_DIR = fileURLToPath(new URL('../../envoy-configs/demo/', import.meta.url));
const HEAD = `# Made by test/demo/envoy-examples.ts from the code that the demo runs on; a test keeps the two equal.
# Paths and ports are examples. In the demo everything stands on loopback, on ports that were free.
`;
/** Words that YAML would not take for text when they stand alone. */
const PLAIN = /^(?!(?:true|false|null|yes|no|on|off|y|n|~)$)[A-Za-z/](?:[\w .,/|*~+-]|:(?=\S))*(?<! )$/i;

export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json };

function scalar(value: string | number | boolean): string {
  if (typeof value !== 'string') return String(value);
  return PLAIN.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
}

const isEmpty = (value: object): boolean => Object.keys(value).length === 0;

/** Lines of a value in YAML block style, without indentation of their own. */
function blockOf(value: Json): string[] {
  if (typeof value !== 'object') return [scalar(value)];
  if (isEmpty(value)) return [Array.isArray(value) ? '[]' : '{}'];
  const nested = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
  if (Array.isArray(value))
    return (value as readonly Json[]).flatMap((item) => {
      const [first = '', ...others] = blockOf(item);
      return [`- ${first}`, ...nested(others)];
    });
  return Object.entries(value).flatMap(([key, item]) => {
    const lines = blockOf(item as Json);
    return typeof item === 'object' && !isEmpty(item)
      ? [`${scalar(key)}:`, ...nested(lines)]
      : [`${scalar(key)}: ${lines[0]}`];
  });
}

/** A value as a YAML document. */
export function yaml(value: Json): string {
  return `${blockOf(value).join('\n')}\n`;
}

const peers: readonly Peer[] = SERVICES.map(({ name, namespace }, i) => ({
  name,
  namespace,
  spiffeId: spiffeIdOf(namespace, name),
  inboundPort: 15_006 + 100 * i,
}));
const common = {
  caFile: '/etc/meshtrail/tls/ca.crt',
  trustDomain: TRUST_DOMAIN,
  recorder: {
    wasmFile: '/etc/meshtrail/filter.wasm',
    ingest: { host: '127.0.0.1', port: 4601 },
    flushIntervalMs: 1000,
  },
};
const identityOf = ({ name, namespace }: { readonly name: string; readonly namespace: string }) => ({
  spiffeId: spiffeIdOf(namespace, name),
  certificateFile: '/etc/meshtrail/tls/tls.crt',
  keyFile: '/etc/meshtrail/tls/tls.key',
});

/** Every example by its file name. */
export function examples(): ReadonlyMap<string, string> {
  const [frontend, orders] = peers as [Peer, Peer];
  const sidecar = sidecarConfig({
    ...common,
    name: orders.name,
    namespace: orders.namespace,
    identity: identityOf(orders),
    ports: { inbound: orders.inboundPort, outbound: 15_001, app: 8080 },
    policies: POLICIES.orders,
    peers: peers.filter((peer) => peer !== orders),
    outsidePort: 8081,
  });
  const ingress = ingressConfig({ ...common, ...INGRESS, identity: identityOf(INGRESS), port: 8000, peer: frontend });
  return new Map([
    ['orders-sidecar.yaml', `${HEAD}${yaml(sidecar as unknown as Json)}`],
    ['ingress.yaml', `${HEAD}${yaml(ingress as unknown as Json)}`],
  ]);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  mkdirSync(EXAMPLES_DIR, { recursive: true });
  for (const [name, text] of examples()) writeFileSync(join(EXAMPLES_DIR, name), text);
  process.stdout.write(`wrote ${examples().size} files to ${dirname(join(EXAMPLES_DIR, 'x'))}\n`);
}
