// Keyset cursors: a place in one query's order, at one size of the log. A cursor is no secret and no capability; it is checked because it comes back from outside.

import { equalBytes, fromBase64, fromUtf8, toBase64, utf8 } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';
import { sha256 } from '../core/hash.ts';
import type { FlowPosition } from '../index/flow-index.ts';

export interface Cursor {
  readonly position: FlowPosition;
  /** Log entries that the first page saw. */
  readonly size: number;
  /** Resolved bounds of the first page, so that relative times stay where they were. */
  readonly sinceNs?: bigint;
  readonly untilNs?: bigint;
}

const VERSION = '1';
const CHARACTERS_MAX = 512;
/** Unix ns: years 0 to 9999 have up to 21 digits. */
const NANOSECONDS = /^-?\d{1,21}$/;
const COUNT = /^\d{1,16}$/;

function digestOf(query: string): string {
  return toBase64(sha256(utf8(query)).subarray(0, 9));
}

/** The text of a cursor for a query, whose own text (filter, order, origin, bounds as given) it is bound to. */
export function formatCursor({ position, size, sinceNs, untilNs }: Cursor, query: string): string {
  const fields = [
    VERSION,
    digestOf(query),
    position.startNs,
    position.index,
    position.row,
    size,
    sinceNs ?? '',
    untilNs ?? '',
  ];
  return toBase64(utf8(fields.join(' ')))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/** Reads a cursor of a query. Throws CURSOR_INVALID. */
export function parseCursor(text: string, query: string, size: number): Cursor {
  const bad = (why: string): MeshtrailError =>
    new MeshtrailError(
      'CURSOR_INVALID',
      `The cursor ${why}; take the nextCursor of an answer to this very query, or start without one.`,
    );
  if (text.length > CHARACTERS_MAX || !/^[A-Za-z0-9_-]+$/.test(text)) throw bad('is malformed');
  let fields: string[];
  try {
    const base64 = text.replaceAll('-', '+').replaceAll('_', '/');
    fields = (fromUtf8(fromBase64(base64.padEnd(Math.ceil(base64.length / 4) * 4, '='))) ?? '').split(' ');
  } catch {
    throw bad('is malformed');
  }
  const [version, digest = '', startNs = '', index = '', row = '', asOf = '', sinceNs = '', untilNs = ''] = fields;
  const isWhole =
    fields.length === 8 &&
    [index, row, asOf].every((field) => COUNT.test(field)) &&
    NANOSECONDS.test(startNs) &&
    [sinceNs, untilNs].every((field) => field === '' || NANOSECONDS.test(field));
  if (version !== VERSION || !isWhole) throw bad('is malformed');
  if (!equalBytes(utf8(digest), utf8(digestOf(query)))) throw bad('belongs to another query');
  const cursor: Cursor = {
    position: { startNs: BigInt(startNs), index: Number(index), row: Number(row) },
    size: Number(asOf),
    ...(sinceNs === '' ? {} : { sinceNs: BigInt(sinceNs) }),
    ...(untilNs === '' ? {} : { untilNs: BigInt(untilNs) }),
  };
  if (cursor.size > size || cursor.position.index >= cursor.size)
    throw bad('names entries that this log does not have');
  return cursor;
}
