// C2SP cosignature/v1 (https://c2sp.org/tlog-cosignature): what stands behind the key id of a witness's signature line.

import { utf8 } from '../bytes.ts';

/** Times from 2^63 on do not fit a signed 64-bit number; readers disagree on them, so nobody honest writes one. */
const TIMESTAMP_END = 2n ** 63n;
const TIMESTAMP_BYTES = 8;
const SIGNATURE_BYTES = 64;

/** A cosignature whose form is right; nothing is verified yet. */
export interface CosignatureBytes {
  /** When the witness says that it signed: Unix time in seconds. */
  readonly timestamp: bigint;
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array;
}

/** Splits the bytes behind the key id: u64 big-endian seconds, then an Ed25519 signature. Undefined for any other form, and for times from 2^63 on. */
export function parseCosignature(bytes: Uint8Array): CosignatureBytes | undefined {
  if (bytes.length !== TIMESTAMP_BYTES + SIGNATURE_BYTES) return undefined;
  const timestamp = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0);
  return timestamp < TIMESTAMP_END ? { timestamp, signature: bytes.subarray(TIMESTAMP_BYTES) } : undefined;
}

/** What a witness signs: the time and the whole checkpoint text, extension lines included; not its own name. */
export function cosignatureMessage(text: string, timestamp: bigint): Uint8Array {
  return utf8(`cosignature/v1\ntime ${timestamp}\n${text}`);
}
