// What changed between two windows of the service graph: `GET /v1/diff`.

import { MeshtrailError } from '../core/error.ts';
import type { ViewResult } from '../index/aggregate.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import { type Counted, type CountParameters, isClosed, type Question, questionOf } from './answer.ts';
import { type Edge, type EdgeFigures, edgesOf, edgesView } from './edges.ts';
import type { GraphNode } from './nodes.ts';
import { type NodeKind, nodesOf } from './nodes-of.ts';

export const DIFF_LIMIT_DEFAULT = 1000;
/** Standard deviations that a difference of counts must have. */
export const SURE_Z = 3;
/** A rate or latency that is so many times another is told. */
export const RATIO_MIN = 2;
/** Exchanges that both windows must have for their latencies to be compared. */
export const LATENCY_REQUESTS_MIN = 20;
export const MTLS_SHARE_MIN = 0.01;

export interface DiffParameters extends Omit<CountParameters, 'since' | 'until'> {
  /** `SINCE/UNTIL`. */
  readonly a: string;
  readonly b: string;
  readonly by?: NodeKind;
  readonly limit?: number;
}

/** A figure that differs: of requests the rate per second, of denied and errors their part of all, of latency seconds. */
export interface Change {
  readonly what: 'requests' | 'denied' | 'errors' | 'mtls' | 'latency';
  readonly a: number;
  readonly b: number;
}

export interface DiffRow {
  readonly change: 'new' | 'gone' | 'changed';
  readonly source: GraphNode;
  readonly destination: GraphNode;
  readonly changes: readonly Change[];
  readonly a?: EdgeFigures;
  readonly b?: EdgeFigures;
  readonly filter: string;
}

export interface Windows {
  readonly a: Question;
  readonly b: Question;
  readonly isClosed: boolean;
}

/** Reads both windows. Throws PARAMETER_INVALID, TIME_INVALID. */
export function windowsOf({ a, b, ...parameters }: DiffParameters, nowMs: number): Windows {
  const read = (name: string, text: string): { readonly question: Question; readonly isClosed: boolean } => {
    const [since = '', until = '', ...more] = text.split('/');
    if (since === '' || until === '' || more.length > 0)
      throw new MeshtrailError(
        'PARAMETER_INVALID',
        `The parameter ${name} is ${JSON.stringify(text.slice(0, 80))}; it must be SINCE/UNTIL, such as -2h/-1h or 2026-11-24T13:00:00Z/2026-11-24T14:00:00Z.`,
        { position: { start: 0, end: text.length } },
      );
    const question = questionOf({ ...parameters, since, until }, nowMs);
    return { question, isClosed: isClosed({ since, until }, question, nowMs) };
  };
  const [first, second] = [read('a', a), read('b', b)];
  return { a: first.question, b: second.question, isClosed: first.isClosed && second.isClosed };
}

/** Compares the edges of two windows. Throws QUERY_OVERLOADED. */
export async function diff(
  index: FlowIndex,
  windows: Windows,
  { by, limit = DIFF_LIMIT_DEFAULT }: DiffParameters,
  nowMs: number,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  // One set of names for both, or a pod could change its name between them.
  const nodes = nodesOf(index, by, {}, nowMs);
  const views = [edgesView(nodes, true)];
  const before = await index.aggregate({ ...windows.a, size, signal, views });
  const after = await index.aggregate({ ...windows.b, size, signal, views });
  const of = ([view]: readonly ViewResult[]): readonly Edge[] => (view === undefined ? [] : edgesOf(view, nodes));
  const [old, now] = [of(before.views), of(after.views)];
  const rows = compareEdges(old, now, secondsOf(windows.a), secondsOf(windows.b));
  const limits = [
    ...before.limits,
    ...after.limits.filter(({ limit: hit }) => before.limits.every((b) => b.limit !== hit)),
  ];
  return { body: { diff: rows.slice(0, limit), groups: rows.length, edges: { a: old.length, b: now.length } }, limits };
}

