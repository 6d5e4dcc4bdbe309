// Re-reads and re-hashes everything that is stored, and names the place of whatever does not fit. It changes nothing.

import { equalBytes, toHex } from '../core/bytes.ts';
import { decodeBatch } from '../core/codec/batch.ts';
import { type BatchEntry, formatEntry, headerOf, parseEntry } from '../core/codec/entry.ts';
import { type ErrorCode, MeshtrailError } from '../core/error.ts';
import { openCheckpoint } from '../core/tlog/checkpoint.ts';
import type { Verifier } from '../core/tlog/note.ts';
import { TILE_WIDTH } from '../core/tlog/tile.ts';
import { unpackBody } from './body.ts';
import { StreamCheck } from './fsck-streams.ts';
import { type FindError, type NamedHead, TreeCheck } from './fsck-tree.ts';
import type { LockStore, SegmentStore, TileStore, TreeHead } from './stores.ts';

/** Findings that one run keeps; a directory that is all wrong needs no longer list. */
const FINDINGS_MAX = 1000;
const [PUBLISHED, LAST_SIGNED, INTEGRATED] = ['tree "published"', 'last-signed', 'tree "integrated"'] as const;

export interface Finding {
  /** `error`: what is stored is not what was written. `gap`: records that the proxy numbered never arrived. */
  readonly severity: 'error' | 'gap';
  readonly code: ErrorCode;
  /** Which stored thing: `segment entry 93`, `tree tile/0/000`. */
  readonly place: string;
  readonly message: string;
}

export interface FsckReport {
  readonly findings: readonly Finding[];
  /** `without-last-signed`: nothing was compared with that record. `files-only`: files are damaged, and nothing was opened. */
  readonly checked: 'everything' | 'without-last-signed' | 'files-only';
  readonly entries: number;
  readonly records: number;
  /** Size of the published checkpoint. */
  readonly published: number;
}

export interface FsckInput {
  readonly segments: SegmentStore;
  readonly tiles: TileStore;
  /** Undefined for a copy that has no last-signed record. */
  readonly lock: LockStore | undefined;
  readonly verifier: Verifier;
  readonly progress?: (done: number, all: number) => void;
}

/** Checks a whole log. Never throws for what it finds; a store that cannot be read at all becomes a finding too. */
export async function fsck(input: FsckInput): Promise<FsckReport> {
  const run = new Run(input);
  await run.all();
  return run.report();
}

class Run {
  private readonly input: FsckInput;
  private readonly findings: Finding[] = [];
  /** What is said of a body or a key that an entry names: nothing, when it turns out that the entry is the damaged one. */
  private readonly about = new Map<Finding, number>();
  private readonly streams = new StreamCheck();
  /** Entries that are missing or cannot be read, as ranges in ascending order. */
  private readonly unread: { readonly from: number; to: number }[] = [];
  private entries = 0;
  private bodies = 0;
  private records = 0;
  private batches = 0;
  private conflicts = 0;
  private publishedSize = 0;

  constructor(input: FsckInput) {
    this.input = input;
  }

  report(): FsckReport {
    return {
      findings: this.findings,
      checked: this.input.lock === undefined ? 'without-last-signed' : 'everything',
      entries: this.entries,
      records: this.records,
      published: this.publishedSize,
    };
  }

  private find(severity: Finding['severity'], code: ErrorCode, place: string, message: string, about?: number): void {
    if (this.findings.length >= FINDINGS_MAX) return;
    const finding = { severity, code, place, message };
    this.findings.push(finding);
    if (about !== undefined) this.about.set(finding, about);
  }

