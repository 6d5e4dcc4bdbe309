// Who spoke to whom, by whom it was reported (docs/query.md has the table).

import type { Peer, Reporter } from '../record.ts';
import type { Batch } from './batch.ts';
import { CONNECTION, CONNECTION_REJECTED, OUTCOME } from './layout.ts';
import { MTLS_TRUE } from './record-parts.ts';
import { type Part, present, type Texts } from './texts.ts';

export interface Sides {
  readonly source: Peer;
  readonly destination: Peer;
}

const OUTBOUND = 2;
/** Envoy's response flag UF: the last attempt got no connection to the upstream. */
const UPSTREAM_CONNECTION_FAILURE = 0x20;

/** A sidecar's listener of unspecified direction counts as inbound. */
export function reporterOf(role: Batch['role'], direction: number): Reporter {
  if (role !== 'sidecar') return role;
  return direction === OUTBOUND ? 'source' : 'destination';
}

/** The workload of a `node.cluster` of the form `name.namespace`. */
export function workloadOf(nodeCluster: string | undefined): string | undefined {
  return nodeCluster === undefined ? undefined : /^([^.]+)\.[^.]+$/.exec(nodeCluster)?.[1];
}

/** Both sides of a record; `own` is the reporter's workload. */
export function readSides(
  reporter: Reporter,
  connection: DataView,
  outcome: DataView,
  own: string | undefined,
  texts: Texts,
): Part<Sides> {
  const notUtf8: string[] = [];
  const of = (view: DataView, at: number, name: string): string | undefined => texts.at(view, at, name, notUtf8);
  const value: Sides = {
    source: readSource(reporter === 'source', connection, outcome, own, of),
    destination: readDestination(reporter === 'destination', connection, outcome, own, of),
  };
  return { value, notUtf8 };
}

type TextAt = (view: DataView, at: number, name: string) => string | undefined;

/** A peer's certificate is an identity only when it was accepted; a connection that was refused has no identity from elsewhere either. */
function callerOf(connection: DataView, text: TextAt): Pick<Peer, 'principal' | 'principal_from'> {
  if (isRejected(connection)) return {};
  const isVerified = connection.getUint8(CONNECTION.mtls) === MTLS_TRUE;
  const shown = isVerified ? text(connection, CONNECTION.peerPrincipal, 'source.principal') : undefined;
  if (shown !== undefined) return { principal: shown, principal_from: 'mtls' };
  const told = text(connection, CONNECTION.filterStatePrincipal, 'source.principal');
  return told === undefined ? {} : { principal: told, principal_from: 'filter_state' };
}

/** Version 1 has no bit for it. */
function isRejected(connection: DataView): boolean {
  const hasFailed = connection.getUint16(CONNECTION.transportFailure, true) !== 0;
  return hasFailed || (connection.getUint8(CONNECTION.flags) & CONNECTION_REJECTED) !== 0;
}

function readSource(
  isOwn: boolean,
  connection: DataView,
  outcome: DataView,
  own: string | undefined,
  text: TextAt,
): Peer {
  const local = isOwn ? text(outcome, OUTCOME.upstreamLocalPrincipal, 'source.principal') : undefined;
  const { principal, principal_from } = !isOwn
    ? callerOf(connection, text)
    : { principal: local, principal_from: local === undefined ? undefined : ('mtls' as const) };
  // What somebody claims whose certificate was refused is not even repeated.
  const hasClaims = !isOwn && !isRejected(connection);
  return present<Peer>({
    address: text(connection, CONNECTION.sourceAddress, 'source.address'),
    principal,
    principal_from,
    claimed_principal: text(outcome, OUTCOME.claimedPrincipal, 'source.claimed_principal'),
    ...identityIn(principal, () =>
      hasClaims ? text(connection, CONNECTION.peerNamespace, 'source.namespace') : undefined,
    ),
    workload: hasClaims ? text(connection, CONNECTION.peerWorkload, 'source.workload') : isOwn ? own : undefined,
    cluster: hasClaims ? text(connection, CONNECTION.peerCluster, 'source.cluster') : undefined,
  });
}

function readDestination(
  isOwn: boolean,
  connection: DataView,
  outcome: DataView,
  own: string | undefined,
  text: TextAt,
): Peer {
  const principal = isOwn
    ? text(connection, CONNECTION.localPrincipal, 'destination.principal')
    : isUpstreamRefused(outcome)
      ? undefined
      : text(outcome, OUTCOME.upstreamPrincipal, 'destination.principal');
  const host = isOwn ? undefined : text(outcome, OUTCOME.upstreamAddress, 'destination.address');
  return present<Peer>({
    address: host ?? text(connection, CONNECTION.destinationAddress, 'destination.address'),
    principal,
    ...identityIn(principal, () =>
      isOwn ? undefined : text(outcome, OUTCOME.upstreamNamespace, 'destination.namespace'),
    ),
    workload: isOwn ? own : text(outcome, OUTCOME.upstreamWorkload, 'destination.workload'),
  });
}

/** With a reason for it and no connection in the end, a certificate that the upstream showed was not accepted. */
function isUpstreamRefused(outcome: DataView): boolean {
  const flags = outcome.getUint32(OUTCOME.responseFlags, true);
  return (flags & UPSTREAM_CONNECTION_FAILURE) !== 0 && outcome.getUint16(OUTCOME.upstreamFailure, true) !== 0;
}

/**
 * Namespace and service account of `spiffe://<domain>/ns/<namespace>/sa/<account>`, as Istio names workloads. A namespace that is
 * only claimed stands where there is no principal: beside one it would look as if the certificate said it.
 */
function identityIn(
  principal: string | undefined,
  claimedNamespace: () => string | undefined,
): { readonly namespace: string | undefined; readonly service_account: string | undefined } {
  if (principal === undefined) return { namespace: claimedNamespace(), service_account: undefined };
  const match = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal);
  return { namespace: match?.[1], service_account: match?.[2] };
}
