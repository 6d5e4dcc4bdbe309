// Who called a node, and whom it called: `GET /v1/neighbors`.

import type { FlowIndex } from '../index/flow-index.ts';
import type { Counted, CountParameters, Question } from './answer.ts';
import { type Edge, type EdgeFigures, edgesOf, edgesView } from './edges.ts';
import type { GraphNode } from './nodes.ts';
import { type NodeKind, nodesOf } from './nodes-of.ts';

export const NEIGHBORS_LIMIT_DEFAULT = 1000;

export interface NeighborsParameters extends CountParameters {
  /** A name, as edges have it. */
  readonly node: string;
  readonly direction?: 'in' | 'out';
  readonly by?: NodeKind;
  readonly limit?: number;
}

/** A neighbour: who calls the node (`in`), or whom it calls (`out`). */
export interface Neighbor extends EdgeFigures {
  readonly direction: 'in' | 'out';
  readonly peer: GraphNode;
  /** The node that was asked about, as this record has it. */
  readonly node: GraphNode;
  /** Its part of the node's exchanges and connections in this direction, from 0 to 1. */
  readonly share: number;
  readonly filter: string;
}

/** Both directions of a node's edges. Throws QUERY_OVERLOADED. */
export async function neighbors(
  index: FlowIndex,
  question: Question,
  { node, direction, by, limit = NEIGHBORS_LIMIT_DEFAULT }: NeighborsParameters,
  nowMs: number,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  const nodes = nodesOf(index, by, question, nowMs);
  const isSource = (key: string): boolean => direction !== 'in' && nodes.node('source', key).name === node;
  const isDestination = (key: string): boolean => direction !== 'out' && nodes.node('destination', key).name === node;
  const view = edgesView(nodes, true, (source, destination) => isSource(source) || isDestination(destination));
  const { views, limits } = await index.aggregate({ ...question, size, signal, views: [view] });
  const edges = views[0] === undefined ? [] : edgesOf(views[0], nodes);
  const incoming = edges.filter(({ destination }) => direction !== 'out' && destination.name === node);
  const outgoing = edges.filter(({ source }) => direction !== 'in' && source.name === node);
  const rows = [...neighborsOf('in', incoming), ...neighborsOf('out', outgoing)];
  return { body: { neighbors: rows.slice(0, limit), groups: rows.length }, limits };
}

function neighborsOf(direction: 'in' | 'out', edges: readonly Edge[]): readonly Neighbor[] {
  const busy = ({ requests, connections }: EdgeFigures): number => requests + connections;
  const all = edges.reduce((sum, edge) => sum + busy(edge), 0);
  return edges.map(({ source, destination, ...figures }) => ({
    direction,
    peer: direction === 'in' ? source : destination,
    node: direction === 'in' ? destination : source,
    share: all === 0 ? 0 : busy(figures) / all,
    ...figures,
  }));
}
