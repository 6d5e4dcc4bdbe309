// Reading of a batch's values: numbers out of entries, and the texts that entries and rows refer to.

import { toHex } from '../bytes.ts';
import { type ReadableText, readableText } from './text.ts';

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
export const u48 = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
export const u64 = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
export const hexAt = (view: DataView, at: number, length: number): string =>
  toHex(new Uint8Array(view.buffer, view.byteOffset + at, length));
/** A name from a table: absent for 0, `other` for what the table does not have. */
export const nameIn = (names: readonly string[], value: number): string | undefined =>
  value === 0 ? undefined : (names[value] ?? 'other');

/** An object without its undefined members: absent is absent. */
export function present<T extends object>(value: { readonly [K in keyof T]: T[K] | undefined }): T {
  const out: Record<string, unknown> = {};
  for (const key in value) if (value[key] !== undefined) out[key] = value[key];
  return out as T;
}

/** Values that records share, with the names of those that are not UTF-8. */
export interface Part<T> {
  readonly value: T;
  readonly notUtf8: readonly string[];
}

/** Texts of the dictionary by number, each decoded once. */
export class Texts {
  readonly #entry: (number: number) => Uint8Array;
  readonly #known = new Map<number, ReadableText>();

  constructor(entry: (number: number) => Uint8Array) {
    this.#entry = entry;
  }

  /** The text that the reference at an offset names; one whose bytes are not UTF-8 adds its name to `notUtf8`. */
  at(view: DataView, at: number, name: string, notUtf8: string[]): string | undefined {
    // An older version of an entry is shorter, and has nothing there.
    return at + 2 > view.byteLength ? undefined : this.of(view.getUint16(at, true), name, notUtf8);
  }

  of(number: number, name: string, notUtf8: string[]): string | undefined {
    if (number === 0) return undefined;
    let readable = this.#known.get(number);
    if (readable === undefined) {
      readable = readableText(this.#entry(number));
      this.#known.set(number, readable);
    }
    if (!readable.isUtf8) notUtf8.push(name);
    return readable.text;
  }
}
