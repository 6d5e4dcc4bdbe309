// Stored form of a wire batch (docs/formats.md section 7): rows by columns and zstd-compressed, or as received; the wire bytes come back exactly.

import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { BATCH_BYTES_MAX, HEADER, HEADER_BYTES_V1, ROW, ROW_BYTES, TRAILER_BYTES } from '../core/codec/layout.ts';
import { MeshtrailError } from '../core/error.ts';

const CODEC_RAW = 0;
const CODEC_ZSTD_COLUMNS = 1;
const ZSTD_LEVEL = 1;
const CRC_BYTES = 4;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Ids, and where they end: they stay whole, since exchanges of one trace share them. */
const ID_COLUMNS: readonly (readonly [from: number, to: number])[] = [
  [ROW.requestId, ROW.traceId],
  [ROW.traceId, ROW.spanId],
  [ROW.spanId, ROW_BYTES],
];

/** Column after column instead of row after row: equal columns compress, interleaved ones do not. */
function transpose(wire: Uint8Array, isBack: boolean): Uint8Array {
  const out = Uint8Array.from(wire);
  const view = viewOf(wire);
  const rows = view.getUint32(HEADER.rowCount, true);
  // The same in both directions, and in every version.
  const rowsStart = view.getUint16(HEADER.headerBytes, true);
  const rowsEnd = rowsStart + rows * ROW_BYTES;
  if (rowsEnd + TRAILER_BYTES > wire.length)
    throw new MeshtrailError('STORE_CORRUPT', `A stored body names ${rows} rows, which do not fit it.`);
  let columnAt = rowsStart;
  for (let column = 0; column < ROW.requestId; column++) {
    for (let rowAt = rowsStart + column; rowAt < rowsEnd; rowAt += ROW_BYTES, columnAt++) {
      if (isBack) out[rowAt] = wire[columnAt] as number;
      else out[columnAt] = wire[rowAt] as number;
    }
  }
  for (const [from, to] of ID_COLUMNS) {
    for (let rowAt = rowsStart; rowAt < rowsEnd; rowAt += ROW_BYTES) {
      for (let i = from; i < to; i++, columnAt++) {
        if (isBack) out[rowAt + i] = wire[columnAt] as number;
        else out[columnAt] = wire[rowAt + i] as number;
      }
    }
  }
  return out;
}

function withCodec(codec: number, payload: Uint8Array): Uint8Array {
  const body = new Uint8Array(1 + payload.length + CRC_BYTES);
  body[0] = codec;
  body.set(payload, 1);
  viewOf(body).setUint32(1 + payload.length, crc32(body.subarray(0, 1 + payload.length)));
  return body;
}

/** Packs a checked wire batch for the store. */
export function packBody(wire: Uint8Array): Uint8Array {
  const packed = zstdCompressSync(transpose(wire, false), {
    params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
  });
  return packed.length < wire.length ? withCodec(CODEC_ZSTD_COLUMNS, packed) : withCodec(CODEC_RAW, wire);
}

/** The wire bytes of a stored body. Throws STORE_CORRUPT. */
export function unpackBody(body: Uint8Array): Uint8Array {
  const end = body.length - CRC_BYTES;
  // Not every bit of a zstd frame changes what comes out of it; this finds those that do not.
  if (end < 1 || crc32(body.subarray(0, end)) !== viewOf(body).getUint32(end))
    throw new MeshtrailError('STORE_CORRUPT', 'A stored body does not match its CRC-32.');
  const codec = body[0];
  const payload = body.subarray(1, end);
  if (codec === CODEC_RAW) return payload;
  if (codec !== CODEC_ZSTD_COLUMNS)
    throw new MeshtrailError('STORE_CORRUPT', `A stored body has the unknown codec ${codec}.`);
  let plain: Uint8Array;
  try {
    plain = zstdDecompressSync(payload, { maxOutputLength: BATCH_BYTES_MAX });
  } catch (cause) {
    throw new MeshtrailError('STORE_CORRUPT', `A stored body does not decompress: ${(cause as Error).message}.`, {
      cause,
    });
  }
  if (plain.length < HEADER_BYTES_V1 + TRAILER_BYTES)
    throw new MeshtrailError('STORE_CORRUPT', `A stored body has ${plain.length} bytes.`);
  return transpose(plain, true);
}
