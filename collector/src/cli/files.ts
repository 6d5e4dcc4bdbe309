// Files that a verb is given: read with a limit, or a coded error in place of a stack.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { type ErrorCode, MeshtrailError } from '../core/error.ts';
import { parseVkey, type Verifier } from '../core/tlog/note.ts';

const KEY_BYTES_MAX = 4096;

export interface TextFile {
  /** What it is, for the message. */
  readonly what: string;
  readonly bytesMax: number;
  /** Codes of a file that cannot be read, and of one that is longer than allowed. */
  readonly unreadable: ErrorCode;
  readonly tooLong: ErrorCode;
}

/** Reads a text file; `-` is standard input. */
export function readText(file: string, { what, bytesMax, unreadable, tooLong }: TextFile): string {
  try {
    const bytes = file === '-' ? readFileSync(0) : statSync(file).size > bytesMax ? undefined : readFileSync(file);
    if (bytes !== undefined && bytes.length <= bytesMax) return bytes.toString('utf8');
  } catch (cause) {
    throw new MeshtrailError(unreadable, `The ${what} ${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
  throw new MeshtrailError(tooLong, `The ${what} ${file} has more than ${bytesMax} bytes.`);
}

/** Reads a file with a key in it. */
export function readKeyFile(file: string): string {
  return readText(file, {
    what: 'key file',
    bytesMax: KEY_BYTES_MAX,
    unreadable: 'KEY_MISSING',
    tooLong: 'KEY_INVALID',
  }).trim();
}

/** A verifier key, given as text or as the name of a file that holds it. */
export function vkeyTextOf(given: string): string {
  // Every key has plus signs; a name that has them too is a file only when there is one.
  return given.includes('+') && !existsSync(given) ? given.trim() : readKeyFile(given);
}

/** Likewise, checked. Throws KEY_MISSING, VKEY_MALFORMED. */
export function verifierOf(given: string): Verifier {
  return parseVkey(vkeyTextOf(given));
}
