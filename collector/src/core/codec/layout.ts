// Offsets, sizes, bits and limits of the wire batch (docs/formats.md section 1), by the newest version. One place for all of them.

export const MAGIC = 0x3142_544d; // "MTB1", little-endian
export const VERSION = 2;
export const BATCH_BYTES_MAX = 65_536;
export const HEADER_BYTES = 320;
export const HEADER_BYTES_V1 = 272;
export const ROW_BYTES = 88;
export const TRAILER_BYTES = 32;
export const ROWS_MAX = 700;
export const DICTIONARY_ENTRIES_MAX = 4095;
export const STRING_BYTES_MAX = 1024;
export const CONNECTION_BYTES = 80;
export const OUTCOME_BYTES = 56;
export const OUTCOME_BYTES_V1 = 48;
export const SALT_BYTES = 16;

export const HEADER = {
  magic: 0,
  version: 4,
  headerBytes: 6,
  totalBytes: 8,
  rowCount: 12,
  rowBytes: 16,
  dictionaryCount: 18,
  dictionaryBytes: 20,
  flags: 24,
  role: 26,
  reserved27: 27,
  filterVersion: 28,
  stream: 32,
  batchNumber: 48,
  firstRecord: 56,
  seen: 64,
  recorded: 72,
  droppedBuffersFull: 80,
  droppedUnreadable: 88,
  truncated: 96,
  sendFailures: 104,
  rollbacksSeen: 112,
  droppedNoRandom: 120,
  openedWallNs: 128,
  sealedWallNs: 136,
  openedMonoNs: 144,
  sealedMonoNs: 152,
  previous: 160,
  checkpointSize: 192,
  checkpointRoot: 200,
  secret: 232,
  nodeId: 264,
  nodeCluster: 266,
  meshCluster: 268,
  reserved270: 270,
  interim: 272,
  unwatched: 280,
  proxySinceWallNs: 288,
  aliveIntervalMs: 296,
  vmsKnown: 300,
  vmsAlive: 302,
  silentStream: 304,
} as const;

export const FLAG_FIN = 1;
export const FLAG_ROLLBACK_SEEN = 2;
export const FLAG_ALIVE = 4;

export const ROW = {
  flags: 0,
  kind: 4,
  verdict: 5,
  connection: 6,
  outcome: 8,
  path: 10,
  userAgent: 12,
  subject: 14,
  startNs: 16,
  durationUs: 24,
  headers: 30,
  requestBytes: 32,
  attempts: 38,
  traceFlags: 39,
  responseBytes: 40,
  traceText: 46,
  requestId: 48,
  traceId: 64,
  spanId: 80,
} as const;

/** Bits of a row's `flags`. */
export const BIT = {
  duration: 1,
  requestBytes: 2,
  responseBytes: 4,
  requestId: 8,
  requestIdText: 16,
  trace: 32,
  attempts: 64,
  b3: 128,
  b3Short: 256,
  b3Text: 512,
  pathCut: 1 << 16,
  userAgentCut: 1 << 17,
  headersCut: 1 << 18,
  otherCut: 1 << 19,
  priority: 1 << 24,
  repeat: 1 << 25,
} as const;
/** Two more numbers of two bits each stand in a row's `flags`. */
export const PHASE_SHIFT = 26;
export const SENSOR_SHIFT = 28;
export const PHASES = ['end', 'open', 'interval'] as const;
export const SENSORS = ['http_filter', 'network_filter', 'http_logger', 'connection_logger'] as const;

export const KIND_HTTP = 1;
export const KIND_CONNECTION = 2;
export const KINDS = ['', 'http', 'connection'] as const;
export const VERDICTS = ['', 'allowed', 'denied', 'failed', 'reset', 'invalid', 'unrouted', 'unknown'] as const;
export const ROLES = ['', 'sidecar', 'gateway', 'waypoint'] as const;

export const ENTRY_PUBLIC = 1;
export const ENTRY_PRIVATE = 2;
export const ENTRY_CONNECTION = 3;
export const ENTRY_OUTCOME = 4;

