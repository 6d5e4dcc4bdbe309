// The acknowledgement of a batch (docs/formats.md section 2): 80 bytes that name it and show the newest checkpoint.

import { MeshtrailError } from '../error.ts';

export const ACK_BYTES = 80;
const MAGIC = 0x3141_544d; // "MTA1", little-endian

export interface Ack {
  readonly stream: Uint8Array;
  readonly batchNumber: number;
  readonly index: number;
  readonly checkpointSize: number;
  readonly checkpointRoot: Uint8Array;
}

/** The bytes of an acknowledgement. */
export function encodeAck({ stream, batchNumber, index, checkpointSize, checkpointRoot }: Ack): Uint8Array {
  const bytes = new Uint8Array(ACK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  bytes.set(stream, 8);
  view.setBigUint64(24, BigInt(batchNumber), true);
  view.setBigUint64(32, BigInt(index), true);
  view.setBigUint64(40, BigInt(checkpointSize), true);
  bytes.set(checkpointRoot, 48);
  return bytes;
}

/** Reads an acknowledgement. Throws PROOF_MALFORMED when it is none. */
export function decodeAck(bytes: Uint8Array): Ack {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bad = (): MeshtrailError => new MeshtrailError('PROOF_MALFORMED', 'This is no acknowledgement.');
  if (bytes.length !== ACK_BYTES || view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== 0) throw bad();
  const number = (at: number): number => {
    const value = Number(view.getBigUint64(at, true));
    if (!Number.isSafeInteger(value)) throw bad();
    return value;
  };
  return {
    stream: bytes.slice(8, 24),
    batchNumber: number(24),
    index: number(32),
    checkpointSize: number(40),
    checkpointRoot: bytes.slice(48),
  };
}
