// A recorded exchange, flat and by the names of docs/formats.md: texts as Latin-1 strings (one character for each byte), absent left out.

import type { Batch } from '../../collector/src/core/codec/batch.ts';
import { rowOf } from '../../collector/src/core/codec/batch.ts';
import {
  BIT,
  CONNECTION,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_REJECTED,
  GRPC_ABSENT,
  KIND_CONNECTION,
  OUTCOME,
  PHASE_SHIFT,
  PHASES,
  PROTOCOLS,
  ROW,
  SENSOR_SHIFT,
  SENSORS,
  TLS_VERSIONS,
  VERDICTS,
} from '../../collector/src/core/codec/layout.ts';

export type Flat = Readonly<Record<string, string | number | bigint | undefined>>;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const u48 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
const CUTS = ['pathCut', 'userAgentCut', 'headersCut', 'otherCut'] as const;

/** Row i of a checked batch with its connection and its outcome. */
export function flatten(batch: Batch, i: number): Flat {
  const row = rowOf(batch, i);
  const view = viewOf(row);
  const flags = view.getUint32(ROW.flags, true);
  const text = (from: DataView, at: number): string | undefined => {
    const number = from.getUint16(at, true);
    return number === 0 ? undefined : Buffer.from(batch.dictionary.bytes(number)).toString('latin1');
  };
  const present = <T>(bit: number, value: T): T | undefined => ((flags & bit) === 0 ? undefined : value);
  const all = {
    // What an HTTP filter says at the end of an exchange needs no saying.
    kind: view.getUint8(ROW.kind) === KIND_CONNECTION ? 'connection' : undefined,
    phase: PHASES[(flags >>> PHASE_SHIFT) & 3 || 9],
    sensor: SENSORS[(flags >>> SENSOR_SHIFT) & 3 || 9],
    repeat: present(BIT.repeat, 1),
    verdict: VERDICTS[view.getUint8(ROW.verdict)],
    priority: present(BIT.priority, 1),
    cuts: CUTS.filter((cut) => (flags & BIT[cut]) !== 0).join(' ') || undefined,
    start_ns: view.getBigInt64(ROW.startNs, true),
    duration_us: present(BIT.duration, u48(view, ROW.durationUs)),
    request_bytes: present(BIT.requestBytes, u48(view, ROW.requestBytes)),
    response_bytes: present(BIT.responseBytes, u48(view, ROW.responseBytes)),
    attempts: present(BIT.attempts, view.getUint8(ROW.attempts)),
    request_id: present(BIT.requestId, hex(row.subarray(ROW.requestId, ROW.requestId + 16))),
    request_id_text: present(BIT.requestIdText, text(view, ROW.requestId)),
    trace_id: present(BIT.trace, hex(row.subarray(ROW.traceId, ROW.spanId))),
    span_id: present(BIT.trace, hex(row.subarray(ROW.spanId, ROW.spanId + 8))),
    trace_flags: present(BIT.trace, view.getUint8(ROW.traceFlags)),
    trace_is_b3: present(BIT.b3, 1),
    trace_is_short: present(BIT.b3Short, 1),
    trace_text: text(view, ROW.traceText),
    trace_text_is_b3: present(BIT.b3Text, 1),
    path: text(view, ROW.path),
    user_agent: text(view, ROW.userAgent),
    subject: text(view, ROW.subject),
    headers: text(view, ROW.headers),
    ...outcomeOf(viewOf(batch.dictionary.bytes(view.getUint16(ROW.outcome, true))), text),
    ...connectionOf(viewOf(batch.dictionary.bytes(view.getUint16(ROW.connection, true))), text),
  };
  return withoutAbsent(all);
}

type TextAt = (from: DataView, at: number) => string | undefined;

