// How values of a row are written for people (docs/formats.md section 6): texts, times, durations, ids.

import { fromUtf8, toHex } from '../bytes.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const SECOND_NS = 1_000_000_000n;

/** A text for people, and whether its bytes were UTF-8. */
export interface ReadableText {
  readonly text: string;
  readonly isUtf8: boolean;
}

/** Decodes UTF-8; each byte that does not decode becomes `%XX`. */
export function readableText(bytes: Uint8Array): ReadableText {
  const whole = decoder.decode(bytes);
  // Only a text with a replacement character can have had bytes that do not decode.
  if (!whole.includes('\uFFFD') || fromUtf8(bytes) !== undefined) return { text: whole, isUtf8: true };
  let text = '';
  let from = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      text += decoder.decode(bytes.subarray(from, at));
      text += `%${(bytes[at] as number).toString(16).toUpperCase().padStart(2, '0')}`;
      from = at + 1;
    }
    at += length === 0 ? 1 : length;
  }
  return { text: text + decoder.decode(bytes.subarray(from)), isUtf8: false };
}

/** Length of the well-formed UTF-8 sequence at an offset (Unicode table 3-7), 0 where there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  if (first < 0x80) return 1;
  const length =
    first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  const second = bytes[at + 1] ?? 0;
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (length === 0 || second < lowest || second > highest) return 0;
  for (let i = 2; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}

let lastSecond = -1n;
let lastSecondText = '';

/** RFC 3339 in UTC with nanoseconds, for Unix ns from 0 to 2^63 - 1 (the year 2262). */
export function timeText(ns: bigint): string {
  const second = ns / SECOND_NS;
  // Neighbouring records mostly share their second, and Date is the costly part.
  if (second !== lastSecond) {
    lastSecondText = new Date(Number(second) * 1000).toISOString().slice(0, 19);
    lastSecond = second;
  }
  return `${lastSecondText}.${String(Number(ns % SECOND_NS)).padStart(9, '0')}Z`;
}

/** Microseconds as decimal seconds, `0.004512s`. */
export function durationText(us: number): string {
  return `${Math.floor(us / 1e6)}.${String(us % 1e6).padStart(6, '0')}s`;
}

/** 16 bytes as a UUID. */
export function uuidText(bytes: Uint8Array): string {
  const hex = toHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
