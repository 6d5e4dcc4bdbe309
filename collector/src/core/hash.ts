// SHA-256 for the whole core, in one place so that another runtime needs one other file.

import { createHash, hash } from 'node:crypto';

export const HASH_BYTES = 32;

/** A Buffer's bytes without its methods: `slice` of a Buffer shares memory, that of a Uint8Array copies. */
function plain(buffer: Uint8Array): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** SHA-256 over one buffer. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return plain(hash('sha256', bytes, 'buffer'));
}

/** SHA-256 over buffers one after the other. */
export function sha256Of(...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash('sha256');
  for (const part of parts) state.update(part);
  return plain(state.digest());
}
