// The configurations to copy from docs/filter.md are what Envoy takes, each in its place.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { withEnvoy } from '../e2e/support.ts';
import { ROOT } from './readme.ts';

const envoy = withEnvoy();

const indent = (text: string, by: number): string => text.replaceAll(/^(?=.)/gm, ' '.repeat(by));

/** A bootstrap with the three snippets in one listener: its access logger, its network filter, the manager's HTTP filter. */
function bootstrapOf(http: string, network: string, logger: string): string {
  const address = '{ socket_address: { address: 127.0.0.1, port_value: 0 } }';
  const router = '{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }';
  const manager = `  - name: manager
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: manager
      route_config: { virtual_hosts: [] }
${indent(http, 6)}        - { name: router, typed_config: ${router} }
`;
  return `static_resources:
  clusters:
    - name: meshtrail_collector
      type: STATIC
      load_assignment: { cluster_name: meshtrail_collector, endpoints: [] }
  listeners:
    - name: all
      address: ${address}
${indent(logger, 6)}      filter_chains:
        -
${indent(network + manager, 10)}`;
}

test('Envoy takes the HTTP filter, the network filter and the listener’s access logger', envoy.options, (t) => {
  const text = readFileSync(join(ROOT, 'docs/filter.md'), 'utf8');
  const snippets = [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, yaml = '']) =>
    yaml.replaceAll('/etc/meshtrail/filter.wasm', envoy.filter),
  );
  assert.deepEqual(
    snippets.map((yaml) => yaml.split(':')[0]),
    ['http_filters', 'filters', 'access_log'],
  );
  const [http = '', network = '', logger = ''] = snippets;
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail-snippets-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const validate = (bootstrap: string): { readonly status: number | null; readonly stderr: string } => {
    const file = join(dir, 'envoy.yaml');
    writeFileSync(file, bootstrap);
    return spawnSync(envoy.binary, ['--mode', 'validate', '-c', file, '-l', 'error'], { encoding: 'utf8' });
  };
  const { status, stderr } = validate(bootstrapOf(http, network, logger));
  assert.equal(status, 0, stderr);
  const misplaced = validate(bootstrapOf(http, network.replace('filters.network.wasm', 'filters.http.wasm'), logger));
  assert.notEqual(misplaced.status, 0, 'a type in the wrong place is seen');
});
