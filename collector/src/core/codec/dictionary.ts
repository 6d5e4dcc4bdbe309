// The dictionary of a batch (docs/formats.md 1.3), as offsets into the wire bytes.

import { MeshtrailError } from '../error.ts';
import { CONNECTION_BYTES, ENTRY_CONNECTION, ENTRY_OUTCOME, ENTRY_PUBLIC, STRING_BYTES_MAX } from './layout.ts';

/** Entry head: u8 kind, u16 length. */
export const ENTRY_HEAD_BYTES = 3;

/** An error that names field, offset in the batch, value and rule. */
export function malformed(field: string, at: number, value: unknown, rule: string): MeshtrailError {
  return new MeshtrailError(
    'BATCH_MALFORMED',
    `The batch is malformed: ${field} at offset ${at} is ${String(value)}; it must be ${rule}.`,
  );
}

function isLengthOf(kind: number, length: number, outcomeBytes: number): boolean {
  if (kind === ENTRY_CONNECTION) return length === CONNECTION_BYTES;
  if (kind === ENTRY_OUTCOME) return length === outcomeBytes;
  return length >= 1 && length <= STRING_BYTES_MAX;
}

/** Entries numbered from 1. */
export class Dictionary {
  readonly count: number;
  private readonly wire: Uint8Array;
  private readonly kinds: Uint8Array;
  private readonly starts: Uint32Array;
  private readonly lengths: Uint16Array;

  /** Reads `count` entries that fill the bytes from `start` to `end` exactly; outcomes have `outcomeBytes`. Throws BATCH_MALFORMED. */
  constructor(wire: Uint8Array, view: DataView, start: number, end: number, count: number, outcomeBytes: number) {
    this.wire = wire;
    this.count = count;
    this.kinds = new Uint8Array(count + 1);
    this.starts = new Uint32Array(count + 1);
    this.lengths = new Uint16Array(count + 1);
    let at = start;
    for (let number = 1; number <= count; number++) {
      if (at + ENTRY_HEAD_BYTES > end)
        throw malformed('dictionary', at, `cut at entry ${number}`, `${count} entries, as dictionary_count says`);
      const kind = view.getUint8(at);
      const length = view.getUint16(at + 1, true);
      if (kind < ENTRY_PUBLIC || kind > ENTRY_OUTCOME)
        throw malformed(`kind of dictionary entry ${number}`, at, kind, '1, 2, 3 or 4');
      if (!isLengthOf(kind, length, outcomeBytes) || at + ENTRY_HEAD_BYTES + length > end)
        throw malformed(
          `length of dictionary entry ${number}`,
          at + 1,
          length,
          'that of its kind, inside the dictionary',
        );
      this.kinds[number] = kind;
      this.starts[number] = at + ENTRY_HEAD_BYTES;
      this.lengths[number] = length;
      at += ENTRY_HEAD_BYTES + length;
    }
    if (at !== end)
      throw malformed('dictionary', at, `longer by ${end - at} bytes`, `${count} entries, as dictionary_count says`);
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
    // Half full at most, so that a probe or two find a place.
    let size = 16;
    while (size < 2 * this.count) size *= 2;
    const table = new Uint16Array(size);
    // Somebody who makes values collide gets the slower way, whose cost he cannot raise.
    let probesLeft = 64 + 8 * this.count;
    for (let number = 1; number <= this.count; number++) {
      let place = this.hashOf(number) & (size - 1);
      for (let other = table[place] as number; other !== 0; other = table[place] as number) {
        if (this.isEqual(number, other)) throw this.notUnique(number, other);
        if (--probesLeft === 0) {
          this.checkUniqueByKey();
          return;
        }
        place = (place + 1) & (size - 1);
      }
      table[place] = number;
    }
  }

  private notUnique(number: number, other: number): MeshtrailError {
    return malformed(`dictionary entry ${number}`, this.start(number), `equal to entry ${other}`, 'unique');
  }

  /** FNV-1a over kind and bytes, its upper half folded into the lower. */
  private hashOf(number: number): number {
    const { wire } = this;
    const start = this.starts[number] as number;
    const end = start + (this.lengths[number] as number);
    let hash = 0x811c9dc5 ^ (this.kinds[number] as number);
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (wire[at] as number), 0x01000193);
    return hash ^ (hash >>> 15);
  }

  private isEqual(a: number, b: number): boolean {
    const length = this.lengths[a] as number;
    if (length !== this.lengths[b] || this.kinds[a] !== this.kinds[b]) return false;
    const { wire } = this;
    const [startA, startB] = [this.starts[a] as number, this.starts[b] as number];
    for (let i = 0; i < length; i++) if (wire[startA + i] !== wire[startB + i]) return false;
    return true;
  }

  private checkUniqueByKey(): void {
    const seen = new Map<string, number>();
    for (let number = 1; number <= this.count; number++) {
      // One character a byte: exact for any bytes.
      const key = String.fromCharCode(this.kind(number), ...this.bytes(number));
      const other = seen.get(key);
      if (other !== undefined) throw this.notUnique(number, other);
      seen.set(key, number);
    }
  }
}
