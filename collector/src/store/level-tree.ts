// TileStore and LockStore on LevelDB.

import { crc32 } from 'node:zlib';
import { equalBytes, fromUtf8 } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';
import type {
  BatchName,
  BatchPlace,
  LastSigned,
  LockStore,
  TileStore,
  TreeCensus,
  TreeHead,
  TreeWrite,
} from '../log/stores.ts';
import { batchKey, key64, metaKey, tileKey } from './keys.ts';
import { type Database, guarded, openLevel, plain } from './level.ts';

const FORMAT = 'meshtrail/tree/v1';
const WRITE_BUFFER_BYTES = 8 * 1024 * 1024;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function encodeHead({ size, root }: TreeHead): Uint8Array {
  const bytes = new Uint8Array(40);
  viewOf(bytes).setBigUint64(0, BigInt(size));
  bytes.set(root, 8);
  return bytes;
}

function decodeHead(bytes: Uint8Array, length: number, what: string): TreeHead {
  if (bytes.length !== length)
    throw new MeshtrailError(
      'STORE_CORRUPT',
      `${what} has ${bytes.length} bytes, not ${length}. Run \`meshtrail fsck\`.`,
    );
  const size = Number(viewOf(bytes).getBigUint64(0));
  if (!Number.isSafeInteger(size))
    throw new MeshtrailError('STORE_CORRUPT', `${what} names a size over 2^53 - 1. Run \`meshtrail fsck\`.`);
  return { size, root: bytes.slice(8, 40) };
}

function placeValue({ index, hash }: Pick<BatchPlace, 'index' | 'hash'>): Uint8Array {
  return encodeHead({ size: index, root: hash });
}

/** Opens the tree's database: tiles, stream state and the published checkpoint. */
export async function openLevelTiles(path: string): Promise<TileStore> {
  const database = await openLevel(path, WRITE_BUFFER_BYTES);
  try {
    const format = await guarded(path, async () => await database.get(metaKey('format')));
    const text = new TextEncoder().encode(FORMAT);
    if (format === undefined) {
      // A new database has no key at all; one with keys and no format lost it.
      const [key] = await guarded(path, async () => await database.keys({ limit: 1 }).all());
      if (key !== undefined)
        throw new MeshtrailError('STORE_CORRUPT', `${path} holds a tree and does not say in which format.`);
      await guarded(path, async () => await database.put(metaKey('format'), text));
    } else if (!equalBytes(format, text))
      throw new MeshtrailError(
        'STORE_FOREIGN',
        `${path} has another format than ${FORMAT}; this collector cannot write it.`,
      );
    return new LevelTiles(path, database);
  } catch (error) {
    await database.close();
    throw error;
  }
}

class LevelTiles implements TileStore {
  private readonly path: string;
  private readonly database: Database;

  constructor(path: string, database: Database) {
    this.path = path;
    this.database = database;
  }

  async write({ tiles, entryTiles, batches, conflicts, integrated }: TreeWrite): Promise<void> {
    const put = (key: Uint8Array, value: Uint8Array) => ({ type: 'put' as const, key, value });
    const index = (value: number): Uint8Array => {
      const bytes = new Uint8Array(8);
      viewOf(bytes).setBigUint64(0, BigInt(value));
      return bytes;
    };
    await guarded(this.path, async () => {
      const puts = [
        ...tiles.map((t) => put(tileKey(t.level, t.index), t.bytes)),
        ...entryTiles.map((t) => put(key64('n', t.index), t.bytes)),
        ...batches.map((b) => put(batchKey('s', b.stream, b.batchNumber), placeValue(b))),
        ...conflicts.map((c) => put(batchKey('c', c.stream, c.batchNumber), index(c.index))),
        put(metaKey('integrated'), encodeHead(integrated)),
      ];
      await this.database.batch(puts, { sync: true });
    });
  }

