// SegmentStore on LevelDB: a database for each segment, so that a closed one is never rewritten and can be moved or dropped whole.

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshtrailError } from '../core/error.ts';
import type { SegmentCensus, SegmentStore, StoredEntry, StoredGroupEntry } from '../log/stores.ts';
import { key64, valueOf64 } from './keys.ts';
import { type Database, guarded, openLevel, plain } from './level.ts';

const WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
const OPEN_SEGMENTS_MAX = 8;
const KEY_BYTES = 9;
/** Entries that are read at a time: between two reads whoever waits has its turn, so what follows a page must be short. */
const PAGE_ENTRIES = 128;
const [ENTRY, BODY] = ['e'.charCodeAt(0), 'b'.charCodeAt(0)];

/** Opens the segments below a directory. `segmentEntriesMin`: a segment closes at the first multiple of 256 from there on. */
export async function openLevelSegments(directory: string, segmentEntriesMin: number): Promise<SegmentStore> {
  const store = new LevelSegments(directory, Math.ceil(segmentEntriesMin / 256) * 256);
  try {
    await store.open();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

function putsOf(
  part: readonly StoredEntry[],
): { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }[] {
  return part.flatMap(({ index, entry, body }) => [
    { type: 'put' as const, key: key64('e', index), value: entry },
    ...(body === undefined ? [] : [{ type: 'put' as const, key: key64('b', index), value: body }]),
  ]);
}

const nameOf = (start: number): string => String(start).padStart(16, '0');

/** An open segment and how many operations use it: it is closed only between operations. */
interface OpenSegment {
  readonly database: Promise<Database>;
  users: number;
}

class LevelSegments implements SegmentStore {
  private readonly directory: string;
  private readonly segmentEntries: number;
  /** First indices of the segments, ascending. */
  private starts: number[] = [];
  /** Least recently used first. */
  private readonly opened = new Map<number, OpenSegment>();
  private readonly closing = new Map<number, Promise<void>>();
  private next = 0;
  private isClosed = false;

  constructor(directory: string, segmentEntries: number) {
    this.directory = directory;
    this.segmentEntries = segmentEntries;
  }

  async open(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    this.starts = (await readdir(this.directory))
      .filter((name) => /^\d{16}$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
    // Opened even when nothing is stored yet: the lock of the newest segment is what keeps a second collector out.
    if (this.starts.length === 0) this.starts.push(0);
    for (let i = this.starts.length - 1; i >= 0 && this.next === 0; i--)
      this.next = await this.endOf(this.starts[i] as number);
  }

  private async endOf(start: number): Promise<number> {
    return await this.use(start, async (database) => {
      const [last] = await database.keys({ gte: key64('e', 0), lt: key64('f', 0), reverse: true, limit: 1 }).all();
      if (last === undefined) return 0;
      const end = valueOf64(last) + 1;
      if (last.length === KEY_BYTES && Number.isSafeInteger(end)) return end;
      throw new MeshtrailError('STORE_CORRUPT', `${this.path(start)} holds an entry key that no collector wrote.`);
    });
  }

  private path(start: number): string {
    return join(this.directory, nameOf(start));
  }

  /** Runs an operation on a segment, which stays open at least until it is done. */
  private async use<T>(start: number, work: (database: Database) => Promise<T>): Promise<T> {
    if (this.isClosed) throw new MeshtrailError('STORE_FAILED', `${this.directory} is closed.`);
    let segment = this.opened.get(start);
    if (segment === undefined) {
      const before = this.closing.get(start) ?? Promise.resolve();
      const opening = { database: before.then(() => openLevel(this.path(start), WRITE_BUFFER_BYTES)), users: 0 };
      // One that could not be opened is tried again by the next operation.
      opening.database.catch(() => this.opened.get(start) === opening && this.opened.delete(start));
      segment = opening;
    } else this.opened.delete(start);
    this.opened.set(start, segment);
    segment.users++;
    try {
      this.closeUnused();
      const database = await segment.database;
      return await guarded(this.path(start), async () => await work(database));
    } finally {
      segment.users--;
    }
  }

  /** Closes the segments that were not used for the longest time; never the newest, and none that is in use. */
  private closeUnused(): void {
    for (const [start, segment] of this.opened) {
      if (this.opened.size <= OPEN_SEGMENTS_MAX) return;
      if (segment.users === 0 && start !== this.starts.at(-1)) this.closeOne(start, segment);
    }
  }

  private closeOne(start: number, segment: OpenSegment): void {
    this.opened.delete(start);
    const closed = segment.database
      .then((database) => database.close())
      .catch(() => undefined)
      .finally(() => this.closing.delete(start));
    this.closing.set(start, closed);
  }

  private startOf(index: number): number | undefined {
    return this.starts.findLast((start) => start <= index);
  }

  async append(group: readonly StoredEntry[]): Promise<void> {
    for (const part of this.split(group)) {
      const { index: first } = part[0] as StoredEntry;
      if (first - (this.starts.at(-1) as number) >= this.segmentEntries) this.starts.push(first);
      await this.use(
        this.starts.at(-1) as number,
        async (database) => await database.batch(putsOf(part), { sync: true }),
      );
      this.next = first + part.length;
    }
  }

  /** A group that crosses the end of a segment becomes two writes, the first of which is whole without the second. */
  private *split(group: readonly StoredEntry[]): Generator<readonly StoredEntry[]> {
    if (group.length === 0) return;
    if ((group[0] as StoredEntry).index !== this.next) {
      throw new MeshtrailError(
        'STORE_CORRUPT',
        `Entry ${(group[0] as StoredEntry).index} was to be stored behind entry ${this.next - 1}: indices must be dense.`,
      );
    }
    const current = this.starts.at(-1) as number;
    let from = 0;
    for (let end = current + this.segmentEntries; from < group.length; end += this.segmentEntries) {
      const count = Math.max(0, Math.min(group.length, end - (group[0] as StoredEntry).index) - from);
      if (count > 0) yield group.slice(from, from + count);
      from += count;
    }
  }

  async entry(index: number): Promise<Uint8Array | undefined> {
    return await this.read('e', index);
  }

  async body(index: number): Promise<Uint8Array | undefined> {
    return await this.read('b', index);
  }

  private async read(letter: string, index: number): Promise<Uint8Array | undefined> {
    const start = this.startOf(index);
    if (start === undefined || index >= this.next) return undefined;
    return await this.use(start, async (database) => plain(await database.get(key64(letter, index))));
  }

  async group(from: number, to: number): Promise<readonly StoredGroupEntry[]> {
    const found: StoredGroupEntry[] = [];
    while (found.length < to - from) {
      const first = from + found.length;
      const start = this.startOf(first);
      if (start === undefined || first >= this.next) {
        found.push({ entry: undefined, body: undefined });
        continue;
      }
      const end = Math.min(to, this.next, this.starts.find((other) => other > start) ?? to);
      const indices = Array.from({ length: end - first }, (_, i) => first + i);
      const keys = indices.flatMap((index) => [key64('e', index), key64('b', index)]);
      const values = await this.use(start, async (database) => await database.getMany(keys));
      for (const i of indices.keys()) found.push({ entry: plain(values[2 * i]), body: plain(values[2 * i + 1]) });
    }
    return found;
  }

  async *entries(from: number, to: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }> {
    let expected = from;
    while (expected < Math.min(to, this.next)) {
      const start = this.startOf(expected);
      if (start === undefined) return;
      const range = { gte: key64('e', expected), lt: key64('e', to), limit: PAGE_ENTRIES };
      const entries = await this.use(start, async (database) => await database.iterator(range).all());
      if (entries.length === 0) return;
      for (const [key, entry] of entries) {
        if (valueOf64(key) !== expected) return;
        yield { index: expected++, entry: plain(entry) };
      }
    }
  }

  async end(): Promise<number> {
    return this.next;
  }

  async following(index: number): Promise<number | undefined> {
    for (const [i, start] of this.starts.entries()) {
      const end = this.starts[i + 1] ?? this.next;
      if (end <= index) continue;
      const range = { gte: key64('e', Math.max(start, index)), lt: key64('e', end), limit: 1 };
      const [key] = await this.use(start, async (database) => await database.keys(range).all());
      if (key !== undefined) return valueOf64(key);
    }
    return undefined;
  }

  async census(): Promise<SegmentCensus> {
    const counts = { entries: 0, bodies: 0, others: 0 };
    for (const start of this.starts) {
      await this.use(start, async (database) => {
        for await (const key of database.keys()) {
          if (key.length === KEY_BYTES && key[0] === ENTRY) counts.entries++;
          else if (key.length === KEY_BYTES && key[0] === BODY) counts.bodies++;
          else counts.others++;
        }
      });
    }
    return counts;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const [start, segment] of this.opened) this.closeOne(start, segment);
    await Promise.all(this.closing.values());
  }
}
