// From a filter's text to its syntax tree, by a library; what is wrong is told with its place.

import { type ASTNode, Environment } from '@marcbachmann/cel-js';
import { type ErrorPosition, MeshtrailError, reasonOf } from '../error.ts';
import { slipAt } from './slips.ts';

export const FILTER_LIMITS = { characters: 4096, nodes: 500, depth: 50, listElements: 256 } as const;

/** A part of a filter's syntax tree. */
export type Node = ASTNode & {
  readonly op: string;
  readonly args: unknown;
  readonly start: number;
  readonly end: number;
};

/** The error of a filter that is wrong at a place. */
export function invalid(position: ErrorPosition, message: string, nearest?: string): MeshtrailError {
  return new MeshtrailError('FILTER_INVALID', `The filter is invalid at character ${position.start + 1}: ${message}`, {
    position,
    nearest,
  });
}

export const placeOf = ({ start, end }: Node): ErrorPosition => ({ start, end });

const environment = new Environment({
  unlistedVariablesAreDyn: true,
  limits: {
    maxAstNodes: FILTER_LIMITS.nodes,
    maxDepth: FILTER_LIMITS.depth,
    maxListElements: FILTER_LIMITS.listElements,
    maxMapEntries: 0,
    maxCallArguments: 4,
  },
});

/** Parses a text. Throws FILTER_INVALID with the position. */
export function parse(text: string): Node {
  const whole = { start: 0, end: text.length };
  if (text.length > FILTER_LIMITS.characters)
    throw invalid(whole, `it has ${text.length} characters; at most ${FILTER_LIMITS.characters} are accepted.`);
  if (text.trim() === '')
    throw new MeshtrailError('FILTER_INVALID', 'The filter is empty; without one, every record matches.', {
      position: whole,
    });
  try {
    return environment.parse(text).ast as Node;
  } catch (cause) {
    const { range, summary } = cause as { readonly range?: ErrorPosition; readonly summary?: string };
    const { start, end } = range ?? whole;
    const slip = summary?.startsWith('Unexpected') === true ? slipAt(text, start) : undefined;
    if (slip !== undefined) throw invalid(slip.position, slip.message);
    const symbol = String.fromCodePoint(text.codePointAt(start) ?? 0);
    // The parser takes the first half of a character beyond U+FFFF for the whole; half a character is no text.
    if (symbol.length > 1)
      throw invalid({ start, end: start + symbol.length }, `${symbol} is not part of the language.`);
    throw invalid({ start, end: Math.max(start, end) }, `${reasonOf(summary ?? cause)}.`);
  }
}
