// What a connection entry and an outcome entry say, as parts of a record.

import type { FlowRecord, PolicyResult } from '../record.ts';
import {
  CONNECTION,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_REJECTED,
  GRPC_ABSENT,
  OUTCOME,
  PROTOCOLS,
  TLS_VERSIONS,
} from './layout.ts';
import { hexAt, nameIn, type Part, present, type Texts, u64 } from './texts.ts';

export interface Connection {
  readonly bytes: DataView;
  readonly connection: FlowRecord['connection'];
}

export interface Outcome {
  readonly bytes: DataView;
  /** Of a connection; an exchange has `response.code_details` instead. */
  readonly terminationDetails: string | undefined;
  readonly policy: string | undefined;
  readonly route: string | undefined;
  readonly method: string | undefined;
  readonly host: string | undefined;
  readonly protocol: string | undefined;
  readonly requestContentType: string | undefined;
  readonly requestContentEncoding: string | undefined;
  readonly response: FlowRecord['response'];
  readonly upstream: FlowRecord['upstream'];
  readonly rbac: FlowRecord['rbac'];
  readonly tokenIssuer: string | undefined;
}

const RESULTS: readonly (PolicyResult | undefined)[] = [undefined, 'allowed', 'denied'];
const DIRECTIONS = [undefined, 'inbound', 'outbound'] as const;
export const MTLS_TRUE = 2;

/** Reads a connection entry. */
export function readConnection(bytes: DataView, texts: Texts): Part<Connection> {
  const notUtf8: string[] = [];
  const text = (at: number, name: string): string | undefined => texts.at(bytes, at, name, notUtf8);
  const flags = bytes.getUint8(CONNECTION.flags);
  const isRejected = (flags & CONNECTION_REJECTED) !== 0;
  const mtls = bytes.getUint8(CONNECTION.mtls);
  const connection = present<FlowRecord['connection']>({
    id: u64(bytes, CONNECTION.id) || undefined,
    direction: DIRECTIONS[bytes.getUint8(CONNECTION.direction)],
    mtls: mtls === 0 ? undefined : mtls === MTLS_TRUE,
    tls_version: nameIn(TLS_VERSIONS, bytes.getUint8(CONNECTION.tlsVersion)),
    requested_server_name: text(CONNECTION.requestedServerName, 'connection.requested_server_name'),
    sha256_peer_certificate_digest:
      (flags & CONNECTION_HAS_CERTIFICATE) === 0 ? undefined : hexAt(bytes, CONNECTION.peerCertificateSha256, 32),
    subject_peer_certificate: text(CONNECTION.peerSubject, 'connection.subject_peer_certificate'),
    transport_failure_reason: text(CONNECTION.transportFailure, 'connection.transport_failure_reason'),
    certificate_rejected: isRejected || undefined,
    rejected_principal: isRejected ? text(CONNECTION.peerPrincipal, 'connection.rejected_principal') : undefined,
    filter_chain: text(CONNECTION.filterChain, 'connection.filter_chain'),
  });
  return { value: { bytes, connection }, notUtf8 };
}

/** Reads an outcome entry, of either version, for a record of an exchange or of a connection. */
export function readOutcome(bytes: DataView, texts: Texts, isConnection: boolean): Part<Outcome> {
  const notUtf8: string[] = [];
  const text = (at: number, name: string): string | undefined => texts.at(bytes, at, name, notUtf8);
  const grpc = bytes.getUint8(OUTCOME.grpcStatus);
  const detailsName = isConnection ? 'connection.termination_details' : 'response.code_details';
  const details = text(OUTCOME.codeDetails, detailsName);
  const value: Outcome = {
    bytes,
    terminationDetails: isConnection ? details : undefined,
    policy: text(OUTCOME.policy, 'policy'),
    route: text(OUTCOME.route, 'route'),
    method: text(OUTCOME.method, 'request.method'),
    host: text(OUTCOME.authority, 'request.host'),
    protocol: nameIn(PROTOCOLS, bytes.getUint8(OUTCOME.protocol)),
    requestContentType: text(OUTCOME.requestContentType, 'request.content_type'),
    requestContentEncoding: text(OUTCOME.requestEncoding, 'request.content_encoding'),
    response: present<FlowRecord['response']>({
      code: bytes.getUint16(OUTCOME.code, true) || undefined,
      code_details: isConnection ? undefined : details,
      flags: u64(bytes, OUTCOME.responseFlags),
      grpc_status: grpc === GRPC_ABSENT ? undefined : grpc,
      content_type: text(OUTCOME.responseContentType, 'response.content_type'),
      content_encoding: text(OUTCOME.responseEncoding, 'response.content_encoding'),
    }),
    upstream: present<FlowRecord['upstream']>({
      address: text(OUTCOME.upstreamAddress, 'upstream.address'),
      cluster: text(OUTCOME.upstreamCluster, 'upstream.cluster'),
      principal: text(OUTCOME.upstreamPrincipal, 'upstream.principal'),
      transport_failure_reason: text(OUTCOME.upstreamFailure, 'upstream.transport_failure_reason'),
    }),
    rbac: present<FlowRecord['rbac']>({
      result: RESULTS[bytes.getUint8(OUTCOME.policyResult)],
      shadow_result: RESULTS[bytes.getUint8(OUTCOME.shadowResult)],
      shadow_policy: text(OUTCOME.shadowPolicy, 'rbac.shadow_policy'),
    }),
    tokenIssuer: text(OUTCOME.tokenIssuer, 'token.issuer'),
  };
  return { value, notUtf8 };
}