export const CONNECTION = {
  id: 0,
  direction: 8,
  mtls: 9,
  tlsVersion: 10,
  flags: 11,
  reserved12: 12,
  sourceAddress: 16,
  destinationAddress: 18,
  peerPrincipal: 20,
  localPrincipal: 22,
  requestedServerName: 24,
  transportFailure: 26,
  filterChain: 28,
  peerSubject: 30,
  peerCertificateSha256: 32,
  filterStatePrincipal: 64,
  peerWorkload: 66,
  peerNamespace: 68,
  peerCluster: 70,
  reserved72: 72,
} as const;
export const CONNECTION_HAS_CERTIFICATE = 1;
export const CONNECTION_REJECTED = 2;
export const TLS_VERSIONS = ['', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const;

export const OUTCOME = {
  code: 0,
  protocol: 2,
  grpcStatus: 3,
  responseFlags: 4,
  policyResult: 12,
  shadowResult: 13,
  claimedPrincipal: 14,
  method: 16,
  authority: 18,
  route: 20,
  upstreamCluster: 22,
  upstreamAddress: 24,
  upstreamPrincipal: 26,
  upstreamLocalPrincipal: 28,
  codeDetails: 30,
  policy: 32,
  shadowPolicy: 34,
  tokenIssuer: 36,
  requestContentType: 38,
  responseContentType: 40,
  upstreamFailure: 42,
  requestEncoding: 44,
  responseEncoding: 46,
  upstreamWorkload: 48,
  upstreamNamespace: 50,
  reserved52: 52,
} as const;
export const PROTOCOLS = ['', 'HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3'] as const;
export const GRPC_ABSENT = 255;
export const OTHER = 255;

/** References of a row to strings, and the kind each must have. */
export const ROW_STRINGS = [ROW.path, ROW.userAgent, ROW.subject, ROW.headers, ROW.traceText] as const;
/** References of a connection entry: only the source address is private. */
export const CONNECTION_STRINGS = [
  CONNECTION.destinationAddress,
  CONNECTION.peerPrincipal,
  CONNECTION.localPrincipal,
  CONNECTION.requestedServerName,
  CONNECTION.transportFailure,
  CONNECTION.filterChain,
  CONNECTION.peerSubject,
  CONNECTION.filterStatePrincipal,
  CONNECTION.peerWorkload,
  CONNECTION.peerNamespace,
  CONNECTION.peerCluster,
] as const;
/** References of an outcome entry that an exchange has and a connection has not. */
export const OUTCOME_STRINGS_OF_HTTP = [
  OUTCOME.method,
  OUTCOME.authority,
  OUTCOME.requestContentType,
  OUTCOME.responseContentType,
  OUTCOME.requestEncoding,
  OUTCOME.responseEncoding,
] as const;
/** Bits of a row that an exchange can have and a connection cannot. */
export const BITS_OF_HTTP =
  BIT.requestId |
  BIT.requestIdText |
  BIT.trace |
  BIT.attempts |
  BIT.b3 |
  BIT.b3Short |
  BIT.b3Text |
  BIT.pathCut |
  BIT.userAgentCut |
  BIT.headersCut;

/** What differs between the versions of the wire batch. */
export interface Shape {
  readonly version: 1 | 2;
  readonly headerBytes: number;
  readonly outcomeBytes: number;
  /** References of an outcome entry, all to public strings: every u16 from here to there. */
  readonly outcomeStringsFrom: number;
  readonly outcomeStringsTo: number;
  /** Bytes of a connection entry from here on are 0. */
  readonly connectionUsed: number;
  readonly connectionFlags: number;
  readonly headerFlags: number;
  readonly rowFlags: number;
  readonly kindMax: number;
}

const BITS = Object.values(BIT).reduce((all, bit) => all | bit, 0);

export const SHAPES: Readonly<Record<1 | 2, Shape>> = {
  1: {
    version: 1,
    headerBytes: HEADER_BYTES_V1,
    outcomeBytes: OUTCOME_BYTES_V1,
    outcomeStringsFrom: OUTCOME.method,
    outcomeStringsTo: OUTCOME.upstreamFailure,
    connectionUsed: CONNECTION.filterStatePrincipal,
    connectionFlags: CONNECTION_HAS_CERTIFICATE,
    headerFlags: FLAG_FIN | FLAG_ROLLBACK_SEEN,
    rowFlags: BITS & ~(BIT.b3 | BIT.b3Short | BIT.b3Text | BIT.repeat),
    kindMax: KIND_HTTP,
  },
  2: {
    version: 2,
    headerBytes: HEADER_BYTES,
    outcomeBytes: OUTCOME_BYTES,
    outcomeStringsFrom: OUTCOME.claimedPrincipal,
    outcomeStringsTo: OUTCOME.upstreamNamespace,
    connectionUsed: CONNECTION.reserved72,
    connectionFlags: CONNECTION_HAS_CERTIFICATE | CONNECTION_REJECTED,
    headerFlags: FLAG_FIN | FLAG_ROLLBACK_SEEN | FLAG_ALIVE,
    rowFlags: BITS | (3 << PHASE_SHIFT) | (3 << SENSOR_SHIFT),
    kindMax: KIND_CONNECTION,
  },
};