  /** Runs a check; what it throws becomes a finding at a place, about an entry where it follows from one. */
  private async at<T>(place: string, work: () => Promise<T> | T, about?: number): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof MeshtrailError ? error.code : 'STORE_FAILED';
      this.find('error', code, place, (error as Error).message, about);
      return undefined;
    }
  }

  async all(): Promise<void> {
    const { segments } = this.input;
    const end = (await this.at('segments', () => segments.end())) ?? 0;
    const heads = await this.heads();
    const size = Math.min(end, Math.max(0, ...heads.map(({ head }) => head.size)));
    const find: FindError = (code, place, message) => this.find('error', code, place, message);
    const tree = new TreeCheck({ tiles: this.input.tiles, heads, size, find });
    await this.walk(end, size, tree);
    tree.finish();
    const doubtful = new Set(tree.doubtful().filter((index) => !this.isUnread(index)));
    const isDamaged = (index: number): boolean => this.isUnread(index) || doubtful.has(index);
    const damaged = this.unread.reduce((sum, { from, to }) => sum + to - from, doubtful.size);
    this.forget(isDamaged);
    await this.streams.check({
      isDamaged,
      damaged,
      indexOf: async (stream, batchNumber) =>
        (await this.input.tiles.batch(stream, batchNumber).catch(() => undefined))?.index,
      find,
      gap: (place, message) => this.find('gap', 'STREAM_GAP', place, message),
    });
    const isShort = heads.some(({ head }) => head.size > end);
    await this.census(tree.tilesExpected, size, damaged === 0 && !isShort);
  }

  private isUnread(index: number): boolean {
    let [low, high] = [0, this.unread.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.unread[middle]?.to ?? 0) <= index) low = middle + 1;
      else high = middle;
    }
    return (this.unread[low]?.from ?? Number.POSITIVE_INFINITY) <= index;
  }

  private addUnread(from: number, to: number): void {
    const last = this.unread.at(-1);
    if (last?.to === from) last.to = to;
    else this.unread.push({ from, to });
  }

  /** Takes back what was said of bodies and keys by entries that are damaged themselves. */
  private forget(isDamaged: (index: number) => boolean): void {
    const kept = this.findings.filter((finding) => {
      const entry = this.about.get(finding);
      return entry === undefined || !isDamaged(entry);
    });
    this.findings.splice(0, this.findings.length, ...kept);
  }

  /** The heads that are stored; the one that is signed first, since it is the hardest to forge. */
  private async heads(): Promise<NamedHead[]> {
    const { tiles, lock } = this.input;
    const published = await this.at(PUBLISHED, async () => {
      const note = await tiles.published();
      if (note === undefined) throw new MeshtrailError('STORE_CORRUPT', 'There is no published checkpoint.');
      return openCheckpoint(note, this.input.verifier);
    });
    const lastSigned = await this.at(LAST_SIGNED, async () => {
      if (lock === undefined) return undefined;
      const record = await lock.read();
      if (record === undefined) throw new MeshtrailError('LAST_SIGNED_MISSING', 'There is no last-signed record.');
      return record;
    });
    const integrated = await this.at(INTEGRATED, async () => {
      const head = await tiles.integrated();
      if (head === undefined && ((published?.size ?? 0) > 0 || (lastSigned?.size ?? 0) > 0))
        throw new MeshtrailError('STORE_CORRUPT', 'It is missing.');
      return head;
    });
    this.publishedSize = published?.size ?? 0;
    this.checkOrder(PUBLISHED, published, LAST_SIGNED, lastSigned);
    this.checkOrder(LAST_SIGNED, lastSigned, INTEGRATED, integrated);
    const named = (place: string, head: TreeHead | undefined): NamedHead[] =>
      head === undefined ? [] : [{ place, head }];
    return [...named(PUBLISHED, published), ...named(LAST_SIGNED, lastSigned), ...named(INTEGRATED, integrated)];
  }

  /** What is written first is never behind what is written after it, whenever the collector was killed. */
  private checkOrder(laterName: string, later: TreeHead | undefined, place: string, first: TreeHead | undefined): void {
    if (later !== undefined && first !== undefined && later.size > first.size)
      this.find(
        'error',
        'STORE_DIVERGED',
        place,
        `It names size ${first.size}, and ${laterName} names size ${later.size}.`,
      );
  }

  private async walk(end: number, treeSize: number, tree: TreeCheck): Promise<void> {
    for (let index = 0; index < end; ) {
      const entry = await this.at(`segment entry ${index}`, async () => ({
        bytes: await this.input.segments.entry(index),
      }));
      if (entry !== undefined && entry.bytes === undefined) {
        index = await this.hole(index, end, treeSize, tree);
        continue;
      }
      if (entry === undefined) this.addUnread(index, index + 1);
      else if (entry.bytes !== undefined) {
        this.entries++;
        await this.checkEntry(index, entry.bytes, index < treeSize);
      }
      await tree.append(index, entry?.bytes);
      index++;
      this.input.progress?.(index, end);
    }
  }

  /** Entries that are missing: one finding for all of them. Beyond the tree nothing is known of them, so they are passed over. */
  private async hole(from: number, end: number, treeSize: number, tree: TreeCheck): Promise<number> {
    const to = (await this.at('segments', () => this.input.segments.following(from))) ?? end;
    const message = to === from + 1 ? 'It is missing.' : `${to - from} entries from here to ${to - 1} are missing.`;
    this.find('error', 'STORE_CORRUPT', `segment entry ${from}`, message);
    this.addUnread(from, to);
    for (let index = from; index < Math.min(to, treeSize); index++) await tree.append(index, undefined);
    return to;
  }

  private async checkEntry(index: number, bytes: Uint8Array, isIntegrated: boolean): Promise<void> {
    const entry = await this.at(`segment entry ${index}`, () => parseEntry(bytes));
    if (entry === undefined) this.addUnread(index, index + 1);
    if (entry === undefined || entry.kind === 'heartbeat') return;
    const name = `${toHex(entry.stream)} batch ${entry.batchNumber}`;
    if (entry.kind === 'batch') {
      this.bodies++;
      await this.at(`segment body ${index} (stream ${name})`, () => this.checkBody(index, entry), index);
      this.streams.add(index, entry);
      this.records += entry.recordCount;
    }
    if (!isIntegrated) return;
    await this.at(
      `tree key of stream ${name}`,
      async () => {
        if (entry.kind === 'batch') {
          this.batches++;
          const place = await this.input.tiles.batch(entry.stream, entry.batchNumber);
          if (place === undefined || place.index !== index || !equalBytes(place.hash, entry.bodyHash))
            throw new MeshtrailError('STORE_CORRUPT', `It does not say that the batch is entry ${index}.`);
        } else {
          this.conflicts++;
          if ((await this.input.tiles.conflict(entry.stream, entry.batchNumber)) !== index)
            throw new MeshtrailError('STORE_CORRUPT', `It does not say that the conflict is entry ${index}.`);
        }
      },
      index,
    );
  }

  /** The body must give the very header that is in the log: hash, roots, counters, clocks and all. */
  private async checkBody(index: number, entry: BatchEntry): Promise<void> {
    const body = await this.input.segments.body(index);
    if (body === undefined) throw new MeshtrailError('STORE_CORRUPT', 'It is missing.');
    const header = headerOf(decodeBatch(unpackBody(body)), entry.peer)(entry.receivedMs);
    if (!equalBytes(formatEntry(header), formatEntry(entry)))
      throw new MeshtrailError('STORE_CORRUPT', `The body is not the one that entry ${index} names.`);
  }

  /** `isWhole`: no entry is damaged or lost, so every body and key can be accounted for. */
  private async census(tilesExpected: number, treeSize: number, isWhole: boolean): Promise<void> {
    const tree = await this.at('tree', () => this.input.tiles.census());
    const segments = await this.at('segments', () => this.input.segments.census());
    const counted: [string, number | undefined, number][] = [
      ['tree hash tiles', tree?.tiles, tilesExpected],
      ['tree entry tiles', tree?.entryTiles, Math.floor(treeSize / TILE_WIDTH)],
      ['tree stream keys', isWhole ? tree?.batches : undefined, this.batches],
      ['tree conflict keys', isWhole ? tree?.conflicts : undefined, this.conflicts],
      ['tree keys', tree?.others, 0],
      ['segments entries', segments?.entries, this.entries],
      ['segments bodies', isWhole ? segments?.bodies : undefined, this.bodies],
      ['segments keys', segments?.others, 0],
    ];
    for (const [place, stored, expected] of counted) {
      if (stored !== undefined && stored > expected)
        this.find(
          'error',
          'STORE_CORRUPT',
          place,
          expected === 0
            ? `${stored} are stored that nothing accounts for.`
            : `${stored} are stored, and the log accounts for ${expected}.`,
        );
    }
  }
}