function outcomeOf(outcome: DataView, text: TextAt): Flat {
  const protocol = outcome.getUint8(OUTCOME.protocol);
  const grpcStatus = outcome.getUint8(OUTCOME.grpcStatus);
  return {
    code: outcome.getUint16(OUTCOME.code, true) || undefined,
    protocol: protocol === 0 ? undefined : (PROTOCOLS[protocol] ?? 'other'),
    grpc_status: grpcStatus === GRPC_ABSENT ? undefined : grpcStatus,
    response_flags: outcome.getBigUint64(OUTCOME.responseFlags, true),
    policy_result: outcome.getUint8(OUTCOME.policyResult) || undefined,
    shadow_result: outcome.getUint8(OUTCOME.shadowResult) || undefined,
    claimed_principal: text(outcome, OUTCOME.claimedPrincipal),
    method: text(outcome, OUTCOME.method),
    authority: text(outcome, OUTCOME.authority),
    route: text(outcome, OUTCOME.route),
    upstream_cluster: text(outcome, OUTCOME.upstreamCluster),
    upstream_address: text(outcome, OUTCOME.upstreamAddress),
    upstream_principal: text(outcome, OUTCOME.upstreamPrincipal),
    upstream_local_principal: text(outcome, OUTCOME.upstreamLocalPrincipal),
    code_details: text(outcome, OUTCOME.codeDetails),
    policy: text(outcome, OUTCOME.policy),
    shadow_policy: text(outcome, OUTCOME.shadowPolicy),
    token_issuer: text(outcome, OUTCOME.tokenIssuer),
    request_content_type: text(outcome, OUTCOME.requestContentType),
    response_content_type: text(outcome, OUTCOME.responseContentType),
    upstream_failure: text(outcome, OUTCOME.upstreamFailure),
    request_encoding: text(outcome, OUTCOME.requestEncoding),
    response_encoding: text(outcome, OUTCOME.responseEncoding),
    upstream_workload: text(outcome, OUTCOME.upstreamWorkload),
    upstream_namespace: text(outcome, OUTCOME.upstreamNamespace),
  };
}

function connectionOf(connection: DataView, text: TextAt): Flat {
  const mtls = connection.getUint8(CONNECTION.mtls);
  const tlsVersion = connection.getUint8(CONNECTION.tlsVersion);
  const flags = connection.getUint8(CONNECTION.flags);
  const hasCertificate = (flags & CONNECTION_HAS_CERTIFICATE) !== 0;
  const digest = new Uint8Array(connection.buffer, connection.byteOffset + CONNECTION.peerCertificateSha256, 32);
  return {
    connection_id: connection.getBigUint64(CONNECTION.id, true) || undefined,
    direction: connection.getUint8(CONNECTION.direction),
    mtls: mtls === 0 ? undefined : mtls,
    tls_version: tlsVersion === 0 ? undefined : (TLS_VERSIONS[tlsVersion] ?? 'other'),
    peer_certificate_sha256: hasCertificate ? hex(digest) : undefined,
    source_address: text(connection, CONNECTION.sourceAddress),
    destination_address: text(connection, CONNECTION.destinationAddress),
    peer_principal: text(connection, CONNECTION.peerPrincipal),
    local_principal: text(connection, CONNECTION.localPrincipal),
    requested_server_name: text(connection, CONNECTION.requestedServerName),
    transport_failure: text(connection, CONNECTION.transportFailure),
    filter_chain: text(connection, CONNECTION.filterChain),
    peer_subject: text(connection, CONNECTION.peerSubject),
    is_rejected: (flags & CONNECTION_REJECTED) === 0 ? undefined : 1,
    filter_state_principal: text(connection, CONNECTION.filterStatePrincipal),
    peer_workload: text(connection, CONNECTION.peerWorkload),
    peer_namespace: text(connection, CONNECTION.peerNamespace),
    peer_cluster: text(connection, CONNECTION.peerCluster),
  };
}

export function withoutAbsent(flat: Flat): Flat {
  return Object.fromEntries(Object.entries(flat).filter(([, value]) => value !== undefined));
}