  private async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return await guarded(this.path, async () => plain(await this.database.get(key)));
  }

  async tile(level: number, index: number): Promise<Uint8Array | undefined> {
    return await this.get(tileKey(level, index));
  }

  async entryTile(index: number): Promise<Uint8Array | undefined> {
    return await this.get(key64('n', index));
  }

  async integrated(): Promise<TreeHead | undefined> {
    const bytes = await this.get(metaKey('integrated'));
    return bytes === undefined ? undefined : decodeHead(bytes, 40, `${this.path} "integrated"`);
  }

  async batch(
    stream: Uint8Array,
    batchNumber: number,
  ): Promise<{ readonly index: number; readonly hash: Uint8Array } | undefined> {
    return this.placeIn(await this.get(batchKey('s', stream, batchNumber)));
  }

  private placeIn(bytes: Uint8Array | undefined): { readonly index: number; readonly hash: Uint8Array } | undefined {
    if (bytes === undefined) return undefined;
    const { size, root } = decodeHead(bytes, 40, `${this.path} stream key`);
    return { index: size, hash: root };
  }

  async placesOf(
    batches: readonly BatchName[],
  ): Promise<readonly ({ readonly index: number; readonly hash: Uint8Array } | undefined)[]> {
    const keys = batches.map(({ stream, batchNumber }) => batchKey('s', stream, batchNumber));
    const values = await guarded(this.path, async () => await this.database.getMany(keys));
    return values.map((value) => this.placeIn(plain(value)));
  }

  async conflict(stream: Uint8Array, batchNumber: number): Promise<number | undefined> {
    const bytes = await this.get(batchKey('c', stream, batchNumber));
    if (bytes === undefined) return undefined;
    const index = bytes.length === 8 ? Number(viewOf(bytes).getBigUint64(0)) : Number.NaN;
    if (Number.isSafeInteger(index)) return index;
    throw new MeshtrailError('STORE_CORRUPT', `${this.path} conflict key holds no index. Run \`meshtrail fsck\`.`);
  }

  async published(): Promise<string | undefined> {
    const bytes = await this.get(metaKey('published'));
    if (bytes === undefined) return undefined;
    const note = fromUtf8(bytes);
    if (note === undefined)
      throw new MeshtrailError('STORE_CORRUPT', `${this.path} "published" is not text. Run \`meshtrail fsck\`.`);
    return note;
  }

  async publish(note: string): Promise<void> {
    await guarded(
      this.path,
      async () => await this.database.put(metaKey('published'), new TextEncoder().encode(note), { sync: true }),
    );
  }

  async census(): Promise<TreeCensus> {
    const counts: Record<string, number> = {};
    await guarded(this.path, async () => {
      for await (const key of this.database.keys()) {
        const kind = kindOf(key);
        counts[kind] = (counts[kind] ?? 0) + 1;
      }
    });
    return {
      tiles: counts['t'] ?? 0,
      entryTiles: counts['n'] ?? 0,
      batches: counts['s'] ?? 0,
      conflicts: counts['c'] ?? 0,
      others: counts['other'] ?? 0,
    };
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}

const KEY_BYTES: Readonly<Record<string, number>> = { t: 10, n: 9, s: 25, c: 25 };
const META_KEYS = ['format', 'integrated', 'published'].map(metaKey);

/** Which kind of key it is, by its letter; `other` for one that the format does not have. */
function kindOf(key: Uint8Array): string {
  const letter = String.fromCharCode(key[0] ?? 0);
  if (KEY_BYTES[letter] === key.length || META_KEYS.some((known) => equalBytes(known, key))) return letter;
  return 'other';
}

const LAST_SIGNED_BYTES = 48;
const LAST_SIGNED = new TextEncoder().encode('last-signed');

/** Opens the store of the last-signed record: one key, and nothing else touches it. */
export async function openLevelLock(path: string): Promise<LockStore> {
  return new LevelLock(path, await openLevel(path, 64 * 1024));
}

class LevelLock implements LockStore {
  private readonly path: string;
  private readonly database: Database;

  constructor(path: string, database: Database) {
    this.path = path;
    this.database = database;
  }

  async read(): Promise<LastSigned | undefined> {
    const stored = await guarded(this.path, async () => await this.database.iterator({ limit: 2 }).all());
    const [first] = stored;
    if (first === undefined) return undefined;
    const bytes = plain(first[1]);
    if (stored.length > 1 || !equalBytes(first[0], LAST_SIGNED))
      throw new MeshtrailError('STORE_CORRUPT', `${this.path} holds keys that no collector wrote.`);
    const what = `${this.path} "last-signed"`;
    const head = decodeHead(bytes, LAST_SIGNED_BYTES + 4, what);
    if (crc32(bytes.subarray(0, LAST_SIGNED_BYTES)) !== viewOf(bytes).getUint32(LAST_SIGNED_BYTES))
      throw new MeshtrailError('STORE_CORRUPT', `${what} does not match its CRC-32. Run \`meshtrail fsck\`.`);
    return { ...head, atMs: Number(viewOf(bytes).getBigUint64(40)) };
  }

  async replace(expected: LastSigned | undefined, next: LastSigned): Promise<void> {
    // Read before write is a compare-and-swap here: LevelDB's lock makes this process the only one that has the store open.
    const stored = await this.read();
    if (
      stored?.size !== expected?.size ||
      (stored !== undefined && expected !== undefined && !equalBytes(stored.root, expected.root))
    ) {
      throw new MeshtrailError(
        'LAST_SIGNED_MOVED',
        `${this.path} holds size ${stored?.size ?? 'nothing'}, and size ${expected?.size ?? 'nothing'} was expected: something else signs this log. Nothing was signed.`,
      );
    }
    const bytes = new Uint8Array(LAST_SIGNED_BYTES + 4);
    bytes.set(encodeHead(next));
    viewOf(bytes).setBigUint64(40, BigInt(next.atMs));
    viewOf(bytes).setUint32(LAST_SIGNED_BYTES, crc32(bytes.subarray(0, LAST_SIGNED_BYTES)));
    await guarded(this.path, async () => await this.database.put(LAST_SIGNED, bytes, { sync: true }));
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}
