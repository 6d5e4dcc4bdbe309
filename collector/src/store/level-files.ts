// LevelDB's files, checked by their own checksums before LevelDB opens them: it drops a damaged log record without a word,
// and a damaged table can end the process. Formats: LevelDB 1.20, doc/log_format.md and doc/table_format.md.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const LOG_BLOCK_BYTES = 32_768;
const RECORD_HEADER_BYTES = 7;
const SECTOR_BYTES = 512;
const [RECORD_FULL, RECORD_FIRST, RECORD_LAST] = [1, 2, 4];
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

interface LogContent {
  readonly records: readonly Buffer[];
  readonly damage: Damage;
}

/**
 * Whether the record from `at` to `end` was not wholly written when the power went: the disk has its beginning up to a sector's
 * edge, or nothing of it, and zeros from there to the end of the file. Such a record was never synced, so never acknowledged.
 */
function isTorn(bytes: Buffer, at: number, end: number): boolean {
  let written = bytes.length;
  while (written > at && bytes[written - 1] === 0) written--;
  const zerosFrom = Math.max(at, Math.ceil(written / SECTOR_BYTES) * SECTOR_BYTES);
  return written === at || zerosFrom < end;
}

/** Whether a record that runs past the end of its file is whole once a bit of its length is turned back: no kill leaves that. */
function isLengthFlipped(bytes: Buffer, at: number, length: number): boolean {
  for (let bit = 0; bit < 16; bit++) {
    const end = at + RECORD_HEADER_BYTES + (length ^ (1 << bit));
    if (end <= bytes.length && maskedCrc(bytes.subarray(at + 6, end)) === bytes.readUInt32LE(at)) return true;
  }
  return false;
}

