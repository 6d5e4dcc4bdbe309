// What the records of a run say, found by questions that an investigator would ask; nothing here knows the scenario or its truth.

import type { FlowRecord } from '../core/record.ts';
import { OUTSIDE_CLUSTER } from './envoy-config.ts';
import type { Truth } from './truth.ts';

/** A service's counts beside those of the records. */
export interface Agreement {
  readonly service: string;
  readonly sent: Pair;
  readonly received: Pair;
  /** Refused by a policy on the way to it: counted by the callers, recorded by its sidecar. */
  readonly refused: Pair;
}
export interface Pair {
  readonly counted: number;
  readonly recorded: number;
}

export const isEqual = ({ counted, recorded }: Pair): boolean => counted === recorded;
export const isAgreed = (agreements: readonly Agreement[]): boolean =>
  agreements.every(({ sent, received, refused }) => [sent, received, refused].every(isEqual));

/** Records that add up to what happened: what another record counts is left out. */
export const countedOf = (records: readonly FlowRecord[]): FlowRecord[] =>
  records.filter(({ record }) => record.repeat !== true);

/** Exchanges that are counted; a TCP or TLS connection is none, even where it is recorded. */
const exchangesOf = (records: readonly FlowRecord[]): FlowRecord[] =>
  countedOf(records).filter(({ record }) => record.kind === 'http');

/** Name of the workload whose proxy reported: the first part of `node.cluster`. */
export const proxyOf = (record: FlowRecord): string => record.node.cluster?.replace(/\.[^.]*$/, '') ?? '-';

/** Compares what the services counted with what their sidecars recorded, service by service; the visitor's with the ingress's. */
export function compare(truth: Truth, records: readonly FlowRecord[], ingress: string): Agreement[] {
  const exchanges = exchangesOf(records);
  const count = (proxy: string, isWanted: (record: FlowRecord) => boolean): number =>
    exchanges.filter((record) => proxyOf(record) === proxy && isWanted(record)).length;
  const services = Object.entries(truth.services).map(([service, counted]): Agreement => {
    const refused = truth.exchanges.filter((e) => e.destination === service && e.verdict === 'denied').length;
    const isReceived = (r: FlowRecord): boolean => r.reporter === 'destination' && r.verdict !== 'denied';
    const isRefused = (r: FlowRecord): boolean => r.reporter === 'destination' && r.verdict === 'denied';
    return {
      service,
      sent: { counted: counted.sent, recorded: count(service, (r) => r.reporter === 'source') },
      received: { counted: counted.received, recorded: count(service, isReceived) },
      refused: { counted: refused, recorded: count(service, isRefused) },
    };
  });
  const none = { counted: 0, recorded: 0 };
  const visits = truth.exchanges.filter(({ source }) => !Object.hasOwn(truth.services, source)).length;
  const gateway: Agreement = {
    service: 'visitors',
    sent: { counted: visits, recorded: count(ingress, (r) => r.reporter === 'gateway') },
    received: none,
    refused: none,
  };
  return [gateway, ...services];
}

/** What an identity did that it had not done before it was first refused. */
export interface Incident {
  /** The identity with the most refusals, as the refusing proxies verified it. */
  readonly principal: string;
  /** SHA-256 digests of the certificates that it showed. */
  readonly certificates: readonly string[];
  /** Its name as the caller's own sidecar reports. */
  readonly workload: string;
  /** Calls that a policy refused, by the refusing sidecar. */
  readonly denied: readonly FlowRecord[];
  /** Calls that found nothing, by the answering sidecar. */
  readonly notFound: readonly FlowRecord[];
  /** The first call of a new kind that was answered. */
  readonly firstAllowed: FlowRecord | undefined;
  /** All calls of that new kind that were answered, the first included. */
  readonly allowed: readonly FlowRecord[];
  /** What others did on behalf of these calls, by trace id. */
  readonly onBehalf: readonly FlowRecord[];
  /** Calls to hosts outside the mesh of a kind that it never made before, by its own sidecar. */
  readonly sentOut: readonly FlowRecord[];
}

/** Kind of a call: whom, how, and the path with its numbers and identifiers left out. */
function kindOf({ request }: FlowRecord): string {
  const path = request.path?.split('?')[0]?.replaceAll(/\/(?:\d+|[0-9a-f]{8,})(?=\/|$)/g, '/*');
  return `${request.host} ${request.method} ${path}`;
}

/** The identity that was refused most often; undefined when nobody was. */
function suspectOf(records: readonly FlowRecord[]): string | undefined {
  const refusals = Map.groupBy(
    records.filter(({ verdict, source }) => verdict === 'denied' && source.principal !== undefined),
    ({ source }) => source.principal as string,
  );
  return [...refusals].sort(([, a], [, b]) => b.length - a.length)[0]?.[0];
}

/** Finds the incident in records that are in order of time. */
export function findIncident(all: readonly FlowRecord[]): Incident | undefined {
  const records = exchangesOf(all);
  const principal = suspectOf(records);
  if (principal === undefined) return undefined;
  const atCallee = records.filter((r) => r.reporter === 'destination' && r.source.principal === principal);
  const [firstDenied] = atCallee.filter(({ verdict }) => verdict === 'denied');
  if (firstDenied === undefined) return undefined;
  const workload = principal.split('/').at(-1) ?? principal;
  // Calls inside the mesh are seen by the callee; its own sidecar, which saw them first, is asked for the others only.
  const goneOut = records.filter(
    (r) => r.reporter === 'source' && proxyOf(r) === workload && r.upstream.cluster === OUTSIDE_CLUSTER,
  );
  const began = firstDenied.time;
  const usual = new Set([...atCallee, ...goneOut].filter(({ time }) => time < began).map(kindOf));
  const isNew = (r: FlowRecord): boolean => !usual.has(kindOf(r));
  const unusual = atCallee.filter(isNew);
  const allowed = unusual.filter((r) => r.verdict === 'allowed' && (r.response.code ?? 0) < 300);
  const traces = new Set(allowed.flatMap(({ trace }) => (trace.id === undefined ? [] : [trace.id])));
  const isOnBehalf = (r: FlowRecord): boolean =>
    r.trace.id !== undefined &&
    traces.has(r.trace.id) &&
    r.reporter === 'destination' &&
    r.source.principal !== principal;
  return {
    principal,
    certificates: [...new Set(unusual.flatMap((r) => r.connection.sha256_peer_certificate_digest ?? []))],
    workload,
    denied: unusual.filter(({ verdict }) => verdict === 'denied'),
    notFound: unusual.filter(({ verdict, response }) => verdict === 'allowed' && response.code === 404),
    firstAllowed: allowed[0],
    allowed,
    onBehalf: records.filter(isOnBehalf),
    sentOut: goneOut.filter(isNew),
  };
}
