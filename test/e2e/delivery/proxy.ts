// One Envoy for the tests of delivery: a route or a policy for every way an exchange can end, the recorder in the role and by the
// channel that a test asks for, and Envoy's own access log beside it.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Envoy, startEnvoy } from '../../../collector/src/demo/envoy.ts';
import { type Bootstrap, type Json, loopback, typed } from '../../../collector/src/demo/envoy-parts.ts';
import { freePorts } from '../../../collector/src/demo/ports.ts';

export const NODE = 'gauntlet.edge';
export const FLUSH_MS = 200;
export const COLLECTOR = 'meshtrail_collector';
const RECORDER = 'meshtrail';
const STAT_PREFIX = 'gauntlet';
const HTTP_FILTER = 'envoy.extensions.filters.http.wasm.v3.Wasm';

/** How the recorder comes to the proxy: in its bootstrap, by extension discovery, or with the whole listener. */
export type Channel = 'static' | 'ecds' | 'lds';

export interface RecorderSetting {
  readonly wasmFile: string;
  /** Further settings of the recorder (docs/filter.md). */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** What the VM itself is told. */
  readonly command?: string;
}

export interface ProxyInput extends RecorderSetting {
  readonly dir: string;
  readonly binary: string;
  /** HOST:PORT of the collector. */
  readonly ingest: string;
  /** Port of the upstream, and one that refuses. */
  readonly app: number;
  readonly refused: number;
  readonly jwks: string;
  readonly channel?: Channel;
  readonly workers?: number;
  /** Deliveries over HTTP/2. */
  readonly isHttp2?: boolean;
}

export interface RunningProxy {
  readonly envoy: Envoy;
  readonly port: number;
  /** Lines of Envoy's access log. */
  log(): Line[];
  /** Brings another module or other settings by the proxy's channel. */
  update(to: RecorderSetting): void;
  /** A number of Envoy's statistics. */
  stat(name: string): Promise<number>;
  /** The recorder's own metrics, by their names without the prefix. */
  metrics(): Promise<ReadonlyMap<string, number>>;
  /** Waits until nothing waits for its delivery. */
  drained(msMax?: number): Promise<boolean>;
}

export interface Line {
  readonly start: string;
  readonly connection_id: number;
  readonly method: string | null;
  readonly path: string | null;
  readonly code: number;
  readonly flags: string;
}

const LOG_FIELDS = {
  start: '%START_TIME(%s.%9f)%',
  connection_id: '%CONNECTION_ID%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(:PATH)%',
  code: '%RESPONSE_CODE%',
  flags: '%RESPONSE_FLAGS%',
} as const;

const route = (path: string, cluster: string, more: { readonly [field: string]: Json } = {}): Json => ({
  name: path,
  match: { prefix: path },
  route: { cluster, timeout: '10s', ...more },
});

const ROUTES: readonly Json[] = [
  ...['/ok', '/denied', '/jwt', '/cut', '/hang'].map((path) => route(path, 'app')),
  {
    name: '/direct',
    match: { prefix: '/direct' },
    direct_response: { status: 200, body: { inline_string: 'direct' } },
  },
  route('/refused', 'refused'),
  route('/slow', 'app', { timeout: '0.15s' }),
  route('/socket', 'app', { timeout: '0s', upgrade_configs: [{ upgrade_type: 'websocket' }] }),
];

/** A cluster of one fixed address. */
export function cluster(name: string, endpoint: string, isHttp2 = false): Json {
  const [address = '', port] = endpoint.split(':');
  const hosts = [{ endpoint: { address: { socket_address: { address, port_value: Number(port) } } } }];
  const options = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  const http2 = typed(options, { explicit_http_config: { http2_protocol_options: {} } });
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: hosts }] },
    ...(isHttp2 ? { typed_extension_protocol_options: { [options]: http2 } } : {}),
  };
}

/** The recorder's plugin configuration. */
export function pluginOf(
  ingest: string,
  { wasmFile, settings = {}, command }: RecorderSetting,
  more: { readonly [field: string]: Json } = { fail_open: true },
): { readonly [field: string]: Json } {
  const all = {
    collector_cluster: COLLECTOR,
    collector_authority: ingest,
    flush_interval_ms: FLUSH_MS,
    role: 'gateway',
    ...settings,
  };
  return {
    name: RECORDER,
    root_id: RECORDER,
    configuration: typed('google.protobuf.StringValue', { value: JSON.stringify(all) }),
    vm_config: {
      vm_id: RECORDER,
      runtime: 'envoy.wasm.runtime.v8',
      code: { local: { filename: wasmFile } },
      ...(command === undefined ? {} : { configuration: typed('google.protobuf.StringValue', { value: command }) }),
    },
    ...more,
  };
}

function filters(input: ProxyInput, recorder: RecorderSetting): readonly Json[] {
  const http = 'envoy.extensions.filters.http';
  const config = pluginOf(input.ingest, recorder);
  const discovery = {
    config_source: fileSource(fileOf(input, 'ecds')),
    type_urls: [`type.googleapis.com/${HTTP_FILTER}`],
  };
  const named = (name: string, type: string, fields: { readonly [field: string]: Json }): Json => ({
    name: `envoy.filters.http.${name}`,
    typed_config: typed(`${http}.${type}`, fields),
  });
  const denied = { permissions: [{ url_path: { path: { prefix: '/denied' } } }], principals: [{ any: true }] };
  const provider = { issuer: 'https://issuer.test', local_jwks: { inline_string: input.jwks } };
  return [
    input.channel === 'ecds'
      ? { name: RECORDER, config_discovery: discovery }
      : { name: RECORDER, typed_config: typed(HTTP_FILTER, { config }) },
    named('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
      providers: { p: provider },
      rules: [{ match: { prefix: '/jwt' }, requires: { provider_name: 'p' } }],
    }),
    named('rbac', 'rbac.v3.RBAC', { rules: { action: 'DENY', policies: { 'no-denied': denied } } }),
    named('router', 'router.v3.Router', {}),
  ];
}