/** Reads a log of records. The last one may be cut off, or the end be zeros: that is what a kill or a power cut leaves of what was not synced. */
function readLog(bytes: Buffer): LogContent {
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  const ended = (damage?: string): LogContent => ({ records, damage });
  for (let at = 0; at + RECORD_HEADER_BYTES <= bytes.length; ) {
    const left = LOG_BLOCK_BYTES - (at % LOG_BLOCK_BYTES);
    if (left < RECORD_HEADER_BYTES) {
      at += left;
      continue;
    }
    const length = bytes.readUInt16LE(at + 4);
    if (length > left - RECORD_HEADER_BYTES) return ended(`its record at byte ${at} is longer than its block`);
    const end = at + RECORD_HEADER_BYTES + length;
    if (end > bytes.length)
      return ended(isLengthFlipped(bytes, at, length) ? `its record at byte ${at} has a changed length` : undefined);
    if (maskedCrc(bytes.subarray(at + 6, end)) !== bytes.readUInt32LE(at)) {
      return ended(isTorn(bytes, at, end) ? undefined : `its record at byte ${at} does not match its checksum`);
    }
    const type = bytes[at + 6];
    if (type === RECORD_FULL || type === RECORD_FIRST) parts = [];
    parts.push(bytes.subarray(at + RECORD_HEADER_BYTES, end));
    if (type === RECORD_FULL || type === RECORD_LAST) records.push(Buffer.concat(parts));
    at = end;
  }
  return ended();
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

  /** Passes over bytes that stand behind their length. */
  skip(): void {
    const length = this.next();
    this.at += length;
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

/** Files that a database consists of. Others may lie beside them, half written or not yet deleted when it was ended. */
interface LiveFiles {
  readonly tables: Set<number>;
  /** Logs from this number on, and that one. */
  logsFrom: number;
  previousLog: number;
}

/** Applies one edit of a manifest: fields behind their tags. Returns false for one that cannot be read. */
function applyEdit(edit: Buffer, live: LiveFiles): boolean {
  const fields = new Varints(edit, 0);
  while (fields.at < edit.length) {
    const tag = fields.next();
    if (tag === 1) fields.skip();
    else if (tag === 2) live.logsFrom = fields.next();
    else if (tag === 9) live.previousLog = fields.next();
    else if (tag === 3 || tag === 4) fields.next();
    else if (tag >= 5 && tag <= 7) {
      fields.next();
      if (tag === 5) fields.skip();
      else if (tag === 6) live.tables.delete(fields.next());
      else {
        live.tables.add(fields.next());
        fields.next();
        fields.skip();
        fields.skip();
      }
    } else return false;
  }
  return fields.at === edit.length;
}

/** A damaged file of a database: its path, and what is wrong with it. */
export interface DamagedFile {
  readonly path: string;
  readonly damage: string;
}

/** Reads which files a database consists of: undefined for a new one, or what is damaged. Throws what the file system throws. */
async function readLive(
  directory: string,
  names: readonly string[],
): Promise<{ readonly manifest: string; readonly live: LiveFiles } | DamagedFile | undefined> {
  const damaged = (name: string, damage: string): DamagedFile => ({ path: join(directory, name), damage });
  if (!names.includes('CURRENT')) {
    // LevelDB starts an empty database without CURRENT, and deletes the data files that it then does not know.
    const isMade = names.some((name) => /^\d+\.(?:ldb|sst|log)$/.test(name));
    return isMade ? damaged('CURRENT', 'it is missing, and there are data files') : undefined;
  }
  const manifest = (await readFile(join(directory, 'CURRENT'), 'latin1')).trimEnd();
  if (!/^MANIFEST-\d+$/.test(manifest) || !names.includes(manifest))
    return damaged('CURRENT', 'it names no manifest that is there');
  const edits = readLog(await readFile(join(directory, manifest)));
  const live: LiveFiles = { tables: new Set(), logsFrom: 0, previousLog: 0 };
  const isRead = edits.records.every((edit) => applyEdit(edit, live));
  const damage = edits.damage ?? (isRead ? undefined : 'an edit in it cannot be read');
  return damage === undefined ? { manifest, live } : damaged(manifest, damage);
}

const numberOf = (name: string): readonly [number: number, kind: string | undefined] => {
  const [, number, kind] = /^(\d+)\.(ldb|sst|log)$/.exec(name) ?? [];
  return [Number(number), kind];
};

const isLiveLog = ({ logsFrom, previousLog }: LiveFiles, number: number): boolean =>
  number >= logsFrom || number === previousLog;

/** Names of the files that a sound database consists of; none for a new one. Throws what the file system throws. */
export async function liveFiles(directory: string): Promise<string[]> {
  const names = await readdir(directory);
  const found = await readLive(directory, names);
  if (found === undefined || !('live' in found)) return [];
  const { manifest, live } = found;
  const isLive = (name: string): boolean => {
    const [number, kind] = numberOf(name);
    return kind === 'log' ? isLiveLog(live, number) : kind !== undefined && live.tables.has(number);
  };
  return ['CURRENT', manifest, ...names.filter(isLive)];
}

/** Checks the files of a closed database; changes nothing. `logs`: only what opening reads. Throws what the file system throws. */
export async function checkLevelFiles(directory: string, which: 'logs' | 'all'): Promise<DamagedFile[]> {
  const names = (await readdir(directory)).sort();
  const read = await readLive(directory, names);
  if (read === undefined) return [];
  if (!('live' in read)) return [read];
  const { live } = read;
  const found: DamagedFile[] = [];
  const add = (name: string, damage: Damage): void => {
    if (damage !== undefined) found.push({ path: join(directory, name), damage });
  };
  for (const name of names) {
    const [number, kind] = numberOf(name);
    if (kind === 'log' && isLiveLog(live, number)) add(name, readLog(await readFile(join(directory, name))).damage);
    else if (kind !== undefined && kind !== 'log' && live.tables.delete(number) && which === 'all')
      add(name, checkTableFile(await readFile(join(directory, name))));
  }
  for (const number of live.tables) add(`${String(number).padStart(6, '0')}.ldb`, 'it is missing');
  return found;
}
