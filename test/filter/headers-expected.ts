// What docs/formats.md says that a record keeps of a request's headers: ids of request and trace, the caller's claim.

import { bytesOf, type Pairs, type Text } from '../host/abi.ts';
import { headerOf } from './exchange.ts';
import type { Flat } from './flat.ts';

/** Cuts a text to its limit and remembers that it did. */
export type Cut = (value: Text) => string | undefined;

const latin1 = (value: Text): string => Buffer.from(bytesOf(value)).toString('latin1');
const isZero = (hex: string): boolean => /^0+$/.test(hex);

export function requestIdOf(pairs: Pairs | undefined, cut: Cut): Flat {
  const id = headerOf(pairs, 'x-request-id');
  if (id === undefined) return {};
  const text = latin1(id);
  const isUuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
  return isUuid ? { request_id: text.replaceAll('-', '') } : { request_id_text: cut(id) };
}

/** W3C Trace Context, 3.2. */
function traceParentOf(pairs: Pairs | undefined, cut: Cut): Flat {
  const all = (pairs ?? []).flatMap(([name, value]) => (latin1(name) === 'traceparent' ? [latin1(value)] : []));
  const given = all.filter((value) => value.length > 0);
  const [first] = given;
  if (first === undefined) return {};
  const parsed = /^[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*$/s.exec(first);
  const [, version = '', trace = '', span = '', flags = '', rest] = parsed ?? [];
  const isValid =
    parsed !== null && version !== 'ff' && !isZero(trace) && !isZero(span) && (version !== '00' || rest === undefined);
  if (given.length === 1 && isValid) return { trace_id: trace, span_id: span, trace_flags: Number.parseInt(flags, 16) };
  return { trace_text: cut(Buffer.from(given.join(', '), 'latin1')) };
}

const B3_NAMES = ['b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-sampled', 'x-b3-parentspanid', 'x-b3-flags'] as const;
const SINGLE = /^([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d]))?(?:-([0-9a-f]{16}))?$/;
const STATES: Readonly<Record<string, number>> = { 0: 0, 1: 1, d: 3 };
const UNDECIDED = 4;

/** The `b3` header as fields of the others; undefined when it is malformed. */
function singleOf(value: string): Partial<Record<(typeof B3_NAMES)[number], string>> | undefined {
  if (/^[01d]$/.test(value)) return {};
  const [, trace, span, state, parent] = SINGLE.exec(value) ?? [];
  if (trace === undefined || span === undefined) return undefined;
  return {
    'x-b3-traceid': trace,
    'x-b3-spanid': span,
    ...(state === 'd' ? { 'x-b3-flags': '1' } : state === undefined ? {} : { 'x-b3-sampled': state }),
    ...(parent === undefined ? {} : { 'x-b3-parentspanid': parent }),
  };
}

/** B3 propagation, where no valid `traceparent` is. */
function b3Of(pairs: Pairs | undefined, trace: Flat, cut: Cut): Flat {
  const given = B3_NAMES.flatMap((name) => {
    const value = headerOf(pairs, name);
    return value === undefined ? [] : [[name, latin1(value)] as const];
  });
  if (given.length === 0 || trace['trace_id'] !== undefined) return {};
  const text = given.map(([name, value]) => `${name}: ${value}\n`).join('');
  const malformed = (): Flat =>
    trace['trace_text'] === undefined ? { trace_text: cut(Buffer.from(text, 'latin1')), trace_text_is_b3: 1 } : {};
  const all = Object.fromEntries(given);
  const fields = all['b3'] === undefined ? all : singleOf(all['b3']);
  if (fields === undefined) return malformed();
  const { 'x-b3-traceid': id, 'x-b3-spanid': span, 'x-b3-parentspanid': parent } = fields;
  const { 'x-b3-sampled': sampled, 'x-b3-flags': flags } = fields;
  if (sampled !== undefined && !/^[01]$/.test(sampled)) return malformed();
  const isId = (value: string | undefined, lengths: readonly number[]): boolean =>
    value !== undefined && lengths.includes(value.length) && /^[0-9a-f]+$/.test(value) && !isZero(value);
  // A decision alone names no span.
  if (id === undefined && span === undefined && parent === undefined) return {};
  if (!isId(id, [16, 32]) || !isId(span, [16]) || (parent !== undefined && !isId(parent, [16]))) return malformed();
  const state = flags === '1' ? STATES['d'] : sampled === undefined ? UNDECIDED : STATES[sampled];
  return {
    trace_id: id?.padStart(32, '0'),
    span_id: span,
    trace_flags: state,
    trace_is_b3: 1,
    trace_is_short: id?.length === 16 ? 1 : undefined,
  };
}

export function traceOf(pairs: Pairs | undefined, cut: Cut): Flat {
  const trace = traceParentOf(pairs, cut);
  return { ...trace, ...b3Of(pairs, trace, cut) };
}

/** The first URI of the last element of `x-forwarded-client-cert`; of repeated headers the last one counts. */
export function claimedPrincipalOf(pairs: Pairs | undefined): Text | undefined {
  const values = (pairs ?? []).filter(
    ([name, value]) => latin1(name) === 'x-forwarded-client-cert' && value.length > 0,
  );
  const last = values.at(-1);
  if (last === undefined) return undefined;
  const elements = splitOutsideQuotes(latin1(last[1]), ',');
  const pairsOf = splitOutsideQuotes(elements?.at(-1) ?? '', ';') ?? [];
  const uri = pairsOf.map((pair) => /^ *uri=(.+)$/is.exec(pair)?.[1]).find((value) => value !== undefined);
  if (uri?.startsWith('"') !== true) return uri === undefined ? undefined : Buffer.from(uri, 'latin1');
  return uri.length > 2 && uri.endsWith('"') ? Buffer.from(uri.slice(1, -1), 'latin1') : undefined;
}

/** Parts a text; a quote behind `=` begins what is not parted, up to the next one without a backslash. Undefined: none came. */
function splitOutsideQuotes(text: string, delimiter: string): string[] | undefined {
  const parts = [''];
  let isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i] ?? '';
    if (isQuoted && character === '\\') {
      parts.push(`${parts.pop()}${character}${text[++i] ?? ''}`);
      continue;
    }
    if (isQuoted) isQuoted = character !== '"';
    else if (character === '"' && text[i - 1] === '=') isQuoted = true;
    if (!isQuoted && character === delimiter) parts.push('');
    else parts.push(`${parts.pop()}${character}`);
  }
  return isQuoted ? undefined : parts;
}
