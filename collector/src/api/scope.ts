// Where something that was found elsewhere appears: `GET /v1/scope`.

import { ATTRIBUTES } from '../core/attributes.ts';
import { MeshtrailError } from '../core/error.ts';
import { type Filter, parseFilter } from '../core/query/filter.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import type { Counted, CountParameters, Question } from './answer.ts';
import { edgesOf, edgesView } from './edges.ts';
import { type NodeKind, nodesOf } from './nodes-of.ts';
import { type Seen, seenMetrics, seenOf } from './seen.ts';

export const INDICATOR_CHARACTERS_MAX = 1000;
export const INDICATOR_KINDS = [
  'address',
  'principal',
  'path',
  'certificate',
  'useragent',
  'workload',
  'host',
  'id',
] as const;
export type IndicatorKind = (typeof INDICATOR_KINDS)[number];
const EDGES_MAX = 1000;

export interface ScopeParameters extends CountParameters {
  readonly indicator: string;
  readonly kind?: IndicatorKind;
  readonly by?: NodeKind;
}

/** A field that an indicator appears in. */
export interface Role extends Seen {
  readonly field: string;
  readonly class: string;
}

const text = (value: string): string => JSON.stringify(value);
const equals = (name: string) => (value: string) => `${name} == ${text(value)}`;
const address = (name: string) => (value: string) =>
  `${name} == ${text(value)} || ${name}.startsWith(${text(`${value}:`)})`;
const lower = (name: string) => (value: string) => `${name} == ${text(value.toLowerCase())}`;

/** A path, with or without a query behind it. */
const path = (value: string): string =>
  `request.path == ${text(value)}${value.includes('?') ? '' : ` || request.path.startsWith(${text(`${value}?`)})`}`;

/** A name, alone or with its namespace behind a dot. */
function name(field: string, namespace: string): (value: string) => string {
  return (value) => {
    const dot = value.lastIndexOf('.');
    const whole = `${field} == ${text(value)}`;
    if (dot <= 0) return whole;
    return `${whole} || (${field} == ${text(value.slice(0, dot))} && ${namespace} == ${text(value.slice(dot + 1))})`;
  };
}

type Match = readonly [field: string, is: (value: string) => string];
const of = (make: (field: string) => (value: string) => string, ...fields: readonly string[]): readonly Match[] =>
  fields.map((field) => [field, make(field)] as const);

/** The fields of each kind, and how a value stands in them. */
const FIELDS: Readonly<Record<IndicatorKind, readonly Match[]>> = {
  address: of(address, 'source.address', 'destination.address', 'upstream.address'),
  principal: of(
    equals,
    ...['source.principal', 'destination.principal', 'upstream.principal'],
    ...['source.claimed_principal', 'connection.rejected_principal'],
  ),
  path: [['request.path', path]],
  certificate: of(lower, 'connection.sha256_peer_certificate_digest'),
  useragent: of(equals, 'request.useragent'),
  workload: [
    ['source.service_account', name('source.service_account', 'source.namespace')],
    ['destination.service_account', name('destination.service_account', 'destination.namespace')],
    ['source.workload', name('source.workload', 'source.namespace')],
    ['destination.workload', name('destination.workload', 'destination.namespace')],
  ],
  host: of(equals, 'request.host', 'connection.requested_server_name'),
  id: of(equals, 'request.id', 'trace.id', 'token.subject'),
};

/** What an indicator can be, by how it is written. */
export function kindsOf(indicator: string): readonly IndicatorKind[] {
  if (indicator.includes('://')) return ['principal', 'useragent'];
  if (indicator.startsWith('/')) return ['path'];
  if (/^[0-9a-f]{64}$/i.test(indicator)) return ['certificate', 'id'];
  if (/^(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?$|^\[[0-9a-f:.]+\](?::\d{1,5})?$/i.test(indicator))
    return ['address', 'host'];
  if (/^[0-9a-f]{16}$|^[0-9a-f]{32}$|^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(indicator)) return ['id'];
  return ['workload', 'host', 'useragent', 'id'];
}

/** A place that is searched: a field, and CEL that says whether the indicator stands in it. */
interface Place {
  readonly field: string;
  readonly where: Filter;
}

/** Where an indicator is looked for. Throws PARAMETER_INVALID for one that no filter could hold. */
function placesOf(indicator: string, kinds: readonly IndicatorKind[]): readonly Place[] {
  try {
    return kinds.flatMap((kind) => FIELDS[kind].map(([field, is]) => ({ field, where: parseFilter(is(indicator)) })));
  } catch (cause) {
    throw new MeshtrailError('PARAMETER_INVALID', 'The parameter indicator holds what no field can hold.', { cause });
  }
}

/** Narrows a question by CEL of our own. Throws PARAMETER_INVALID when both together are too long. */
export function narrowed(question: Question, cel: string): Question & { readonly filter: Filter } {
  const own = question.filter === undefined ? cel : `(${question.filter.text}) && (${cel})`;
  try {
    return { ...question, filter: parseFilter(own) };
  } catch (cause) {
    const what = 'The parameters filter and what is asked for are longer together than a filter may be.';
    throw new MeshtrailError('PARAMETER_INVALID', what, { cause });
  }
}

/** Where an indicator appears. Throws PARAMETER_INVALID, QUERY_OVERLOADED. */
export async function scope(
  index: FlowIndex,
  question: Question,
  { indicator, kind, by }: ScopeParameters,
  nowMs: number,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  const kinds = kind === undefined ? kindsOf(indicator) : [kind];
  const places = placesOf(indicator, kinds);
  const cel = places.map(({ where }) => where.text).join(' || ');
  const asked = narrowed(question, cel);
  const nodes = nodesOf(index, by, question, nowMs);
  const metrics = [...seenMetrics(), ...places.flatMap(({ where }) => seenMetrics(where))];
  const roles = { by: [], metrics, joinsTwins: false };
  const { views, limits } = await index.aggregate({ ...asked, size, signal, views: [roles, edgesView(nodes, true)] });
  const [records, graph] = views;
  const group = records?.groups[0] ?? { metrics: [] };
  const edges = graph === undefined ? [] : edgesOf(graph, nodes);
  const found = places.map(
    ({ field }, i): Role => ({ field, class: ATTRIBUTES.get(field)?.class ?? '', ...seenOf(group, 4 * (i + 1)) }),
  );
  return {
    body: {
      scope: {
        ...{ indicator, kinds, filter: asked.filter.text, ...seenOf(group) },
        roles: found.filter(({ count }) => count > 0),
        edges: edges.slice(0, EDGES_MAX),
        groups: edges.length,
      },
    },
    limits,
  };
}
