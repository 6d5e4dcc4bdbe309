// ZoneStore on LevelDB: the index's zones, rebuildable at any time.

import { crc32 } from 'node:zlib';
import type { Zone, ZoneStore } from '../index/flow-index.ts';
import { key64, metaKey, valueOf64 } from './keys.ts';
import { type Database, guarded, openLevel } from './level.ts';

const FORMAT = 'meshtrail/index/v1';
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const ZONE_BYTES = 20;
const CRC_BYTES = 4;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Opens the index's database, and reads it once: throws STORE_CORRUPT when a block of it cannot be read, so that it is built anew. */
export async function openLevelZones(path: string): Promise<ZoneStore> {
  const database = await openLevel(path, WRITE_BUFFER_BYTES);
  try {
    await guarded(path, async () => {
      for await (const [key] of database.iterator()) if (key.length === 0) break;
    });
    return new LevelZones(path, database);
  } catch (error) {
    await database.close();
    throw error;
  }
}

const crcOf = (key: Uint8Array, value: Uint8Array): number => crc32(value.subarray(0, ZONE_BYTES), crc32(key));

function encodeZone(zone: Zone): { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array } {
  const key = key64('z', zone.index);
  const value = new Uint8Array(ZONE_BYTES + CRC_BYTES);
  const view = viewOf(value);
  view.setBigInt64(0, zone.startNsMin);
  view.setBigInt64(8, zone.startNsMax);
  view.setUint32(16, zone.records);
  view.setUint32(ZONE_BYTES, crcOf(key, value));
  return { type: 'put', key, value };
}

/** A stored zone, or undefined for one that is damaged: the index makes what it does not find. */
function decodeZone(key: Uint8Array, value: Uint8Array): Zone | undefined {
  if (key.length !== 9 || value.length !== ZONE_BYTES + CRC_BYTES) return undefined;
  const view = viewOf(value);
  if (view.getUint32(ZONE_BYTES) !== crcOf(key, value)) return undefined;
  return {
    index: valueOf64(key),
    startNsMin: view.getBigInt64(0),
    startNsMax: view.getBigInt64(8),
    records: view.getUint32(16),
  };
}

class LevelZones implements ZoneStore {
  private readonly path: string;
  private readonly database: Database;

  constructor(path: string, database: Database) {
    this.path = path;
    this.database = database;
  }

  async write(zones: readonly Zone[], indexed: number): Promise<void> {
    const value = new Uint8Array(8);
    viewOf(value).setBigUint64(0, BigInt(indexed));
    await guarded(this.path, async () => {
      await this.database.batch([
        ...zones.map(encodeZone),
        { type: 'put' as const, key: metaKey('format'), value: new TextEncoder().encode(FORMAT) },
        { type: 'put' as const, key: metaKey('indexed'), value },
      ]);
    });
  }

  async *zones(): AsyncIterable<Zone> {
    for await (const [key, value] of this.database.iterator({
      gte: key64('z', 0),
      lt: Uint8Array.of('z'.charCodeAt(0) + 1),
    })) {
      const zone = decodeZone(key, value);
      if (zone !== undefined) yield zone;
    }
  }

  async indexed(): Promise<number | undefined> {
    return await guarded(this.path, async () => {
      const format = await this.database.get(metaKey('format'));
      const value = await this.database.get(metaKey('indexed'));
      if (format === undefined || value === undefined || new TextDecoder().decode(format) !== FORMAT) return undefined;
      const size = value.length === 8 ? Number(viewOf(value).getBigUint64(0)) : Number.NaN;
      return Number.isSafeInteger(size) ? size : undefined;
    });
  }

  async clear(): Promise<void> {
    await guarded(this.path, async () => await this.database.clear());
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}
