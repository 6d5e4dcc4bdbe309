// Re-reads and re-hashes everything that is stored, and names the place of whatever does not fit. It changes nothing.

import { equalBytes, toHex } from '../core/bytes.ts';
import { decodeBatch } from '../core/codec/batch.ts';
import { type BatchEntry, formatEntry, headerOf, parseEntry } from '../core/codec/entry.ts';
import { type ErrorCode, MeshtrailError } from '../core/error.ts';
import { openCheckpoint } from '../core/tlog/checkpoint.ts';
import { leafHash } from '../core/tlog/merkle.ts';
import type { Verifier } from '../core/tlog/note.ts';
import { encodeEntryTile, TILE_WIDTH, TreeEdge, tilePath } from '../core/tlog/tile.ts';
import { unpackBody } from './body.ts';
import type { LockStore, SegmentStore, TileStore } from './stores.ts';

/** Findings that one run keeps; a directory that is all wrong needs no longer list. */
const FINDINGS_MAX = 1000;

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
  readonly entries: number;
  readonly records: number;
  /** Size of the published checkpoint. */
  readonly published: number;
}

export interface FsckInput {
  readonly segments: SegmentStore;
  readonly tiles: TileStore;
  readonly lock: LockStore;
  readonly verifier: Verifier;
  readonly progress?: (done: number, all: number) => void;
}

/** One batch in its stream's chain. */
interface Link {
  readonly index: number;
  readonly firstRecord: number;
  /** Number after its last record. */
  readonly end: number;
  readonly hash: Uint8Array;
  readonly previous: Uint8Array | undefined;
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
  private readonly streams = new Map<string, Map<number, Link>>();
  private readonly edge = new TreeEdge();
  private readonly roots = new Map<number, Uint8Array>();
  private tail: Uint8Array[] = [];
  private records = 0;
  private batches = 0;
  private conflicts = 0;
  private tilesExpected = 0;
  private publishedSize = 0;

  constructor(input: FsckInput) {
    this.input = input;
  }

  report(): FsckReport {
    return { findings: this.findings, entries: this.edge.size, records: this.records, published: this.publishedSize };
  }

  private find(severity: Finding['severity'], code: ErrorCode, place: string, message: string): void {
    if (this.findings.length < FINDINGS_MAX) this.findings.push({ severity, code, place, message });
  }

