// LevelDB's files, checked by their own checksums before LevelDB opens them: it drops a damaged log record without a word,
// and a damaged table can end the process. Formats: LevelDB 1.20, doc/log_format.md and doc/table_format.md.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const LOG_BLOCK_BYTES = 32_768;
const RECORD_HEADER_BYTES = 7;
const FOOTER_BYTES = 48;
const TABLE_MAGIC = 0xdb47_7524_8b80_fb57n;
const BLOCK_TRAILER_BYTES = 5;
const UNCOMPRESSED = 0;
/** CRC-32C: the reflected polynomial. */
const CASTAGNOLI = 0x82f6_3b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CASTAGNOLI : crc >>> 1;
  return crc;
});

/** CRC-32C of bytes, masked as LevelDB stores it. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[i] as number)) & 255] as number);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282_ead8) >>> 0;
}

/** Where in a file the first damage is, as a sentence; undefined for none. */
type Damage = string | undefined;

/** A log of records. The last one may be cut off, or the end be zeros: that is what a kill or a power cut leaves of what was not synced. */
function checkLogFile(bytes: Buffer): Damage {
  let at = 0;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const left = LOG_BLOCK_BYTES - (at % LOG_BLOCK_BYTES);
    if (left < RECORD_HEADER_BYTES) {
      at += left;
      continue;
    }
    const length = bytes.readUInt16LE(at + 4);
    if (length > left - RECORD_HEADER_BYTES) return `its record at byte ${at} is longer than its block`;
    const end = at + RECORD_HEADER_BYTES + length;
    if (end > bytes.length) return undefined;
    if (maskedCrc(bytes.subarray(at + 6, end)) !== bytes.readUInt32LE(at)) {
      if (bytes.subarray(at).every((byte) => byte === 0)) return undefined;
      return `its record at byte ${at} does not match its checksum`;
    }
    at = end;
  }
  return undefined;
}

/** Reads varints of up to 53 bits. */
class Varints {
  private readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  next(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) break;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return Number.NaN;
  }

  handle(): { readonly offset: number; readonly size: number } {
    return { offset: this.next(), size: this.next() };
  }
}

function checkBlock(bytes: Buffer, { offset, size }: { readonly offset: number; readonly size: number }): Damage {
  const end = offset + size + 1;
  if (!(end + 4 <= bytes.length - FOOTER_BYTES)) return `it names a block at byte ${offset} that it does not have`;
  return maskedCrc(bytes.subarray(offset, end)) === bytes.readUInt32LE(end)
    ? undefined
    : `its block at byte ${offset} does not match its checksum`;
}

/** A table: every block that its index names. */
function checkTableFile(bytes: Buffer): Damage {
  if (bytes.length < FOOTER_BYTES || bytes.readBigUInt64LE(bytes.length - 8) !== TABLE_MAGIC)
    return 'it does not end as a table does';
  const footer = new Varints(bytes, bytes.length - FOOTER_BYTES);
  const metaindex = footer.handle();
  const index = footer.handle();
  const damage = checkBlock(bytes, metaindex) ?? checkBlock(bytes, index);
  if (damage !== undefined) return damage;
  if (bytes[index.offset + index.size] !== UNCOMPRESSED) return 'its index is compressed, which no collector does';
  const entriesEnd = index.offset + index.size - 4 * (1 + bytes.readUInt32LE(index.offset + index.size - 4));
  let covered = 0;
  for (const entries = new Varints(bytes, index.offset); entries.at < entriesEnd; ) {
    entries.next();
    const keyBytes = entries.next();
    const valueBytes = entries.next();
    const next = entries.at + keyBytes + valueBytes;
    const block = new Varints(bytes, entries.at + keyBytes).handle();
    const found = checkBlock(bytes, block);
    if (found !== undefined) return found;
    covered = block.offset + block.size + BLOCK_TRAILER_BYTES;
    entries.at = next;
  }
  return covered <= metaindex.offset ? undefined : 'its index does not fit it';
}

/** A damaged file of a database: its path, and what is wrong with it. */
export interface DamagedFile {
  readonly path: string;
  readonly damage: string;
}

/** Checks the files of a closed database; changes nothing. `logs`: only what opening reads. Throws what the file system throws. */
export async function checkLevelFiles(directory: string, which: 'logs' | 'all'): Promise<DamagedFile[]> {
  const names = (await readdir(directory)).sort();
  const found: DamagedFile[] = [];
  const add = (name: string, damage: Damage): void => {
    if (damage !== undefined) found.push({ path: join(directory, name), damage });
  };
  for (const name of names) {
    if (/^\d+\.log$|^MANIFEST-\d+$/.test(name)) add(name, checkLogFile(await readFile(join(directory, name))));
    else if (which === 'all' && /^\d+\.(?:ldb|sst)$/.test(name))
      add(name, checkTableFile(await readFile(join(directory, name))));
  }
  // LevelDB starts an empty database without CURRENT, and deletes the data files that it then does not know.
  if (!names.includes('CURRENT') && names.some((name) => /^\d+\.(?:ldb|sst|log)$/.test(name)))
    add('CURRENT', 'it is missing, and there are data files');
  return found;
}
