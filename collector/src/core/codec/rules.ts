// The rules that bind rows, connections and outcomes (docs/formats.md 1.2, 1.4 and 1.5). Ingest applies them to a batch,
// and the verifier to the part of one that a proof shows. Nothing is allocated until a rule is broken.

import type { MeshtrailError } from '../error.ts';
import { malformed } from './dictionary.ts';
import {
  BIT,
  BITS_OF_HTTP,
  CONNECTION,
  CONNECTION_BYTES,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_REJECTED,
  CONNECTION_STRINGS,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  KIND_CONNECTION,
  KIND_HTTP,
  OTHER,
  OUTCOME,
  OUTCOME_STRINGS_OF_HTTP,
  PHASE_SHIFT,
  PHASES,
  PROTOCOLS,
  ROW,
  ROW_BYTES,
  ROW_STRINGS,
  type Shape,
  TLS_VERSIONS,
  VERDICTS,
} from './layout.ts';

/** Tells the kind of a dictionary entry; 0 for a number that no entry has. */
export interface Kinds {
  kind(number: number): number;
}

type Layout = Readonly<Record<string, number>>;
type Owner = 'row' | 'connection entry' | 'outcome entry';
const LAYOUTS: Readonly<Record<Owner, Layout>> = {
  row: ROW,
  'connection entry': CONNECTION,
  'outcome entry': OUTCOME,
};

/** Name of the field that covers an offset: the last one that begins at or before it. */
function fieldAt(layout: Layout, offset: number): string {
  let best = '';
  for (const [name, at] of Object.entries(layout))
    if (at <= offset && (best === '' || at > (layout[best] ?? 0))) best = name;
  return snakeCase(best);
}

