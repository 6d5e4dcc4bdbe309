// Which fields a filter speaks of.

import { ATTRIBUTES } from '../attributes.ts';
import { type Node, parse } from './parse.ts';

/** Names of the fields in a filter's text. Throws FILTER_INVALID. */
export function namesIn(text: string): ReadonlySet<string> {
  const names = new Set<string>();
  collect(parse(text), names);
  return names;
}

function collect(part: unknown, names: Set<string>): void {
  if (Array.isArray(part)) {
    for (const one of part) collect(one, names);
    return;
  }
  if (typeof part !== 'object' || part === null || !('op' in part)) return;
  const node = part as Node;
  const name = dotted(node);
  if (name !== undefined && ATTRIBUTES.has(name)) names.add(name);
  else collect(node.args, names);
}

function dotted(node: Node): string | undefined {
  if (node.op === 'id') return String(node.args);
  if (node.op !== '.') return undefined;
  const [owner, field] = node.args as [Node, string];
  const head = dotted(owner);
  return head === undefined ? undefined : `${head}.${field}`;
}