  /** Runs a check; what it throws becomes a finding at a place. */
  private async at<T>(place: string, work: () => Promise<T> | T): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.find(
        'error',
        error instanceof MeshtrailError ? error.code : 'STORE_FAILED',
        place,
        (error as Error).message,
      );
      return undefined;
    }
  }

  async all(): Promise<void> {
    const { segments, tiles, lock } = this.input;
    const end = (await this.at('segments', () => segments.end())) ?? 0;
    const integrated = await this.at('tree "integrated"', () => tiles.integrated());
    const published = await this.at('tree "published"', async () => {
      const note = await tiles.published();
      if (note === undefined) throw new MeshtrailError('STORE_CORRUPT', 'There is no published checkpoint.');
      return openCheckpoint(note, this.input.verifier);
    });
    const lastSigned = await this.at('last-signed', async () => {
      const record = await lock.read();
      if (record === undefined) throw new MeshtrailError('LAST_SIGNED_MISSING', 'There is no last-signed record.');
      return record;
    });
    this.publishedSize = published?.size ?? 0;
    const heads = [
      ['tree "integrated"', integrated],
      ['tree "published"', published],
      ['last-signed', lastSigned],
    ] as const;
    for (const [, head] of heads) if (head !== undefined) this.roots.set(head.size, new Uint8Array(0));
    await this.walk(end, integrated?.size ?? 0);
    for (const [place, head] of heads) {
      if (head === undefined) continue;
      const root = this.roots.get(head.size);
      if (head.size > this.edge.size)
        this.find('error', 'TREE_SHRANK', place, `It names size ${head.size}; ${this.edge.size} entries are stored.`);
      else if (root === undefined || !equalBytes(root, head.root))
        this.find('error', 'STORE_DIVERGED', place, `Its root is not that of the ${head.size} entries stored.`);
    }
    if (published !== undefined && lastSigned !== undefined && published.size > lastSigned.size) {
      this.find(
        'error',
        'STORE_DIVERGED',
        'last-signed',
        `It names size ${lastSigned.size}, and size ${published.size} is published.`,
      );
    }
    this.checkChains();
    await this.census();
  }

  private async walk(end: number, integratedSize: number): Promise<void> {
    if (this.roots.has(0)) this.roots.set(0, this.edge.root());
    for (let index = 0; index < end; index++) {
      const place = `segment entry ${index}`;
      const entry = await this.at(place, async () => {
        const bytes = await this.input.segments.entry(index);
        if (bytes === undefined) throw new MeshtrailError('STORE_CORRUPT', 'It is missing.');
        return bytes;
      });
      await this.checkEntry(index, entry, index < integratedSize);
      await this.extend(index, entry ?? new Uint8Array(0), index < integratedSize);
      if (this.edge.size === integratedSize) await this.checkPartials();
      if (this.roots.has(this.edge.size)) this.roots.set(this.edge.size, this.edge.root());
      this.input.progress?.(index + 1, end);
    }
  }

  private async checkEntry(index: number, bytes: Uint8Array | undefined, isIntegrated: boolean): Promise<void> {
    if (bytes === undefined) return;
    const entry = await this.at(`segment entry ${index}`, () => parseEntry(bytes));
    if (entry === undefined || entry.kind === 'heartbeat') return;
    const name = `${toHex(entry.stream)} batch ${entry.batchNumber}`;
    if (entry.kind === 'batch') {
      await this.at(`segment body ${index} (stream ${name})`, () => this.checkBody(index, entry));
      this.checkStream(index, entry);
      this.records += entry.recordCount;
    }
    if (!isIntegrated) return;
    await this.at(`tree key of stream ${name}`, async () => {
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
    });
  }

  /** The body must give the very header that is in the log: hash, roots, counters, clocks and all. */
  private async checkBody(index: number, entry: BatchEntry): Promise<void> {
    const body = await this.input.segments.body(index);
    if (body === undefined) throw new MeshtrailError('STORE_CORRUPT', 'It is missing.');
    const header = headerOf(decodeBatch(unpackBody(body)), entry.peer)(entry.receivedMs);
    if (!equalBytes(formatEntry(header), formatEntry(entry)))
      throw new MeshtrailError('STORE_CORRUPT', `The body is not the one that entry ${index} names.`);
  }

  /** Batches travel two at a time, so they can arrive in another order; the chain is checked when all are known. */
  private checkStream(
    index: number,
    { stream, batchNumber, firstRecord, recordCount, bodyHash, previous }: BatchEntry,
  ): void {
    const name = toHex(stream);
    const links = this.streams.get(name) ?? new Map<number, Link>();
    this.streams.set(name, links);
    if (links.has(batchNumber))
      this.find(
        'error',
        'STORE_DIVERGED',
        `segment entry ${index}`,
        `Batch ${batchNumber} of stream ${name} is in the log twice.`,
      );
    links.set(batchNumber, { index, firstRecord, end: firstRecord + recordCount, hash: bodyHash, previous });
  }

  /** Numbers are dense and batches chained by hash; a hole is a gap of the proxy's, not damage of the store. */
  private checkChains(): void {
    for (const [name, links] of this.streams) {
      let last: Link | undefined;
      let lastNumber = -1;
      for (const [batchNumber, link] of [...links].sort(([a], [b]) => a - b)) {
        if (batchNumber > lastNumber + 1) {
          const from = last?.end ?? 0;
          this.find(
            'gap',
            'STREAM_GAP',
            `stream ${name}`,
            `Batches ${lastNumber + 1} to ${batchNumber - 1} never arrived: records ${from} to ${link.firstRecord - 1}.`,
          );
        } else if (
          last !== undefined &&
          (link.firstRecord !== last.end || link.previous === undefined || !equalBytes(link.previous, last.hash))
        ) {
          this.find(
            'error',
            'STORE_DIVERGED',
            `segment entry ${link.index}`,
            `Batch ${batchNumber} of stream ${name} does not continue batch ${lastNumber}: the proxy's chain is broken.`,
          );
        }
        [last, lastNumber] = [link, batchNumber];
      }
    }
  }

  private async extend(index: number, entry: Uint8Array, isIntegrated: boolean): Promise<void> {
    const full: { level: number; index: number; bytes: Uint8Array }[] = [];
    this.edge.append(leafHash(entry), (at, bytes) => full.push({ ...at, bytes }));
    if (index % TILE_WIDTH === 0) this.tail = [];
    this.tail.push(entry);
    if (!isIntegrated) return;
    for (const tile of full) await this.checkTile(tile.level, tile.index, tile.bytes);
    if (this.tail.length < TILE_WIDTH) return;
    const number = Math.floor(index / TILE_WIDTH);
    await this.at(`tree entry tile ${number}`, async () => {
      const stored = await this.input.tiles.entryTile(number);
      if (stored === undefined || !equalBytes(stored, encodeEntryTile(this.tail)))
        throw new MeshtrailError('STORE_CORRUPT', 'It is missing, or does not hold the entries stored.');
    });
  }

  private async checkTile(level: number, index: number, bytes: Uint8Array): Promise<void> {
    this.tilesExpected++;
    await this.at(`tree ${tilePath({ level, index, width: bytes.length / 32 })}`, async () => {
      const stored = await this.input.tiles.tile(level, index);
      if (stored === undefined || !equalBytes(stored, bytes))
        throw new MeshtrailError('STORE_CORRUPT', 'It is missing, or does not hold the hashes of the entries stored.');
    });
  }

  private async checkPartials(): Promise<void> {
    for (const { level, index, bytes } of this.edge.partials()) await this.checkTile(level, index, bytes);
  }

  private async census(): Promise<void> {
    const census = await this.at('tree', () => this.input.tiles.census());
    if (census === undefined) return;
    for (const [what, stored, expected] of [
      ['hash tiles', census.tiles, this.tilesExpected],
      ['stream keys', census.batches, this.batches],
      ['conflict keys', census.conflicts, this.conflicts],
    ] as const) {
      if (stored > expected)
        this.find(
          'error',
          'STORE_CORRUPT',
          `tree ${what}`,
          `${stored} are stored, and the entries account for ${expected}.`,
        );
    }
  }
}
