// The rules that bind rows, connections and outcomes (docs/formats.md 1.2, 1.4 and 1.5). Ingest applies them to a batch,
// and the verifier to the part of one that a proof shows. Nothing is allocated until a rule is broken.

import type { MeshtrailError } from '../error.ts';
import { malformed } from './dictionary.ts';
import {
  BIT,
  BITS_KNOWN,
  CONNECTION,
  CONNECTION_BYTES,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_STRINGS,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  KIND_HTTP,
  OTHER,
  OUTCOME,
  OUTCOME_BYTES,
  OUTCOME_STRINGS_FROM,
  OUTCOME_STRINGS_TO,
  PROTOCOLS,
  ROW,
  ROW_BYTES,
  ROW_STRINGS,
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
export function checkConnection(view: DataView, start: number, number: number, kinds: Kinds): void {
  const owner = 'connection entry';
  const direction = view.getUint8(start + CONNECTION.direction);
  if (direction > 2) throw broken(owner, number, start, CONNECTION.direction, direction, '0, 1 or 2');
  const mtls = view.getUint8(start + CONNECTION.mtls);
  if (mtls > 2) throw broken(owner, number, start, CONNECTION.mtls, mtls, '0, 1 or 2');
  const tlsVersion = view.getUint8(start + CONNECTION.tlsVersion);
  if (!isOneOf(tlsVersion, TLS_VERSIONS))
    throw broken(owner, number, start, CONNECTION.tlsVersion, tlsVersion, '0 to 4 or 255');
  const flags = view.getUint8(start + CONNECTION.flags);
  if (flags > CONNECTION_HAS_CERTIFICATE) throw broken(owner, number, start, CONNECTION.flags, flags, '0 or 1');
  mustBeZero(view, owner, number, start, CONNECTION.reserved12, CONNECTION.sourceAddress);
  const zeroFrom = flags === 0 ? CONNECTION.peerCertificateSha256 : CONNECTION.reserved64;
  mustBeZero(view, owner, number, start, zeroFrom, CONNECTION_BYTES);
  mustReferTo(view, kinds, owner, number, start, CONNECTION.sourceAddress, ENTRY_PRIVATE);
  for (let i = 0; i < CONNECTION_STRINGS.length; i++)
    mustReferTo(view, kinds, owner, number, start, CONNECTION_STRINGS[i] as number, ENTRY_PUBLIC);
}

/** Checks the outcome entry `number`, whose bytes begin at `start`. Throws BATCH_MALFORMED. */
export function checkOutcome(view: DataView, start: number, number: number, kinds: Kinds): void {
  const owner = 'outcome entry';
  const protocol = view.getUint8(start + OUTCOME.protocol);
  if (!isOneOf(protocol, PROTOCOLS)) throw broken(owner, number, start, OUTCOME.protocol, protocol, '0 to 4 or 255');
  for (let field: number = OUTCOME.policyResult; field <= OUTCOME.shadowResult; field++) {
    const result = view.getUint8(start + field);
    if (result > 2) throw broken(owner, number, start, field, result, '0, 1 or 2');
  }
  mustBeZero(view, owner, number, start, OUTCOME.reserved14, OUTCOME.method);
  mustBeZero(view, owner, number, start, OUTCOME.reserved44, OUTCOME_BYTES);
  for (let field: number = OUTCOME_STRINGS_FROM; field <= OUTCOME_STRINGS_TO; field += 2)
    mustReferTo(view, kinds, owner, number, start, field, ENTRY_PUBLIC);
}

/** Checks row `number` of a batch, which begins at `start`. Throws BATCH_MALFORMED. */
export function checkRow(view: DataView, start: number, number: number, kinds: Kinds): void {
  const flags = view.getUint32(start + ROW.flags, true);
  if ((flags & ~BITS_KNOWN) !== 0) throw broken('row', number, start, ROW.flags, flags, 'known bits only');
  const kind = view.getUint8(start + ROW.kind);
  if (kind !== KIND_HTTP) throw broken('row', number, start, ROW.kind, kind, '1');
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
    if (reference !== 0 && kinds.kind(reference) !== ENTRY_PRIVATE)
      throw broken('row', number, start, field, reference, '0 or the number of a private string');
  }
  if (view.getInt32(start + ROW.startNs + 4, true) < 0)
    throw malformed(`start_ns of row ${number}`, start + ROW.startNs, 'negative', 'a time since 1970');
  checkPresence(view, start, number, flags, kinds);
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

/** The reference to the text of a request id, or 0: its place is shared with the 16 bytes of a UUID, and the presence bit tells which it is. */
export function requestIdText(view: DataView, start: number): number {
  return (view.getUint32(start + ROW.flags, true) & BIT.requestIdText) === 0
    ? 0
    : view.getUint16(start + ROW.requestId, true);
}
