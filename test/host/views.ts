// What each role of a plugin sees of an exchange or a connection, and when: Envoy keeps more than it shows.

import { bytesOf, type Pairs, type Value } from './abi.ts';

/** `network` is a filter's context; the loggers are those of a connection manager, of tcp_proxy and of a listener. */
export type Role = 'root' | 'http' | 'network' | 'http_logger' | 'tcp_logger' | 'listener_logger';
export type LoggerRole = Extract<Role, `${string}_logger`>;

const FROM_REQUEST_HEADERS = ['path', 'url_path', 'query', 'host', 'method', 'scheme', 'useragent', 'referer', 'id'];
const FROM_HEADERS = [
  ...[...FROM_REQUEST_HEADERS, 'headers', 'headers_bytes'].map((name) => `request.${name}`),
  ...['headers', 'headers_bytes', 'trailers', 'grpc_status'].map((name) => `response.${name}`),
];
/** A connection's own stream info knows nothing of the exchanges on it. */
const FROM_EXCHANGE = [...FROM_HEADERS, 'response.code', 'response.backend_latency'];

/** Paths that a role has not, whatever happened: README.md, fact 9. */
const HIDDEN: Readonly<Record<Exclude<Role, 'root'>, ReadonlySet<string>>> = {
  http: new Set(),
  network: new Set([...FROM_EXCHANGE, 'request.duration']),
  http_logger: new Set(['connection_id']),
  tcp_logger: new Set(['connection_id']),
  listener_logger: new Set([...FROM_EXCHANGE, 'connection_id']),
};
/** Headers stand only while Envoy logs, and a duration is there when there is an end. */
const HIDDEN_WHILE_LIVE: ReadonlySet<string> = new Set([...FROM_HEADERS, 'request.duration']);

export function isVisible(role: Role, isLogging: boolean, path: readonly string[]): boolean {
  if (role === 'root' || (role === 'http' && isLogging)) return true;
  // `request.headers.x` is hidden with `request.headers`.
  const name = path.slice(0, path[0] === 'connection_id' ? 1 : 2).join('.');
  return !HIDDEN[role].has(name) && (isLogging || !HIDDEN_WHILE_LIVE.has(name));
}

/** `request.headers` and its like, whole. */
export function isHeaderMap(path: readonly string[]): boolean {
  const name = path.join('.');
  return name === 'request.headers' || name === 'response.headers' || name === 'response.trailers';
}

/** A header map as a property: in the order of a hash, with each name once. */
export function headerProperty(pairs: Pairs): ReadonlyMap<string, Value> {
  const values = new Map<string, Buffer[]>();
  for (const [name, value] of pairs) {
    const key = Buffer.from(bytesOf(name)).toString('latin1').toLowerCase();
    values.set(key, [...(values.get(key) ?? []), Buffer.from(bytesOf(value))]);
  }
  const sorted = [...values].sort(([a], [b]) => hashOf(a) - hashOf(b) || (a < b ? -1 : 1));
  return new Map(sorted.map(([name, parts]) => [name, joined(parts)]));
}

function joined(parts: readonly Buffer[]): Uint8Array {
  return Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from(','), part])));
}

/** Any hash will do, as long as it is not the order of the wire. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

const BEFORE_HANDSHAKE: Readonly<Record<string, Value>> = {
  mtls: false,
  subject_peer_certificate: '',
  uri_san_peer_certificate: '',
  dns_san_peer_certificate: '',
  sha256_peer_certificate_digest: '',
};

const TOO_EARLY = 'TLSv1.2';

/** The TLS side of one connection, the same for every role that sees it. */
export class TlsState {
  isHandshakeOver = true;
  /** What Envoy remembers as the version, and writes to its own access logs: wrong when it was asked too early. */
  version: Value | undefined;

  /** The value that a guest reads in the place of the one that will be true after the handshake. */
  read(path: readonly string[], value: Value | undefined): Value | undefined {
    const [first, name = ''] = path;
    if (first !== 'connection' || path.length !== 2 || value === undefined) return value;
    if (name === 'tls_version') {
      this.version ??= this.isHandshakeOver ? value : TOO_EARLY;
      return this.version;
    }
    if (this.isHandshakeOver) return value;
    return Object.hasOwn(BEFORE_HANDSHAKE, name) ? BEFORE_HANDSHAKE[name] : value;
  }
}
