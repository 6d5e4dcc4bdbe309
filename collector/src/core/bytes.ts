// Bytes and their texts: strict base64 and hex with one accepted spelling, comparison, UTF-8.

import { MeshtrailError } from './error.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 64; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** Base64 of RFC 4648 section 4, with padding. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += ALPHABET.charAt(word >>> 18) + ALPHABET.charAt((word >>> 12) & 63);
    text += left > 1 ? ALPHABET.charAt((word >>> 6) & 63) : '=';
    text += left > 2 ? ALPHABET.charAt(word & 63) : '=';
  }
  return text;
}

/** Decodes base64 of RFC 4648 section 4; only the spelling that `toBase64` gives is accepted. Throws ENCODING_INVALID. */
export function fromBase64(text: string): Uint8Array {
  const bad = (why: string): MeshtrailError =>
    new MeshtrailError('ENCODING_INVALID', `${JSON.stringify(text.slice(0, 80))} is not base64: ${why}.`);
  if (text.length % 4 !== 0) throw bad('its length is no multiple of 4');
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  const digits = text.length - padding;
  let word = 0;
  for (let i = 0, at = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const value = i < digits ? (code < 128 ? (VALUES[code] ?? -1) : -1) : 0;
    if (value < 0) throw bad(`character ${i} does not belong to it`);
    word = (word << 6) | value;
    if ((i & 3) === 3) {
      for (let shift = 16; shift >= 0; shift -= 8) {
        const byte = (word >>> shift) & 255;
        if (at < bytes.length) bytes[at++] = byte;
        else if (byte !== 0) throw bad('it has spare bits');
      }
      word = 0;
    }
  }
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** Lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** Decodes lower-case hex. Throws ENCODING_INVALID. */
export function fromHex(text: string): Uint8Array {
  if (!/^(?:[0-9a-f]{2})*$/.test(text))
    throw new MeshtrailError('ENCODING_INVALID', `${JSON.stringify(text.slice(0, 80))} is not lower-case hex.`);
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

/** Whether two buffers hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Buffers joined to one. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The text of UTF-8 bytes, or undefined when they are not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** A decimal without sign or leading zeros, at most 2^53 - 1; undefined for another spelling. Throws TREE_SIZE_UNSUPPORTED for a larger one. */
export function parseDecimal(text: string): number | undefined {
  if (!/^(?:0|[1-9][0-9]*)$/.test(text)) return undefined;
  const value = Number(text);
  if (text.length > 16 || !Number.isSafeInteger(value)) {
    throw new MeshtrailError(
      'TREE_SIZE_UNSUPPORTED',
      `${text.slice(0, 40)} is larger than 2^53 - 1, the largest number supported here.`,
    );
  }
  return value;
}
