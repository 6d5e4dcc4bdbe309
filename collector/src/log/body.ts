// Stored form of a wire batch (docs/formats.md section 7): rows by columns and zstd-compressed, or as received; the wire bytes come back exactly.

import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { BATCH_BYTES_MAX, HEADER, HEADER_BYTES_V1, ROW, ROW_BYTES, TRAILER_BYTES } from '../core/codec/layout.ts';
import { MeshtrailError } from '../core/error.ts';

const CODEC_RAW = 0;
const CODEC_ZSTD_COLUMNS = 1;
const ZSTD_LEVEL = 1;
const CRC_BYTES = 4;
/** What comes out fits one buffer, which spares copying several to one. */
const CHUNK_BYTES = BATCH_BYTES_MAX + 1024;
const PACKING = { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL }, chunkSize: CHUNK_BYTES };
const UNPACKING = { maxOutputLength: BATCH_BYTES_MAX, chunkSize: CHUNK_BYTES };

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Ids, and where they end: they stay whole, since exchanges of one trace share them. */
const ID_COLUMNS: readonly (readonly [from: number, to: number])[] = [
  [ROW.requestId, ROW.traceId],
  [ROW.traceId, ROW.spanId],
  [ROW.spanId, ROW_BYTES],
];

/** One batch on its way into or out of the store, by rows and by columns; nothing of it outlives a call. */
const byRows = new Uint8Array(BATCH_BYTES_MAX);
const byColumns = new Uint8Array(BATCH_BYTES_MAX);
// Ids lie at multiples of 4 in both orders.
const [rowWords, columnWords] = [new Uint32Array(byRows.buffer), new Uint32Array(byColumns.buffer)];

/** Where the rows are: the same in both orders, and in every version. */
function rowsOf(bytes: Uint8Array): readonly [start: number, end: number] {
  const view = viewOf(bytes);
  const rows = view.getUint32(HEADER.rowCount, true);
  const start = view.getUint16(HEADER.headerBytes, true);
  const end = start + rows * ROW_BYTES;
  if (start % 4 !== 0 || end + TRAILER_BYTES > bytes.length)
    throw new MeshtrailError('STORE_CORRUPT', `A stored body names ${rows} rows, which do not fit it.`);
  return [start, end];
}

/** Orders a batch by columns: equal columns compress, interleaved ones do not. */
function toColumns(wire: Uint8Array): Uint8Array {
  const [start, end] = rowsOf(wire);
  byRows.set(wire);
  byColumns.set(wire);
  let at = start;
  for (let column = 0; column < ROW.requestId; column++)
    for (let row = start + column; row < end; row += ROW_BYTES) byColumns[at++] = byRows[row] as number;
  at >>>= 2;
  for (const [from, to] of ID_COLUMNS) {
    for (let row = start; row < end; row += ROW_BYTES)
      for (let i = (row + from) >>> 2; i < (row + to) >>> 2; i++) columnWords[at++] = rowWords[i] as number;
  }
  return byColumns.subarray(0, wire.length);
}

/** The way back. */
function toRows(columns: Uint8Array): Uint8Array {
  const [start, end] = rowsOf(columns);
  byColumns.set(columns);
  byRows.set(columns);
  let at = start;
  for (let column = 0; column < ROW.requestId; column++)
    for (let row = start + column; row < end; row += ROW_BYTES) byRows[row] = byColumns[at++] as number;
  at >>>= 2;
  for (const [from, to] of ID_COLUMNS) {
    for (let row = start; row < end; row += ROW_BYTES)
      for (let i = (row + from) >>> 2; i < (row + to) >>> 2; i++) rowWords[i] = columnWords[at++] as number;
  }
  return byRows.slice(0, columns.length);
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
  const packed = zstdCompressSync(toColumns(wire), PACKING);
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
    plain = zstdDecompressSync(payload, UNPACKING);
  } catch (cause) {
    throw new MeshtrailError('STORE_CORRUPT', `A stored body does not decompress: ${(cause as Error).message}.`, {
      cause,
    });
  }
  if (plain.length < HEADER_BYTES_V1 + TRAILER_BYTES)
    throw new MeshtrailError('STORE_CORRUPT', `A stored body has ${plain.length} bytes.`);
  return toRows(plain);
}
