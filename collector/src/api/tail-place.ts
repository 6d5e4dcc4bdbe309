// Where a reader of the tail stands, as the text of an event's id: what comes behind it is what the reader has not seen.

import { parseDecimal } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';

export interface TailPlace {
  /** The next record, in the order of the log. */
  readonly index: number;
  readonly row: number;
  /** The bound of time of the first connection, so that a relative one stays where it was. */
  readonly sinceNs?: bigint;
}

const CHARACTERS_MAX = 80;
const SINCE = /^\d{1,20}$/;

/**
 * The id behind which a place lies: `<entry>.<record>` behind that record, `<entry>` before that entry, with `@<Unix ns>` where
 * the tail has a bound of time.
 */
export function formatTailPlace({ index, row, sinceNs }: TailPlace): string {
  return `${row === 0 ? index : `${index}.${row - 1}`}${sinceNs === undefined ? '' : `@${sinceNs}`}`;
}

/** Reads the id of an event. Throws CURSOR_INVALID. */
export function parseTailPlace(text: string, size: number): TailPlace {
  const bad = (why: string): MeshtrailError =>
    new MeshtrailError(
      'CURSOR_INVALID',
      `The place ${why}; take the id of an event of this very tail, or start without one.`,
    );
  const [place = '', since, ...rest] = text.slice(0, CHARACTERS_MAX + 1).split('@');
  const [leaf = '', record, ...more] = place.split('.');
  if (text.length > CHARACTERS_MAX || rest.length > 0 || more.length > 0) throw bad('is malformed');
  const index = decimal(leaf);
  const row = record === undefined ? -1 : decimal(record);
  if (index === undefined || row === undefined || (since !== undefined && !SINCE.test(since)))
    throw bad('is malformed');
  if (index > size || (index === size && row >= 0)) throw bad('names entries that this log does not have');
  return { index, row: row + 1, ...(since === undefined ? {} : { sinceNs: BigInt(since) }) };
}

function decimal(text: string): number | undefined {
  try {
    return parseDecimal(text);
  } catch {
    return undefined;
  }
}
