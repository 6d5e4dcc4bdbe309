// Checks a whole C2SP tlog-tiles log against a checkpoint, from its files alone: every entry is hashed again, and every
// tile, partial tile and root recomputed from that (RFC 6962 section 2.1, https://c2sp.org/tlog-tiles).

import { equalBytes } from '../bytes.ts';
import { type ErrorCode, MeshtrailError } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { checkSize, leafHash } from './merkle.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  entryTilePath,
  parseTilePath,
  splitTile,
  TILE_WIDTH,
  type TileCoordinates,
  type TileReader,
  TreeEdge,
  tilePath,
  widthInTree,
} from './tile.ts';

/** Findings that end a run; whoever serves a log that is all wrong cannot make its reader work for ever. */
export const LOG_FINDINGS_MAX = 100;

/** Reads the files of a log. A file that is not there is undefined; one that could not be fetched is an error thrown. */
export interface LogReader extends TileReader {
  /** Bytes of an entry tile of `width` entries. */
  entryTile(index: number, width: number): Promise<Uint8Array | undefined>;
}

export interface LogFinding {
  readonly code: ErrorCode;
  /** The file, as a path below the log's prefix, or `checkpoint`. */
  readonly place: string;
  readonly message: string;
}

interface Head {
  readonly size: number;
  readonly root: Uint8Array;
}

export interface LogCheck {
  readonly reader: LogReader;
  /** A checkpoint whose signature is verified already. */
  readonly head: Head;
  /** Verified checkpoints that the reader kept from earlier: this is what shows a rollback or a fork. */
  readonly older?: readonly Head[];
  /** Every path under `tile/`, where the log can be listed: older partial tiles and stray files are checked too. */
  readonly listed?: Iterable<string>;
  readonly progress?: (entries: number, size: number) => void;
}

export interface LogReport {
  readonly findings: readonly LogFinding[];
  /** Entries hashed, from the first on. */
  readonly entries: number;
  /** False when something could not be checked because of what was found before; then findings are never empty. */
  readonly isComplete: boolean;
}

/** Checks a whole log. What it finds never throws; what the reader throws goes through, as it is no verdict. Throws TREE_SIZE_UNSUPPORTED. */
export async function checkLog(input: LogCheck): Promise<LogReport> {
  checkSize('The tree size', input.head.size);
  return await new Run(input).all();
}

/** Where an entry and its stored leaf hash disagree; which of the two is damaged shows when the root is known. */
interface Mismatch {
  readonly entry: number;
  readonly tile: TileCoordinates;
}

class Run {
  private readonly input: LogCheck;
  private readonly size: number;
  private readonly findings: LogFinding[] = [];
  private readonly mismatches: Mismatch[] = [];
  private readonly olderSizes: ReadonlySet<number>;
  private readonly olderRoots = new Map<number, Uint8Array>();
  /** Grows by the entries; undefined once neither an entry tile nor its leaf hashes could be read. */
  private edge: TreeEdge | undefined = new TreeEdge();
  private entries = 0;

  constructor(input: LogCheck) {
    this.input = input;
    this.size = input.head.size;
    this.olderSizes = new Set(input.older?.map(({ size }) => size));
  }

  async all(): Promise<LogReport> {
    this.keepRoot();
    for (let index = 0; index * TILE_WIDTH < this.size && !this.isFull(); index++) {
      await this.leafTile({ level: 0, index, width: widthInTree(this.size, 0, index) });
      this.input.progress?.(this.entries, this.size);
    }
    const { edge } = this;
    const isWhole = edge !== undefined && edge.size === this.size;
    if (isWhole) for (const { bytes, ...at } of edge.partials()) if (at.level > 0) await this.upperTile(at, bytes);
    const isRootRight = isWhole && equalBytes(edge.root(), this.input.head.root);
    this.blame(isRootRight);
    if (isWhole && !isRootRight)
      this.find(
        'STORE_DIVERGED',
        'checkpoint',
        `The ${this.size} entries lead to another root than the one that is signed.`,
      );
    for (const older of this.input.older ?? []) this.checkOlder(older);
    for (const path of this.input.listed ?? []) {
      if (this.isFull()) break;
      await this.checkListed(path);
    }
    return { findings: this.findings, entries: this.entries, isComplete: isWhole && !this.isFull() };
  }

  private isFull(): boolean {
    return this.findings.length + this.mismatches.length >= LOG_FINDINGS_MAX;
  }

  private find(code: ErrorCode, place: string, message: string): void {
    this.findings.push({ code, place, message });
  }

  private keepRoot(): void {
    const { edge } = this;
    if (edge !== undefined && this.olderSizes.has(edge.size)) this.olderRoots.set(edge.size, edge.root());
  }

  /** Reads a file and takes it apart; what is wrong with it becomes a finding at its path. */
  private async read<T>(
    path: string,
    bytes: Promise<Uint8Array | undefined>,
    parse: (bytes: Uint8Array) => T,
  ): Promise<T | undefined> {
    const found = await bytes;
    if (found === undefined) {
      this.find('TILE_MISSING', path, `It is missing; a tree of size ${this.size} needs it.`);
      return undefined;
    }
    try {
      return parse(found);
    } catch (error) {
      if (!(error instanceof MeshtrailError)) throw error;
      this.find(error.code, path, error.message);
      return undefined;
    }
  }

