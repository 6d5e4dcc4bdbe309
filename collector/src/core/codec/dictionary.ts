// The dictionary of a batch (docs/formats.md 1.3 to 1.5), and the rules that bind rows and entries to it.

import { MeshtrailError } from '../error.ts';
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
  ROW_STRINGS,
  STRING_BYTES_MAX,
  TLS_VERSIONS,
  VERDICTS,
} from './layout.ts';

/** An error that names field, offset in the batch, value and rule. */
export function malformed(field: string, at: number, value: unknown, rule: string): MeshtrailError {
  return new MeshtrailError(
    'BATCH_MALFORMED',
    `The batch is malformed: ${field} at offset ${at} is ${String(value)}; it must be ${rule}.`,
  );
}

/** Entries numbered from 1, as offsets into the wire bytes. */
export class Dictionary {
  readonly count: number;
  readonly wire: Uint8Array;
  readonly view: DataView;
  private readonly kinds: Uint8Array;
  private readonly starts: Uint32Array;
  private readonly lengths: Uint16Array;

  /** Reads `count` entries that fill the bytes from `start` to `end` exactly. Throws BATCH_MALFORMED. */
  constructor(wire: Uint8Array, view: DataView, start: number, end: number, count: number) {
    this.wire = wire;
    this.view = view;
    this.count = count;
    this.kinds = new Uint8Array(count + 1);
    this.starts = new Uint32Array(count + 1);
    this.lengths = new Uint16Array(count + 1);
    let at = start;
    for (let number = 1; number <= count; number++) {
      if (at + 3 > end) throw malformed('dictionary', at, `cut at entry ${number}`, `${count} entries`);
      const kind = view.getUint8(at);
      const length = view.getUint16(at + 1, true);
      const isRightLength =
        kind === ENTRY_CONNECTION
          ? length === CONNECTION_BYTES
          : kind === ENTRY_OUTCOME
            ? length === OUTCOME_BYTES
            : length >= 1 && length <= STRING_BYTES_MAX;
      if (kind < ENTRY_PUBLIC || kind > ENTRY_OUTCOME)
        throw malformed(`kind of dictionary entry ${number}`, at, kind, '1, 2, 3 or 4');
      if (!isRightLength || at + 3 + length > end)
        throw malformed(
          `length of dictionary entry ${number}`,
          at + 1,
          length,
          'that of its kind, inside the dictionary',
        );
      this.kinds[number] = kind;
      this.starts[number] = at + 3;
      this.lengths[number] = length;
      at += 3 + length;
    }
    if (at !== end) throw malformed('dictionary_bytes', at, `${end - at} bytes too many`, `those of ${count} entries`);
  }

  /** Kind of an entry; 0 for a number that no entry has. */
  kind(number: number): number {
    return this.kinds[number] ?? 0;
  }

  /** Offset of an entry's bytes in the batch. */
  start(number: number): number {
    return this.starts[number] ?? 0;
  }

  bytes(number: number): Uint8Array {
    const start = this.start(number);
    return this.wire.subarray(start, start + (this.lengths[number] ?? 0));
  }

  /** Refuses two equal entries: a value has one number, so that equal references are equal values. Throws BATCH_MALFORMED. */
  checkUnique(): void {
    const seen = new Set<string>();
    for (let number = 1; number <= this.count; number++) {
      const start = this.start(number);
      // One character a byte: a key that is exact for any bytes, and much cheaper than a digest.
      const key = String.fromCharCode(
        this.kind(number),
        ...this.wire.subarray(start, start + (this.lengths[number] ?? 0)),
      );
      if (seen.has(key)) throw malformed(`dictionary entry ${number}`, start, 'equal to an earlier one', 'unique');
      seen.add(key);
    }
  }
}

