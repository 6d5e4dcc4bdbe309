// How flow records look in a table and in CSV.

import { ATTRIBUTES } from '../core/attributes.ts';
import type { FlowRecord, Peer } from '../core/record.ts';
import { type Column, styledVerdict } from './output.ts';

/** The shortest name that still tells who it was: service account, workload, or address. */
function nameOf(peer: Peer): string | undefined {
  if (peer.service_account !== undefined)
    return peer.namespace === undefined ? peer.service_account : `${peer.service_account}.${peer.namespace}`;
  return peer.workload ?? peer.principal ?? peer.address;
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
  { title: 'SOURCE', of: (r) => nameOf(r.source), isElastic: true },
  { title: 'DESTINATION', of: (r) => nameOf(r.destination) ?? r.upstream.cluster ?? r.request.host, isElastic: true },
  { title: 'METHOD', of: (r) => r.request.method },
  { title: 'PATH', of: (r) => r.request.path, isElastic: true },
  { title: 'CODE', of: (r) => r.response.code?.toString(), alignsRight: true },
  { title: 'TOOK', of: (r) => milliseconds(r.duration), alignsRight: true },
  { title: 'POLICY', of: (r) => r.policy, isElastic: true },
];

/** Columns of CSV: every field that a filter can name, and what to know about a record's quality. */
export const FLOW_NAMES: readonly string[] = [...ATTRIBUTES.keys(), 'record.truncated', 'record.not_utf8'];