  private readTile(at: TileCoordinates): Promise<Uint8Array[] | undefined> {
    const bytes = this.input.reader.tile(at.level, at.index, at.width);
    return this.read(tilePath(at), bytes, (found) => splitTile(found, at));
  }

  /** An entry tile and the hash tile over it. */
  private async leafTile(at: TileCoordinates): Promise<void> {
    const { index, width } = at;
    const hashes = await this.read(entryTilePath(index, width), this.input.reader.entryTile(index, width), (bytes) =>
      decodeEntryTile(bytes, width).map(leafHash),
    );
    const stored = await this.readTile(at);
    if (hashes !== undefined && stored !== undefined) {
      const wrong = hashes.findIndex((hash, i) => !equalBytes(hash, stored[i] as Uint8Array));
      if (wrong >= 0) this.mismatches.push({ entry: index * TILE_WIDTH + wrong, tile: at });
    }
    this.entries += hashes?.length ?? 0;
    // Without its entries a tile can still be checked against what is above it.
    const leaves = hashes ?? stored;
    if (leaves === undefined) this.edge = undefined;
    else await this.grow(leaves);
  }

  private async grow(leaves: readonly Uint8Array[]): Promise<void> {
    const filled: { readonly at: TileCoordinates; readonly bytes: Uint8Array }[] = [];
    for (const leaf of leaves) {
      this.edge?.append(leaf, (at, bytes) => {
        if (at.level > 0) filled.push({ at, bytes });
      });
      this.keepRoot();
    }
    for (const { at, bytes } of filled) await this.upperTile(at, bytes);
  }

  private async upperTile(at: TileCoordinates, expected: Uint8Array): Promise<void> {
    const stored = await this.readTile(at);
    const wrong = stored?.findIndex(
      (hash, i) => !equalBytes(hash, expected.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)),
    );
    if (wrong !== undefined && wrong >= 0)
      this.find(
        'STORE_CORRUPT',
        tilePath(at),
        `Its hash ${wrong} is not that of tile ${tilePath({ level: at.level - 1, index: at.index * TILE_WIDTH + wrong, width: TILE_WIDTH })} by the entries.`,
      );
  }

  /** If all entries lead to the signed root, the entries are right and a tile that differs is damaged; else suspicion falls on the entry. */
  private blame(isRootRight: boolean): void {
    const found = this.mismatches.map(({ entry, tile }): LogFinding => {
      const [hashes, entries] = [tilePath(tile), entryTilePath(tile.index, tile.width)];
      return isRootRight
        ? {
            code: 'STORE_CORRUPT',
            place: hashes,
            message: `Its hash ${entry % TILE_WIDTH} is not that of entry ${entry}, which leads to the signed root.`,
          }
        : {
            code: 'STORE_CORRUPT',
            place: entries,
            message: `Entry ${entry} does not have the hash that ${hashes} holds.`,
          };
    });
    // First: what is wrong higher up mostly follows from these.
    this.findings.unshift(...found);
    this.mismatches.length = 0;
  }

  private checkOlder({ size, root }: Head): void {
    const place = 'checkpoint';
    if (size > this.size) {
      this.find('TREE_SHRANK', place, `It has size ${this.size}; one of size ${size} was signed before it.`);
      return;
    }
    const here = this.olderRoots.get(size);
    if (here !== undefined && !equalBytes(here, root))
      this.find(
        'STORE_DIVERGED',
        place,
        `The first ${size} entries are not those of the older checkpoint of size ${size}: the log forked.`,
      );
  }

  /** A file that lies there: an older partial tile must be the beginning of the tile that the tree has now. */
  private async checkListed(path: string): Promise<void> {
    const at = parseListed(path);
    if (at === undefined) {
      this.find('TILE_MALFORMED', path, 'It is not the path of a tile; nothing else belongs here.');
      return;
    }
    const { level, index, width } = at;
    const now = widthInTree(this.size, level === 'entries' ? 0 : level, index);
    // The current tile is checked already, and tiles of a tree that is not published yet may lie there.
    if (width >= now) return;
    const { reader } = this.input;
    const isEntries = level === 'entries';
    const [older, current] = isEntries
      ? [await reader.entryTile(index, width), await reader.entryTile(index, now)]
      : [await reader.tile(level, index, width), await reader.tile(level, index, now)];
    // A partial tile may be deleted once it is not the newest; a missing current one is named already.
    if (older === undefined || current === undefined) return;
    const start = isEntries ? entriesStart(current, now, width) : current.subarray(0, width * HASH_BYTES);
    if (start !== undefined && !equalBytes(older, start))
      this.find(
        'STORE_CORRUPT',
        path,
        'This older partial tile is not the beginning of the tile that the tree has now.',
      );
  }
}

function parseListed(path: string): ReturnType<typeof parseTilePath> {
  try {
    return parseTilePath(path);
  } catch (error) {
    // An index over 2^53 - 1: no tree that is supported has such a tile.
    if (error instanceof MeshtrailError) return undefined;
    throw error;
  }
}

/** Bytes of the first `width` entries of an entry tile; undefined for a malformed one, which is named already. */
function entriesStart(bytes: Uint8Array, now: number, width: number): Uint8Array | undefined {
  try {
    return encodeEntryTile(decodeEntryTile(bytes, now).slice(0, width));
  } catch (error) {
    if (error instanceof MeshtrailError) return undefined;
    throw error;
  }
}
