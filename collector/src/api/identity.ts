// What one principal did, and from where: `GET /v1/identity`.

import type { FilterRow } from '../core/attributes.ts';
import { parseFilter } from '../core/query/filter.ts';
import type { Group, Key, ViewResult } from '../index/aggregate.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import type { Counted, CountParameters, Question } from './answer.ts';
import { edgesOf, edgesView } from './edges.ts';
import { hostOf, Nodes } from './nodes.ts';
import { narrowed } from './scope.ts';
import { bySeen, fieldKey, type Seen, seenMetrics, seenOf, seenView } from './seen.ts';

/** Rows of each list. */
export const IDENTITY_ROWS_MAX = 1000;

export interface IdentityParameters extends CountParameters {
  readonly principal: string;
}

/** The caller's address without its port. */
const SOURCE_HOST: Key = {
  name: 'source.address',
  type: 'string',
  reads: ['source.address'],
  of: ({ record }: FilterRow) => (record.source.address === undefined ? undefined : hostOf(record.source.address)),
};

/** Everything that is recorded of a principal. Throws PARAMETER_INVALID, QUERY_OVERLOADED. */
export async function identity(
  index: FlowIndex,
  question: Question,
  { principal }: IdentityParameters,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  const is = (field: string): string => `${field} == ${JSON.stringify(principal)}`;
  const [source, destination] = [is('source.principal'), is('destination.principal')];
  const [claimed, rejected] = [is('source.claimed_principal'), is('connection.rejected_principal')];
  const asked = narrowed(question, [source, destination, claimed, rejected].join(' || '));
  const [calls, answers] = [parseFilter(source), parseFilter(destination)];
  // The certificate and address that a callee's proxy, a gateway or a waypoint saw: a caller's own proxy sees its application.
  const seen = parseFilter(`${source} && reporter != "source"`);
  const denials = parseFilter(`${source} && verdict == "denied"`);
  const nodes = new Nodes('workload');
  const roles = [source, destination, claimed, rejected].map((text) => parseFilter(text));
  const totals = { by: [], metrics: roles.flatMap((where) => seenMetrics(where)), joinsTwins: false };
  const certificate = fieldKey('connection.sha256_peer_certificate_digest');
  const edges = edgesView(nodes, true);
  const { views, limits } = await index.aggregate({
    ...{ ...asked, size, signal },
    views: [
      totals,
      seenView([SOURCE_HOST], seen),
      seenView([certificate, SOURCE_HOST], seen),
      seenView([fieldKey('source.workload'), fieldKey('node.id')], parseFilter(`${source} && reporter == "source"`)),
      { ...edges, where: calls },
      { ...edges, where: answers },
      seenView([nodes.key('destination'), fieldKey('policy'), fieldKey('request.method')], denials, true),
    ],
  });
  const [total, addresses, certificates, workloads, callees, callers, refused] = views as ViewResult[];
  const [asSource, asDestination, asClaim, asRejected] = roles.map((_, i) =>
    seenOf(total?.groups[0] ?? { metrics: [] }, 4 * i),
  );
  const body = {
    ...{ principal, filter: asked.filter.text, asSource, asDestination, asClaim, asRejected },
    addresses: rowsOf(addresses, ['address']),
    certificates: rowsOf(certificates, ['certificate', 'address']),
    workloads: rowsOf(workloads, ['workload', 'node']),
    callees: cut(callees === undefined ? [] : edgesOf(callees, nodes)),
    callers: cut(callers === undefined ? [] : edgesOf(callers, nodes)),
    denials: rowsOf(refused, ['destination', 'policy', 'method'], (name, value) =>
      name === 'destination' ? nodes.node('destination', value) : value,
    ),
  };
  return { body: { identity: body }, limits };
}

function cut<T>(rows: readonly T[]): readonly T[] {
  return rows.slice(0, IDENTITY_ROWS_MAX);
}

/** Groups as rows: their values by name, absent ones absent, and how often they were seen. */
function rowsOf(
  view: ViewResult | undefined,
  names: readonly string[],
  write: (name: string, value: string) => unknown = (_, value) => value,
): readonly (Seen & Readonly<Record<string, unknown>>)[] {
  const rows = (view?.groups ?? []).map((group: Group) => ({
    ...Object.fromEntries(
      names.flatMap((name, i) => (group.values[i] === undefined ? [] : [[name, write(name, String(group.values[i]))]])),
    ),
    ...seenOf(group),
  }));
  return cut(bySeen(rows));
}
