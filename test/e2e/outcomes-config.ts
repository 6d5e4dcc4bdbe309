// The bootstrap of outcomes.test.ts: one Envoy with a route, a policy or a limit for every way an exchange can end.

import { generateKeyPairSync, sign } from 'node:crypto';

export interface OutcomesInput {
  /** Ports of the upstreams: HTTP/1.1, HTTP/2, and one that refuses connections. */
  readonly http: number;
  readonly grpc: number;
  readonly refused: number;
  /** Listeners whose recorders are two roots of one VM. */
  readonly ports: readonly [number, number];
  readonly wasm: string;
  /** HOST:PORT of the collector. */
  readonly ingest: string;
  readonly jwks: string;
  readonly node: string;
}

const HTTP_FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const ISSUER = 'https://issuer.test';
const WHOLE = { default_value: { numerator: 100, denominator: 'HUNDRED' } };

/** A key set, and a token of the issuer that it verifies. */
export function makeTokens(): { readonly jwks: string; readonly good: string } {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'RS256', kid: 'k' })}.${encode({ iss: ISSUER, sub: 'alice', exp: 4_102_444_800 })}`;
  const signature = sign('sha256', Buffer.from(signed), privateKey).toString('base64url');
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256', use: 'sig' };
  return { jwks: JSON.stringify({ keys: [key] }), good: `${signed}.${signature}` };
}

function cluster(name: string, endpoint: string, http2 = false) {
  const [address, port] = endpoint.split(':');
  const hosts = [{ endpoint: { address: { socket_address: { address, port_value: Number(port) } } } }];
  const protocol = {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: hosts }] },
    ...(http2
      ? { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': protocol } }
      : {}),
  };
}

const to = (path: string, name: string, more: object = {}) => ({
  name: path,
  match: { path },
  route: { cluster: name, timeout: '5s', ...more },
});

const limit = {
  '@type': `${HTTP_FILTERS}.local_ratelimit.v3.LocalRateLimit`,
  stat_prefix: 'limited',
  token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: '3600s' },
  filter_enabled: WHOLE,
  filter_enforced: WHOLE,
};

const ROUTES = [
  ...['/ok', '/bad-trace', '/cut', '/denied', '/shadow', '/jwt', '/hang-up', '/ok-h2'].map((path) => to(path, 'app')),
  { match: { path: '/direct' }, direct_response: { status: 200, body: { inline_string: 'direct' } } },
  { match: { path: '/redirect' }, redirect: { path_redirect: '/elsewhere' } },
  to('/refused', 'refused'),
  to('/slow', 'app', { timeout: '0.2s' }),
  to('/retry', 'app', { retry_policy: { retry_on: '5xx', num_retries: 2 } }),
  { ...to('/limited', 'app'), typed_per_filter_config: { 'envoy.filters.http.local_ratelimit': limit } },
  to('/grpc.Service/Method', 'grpc'),
];

function policies(name: string, path: string) {
  const rule = { permissions: [{ url_path: { path: { exact: path } } }], principals: [{ any: true }] };
  return { action: 'DENY', policies: { [name]: rule } };
}

function recorder(input: OutcomesInput, root: string) {
  const settings = {
    collector_cluster: 'collector',
    collector_authority: input.ingest,
    flush_interval_ms: 200,
    role: 'gateway',
    request_headers: 'x-tenant,x-absent',
  };
  return {
    name: root,
    typed_config: {
      '@type': `${HTTP_FILTERS}.wasm.v3.Wasm`,
      config: {
        name: root,
        root_id: root,
        fail_open: true,
        configuration: { '@type': 'type.googleapis.com/google.protobuf.StringValue', value: JSON.stringify(settings) },
        vm_config: { vm_id: 'one', runtime: 'envoy.wasm.runtime.v8', code: { local: { filename: input.wasm } } },
      },
    },
  };
}

function filters(input: OutcomesInput, root: string) {
  const provider = { issuer: ISSUER, local_jwks: { inline_string: input.jwks }, payload_in_metadata: 'payload' };
  const named = (name: string, type: string, fields: object) => ({
    name: `envoy.filters.http.${name}`,
    typed_config: { '@type': `${HTTP_FILTERS}.${type}`, ...fields },
  });
  return [
    recorder(input, root),
    named('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
      providers: { p: provider },
      rules: [{ match: { path: '/jwt' }, requires: { provider_name: 'p' } }],
    }),
    named('rbac', 'rbac.v3.RBAC', {
      rules: policies('no-denied', '/denied'),
      shadow_rules: policies('dry', '/shadow'),
      shadow_rules_stat_prefix: 'istio_dry_run_deny_',
    }),
    named('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', { stat_prefix: 'none' }),
    named('router', 'router.v3.Router', {}),
  ];
}

function listener(input: OutcomesInput, port: number, root: string) {
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: root,
    codec_type: 'AUTO',
    generate_request_id: false,
    preserve_external_request_id: true,
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: ROUTES }] },
    http_filters: filters(input, root),
  };
  return {
    name: root,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    enable_reuse_port: false,
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

/** The whole bootstrap. */
export function outcomesBootstrap(input: OutcomesInput) {
  return {
    node: { id: 'outcomes', cluster: input.node },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    static_resources: {
      listeners: [listener(input, input.ports[0], 'first'), listener(input, input.ports[1], 'second')],
      clusters: [
        cluster('app', `127.0.0.1:${input.http}`),
        cluster('grpc', `127.0.0.1:${input.grpc}`, true),
        cluster('refused', `127.0.0.1:${input.refused}`),
        cluster('collector', input.ingest),
      ],
    },
  };
}
