// The words of log entries (docs/formats.md section 3): fields parted by spaces, numbers, bytes, and free text that is percent-encoded.

import { parseDecimal } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';

const PLAIN = /[A-Za-z0-9\-._~:/@,]/;

/** Percent-encodes free text: what could end a field or a line cannot stand in an entry. */
export function escapeText(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    text += byte < 128 && PLAIN.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return text;
}

/** The bytes of percent-encoded text. Throws ENTRY_MALFORMED. */
export function unescapeText(text: string): Uint8Array {
  if (!/^(?:[A-Za-z0-9\-._~:/@,]|%[0-9A-F]{2})+$/.test(text))
    throw bad(`${JSON.stringify(text.slice(0, 80))} is not percent-encoded text`);
  return utf8Latin(
    text.replaceAll(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
}

const utf8Latin = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** An error that says why an entry is none. */
export function bad(why: string): MeshtrailError {
  return new MeshtrailError('ENTRY_MALFORMED', `The log entry is malformed: ${why}.`);
}

/** Reads lines of space-separated fields in a fixed order. */
export class Lines {
  private readonly lines: string[];
  private at = 0;
  constructor(lines: string[]) {
    this.lines = lines;
  }
  fields(name: string, countMin: number, countMax = countMin): string[] {
    const [first, ...fields] = (this.lines[this.at++] ?? '').split(' ');
    if (first !== name || fields.length < countMin || fields.length > countMax)
      throw bad(`line ${this.at} is not "${name}" with ${countMin} field${countMin === 1 ? '' : 's'}`);
    return fields;
  }
}

/** A number of an entry. Throws ENTRY_MALFORMED. */
export function number(text: string | undefined): number {
  const value = parseDecimal(text ?? '');
  if (value === undefined) throw bad(`${JSON.stringify(text)} is no number`);
  return value;
}

/** So many bytes of an entry, as `decode` reads them. Throws ENTRY_MALFORMED. */
export function bytesOf(text: string | undefined, length: number, decode: (text: string) => Uint8Array): Uint8Array {
  const bytes = decode(text ?? '');
  if (bytes.length !== length) throw bad(`${JSON.stringify(text)} does not hold ${length} bytes`);
  return bytes;
}
