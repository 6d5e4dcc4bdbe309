// Offsets, sizes, bits and limits of the wire batch, version 1 (docs/formats.md section 1). One place for all of them.

export const MAGIC = 0x3142_544d; // "MTB1", little-endian
export const VERSION = 1;
export const BATCH_BYTES_MAX = 65_536;
export const HEADER_BYTES = 272;
export const ROW_BYTES = 88;
export const TRAILER_BYTES = 32;
export const ROWS_MAX = 700;
export const DICTIONARY_ENTRIES_MAX = 4095;
export const STRING_BYTES_MAX = 1024;
export const CONNECTION_BYTES = 80;
export const OUTCOME_BYTES = 48;
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
  reserved120: 120,
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
} as const;

export const FLAG_FIN = 1;
export const FLAG_ROLLBACK_SEEN = 2;

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
  pathCut: 1 << 16,
  userAgentCut: 1 << 17,
  headersCut: 1 << 18,
  otherCut: 1 << 19,
  priority: 1 << 24,
} as const;
export const BITS_KNOWN = Object.values(BIT).reduce((all, bit) => all | bit, 0);

export const KIND_HTTP = 1;
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
  reserved64: 64,
} as const;
export const CONNECTION_HAS_CERTIFICATE = 1;
export const TLS_VERSIONS = ['', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const;

export const OUTCOME = {
  code: 0,
  protocol: 2,
  grpcStatus: 3,
  responseFlags: 4,
  policyResult: 12,
  shadowResult: 13,
  reserved14: 14,
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
  reserved44: 44,
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
] as const;
/** References of an outcome entry, all to public strings: every u16 from `method` to `upstreamFailure`. */
export const OUTCOME_STRINGS_FROM = OUTCOME.method;
export const OUTCOME_STRINGS_TO = OUTCOME.upstreamFailure;
