// How the nodes of an answer about a time range are named.

import type { FlowIndex } from '../index/flow-index.ts';
import type { Bounds } from './answer.ts';
import { type NodeKind, Nodes, podsOf } from './nodes.ts';

export type { NodeKind };

/** Names for nodes of a kind; pods by the proxies that lived in this time. */
export function nodesOf(index: FlowIndex, kind: NodeKind = 'workload', bounds: Bounds, nowMs: number): Nodes {
  if (kind !== 'pod') return new Nodes(kind);
  const { sinceNs, untilNs } = bounds;
  const { proxies } = index.coverage({
    nowMs,
    ...(sinceNs === undefined ? {} : { sinceNs }),
    ...(untilNs === undefined ? {} : { untilNs }),
  });
  return new Nodes(kind, podsOf(proxies.flatMap(({ node }) => (node === undefined ? [] : [node]))));
}