function secondsOf({ sinceNs = 0n, untilNs = 0n }: Question): number {
  return Number(untilNs - sinceNs) / 1e9;
}

const ORDER = ['new', 'gone', 'changed'];

/** Edges that one window alone has, and those that differ; new ones first. */
export function compareEdges(
  old: readonly Edge[],
  now: readonly Edge[],
  oldSeconds: number,
  nowSeconds: number,
): readonly DiffRow[] {
  const before = new Map(old.map((edge) => [edge.filter, edge]));
  const after = new Set(now.map(({ filter }) => filter));
  const row = (change: DiffRow['change'], edge: Edge, more: Partial<DiffRow>): DiffRow => {
    const { source, destination, filter } = edge;
    return { ...{ change, source, destination, filter, changes: [] }, ...more };
  };
  const rows = now.flatMap((edge): readonly DiffRow[] => {
    const one = before.get(edge.filter);
    if (one === undefined) return [row('new', edge, { b: figures(edge) })];
    const changes = changesOf(one, edge, oldSeconds, nowSeconds);
    return changes.length === 0 ? [] : [row('changed', edge, { changes, a: figures(one), b: figures(edge) })];
  });
  for (const edge of old) if (!after.has(edge.filter)) rows.push(row('gone', edge, { a: figures(edge) }));
  return rows.sort((a, b) => ORDER.indexOf(a.change) - ORDER.indexOf(b.change));
}

function figures({ source: _source, destination: _destination, filter: _filter, ...rest }: Edge): EdgeFigures {
  return rest;
}

const busy = ({ requests, connections }: EdgeFigures): number => requests + connections;
const isFar = (a: number, b: number): boolean => Math.max(a, b) >= RATIO_MIN * Math.min(a, b);

/** What differs by more than chance: each rule is in docs/query.md. */
export function changesOf(a: EdgeFigures, b: EdgeFigures, aSeconds: number, bSeconds: number): readonly Change[] {
  const changes: Change[] = [];
  const rates: readonly [number, number] = [busy(a) / aSeconds, busy(b) / bSeconds];
  // Counts of independent events have their own number as variance.
  const deviation = Math.sqrt(busy(a) / aSeconds ** 2 + busy(b) / bSeconds ** 2);
  if (isFar(...rates) && Math.abs(rates[0] - rates[1]) >= SURE_Z * deviation)
    changes.push({ what: 'requests', a: rates[0], b: rates[1] });
  for (const what of ['denied', 'errors'] as const) {
    const shares: readonly [number, number] = [a[what] / busy(a), b[what] / busy(b)];
    const isOnlyOne = (a[what] === 0) !== (b[what] === 0);
    if (isOnlyOne || isShareFar(a[what], busy(a), b[what], busy(b))) changes.push({ what, a: shares[0], b: shares[1] });
  }
  const [mtlsA, mtlsB] = [a.mtlsShare, b.mtlsShare];
  if (mtlsA !== undefined && mtlsB !== undefined && Math.abs(mtlsA - mtlsB) >= MTLS_SHARE_MIN)
    changes.push({ what: 'mtls', a: mtlsA, b: mtlsB });
  const [slowA, slowB] = [a.latency.p99, b.latency.p99].map((text) =>
    text === undefined ? undefined : Number.parseFloat(text),
  );
  const isEnough = Math.min(a.requests, b.requests) >= LATENCY_REQUESTS_MIN;
  if (isEnough && slowA !== undefined && slowB !== undefined && isFar(slowA, slowB))
    changes.push({ what: 'latency', a: slowA, b: slowB });
  return changes;
}

/** Whether two parts of wholes differ by more than chance: the test of two proportions. */
function isShareFar(a: number, allA: number, b: number, allB: number): boolean {
  const pooled = (a + b) / (allA + allB);
  const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / allA + 1 / allB));
  return deviation > 0 && Math.abs(a / allA - b / allB) >= SURE_Z * deviation;
}