function checkReference(dictionary: Dictionary, owner: string, at: number, kind: number, below: number): void {
  const number = dictionary.view.getUint16(at, true);
  if (number !== 0 && (number >= below || dictionary.kind(number) !== kind)) {
    throw malformed(`a reference of ${owner}`, at, number, `0 or the number of an earlier entry of kind ${kind}`);
  }
}

function mustBeZero(view: DataView, from: number, to: number, owner: string): void {
  for (let at = from; at < to; at++)
    if (view.getUint8(at) !== 0) throw malformed(`a reserved or absent field of ${owner}`, at, view.getUint8(at), '0');
}

const isOneOf = (value: number, names: readonly string[]): boolean => value < names.length || value === OTHER;

/** Checks a connection entry (docs/formats.md 1.4). Throws BATCH_MALFORMED. */
export function checkConnection(dictionary: Dictionary, number: number): void {
  const { view } = dictionary;
  const at = dictionary.start(number);
  const owner = `connection entry ${number}`;
  if (view.getUint8(at + CONNECTION.direction) > 2)
    throw malformed(
      `direction of ${owner}`,
      at + CONNECTION.direction,
      view.getUint8(at + CONNECTION.direction),
      '0, 1 or 2',
    );
  if (view.getUint8(at + CONNECTION.mtls) > 2)
    throw malformed(`mtls of ${owner}`, at + CONNECTION.mtls, view.getUint8(at + CONNECTION.mtls), '0, 1 or 2');
  if (!isOneOf(view.getUint8(at + CONNECTION.tlsVersion), TLS_VERSIONS))
    throw malformed(
      `tls_version of ${owner}`,
      at + CONNECTION.tlsVersion,
      view.getUint8(at + CONNECTION.tlsVersion),
      '0 to 4 or 255',
    );
  const flags = view.getUint8(at + CONNECTION.flags);
  if (flags > CONNECTION_HAS_CERTIFICATE) throw malformed(`flags of ${owner}`, at + CONNECTION.flags, flags, '0 or 1');
  mustBeZero(view, at + CONNECTION.reserved12, at + CONNECTION.sourceAddress, owner);
  mustBeZero(
    view,
    at + (flags === 0 ? CONNECTION.peerCertificateSha256 : CONNECTION.reserved64),
    at + CONNECTION_BYTES,
    owner,
  );
  checkReference(dictionary, owner, at + CONNECTION.sourceAddress, ENTRY_PRIVATE, number);
  for (const field of CONNECTION_STRINGS) checkReference(dictionary, owner, at + field, ENTRY_PUBLIC, number);
}

/** Checks an outcome entry (docs/formats.md 1.5). Throws BATCH_MALFORMED. */
export function checkOutcome(dictionary: Dictionary, number: number): void {
  const { view } = dictionary;
  const at = dictionary.start(number);
  const owner = `outcome entry ${number}`;
  if (!isOneOf(view.getUint8(at + OUTCOME.protocol), PROTOCOLS))
    throw malformed(
      `protocol of ${owner}`,
      at + OUTCOME.protocol,
      view.getUint8(at + OUTCOME.protocol),
      '0 to 4 or 255',
    );
  for (const field of [OUTCOME.policyResult, OUTCOME.shadowResult]) {
    if (view.getUint8(at + field) > 2)
      throw malformed(`a policy result of ${owner}`, at + field, view.getUint8(at + field), '0, 1 or 2');
  }
  mustBeZero(view, at + OUTCOME.reserved14, at + OUTCOME.method, owner);
  mustBeZero(view, at + OUTCOME.reserved44, at + OUTCOME_BYTES, owner);
  for (let field: number = OUTCOME_STRINGS_FROM; field <= OUTCOME_STRINGS_TO; field += 2)
    checkReference(dictionary, owner, at + field, ENTRY_PUBLIC, number);
}

function mustHaveKind(dictionary: Dictionary, at: number, kind: number, row: number): void {
  const number = dictionary.view.getUint16(at, true);
  if (number === 0 || dictionary.kind(number) !== kind)
    throw malformed(`a reference of row ${row}`, at, number, `the number of an entry of kind ${kind}`);
}

