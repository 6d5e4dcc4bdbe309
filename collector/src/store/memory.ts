// The stores in memory: for tests, and as the plainest statement of what the contracts mean.

import { equalBytes } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';
import type { Zone, ZoneStore } from '../index/flow-index.ts';
import type {
  LastSigned,
  LockStore,
  SegmentStore,
  StoredEntry,
  TileStore,
  TreeHead,
  TreeWrite,
} from '../log/stores.ts';

/** A SegmentStore in memory; a second store over the same `entries` sees what the first stored. */
export function memorySegments(entries: StoredEntry[] = []): SegmentStore {
  return {
    async append(group) {
      if (group.length > 0 && group[0]?.index !== entries.length)
        throw new MeshtrailError(
          'STORE_CORRUPT',
          `Entry ${group[0]?.index} was to be stored behind entry ${entries.length - 1}.`,
        );
      entries.push(
        ...group.map(({ index, entry, body }) => ({
          index,
          entry: entry.slice(),
          ...(body === undefined ? {} : { body: body.slice() }),
        })),
      );
    },
    async entry(index) {
      return entries[index]?.entry;
    },
    async body(index) {
      return entries[index]?.body;
    },
    async group(from, to) {
      return Array.from({ length: to - from }, (_, i) => ({
        entry: entries[from + i]?.entry,
        body: entries[from + i]?.body,
      }));
    },
    async *entries(from, to) {
      for (const { index, entry } of entries.slice(from, to)) yield { index, entry };
    },
    async end() {
      return entries.length;
    },
    async following(index) {
      return index < entries.length ? index : undefined;
    },
    async census() {
      return { entries: entries.length, bodies: entries.filter(({ body }) => body !== undefined).length, others: 0 };
    },
    async close() {},
  };
}

const batchName = (stream: Uint8Array, batchNumber: number): string => `${stream.join('.')}/${batchNumber}`;

/** What a memory TileStore holds; shared between two stores it stands for one disk. */
export class MemoryTree {
  readonly tiles = new Map<string, Uint8Array>();
  readonly entryTiles = new Map<number, Uint8Array>();
  readonly batches = new Map<string, { readonly index: number; readonly hash: Uint8Array }>();
  readonly conflicts = new Map<string, number>();
  integrated: TreeHead | undefined;
  published: string | undefined;
}

/** A TileStore in memory. */
export function memoryTiles(tree = new MemoryTree()): TileStore {
  return {
    async write(step: TreeWrite) {
      for (const t of step.tiles) tree.tiles.set(`${t.level}/${t.index}`, t.bytes.slice());
      for (const t of step.entryTiles) tree.entryTiles.set(t.index, t.bytes.slice());
      for (const b of step.batches)
        tree.batches.set(batchName(b.stream, b.batchNumber), { index: b.index, hash: b.hash.slice() });
      for (const c of step.conflicts) tree.conflicts.set(batchName(c.stream, c.batchNumber), c.index);
      tree.integrated = { size: step.integrated.size, root: step.integrated.root.slice() };
    },
    async tile(level, index) {
      return tree.tiles.get(`${level}/${index}`);
    },
    async entryTile(index) {
      return tree.entryTiles.get(index);
    },
    async integrated() {
      return tree.integrated;
    },
    async batch(stream, batchNumber) {
      return tree.batches.get(batchName(stream, batchNumber));
    },
    async placesOf(batches) {
      return batches.map(({ stream, batchNumber }) => tree.batches.get(batchName(stream, batchNumber)));
    },
    async conflict(stream, batchNumber) {
      return tree.conflicts.get(batchName(stream, batchNumber));
    },
    async published() {
      return tree.published;
    },
    async publish(note) {
      tree.published = note;
    },
    async census() {
      return {
        tiles: tree.tiles.size,
        entryTiles: tree.entryTiles.size,
        batches: tree.batches.size,
        conflicts: tree.conflicts.size,
        others: 0,
      };
    },
    async close() {},
  };
}

/** A LockStore in memory; `cell` stands for the disk. */
export function memoryLock(cell: { value?: LastSigned | undefined } = {}): LockStore {
  return {
    async read() {
      return cell.value;
    },
    async replace(expected, next) {
      const stored = cell.value;
      if (
        stored?.size !== expected?.size ||
        (stored !== undefined && expected !== undefined && !equalBytes(stored.root, expected.root))
      ) {
        throw new MeshtrailError(
          'LAST_SIGNED_MOVED',
          `Size ${stored?.size ?? 'nothing'} is stored, and size ${expected?.size ?? 'nothing'} was expected.`,
        );
      }
      cell.value = next;
    },
    async close() {},
  };
}

/** A ZoneStore in memory. */
export function memoryZones(): ZoneStore {
  const zones = new Map<number, Zone>();
  let indexedSize: number | undefined;
  return {
    async write(added, indexed) {
      for (const zone of added) zones.set(zone.index, zone);
      indexedSize = indexed;
    },
    async *zones() {
      yield* [...zones.values()].sort((a, b) => a.index - b.index);
    },
    async indexed() {
      return indexedSize;
    },
    async clear() {
      zones.clear();
      indexedSize = undefined;
    },
    async close() {},
  };
}
