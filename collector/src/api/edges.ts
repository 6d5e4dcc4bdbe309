// The service graph over HTTP: who called whom, and how it went.

import { durationText, timeText } from '../core/codec/text.ts';
import { MeshtrailError } from '../core/error.ts';
import { type Filter, parseFilter } from '../core/query/filter.ts';
import { parseTime } from '../core/time.ts';
import type { Group, Metric, MetricValue, View, ViewResult } from '../index/aggregate.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import { type Counted, type CountParameters, lengthOf, type Question, questionOf } from './answer.ts';
import type { GraphNode, NodeKind, Nodes } from './nodes.ts';
import { nodesOf } from './nodes-of.ts';
import { fieldKey } from './seen.ts';

export const EDGES_LIMIT_DEFAULT = 1000;
const WINDOW_DEFAULT = '1m';
const WINDOW_NS_MIN = 1_000_000n;
const WINDOW_NS_MAX = 366n * 86_400_000_000_000n;
/** The sum of bytes of an exchange that is written as text. */
type Bytes = number | string;

export interface EdgesParameters extends CountParameters {
  /** The graph of the window that ends here. */
  readonly at?: string;
  readonly window?: string;
  readonly by?: NodeKind;
  readonly limit?: number;
  readonly twins?: 'join' | 'separate';
}

/** What is told of the exchanges and connections between two nodes. */
export interface EdgeFigures {
  readonly requests: number;
  /** Connections that carried no HTTP. */
  readonly connections: number;
  readonly denied: number;
  readonly errors: number;
  readonly requestBytes: Bytes;
  readonly responseBytes: Bytes;
  readonly latency: { readonly p50?: string; readonly p99?: string };
  readonly firstSeen: string;
  readonly lastSeen: string;
  /** From 0 to 1; absent where no record tells. */
  readonly mtlsShare?: number;
  /** Records by who reported them; both records of one exchange are in it. */
  readonly reported: Readonly<Record<'source' | 'destination' | 'gateway' | 'waypoint', number>>;
}

export interface Edge extends EdgeFigures {
  readonly source: GraphNode;
  readonly destination: GraphNode;
  /** CEL that finds the records of the edge. */
  readonly filter: string;
}

/** The record tells whether the call between the two nodes was mTLS: of a caller's proxy, the way on, not the way to it. */
const TELLS_MTLS = 'reporter == "source" ? has(upstream.cluster) || has(upstream.principal) : has(connection.mtls)';
const IS_MTLS =
  'reporter == "source" ? has(upstream.principal) : connection.mtls && !has(connection.certificate_rejected) && !has(connection.transport_failure_reason)';
const IS_HTTP = parseFilter('record.kind == "http"');
const ERROR = '(verdict in ["failed", "reset", "invalid", "unrouted"] || response.code >= 500)';
/** Records that have an id to find their twin by; of the others it is not known which two are one exchange. */
const JOINS = 'record.kind == "http" && (has(request.id) || (has(trace.id) && has(trace.span_id)))';

type Part = 'joined' | 'ofSource' | 'ofOthers';
const PARTS: Readonly<Record<Part, Filter>> = {
  joined: parseFilter(`(${JOINS})`),
  ofSource: parseFilter(`!(${JOINS}) && reporter == "source"`),
  ofOthers: parseFilter(`!(${JOINS}) && reporter != "source"`),
};

/** The metrics of an edge, in the order in which figuresOf() takes them. */
const METRICS = {
  ...counted('requests', 'record.kind == "http"'),
  ...counted('connections', 'record.kind == "connection"'),
  ...counted('errors', ERROR),
  ...counted('requestBytes', 'request.total_size', true),
  ...counted('responseBytes', 'response.total_size', true),
  denied: { measure: 'count', where: parseFilter('verdict == "denied"') },
  p50: { measure: 'p', percentile: 50, of: fieldKey('duration'), where: IS_HTTP },
  p99: { measure: 'p', percentile: 99, of: fieldKey('duration'), where: IS_HTTP },
  firstSeen: { measure: 'min', of: fieldKey('time') },
  lastSeen: { measure: 'max', of: fieldKey('time') },
  tellsMtls: { measure: 'count', where: parseFilter(TELLS_MTLS) },
  isMtls: { measure: 'count', where: parseFilter(IS_MTLS) },
  source: { measure: 'count', where: parseFilter('reporter == "source"') },
  destination: { measure: 'count', where: parseFilter('reporter == "destination"') },
  gateway: { measure: 'count', where: parseFilter('reporter == "gateway"') },
  waypoint: { measure: 'count', where: parseFilter('reporter == "waypoint"') },
} satisfies Record<string, Metric>;
type MetricName = keyof typeof METRICS;
const NAMES = Object.keys(METRICS) as MetricName[];

/** A count of what CEL says, or the sum of a field: of what can be joined, and of the rest as each side reports it. */
function counted<N extends string>(name: N, what: string, isSum = false): Readonly<Record<`${N}_${Part}`, Metric>> {
  const of = isSum ? fieldKey(what) : undefined;
  const metric = (part: Part): Metric =>
    of === undefined
      ? { measure: 'count', where: parseFilter(`${what} && ${PARTS[part].text}`) }
      : { measure: 'sum', of, where: PARTS[part] };
  const metrics = (Object.keys(PARTS) as Part[]).map((part) => [`${name}_${part}`, metric(part)]);
  return Object.fromEntries(metrics) as Record<`${N}_${Part}`, Metric>;
}

