// How flow records look in a table and in CSV.

import { ATTRIBUTES } from '../core/attributes.ts';
import type { FlowRecord, Peer } from '../core/record.ts';
import { type Column, styledVerdict } from './output.ts';

/** The shortest name of an observed identity: service account, workload or principal. */
function identityOf(peer: Peer): string | undefined {
  if (peer.service_account !== undefined)
    return peer.namespace === undefined ? peer.service_account : `${peer.service_account}.${peer.namespace}`;
  return peer.workload ?? peer.principal;
}

/** Whom a call was for. Without an identity, an address behind a proxy of the way out says little: what the caller said tells more, and stands in quotes, since nobody checked it. */
function destinationOf({ destination, upstream, request }: FlowRecord): string | undefined {
  const claimed = request.host === undefined ? undefined : `"${request.host}"`;
  return identityOf(destination) ?? claimed ?? destination.address ?? upstream.cluster;
}

function milliseconds(duration: string | undefined): string | undefined {
  if (duration === undefined) return undefined;
  const ms = Number.parseFloat(duration) * 1000;
  return ms < 10 ? `${ms.toFixed(2)}ms` : `${ms.toFixed(0)}ms`;
}

export const FLOW_COLUMNS: readonly Column<FlowRecord>[] = [
  { title: 'ID', of: (r) => r.id },
  { title: 'TIME (UTC)', of: (r) => `${r.time.slice(0, 10)} ${r.time.slice(11, 23)}` },
  { title: 'VERDICT', of: (r) => r.verdict, style: styledVerdict },
  { title: 'REPORTER', of: (r) => r.reporter },
  { title: 'SOURCE', of: (r) => identityOf(r.source) ?? r.source.address, isElastic: true },
  { title: 'DESTINATION', of: destinationOf, isElastic: true },
  { title: 'METHOD', of: (r) => r.request.method },
  { title: 'PATH', of: (r) => r.request.path, isElastic: true },
  { title: 'CODE', of: (r) => r.response.code?.toString(), alignsRight: true },
  { title: 'TOOK', of: (r) => milliseconds(r.duration), alignsRight: true },
  { title: 'POLICY', of: (r) => r.policy, isElastic: true },
];

/** Columns of CSV: every field that a filter can name, and what to know about a record's quality. */
export const FLOW_NAMES: readonly string[] = [...ATTRIBUTES.keys(), 'record.truncated', 'record.not_utf8'];
