// ZoneStore on LevelDB: the index's zones, rebuildable at any time.

import type { Zone, ZoneStore } from '../index/flow-index.ts';
import { key64, metaKey, valueOf64 } from './keys.ts';
import { type Database, guarded, openLevel } from './level.ts';

const FORMAT = 'meshtrail/index/v1';
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const ZONE_BYTES = 20;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Opens the index's database. */
export async function openLevelZones(path: string): Promise<ZoneStore> {
  return new LevelZones(path, await openLevel(path, WRITE_BUFFER_BYTES));
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
        ...zones.map((zone) => {
          const bytes = new Uint8Array(ZONE_BYTES);
          const view = viewOf(bytes);
          view.setBigInt64(0, zone.startNsMin);
          view.setBigInt64(8, zone.startNsMax);
          view.setUint32(16, zone.records);
          return { type: 'put' as const, key: key64('z', zone.index), value: bytes };
        }),
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
      const view = viewOf(value);
      yield {
        index: valueOf64(key),
        startNsMin: view.getBigInt64(0),
        startNsMax: view.getBigInt64(8),
        records: view.getUint32(16),
      };
    }
  }

  async indexed(): Promise<number | undefined> {
    return await guarded(this.path, async () => {
      const format = await this.database.get(metaKey('format'));
      const value = await this.database.get(metaKey('indexed'));
      if (format === undefined || value === undefined || new TextDecoder().decode(format) !== FORMAT) return undefined;
      return Number(viewOf(value).getBigUint64(0));
    });
  }

  async clear(): Promise<void> {
    await guarded(this.path, async () => await this.database.clear());
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}