/** Checks the row at an offset (docs/formats.md 1.2). Throws BATCH_MALFORMED. */
export function checkRow(view: DataView, dictionary: Dictionary, at: number, row: number): void {
  const flags = view.getUint32(at + ROW.flags, true);
  if ((flags & ~BITS_KNOWN) !== 0) throw malformed(`flags of row ${row}`, at, flags, 'known bits only');
  if (view.getUint8(at + ROW.kind) !== KIND_HTTP)
    throw malformed(`kind of row ${row}`, at + ROW.kind, view.getUint8(at + ROW.kind), '1');
  const verdict = view.getUint8(at + ROW.verdict);
  if (verdict === 0 || verdict >= VERDICTS.length)
    throw malformed(`verdict of row ${row}`, at + ROW.verdict, verdict, '1 to 7');
  mustHaveKind(dictionary, at + ROW.connection, ENTRY_CONNECTION, row);
  mustHaveKind(dictionary, at + ROW.outcome, ENTRY_OUTCOME, row);
  for (let i = 0; i < ROW_STRINGS.length; i++) {
    const number = view.getUint16(at + (ROW_STRINGS[i] as number), true);
    if (number !== 0 && dictionary.kind(number) !== ENTRY_PRIVATE)
      throw malformed(
        `a reference of row ${row}`,
        at + (ROW_STRINGS[i] as number),
        number,
        '0 or the number of a private string',
      );
  }
  if (view.getInt32(at + ROW.startNs + 4, true) < 0)
    throw malformed(`start_ns of row ${row}`, at + ROW.startNs, 'negative', 'a time since 1970');
  checkAbsent(view, dictionary, at, flags, row);
}

/** A field whose bit is not set is zero: absence has one spelling. */
function checkAbsent(view: DataView, dictionary: Dictionary, at: number, flags: number, row: number): void {
  const owner = `row ${row}`;
  if ((flags & BIT.duration) === 0) mustBeZero(view, at + ROW.durationUs, at + ROW.headers, owner);
  if ((flags & BIT.requestBytes) === 0) mustBeZero(view, at + ROW.requestBytes, at + ROW.attempts, owner);
  if ((flags & BIT.attempts) === 0) mustBeZero(view, at + ROW.attempts, at + ROW.traceFlags, owner);
  if ((flags & BIT.responseBytes) === 0) mustBeZero(view, at + ROW.responseBytes, at + ROW.traceText, owner);
  const idBits = flags & (BIT.requestId | BIT.requestIdText);
  if (idBits === (BIT.requestId | BIT.requestIdText))
    throw malformed(`flags of ${owner}`, at, flags, 'one form of request_id');
  if (idBits === 0) mustBeZero(view, at + ROW.requestId, at + ROW.traceId, owner);
  if (idBits === BIT.requestIdText) mustBeZero(view, at + ROW.requestId + 2, at + ROW.traceId, owner);
  if (idBits === BIT.requestIdText && dictionary.kind(requestIdText(view, at)) !== ENTRY_PRIVATE) {
    throw malformed(
      `request_id of ${owner}`,
      at + ROW.requestId,
      requestIdText(view, at),
      'the number of a private string',
    );
  }
  if ((flags & BIT.trace) === 0) {
    mustBeZero(view, at + ROW.traceFlags, at + ROW.responseBytes, owner);
    mustBeZero(view, at + ROW.traceId, at + ROW.spanId + 8, owner);
  }
}

/** The reference to the text of a request id, or 0: its place is shared with the 16 bytes of a UUID, and the presence bit tells which it is. */
export function requestIdText(view: DataView, at: number): number {
  return (view.getUint32(at + ROW.flags, true) & BIT.requestIdText) === 0
    ? 0
    : view.getUint16(at + ROW.requestId, true);
}