/** A name of the layout tables as docs/formats.md spells it. */
export function snakeCase(name: string): string {
  return name.replace(/\d+$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function broken(
  owner: Owner,
  number: number,
  start: number,
  field: number,
  value: number,
  rule: string,
): MeshtrailError {
  return malformed(`${fieldAt(LAYOUTS[owner], field)} of ${owner} ${number}`, start + field, value, rule);
}

/** Bytes from one field up to another must be zero. */
function mustBeZero(view: DataView, owner: Owner, number: number, start: number, from: number, to: number): void {
  for (let field = from; field < to; field++) {
    const value = view.getUint8(start + field);
    if (value !== 0) throw broken(owner, number, start, field, value, '0, because it is reserved or absent');
  }
}

function mustReferTo(
  view: DataView,
  kinds: Kinds,
  owner: 'connection entry' | 'outcome entry',
  number: number,
  start: number,
  field: number,
  kind: number,
): void {
  const reference = view.getUint16(start + field, true);
  if (reference !== 0 && (reference >= number || kinds.kind(reference) !== kind))
    throw broken(owner, number, start, field, reference, `0 or the number of an earlier entry of kind ${kind}`);
}

const isOneOf = (value: number, names: readonly string[]): boolean => value < names.length || value === OTHER;

/** Checks the connection entry `number`, whose bytes begin at `start`. Throws BATCH_MALFORMED. */
export function checkConnection(view: DataView, start: number, number: number, kinds: Kinds, shape: Shape): void {
  const owner = 'connection entry';
  const direction = view.getUint8(start + CONNECTION.direction);
  if (direction > 2) throw broken(owner, number, start, CONNECTION.direction, direction, '0, 1 or 2');
  const mtls = view.getUint8(start + CONNECTION.mtls);
  if (mtls > 2) throw broken(owner, number, start, CONNECTION.mtls, mtls, '0, 1 or 2');
  const tlsVersion = view.getUint8(start + CONNECTION.tlsVersion);
  if (!isOneOf(tlsVersion, TLS_VERSIONS))
    throw broken(owner, number, start, CONNECTION.tlsVersion, tlsVersion, '0 to 4 or 255');
  const flags = view.getUint8(start + CONNECTION.flags);
  if ((flags & ~shape.connectionFlags) !== 0)
    throw broken(owner, number, start, CONNECTION.flags, flags, 'known bits only');
  mustBeZero(view, owner, number, start, CONNECTION.reserved12, CONNECTION.sourceAddress);
  if ((flags & CONNECTION_HAS_CERTIFICATE) === 0)
    mustBeZero(view, owner, number, start, CONNECTION.peerCertificateSha256, CONNECTION.filterStatePrincipal);
  mustBeZero(view, owner, number, start, shape.connectionUsed, CONNECTION_BYTES);
  mustReferTo(view, kinds, owner, number, start, CONNECTION.sourceAddress, ENTRY_PRIVATE);
  for (let i = 0; i < CONNECTION_STRINGS.length; i++)
    mustReferTo(view, kinds, owner, number, start, CONNECTION_STRINGS[i] as number, ENTRY_PUBLIC);
  if (shape.version === 1) return;
  const hasFailed = view.getUint16(start + CONNECTION.transportFailure, true) !== 0;
  if (hasFailed !== ((flags & CONNECTION_REJECTED) !== 0))
    throw broken(owner, number, start, CONNECTION.flags, flags, 'with bit 1 where transport_failure is present only');
}

/** Checks the outcome entry `number`, whose bytes begin at `start`. Throws BATCH_MALFORMED. */
export function checkOutcome(view: DataView, start: number, number: number, kinds: Kinds, shape: Shape): void {
  const owner = 'outcome entry';
  const protocol = view.getUint8(start + OUTCOME.protocol);
  if (!isOneOf(protocol, PROTOCOLS)) throw broken(owner, number, start, OUTCOME.protocol, protocol, '0 to 4 or 255');
  for (let field: number = OUTCOME.policyResult; field <= OUTCOME.shadowResult; field++) {
    const result = view.getUint8(start + field);
    if (result > 2) throw broken(owner, number, start, field, result, '0, 1 or 2');
  }
  mustBeZero(view, owner, number, start, OUTCOME.claimedPrincipal, shape.outcomeStringsFrom);
  mustBeZero(view, owner, number, start, shape.outcomeStringsTo + 2, shape.outcomeBytes);
  for (let field: number = shape.outcomeStringsFrom; field <= shape.outcomeStringsTo; field += 2)
    mustReferTo(view, kinds, owner, number, start, field, ENTRY_PUBLIC);
}

/** Checks row `number` of a batch, which begins at `start`; a connection's outcome takes `checkConnectionOutcome` too. Throws BATCH_MALFORMED. */
export function checkRow(view: DataView, start: number, number: number, kinds: Kinds, shape: Shape): void {
  const flags = view.getUint32(start + ROW.flags, true);
  if ((flags & ~shape.rowFlags) !== 0) throw broken('row', number, start, ROW.flags, flags, 'known bits only');
  const kind = view.getUint8(start + ROW.kind);
  if (kind < KIND_HTTP || kind > shape.kindMax)
    throw broken('row', number, start, ROW.kind, kind, shape.kindMax === KIND_HTTP ? '1' : '1 or 2');
  const verdict = view.getUint8(start + ROW.verdict);
  if (verdict === 0 || verdict >= VERDICTS.length) throw broken('row', number, start, ROW.verdict, verdict, '1 to 7');
  const connection = view.getUint16(start + ROW.connection, true);
  if (kinds.kind(connection) !== ENTRY_CONNECTION)
    throw broken('row', number, start, ROW.connection, connection, 'the number of a connection entry');
  const outcome = view.getUint16(start + ROW.outcome, true);
  if (kinds.kind(outcome) !== ENTRY_OUTCOME)
    throw broken('row', number, start, ROW.outcome, outcome, 'the number of an outcome entry');
  for (let i = 0; i < ROW_STRINGS.length; i++) {
    const field = ROW_STRINGS[i] as number;
    const reference = view.getUint16(start + field, true);
    if (reference !== 0 && (kind === KIND_CONNECTION || kinds.kind(reference) !== ENTRY_PRIVATE))
      throw broken('row', number, start, field, reference, REFERENCE_RULES[kind] as string);
  }
  if (view.getInt32(start + ROW.startNs + 4, true) < 0)
    throw malformed(`start_ns of row ${number}`, start + ROW.startNs, 'negative', 'a time since 1970');
  checkPresence(view, start, number, flags, kinds);
  // An ordinary row has none of them, and version 1 cannot.
  if (kind === KIND_CONNECTION || (flags & QUALITIES) !== 0) checkQualities(view, start, number, flags, kind);
}

const REFERENCE_RULES = ['', '0 or the number of a private string', '0, because a connection has none'];

/** Bits that demand something of their row. */
const QUALITIES = BIT.b3 | BIT.b3Short | BIT.b3Text | (3 << PHASE_SHIFT);

/** What is new with version 2: bits that need others, and values of phase. */
function checkQualities(view: DataView, start: number, number: number, flags: number, kind: number): void {
  const bad = (rule: string): MeshtrailError => broken('row', number, start, ROW.flags, flags, rule);
  if (kind === KIND_CONNECTION && (flags & BITS_OF_HTTP) !== 0) throw bad('without what only an exchange has');
  const phase = (flags >>> PHASE_SHIFT) & 3;
  if (phase >= PHASES.length) throw bad('with phase 0, 1 or 2');
  if (phase !== 0 && (flags & BIT.repeat) === 0) throw bad('a repeat where it is open or interval');
  if (phase !== 0 && VERDICTS[view.getUint8(start + ROW.verdict)] !== 'unknown')
    throw broken(
      'row',
      number,
      start,
      ROW.verdict,
      view.getUint8(start + ROW.verdict),
      '7 in an open or interval record',
    );
  if ((flags & BIT.b3Text) !== 0 && view.getUint16(start + ROW.traceText, true) === 0)
    throw bad('with bit 9 where trace_text is present only');
  if ((flags & BIT.b3) === 0) {
    if ((flags & BIT.b3Short) !== 0) throw bad('with bit 8 where bit 7 is set only');
    return;
  }
  if ((flags & BIT.trace) === 0) throw bad('with bit 7 where bit 5 is set only');
  const traceFlags = view.getUint8(start + ROW.traceFlags);
  if (traceFlags > 7) throw broken('row', number, start, ROW.traceFlags, traceFlags, '0 to 7 for B3');
  if ((flags & BIT.b3Short) !== 0) mustBeZero(view, 'row', number, start, ROW.traceId, ROW.traceId + 8);
}

/** Checks that the outcome of a connection has nothing of an exchange; its bytes begin at `start`. Throws BATCH_MALFORMED. */
export function checkConnectionOutcome(view: DataView, start: number, number: number): void {
  for (let i = 0; i < OUTCOME_STRINGS_OF_HTTP.length; i++) {
    const field = OUTCOME_STRINGS_OF_HTTP[i] as number;
    const reference = view.getUint16(start + field, true);
    if (reference !== 0)
      throw broken('outcome entry', number, start, field, reference, '0, because the outcome is of a connection');
  }
}

/** A field whose bit is not set is zero: absence has one spelling. */
function checkPresence(view: DataView, start: number, number: number, flags: number, kinds: Kinds): void {
  if ((flags & BIT.duration) === 0) mustBeZero(view, 'row', number, start, ROW.durationUs, ROW.headers);
  if ((flags & BIT.requestBytes) === 0) mustBeZero(view, 'row', number, start, ROW.requestBytes, ROW.attempts);
  if ((flags & BIT.attempts) === 0) mustBeZero(view, 'row', number, start, ROW.attempts, ROW.traceFlags);
  if ((flags & BIT.responseBytes) === 0) mustBeZero(view, 'row', number, start, ROW.responseBytes, ROW.traceText);
  if ((flags & BIT.trace) === 0) {
    mustBeZero(view, 'row', number, start, ROW.traceFlags, ROW.responseBytes);
    mustBeZero(view, 'row', number, start, ROW.traceId, ROW_BYTES);
  }
  const idForm = flags & (BIT.requestId | BIT.requestIdText);
  if (idForm === BIT.requestId) return;
  if (idForm === 0) {
    mustBeZero(view, 'row', number, start, ROW.requestId, ROW.traceId);
    return;
  }
  if (idForm !== BIT.requestIdText) throw broken('row', number, start, ROW.flags, flags, 'with one form of request_id');
  const reference = view.getUint16(start + ROW.requestId, true);
  if (kinds.kind(reference) !== ENTRY_PRIVATE)
    throw broken('row', number, start, ROW.requestId, reference, 'the number of a private string');
  mustBeZero(view, 'row', number, start, ROW.requestId + 2, ROW.traceId);
}

/** Whether a row is of a connection, not of an exchange. */
export function isConnectionRow(view: DataView, start: number): boolean {
  return view.getUint8(start + ROW.kind) === KIND_CONNECTION;
}

/** The reference to the text of a request id, or 0: its place is shared with the 16 bytes of a UUID, and the presence bit tells which it is. */
export function requestIdText(view: DataView, start: number): number {
  return (view.getUint32(start + ROW.flags, true) & BIT.requestIdText) === 0
    ? 0
    : view.getUint16(start + ROW.requestId, true);
}