const fileSource = (path: string): Json => ({ path_config_source: { path }, resource_api_version: 'V3' });
const fileOf = ({ dir }: ProxyInput, what: string): string => join(dir, `${what}.json`);

function listener(input: ProxyInput, recorder: RecorderSetting, port: number): { readonly [field: string]: Json } {
  const log = typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
    path: fileOf(input, 'access'),
    log_format: { json_format: LOG_FIELDS },
  });
  const manager = typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: STAT_PREFIX,
    codec_type: 'AUTO',
    generate_request_id: false,
    preserve_external_request_id: true,
    max_request_headers_kb: 8,
    access_log: [{ name: 'envoy.access_loggers.file', typed_config: log }],
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: ROUTES }] },
    http_filters: filters(input, recorder),
  });
  return {
    name: 'gauntlet',
    address: loopback(port) as unknown as Json,
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

function bootstrapOf(input: ProxyInput, port: number): Json {
  const isDynamic = input.channel === 'lds';
  return {
    node: { id: NODE, cluster: NODE },
    admin: { address: loopback(0) as unknown as Json },
    ...(isDynamic ? { dynamic_resources: { lds_config: fileSource(fileOf(input, 'lds')) } } : {}),
    static_resources: {
      listeners: isDynamic ? [] : [listener(input, input, port)],
      clusters: [
        cluster('app', `127.0.0.1:${input.app}`),
        cluster('refused', `127.0.0.1:${input.refused}`),
        cluster(COLLECTOR, input.ingest, input.isHttp2),
      ],
    },
  };
}

/** Writes the resource of a channel so that Envoy sees it whole: it watches for a file that is moved into place. */
function publish(input: ProxyInput, recorder: RecorderSetting, port: number, version: number): void {
  if (input.channel === undefined || input.channel === 'static') return;
  const resource =
    input.channel === 'lds'
      ? typed('envoy.config.listener.v3.Listener', listener(input, recorder, port))
      : typed('envoy.config.core.v3.TypedExtensionConfig', {
          name: RECORDER,
          typed_config: typed(HTTP_FILTER, { config: pluginOf(input.ingest, recorder) }),
        });
  const file = fileOf(input, input.channel);
  writeFileSync(`${file}.new`, JSON.stringify({ version_info: String(version), resources: [resource] }));
  renameSync(`${file}.new`, file);
}

async function statsOf(adminUrl: string, filter: string): Promise<ReadonlyMap<string, number>> {
  const url = `${adminUrl}/stats?filter=${encodeURIComponent(filter)}`;
  const text = await (await fetch(url, { signal: AbortSignal.timeout(5000) })).text();
  return new Map([...text.matchAll(/^(\S+): (\d+)$/gm)].map(([, name, value]) => [name as string, Number(value)]));
}

/** Starts the proxy; it ends with the test at the latest. */
export async function startProxy(t: TestContext, input: ProxyInput): Promise<RunningProxy> {
  mkdirSync(input.dir, { recursive: true });
  const [port] = (await freePorts(1)) as [number];
  let version = 1;
  publish(input, input, port, version);
  const bootstrap = bootstrapOf(input, port) as unknown as Bootstrap;
  const args = ['--drain-time-s', '1', '--parent-shutdown-time-s', '2'];
  const envoy = await startEnvoy(
    input.binary,
    'gauntlet',
    join(input.dir, 'envoy'),
    bootstrap,
    input.workers ?? 1,
    args,
  );
  t.after(() => envoy.stop());
  const { adminUrl } = envoy;
  const metrics = async (): Promise<ReadonlyMap<string, number>> => {
    const prefix = 'wasmcustom.meshtrail_';
    const all = await statsOf(adminUrl, `^${prefix}`);
    return new Map([...all].map(([name, value]) => [name.slice(prefix.length), value]));
  };
  return {
    envoy,
    port,
    log: () => linesOf(fileOf(input, 'access')),
    update: (to) => publish(input, to, port, ++version),
    stat: async (name) => (await statsOf(adminUrl, `^${name}$`)).get(name) ?? Number.NaN,
    metrics,
    drained: (msMax = 60_000) => drained(adminUrl, msMax),
  };
}

/** The counter of exchanges that Envoy began. */
export const EXCHANGES_BEGUN = `http.${STAT_PREFIX}.downstream_rq_total`;

async function drained(adminUrl: string, msMax: number): Promise<boolean> {
  await sleep(3 * FLUSH_MS);
  const deadline = performance.now() + msMax;
  const names = `^(wasmcustom.meshtrail_records_waiting|cluster.${COLLECTOR}.upstream_rq_active)$`;
  for (;;) {
    const waiting = [...(await statsOf(adminUrl, names)).values()].reduce((sum, value) => sum + value, 0);
    if (waiting === 0) return true;
    if (performance.now() > deadline) return false;
    await sleep(50);
  }
}

function linesOf(file: string): Line[] {
  const texts = readFileSync(file, 'utf8').split('\n');
  // A kill may leave a line half written.
  return texts.filter((text) => text.endsWith('}')).map((text) => JSON.parse(text) as Line);
}
