// SegmentStore on LevelDB: a database for each segment, so that a closed one is never rewritten and can be moved or dropped whole.

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshtrailError } from '../core/error.ts';
import type { SegmentStore, StoredEntry } from '../log/stores.ts';
import { key64, valueOf64 } from './keys.ts';
import { type Database, guarded, openLevel, plain } from './level.ts';

const WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
const OPEN_SEGMENTS_MAX = 8;

/** Opens the segments below a directory. `segmentEntriesMin`: a segment closes at the first multiple of 256 from there on. */
export async function openLevelSegments(directory: string, segmentEntriesMin: number): Promise<SegmentStore> {
  const store = new LevelSegments(directory, Math.ceil(segmentEntriesMin / 256) * 256);
  await store.open();
  return store;
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

class LevelSegments implements SegmentStore {
  private readonly directory: string;
  private readonly segmentEntries: number;
  /** First indices of the segments, ascending. */
  private starts: number[] = [];
  private readonly open_ = new Map<number, Promise<Database>>();
  private next = 0;
  /** Behind the last index of a write that failed: it may be on disk all the same. */
  private uncertainEnd = 0;

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
    for (let i = this.starts.length - 1; i >= 0 && this.next === 0; i--)
      this.next = await this.endOf(this.starts[i] as number);
    // Opened even when nothing is stored yet: the lock of the newest segment is what keeps a second collector out.
    if (this.starts.length === 0) await this.database(0, true);
  }

  private async endOf(start: number): Promise<number> {
    const database = await this.database(start);
    return await guarded(this.path(start), async () => {
      for await (const key of database.keys({ gte: key64('e', 0), lt: key64('f', 0), reverse: true, limit: 1 }))
        return valueOf64(key) + 1;
      return 0;
    });
  }

  private path(start: number): string {
    return join(this.directory, nameOf(start));
  }

  private async database(start: number, isNew = false): Promise<Database> {
    const known = this.open_.get(start);
    if (known !== undefined) {
      this.open_.delete(start);
      this.open_.set(start, known);
      return await known;
    }
    if (isNew) this.starts.push(start);
    const opening = openLevel(this.path(start), WRITE_BUFFER_BYTES);
    this.open_.set(start, opening);
    opening.catch(() => this.open_.delete(start));
    await this.closeOld();
    return await opening;
  }

  /** Closes the segments that were not used for the longest time; never the newest. */
  private async closeOld(): Promise<void> {
    for (const [start, opening] of this.open_) {
      if (this.open_.size <= OPEN_SEGMENTS_MAX) return;
      if (start === this.starts.at(-1)) continue;
      this.open_.delete(start);
      await opening.then((database) => database.close());
    }
  }

  private startOf(index: number): number | undefined {
    return this.starts.findLast((start) => start <= index);
  }

  async append(group: readonly StoredEntry[]): Promise<void> {
    for (const part of this.split(group)) {
      const first = part[0] as StoredEntry;
      const current = this.starts.at(-1) as number;
      const isFull = first.index - current >= this.segmentEntries;
      const start = isFull ? first.index : current;
      const database = await this.database(start, isFull);
      const end = (part.at(-1) as StoredEntry).index + 1;
      const stale = this.staleOf(part, end);
      try {
        await guarded(this.path(start), async () => await database.batch([...stale, ...putsOf(part)], { sync: true }));
      } catch (error) {
        this.uncertainEnd = Math.max(this.uncertainEnd, end);
        throw error;
      }
      this.uncertainEnd = 0;
      this.next = end;
    }
  }

  /** Deletes what a failed write may have left at and behind the indices that are written now. */
  private staleOf(part: readonly StoredEntry[], end: number): { readonly type: 'del'; readonly key: Uint8Array }[] {
    if (this.uncertainEnd === 0) return [];
    const stale: { readonly type: 'del'; readonly key: Uint8Array }[] = [];
    for (const { index } of part) stale.push({ type: 'del', key: key64('b', index) });
    for (let index = end; index < this.uncertainEnd; index++)
      stale.push({ type: 'del', key: key64('e', index) }, { type: 'del', key: key64('b', index) });
    return stale;
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
    const database = await this.database(start);
    return await guarded(this.path(start), async () => plain(await database.get(key64(letter, index))));
  }

  async *entries(from: number, to: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }> {
    let expected = from;
    while (expected < Math.min(to, this.next)) {
      const start = this.startOf(expected);
      if (start === undefined) return;
      const database = await this.database(start);
      const at = expected;
      const entries = await guarded(
        this.path(start),
        async () => await database.iterator({ gte: key64('e', at), lt: key64('e', to), limit: 1024 }).all(),
      );
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

  async close(): Promise<void> {
    await Promise.all([...this.open_.values()].map(async (opening) => await (await opening).close()));
    this.open_.clear();
  }
}