/** A view of edges; `keep` is told both keys. */
export function edgesView(
  nodes: Nodes,
  joinsTwins: boolean,
  keep?: (source: string, destination: string) => boolean,
): View {
  return {
    by: [nodes.key('source'), nodes.key('destination')],
    metrics: Object.values(METRICS),
    joinsTwins,
    ...(keep === undefined ? {} : { keep: ([source, destination]) => keep(String(source), String(destination)) }),
  };
}

/** Of what cannot be joined, the side that saw more is taken; where nothing is joined, all of it. */
function summed(joined: bigint, ofSource: bigint, ofOthers: bigint, isJoined: boolean): Bytes {
  const rest = isJoined ? (ofSource > ofOthers ? ofSource : ofOthers) : ofSource + ofOthers;
  const sum = joined + rest;
  return sum > BigInt(Number.MAX_SAFE_INTEGER) ? String(sum) : Number(sum);
}

function figuresOf({ metrics, twins }: Group, isJoined: boolean): EdgeFigures {
  const of = (name: MetricName): MetricValue => metrics[NAMES.indexOf(name)];
  const count = (name: MetricName): number => Number(of(name) ?? 0);
  const latency = (name: 'p50' | 'p99'): object => {
    const value = of(name);
    return value === undefined ? {} : { [name]: durationText(Number(value)) };
  };
  const tells = count('tellsMtls');
  type Counted = MetricName extends infer M ? (M extends `${infer N}_joined` ? N : never) : never;
  const whole = (name: Counted): Bytes => {
    const part = (which: Part): bigint => BigInt(of(`${name}_${which}`) ?? 0);
    return summed(part('joined'), part('ofSource'), part('ofOthers'), isJoined);
  };
  return {
    requests: Number(whole('requests')),
    connections: Number(whole('connections')),
    denied: count('denied'),
    errors: Number(whole('errors')),
    requestBytes: whole('requestBytes'),
    responseBytes: whole('responseBytes'),
    latency: { ...latency('p50'), ...latency('p99') },
    firstSeen: timeText(BigInt(of('firstSeen') ?? 0)),
    lastSeen: timeText(BigInt(of('lastSeen') ?? 0)),
    ...(tells === 0 ? {} : { mtlsShare: count('isMtls') / tells }),
    reported: {
      source: count('source') + twins,
      destination: count('destination'),
      gateway: count('gateway'),
      waypoint: count('waypoint'),
    },
  };
}

/** The edges of a view, those with most requests first. */
export function edgesOf({ groups }: ViewResult, nodes: Nodes, isJoined = true): readonly Edge[] {
  const edges = groups.map((group): Edge => {
    const [source, destination] = group.values as [string, string];
    const terms = [nodes.filter('source', source), nodes.filter('destination', destination)];
    return {
      source: nodes.node('source', source),
      destination: nodes.node('destination', destination),
      ...figuresOf(group, isJoined),
      filter: terms.join(' && '),
    };
  });
  const busy = ({ requests, connections }: Edge): number => requests + connections;
  return edges.sort((a, b) => busy(b) - busy(a) || compareText(a.filter, b.filter));
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Reads the window of a graph: `since` and `until`, or the last of it with `at`. Throws PARAMETER_INVALID, TIME_INVALID. */
export function graphQuestionOf({ at, window, ...parameters }: EdgesParameters, nowMs: number): Question {
  if (at === undefined && window === undefined) return questionOf(parameters, nowMs);
  if (at === undefined || parameters.since !== undefined || parameters.until !== undefined)
    throw new MeshtrailError(
      'PARAMETER_INVALID',
      'The parameter at gives the end of a window, and the parameter window its length: neither goes with since or until, nor window without at.',
    );
  const untilNs = parseTime(at, nowMs);
  const sinceNs = untilNs - lengthOf('window', window ?? WINDOW_DEFAULT, WINDOW_NS_MIN, WINDOW_NS_MAX);
  return { ...questionOf(parameters, nowMs), sinceNs, untilNs };
}

/** Counts the edges. Throws QUERY_OVERLOADED. */
export async function edges(
  index: FlowIndex,
  question: Question,
  { by, limit = EDGES_LIMIT_DEFAULT, twins = 'join' }: EdgesParameters,
  nowMs: number,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  const nodes = nodesOf(index, by, question, nowMs);
  const views = [edgesView(nodes, twins === 'join')];
  const result = await index.aggregate({ ...question, size, signal, views });
  const [view = { groups: [], leftOut: 0, isApproximate: false }] = result.views;
  const all = edgesOf(view, nodes, twins === 'join');
  return {
    body: {
      edges: all.slice(0, limit),
      groups: all.length,
      ...(view.leftOut === 0 ? {} : { leftOut: view.leftOut }),
      approximate: view.isApproximate ? ['latency'] : [],
    },
    limits: result.limits,
  };
}
