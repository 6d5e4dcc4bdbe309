// How flow records look in a table and in CSV.

import { ATTRIBUTES } from '../core/attributes.ts';
import type { FlowRecord, Peer } from '../core/record.ts';
import { type Column, styledVerdict } from './output.ts';

/** The shortest name of an observed identity: service account, workload of the reporter's own with its namespace, or principal. */
function identityOf(peer: Peer, own: string | undefined): string | undefined {
  if (peer.service_account !== undefined)
    return peer.namespace === undefined ? peer.service_account : `${peer.service_account}.${peer.namespace}`;
  return own ?? peer.principal;
}

/** The reporter's own workload when it is this side, as its node cluster and `edges` name it. */
function ownOf(record: FlowRecord, side: 'source' | 'destination'): string | undefined {
  return record.reporter === side && record[side].workload !== undefined ? record.node.cluster : undefined;
}

/** A name that nobody checked stands in quotes. */
function claimOf(...names: readonly (string | undefined)[]): string | undefined {
  const name = names.find((one) => one !== undefined);
  return name === undefined ? undefined : `"${name}"`;
}

function sourceOf(record: FlowRecord): string | undefined {
  const { source } = record;
  return identityOf(source, ownOf(record, 'source')) ?? claimOf(source.workload) ?? source.address;
}

/** Whom a call was for. Without an identity, an address behind a proxy of the way out says little: what the caller said tells more. */
function destinationOf(record: FlowRecord): string | undefined {
  const { destination, upstream, request, connection } = record;
  const claimed = claimOf(destination.workload, request.host, connection.requested_server_name);
  const observed = identityOf(destination, ownOf(record, 'destination'));
  return observed ?? claimed ?? destination.address ?? upstream.cluster;
}

const isConnection = ({ record }: FlowRecord): boolean => record.kind === 'connection';

/** The verdict; what lives has none yet, and its phase instead. */
function verdictOf({ verdict, record: { phase, repeat } }: FlowRecord): string {
  if (phase !== 'end') return phase;
  return repeat === true ? `${verdict} (repeat)` : verdict;
}

function methodOf(record: FlowRecord): string | undefined {
  if (!isConnection(record)) return record.request.method;
  const { tls_version: version, requested_server_name: name, transport_failure_reason: failure } = record.connection;
  return version === undefined && name === undefined && failure === undefined ? 'TCP' : 'TLS';
}

/** Of a connection what went through it. */
function pathOf(record: FlowRecord): string | undefined {
  if (!isConnection(record)) return record.request.path;
  const [received, sent] = [record.request.total_size, record.response.total_size];
  return received === undefined && sent === undefined ? undefined : `${received ?? '-'} B in, ${sent ?? '-'} B out`;
}

function milliseconds(duration: string | undefined): string | undefined {
  if (duration === undefined) return undefined;
  const ms = Number.parseFloat(duration) * 1000;
  return ms < 10 ? `${ms.toFixed(2)}ms` : `${ms.toFixed(0)}ms`;
}

export const FLOW_COLUMNS: readonly Column<FlowRecord>[] = [
  { title: 'ID', of: (r) => r.id },
  { title: 'TIME (UTC)', of: (r) => `${r.time.slice(0, 10)} ${r.time.slice(11, 23)}` },
  { title: 'VERDICT', of: verdictOf, style: styledVerdict },
  { title: 'REPORTER', of: (r) => r.reporter },
  { title: 'SOURCE', of: sourceOf, isElastic: true },
  { title: 'DESTINATION', of: destinationOf, isElastic: true },
  { title: 'METHOD', of: methodOf },
  { title: 'PATH', of: pathOf, isElastic: true },
  { title: 'CODE', of: (r) => r.response.code?.toString(), alignsRight: true },
  { title: 'TOOK', of: (r) => milliseconds(r.duration), alignsRight: true },
  { title: 'POLICY', of: (r) => r.policy, isElastic: true },
];

/** Columns of CSV: every field that a filter can name, and what to know about a record's quality. */
export const FLOW_NAMES: readonly string[] = [...ATTRIBUTES.keys(), 'record.truncated', 'record.not_utf8'];
