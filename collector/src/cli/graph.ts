// A graph as text for programs that draw it: Mermaid and Graphviz.

import type { GraphNode } from './count.ts';
import { nodeText } from './count.ts';
import { visible } from './output.ts';

export interface GraphEdge {
  readonly source: GraphNode;
  readonly destination: GraphNode;
  readonly label: string;
  readonly style?: 'denied' | 'new' | 'gone';
}

function nodesOf(edges: readonly GraphEdge[]): ReadonlyMap<string, string> {
  const ids = new Map<string, string>();
  for (const { source, destination } of edges)
    for (const node of [source, destination]) {
      const name = nameOf(node);
      if (!ids.has(name)) ids.set(name, `n${ids.size}`);
    }
  return ids;
}

const nameOf = (node: GraphNode): string => visible(nodeText(node) ?? 'unknown');

/** A recorded name must not end its quotes, nor be taken for markup. */
const inMermaid = (text: string): string => `"${text.replace(/["#&<>`\\]/g, (c) => `#${c.codePointAt(0)};`)}"`;
const inDot = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

const ARROWS = { denied: '-.->', new: '==>', gone: '-.->' } as const;
const COLORS = { denied: 'red', new: 'green', gone: 'gray' } as const;

/** A Mermaid flowchart. */
export function mermaid(edges: readonly GraphEdge[]): string {
  const nodes = nodesOf(edges);
  return [
    'flowchart LR',
    ...[...nodes].map(([name, id]) => `  ${id}[${inMermaid(name)}]`),
    ...edges.map(({ source, destination, label, style }) => {
      const arrow = style === undefined ? '-->' : ARROWS[style];
      return `  ${nodes.get(nameOf(source))} ${arrow}|${inMermaid(visible(label))}| ${nodes.get(nameOf(destination))}`;
    }),
  ].join('\n');
}

/** A Graphviz digraph. */
export function dot(edges: readonly GraphEdge[]): string {
  const nodes = nodesOf(edges);
  return [
    'digraph meshtrail {',
    '  rankdir=LR;',
    ...[...nodes].map(([name, id]) => `  ${id} [label=${inDot(name)}];`),
    ...edges.map(({ source, destination, label, style }) => {
      const look = style === undefined ? '' : `, color=${COLORS[style]}${style === 'new' ? '' : ', style=dashed'}`;
      return `  ${nodes.get(nameOf(source))} -> ${nodes.get(nameOf(destination))} [label=${inDot(visible(label))}${look}];`;
    }),
    '}',
  ].join('\n');
}
