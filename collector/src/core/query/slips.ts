// What people write who come from another query language, and what it is called here.

import { type Attribute, type AttributeValue, nearestChoice } from '../attributes.ts';
import type { ErrorPosition } from '../error.ts';

const TEXT_TESTS = 'x.startsWith("a"), x.endsWith("a") or x.contains("a")';
const WRITTEN: ReadonlyMap<string, string> = new Map([
  ['and', '&&'],
  ['&', '&&'],
  ['or', '||'],
  ['|', '||'],
  ['not', '!'],
  ['=', '=='],
  ['===', '=='],
  ['is', '=='],
  ['<>', '!='],
  ['!==', '!='],
  ['like', TEXT_TESTS],
  ['ilike', TEXT_TESTS],
  ['~', TEXT_TESTS],
  ['=~', TEXT_TESTS],
]);
const TOKENS = /(?<![\w.])[A-Za-z]+|[=<>!&|~]+/g;

/** A slip, where it stands and what to say of it. */
export interface Slip {
  readonly position: ErrorPosition;
  readonly message: string;
}

/** What to say of a word or sign that is written in another way here; undefined for all others. */
export function slipOf(word: string): string | undefined {
  const written = WRITTEN.get(word.toLowerCase());
  return written === undefined ? undefined : `${JSON.stringify(word)} is written ${written} here.`;
}

/** The slip where a parser gave up: it stumbles over the word itself, or takes it for a name and stumbles over the next one. */
export function slipAt(text: string, at: number): Slip | undefined {
  let before: ErrorPosition | undefined;
  for (const { 0: word, index: start } of text.matchAll(TOKENS)) {
    const end = start + word.length;
    if (start > at) break;
    const isNext = before !== undefined && text.slice(before.end, start).trim() === '';
    const candidates = end > at ? [{ start, end }, ...(isNext ? [before as ErrorPosition] : [])] : [];
    for (const position of candidates) {
      const message = slipOf(text.slice(position.start, position.end));
      if (message !== undefined) return { position, message };
    }
    before = { start, end };
  }
  return undefined;
}

/** Why a field never has a value, when its list of values is closed and the value is not in it; and the one that was probably meant. */
export function strangeValue(
  { name, choices, isOnlyTrue }: Attribute,
  value: AttributeValue,
): { readonly message: string; readonly nearest: string | undefined } | undefined {
  if (isOnlyTrue === true && value === false)
    return { message: `${name} is true or absent, never false: write !has(${name}).`, nearest: undefined };
  if (choices === undefined || typeof value !== 'string' || choices.includes(value)) return undefined;
  const nearest = nearestChoice(value, choices);
  const hint = nearest === undefined ? '.' : `; did you mean "${nearest}"?`;
  return { message: `${name} is never ${JSON.stringify(value)}, only ${choices.join(', ')}${hint}`, nearest };
}
