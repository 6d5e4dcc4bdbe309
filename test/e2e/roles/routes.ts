// The HTTP side of the roles' proxy: a route, a policy or a limit for every way in which an exchange can end.

import { generateKeyPairSync, sign } from 'node:crypto';
import { type Json, type NamedFilter, typed } from '../../../collector/src/demo/envoy-parts.ts';
import { fileLog } from './access-logs.ts';
import { type RecorderInput, recordersIn } from './places.ts';

const FILTERS = 'envoy.extensions.filters.http';
const ISSUER = 'https://issuer.test';
const WHOLE: Json = { default_value: { numerator: 100, denominator: 'HUNDRED' } };
const TIMEOUT = '5s';
/** The virtual host whose requests carry `x-envoy-attempt-count`, as Istio's do. */
export const COUNTED_HOST = 'counted.test';

export interface Tokens {
  readonly jwks: string;
  readonly good: string;
  /** Signed by nobody that the proxy knows. */
  readonly bad: string;
}

/** A key set, a token of the issuer that it verifies, and one that it does not. */
export function makeTokens(): Tokens {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'RS256', kid: 'k' })}.${encode({ iss: ISSUER, sub: 'alice', exp: 4_102_444_800 })}`;
  const tokenOf = (text: string): string =>
    `${signed}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256', use: 'sig' };
  return { jwks: JSON.stringify({ keys: [key] }), good: tokenOf(signed), bad: tokenOf(`${signed} `) };
}

const to = (path: string, cluster: string, more: { readonly [field: string]: Json } = {}) => ({
  name: path,
  match: { path },
  route: { cluster, timeout: TIMEOUT, ...more },
});

const rateLimit = typed(`${FILTERS}.local_ratelimit.v3.LocalRateLimit`, {
  stat_prefix: 'limited',
  token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: '3600s' },
  filter_enabled: WHOLE,
  filter_enforced: WHOLE,
});
const authorized = typed('envoy.config.route.v3.FilterConfig', { config: {} });

function routes(): readonly Json[] {
  const retries = { retry_policy: { retry_on: '5xx', num_retries: 2 } };
  return [
    {
      name: 'connect',
      match: { connect_matcher: {} },
      route: { cluster: 'echo', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
    },
    { name: 'direct', match: { path: '/direct' }, direct_response: { status: 200, body: { inline_string: 'direct' } } },
    { name: 'redirect', match: { path: '/redirect' }, redirect: { path_redirect: '/elsewhere' } },
    to('/refused', 'refused'),
    to('/no-host', 'empty'),
    to('/no-cluster', 'absent'),
    to('/full', 'full'),
    to('/secured', 'secured'),
    to('/timeout', 'app', { timeout: '0.2s' }),
    to('/idle', 'app', { idle_timeout: '0.2s' }),
    to('/retry/fails', 'app', retries),
    to('/retry/recovers', 'app', retries),
    to('/rewritten', 'app', { prefix_rewrite: '/app/rewritten' }),
    { ...to('/limited', 'app'), typed_per_filter_config: { 'envoy.filters.http.local_ratelimit': rateLimit } },
    { ...to('/authorized', 'app'), typed_per_filter_config: { 'envoy.filters.http.ext_authz': authorized } },
    { name: 'grpc', match: { prefix: '/test.Service/' }, route: { cluster: 'http2', timeout: TIMEOUT } },
    // Streams and upgrades may live on.
    { name: 'app', match: { prefix: '/app/' }, route: { cluster: 'app', timeout: '0s' } },
  ];
}

function policy(name: string, path: string): Json {
  const rule = { permissions: [{ url_path: { path: { exact: path } } }], principals: [{ any: true }] };
  return { action: 'DENY', policies: { [name]: rule } };
}

function filters(input: RecorderInput, jwks: string, authzPort: number): readonly Json[] {
  const named = (name: string, type: string, fields: { readonly [field: string]: Json }) => ({
    name: `envoy.filters.http.${name}`,
    typed_config: typed(`${FILTERS}.${type}`, fields),
  });
  const provider = { issuer: ISSUER, local_jwks: { inline_string: jwks }, payload_in_metadata: 'payload' };
  const authz = named('ext_authz', 'ext_authz.v3.ExtAuthz', {
    http_service: { server_uri: { uri: `http://127.0.0.1:${authzPort}`, cluster: 'authz', timeout: '2s' } },
  });
  return [
    ...recordersIn(input, 'http_filter').map(({ name, typed_config }) => ({ name, typed_config })),
    named('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
      providers: { p: provider },
      rules: [{ match: { path: '/app/jwt' }, requires: { provider_name: 'p' } }],
    }),
    named('rbac', 'rbac.v3.RBAC', {
      rules: policy('no-denied', '/app/denied'),
      shadow_rules: policy('dry', '/app/shadow'),
      shadow_rules_stat_prefix: 'istio_dry_run_deny_',
    }),
    // Only the route that asks for it is authorized by the service outside.
    { ...authz, disabled: true },
    named('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', { stat_prefix: 'none' }),
    named('router', 'router.v3.Router', {}),
  ];
}

export interface ManagerInput extends RecorderInput {
  readonly logDir: string;
  readonly jwks: string;
  /** Port of the service that authorizes. */
  readonly authzPort: number;
}

/** The HTTP connection manager of a listener. */
export function httpManager(input: ManagerInput, name: string): NamedFilter {
  const hosts = [
    { name: 'counted', domains: [COUNTED_HOST], include_request_attempt_count: true, routes: routes() },
    { name: 'all', domains: ['*'], routes: routes() },
  ];
  const logs = [fileLog(input.logDir, 'manager'), ...recordersIn(input, 'manager_logger')];
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
      stat_prefix: name,
      codec_type: 'AUTO',
      // Envoy waits for the client to close first; here nobody needs a whole second.
      delayed_close_timeout: '0.1s',
      // What is too large comes in one piece, and is refused before Envoy has noted a protocol.
      max_request_headers_kb: 8,
      generate_request_id: false,
      preserve_external_request_id: true,
      // Over TLS the default, by which a client's claim is removed.
      forward_client_cert_details: name === 'web' ? 'ALWAYS_FORWARD_ONLY' : 'SANITIZE',
      http2_protocol_options: { allow_connect: true },
      upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'echo' }, { upgrade_type: 'CONNECT' }],
      route_config: { name, validate_clusters: false, virtual_hosts: hosts },
      http_filters: filters(input, input.jwks, input.authzPort),
      access_log: logs.map((log) => ({ name: log.name, typed_config: log.typed_config })),
    }),
  };
}
