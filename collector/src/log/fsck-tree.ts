// The tree part of fsck: entries, tiles and signed heads against each other, and which of them is the damaged one.
// The tree is computed twice, from the entries and from the stored leaf hashes: the one that leads to a signed root is right.

import { equalBytes } from '../core/bytes.ts';
import { type ErrorCode, MeshtrailError } from '../core/error.ts';
import { HASH_BYTES } from '../core/hash.ts';
import { leafHash } from '../core/tlog/merkle.ts';
import {
  decodeEntryTile,
  encodeEntryTile,
  TILE_WIDTH,
  type TileCoordinates,
  TreeEdge,
  tilePath,
} from '../core/tlog/tile.ts';
import type { TileStore, TreeHead } from './stores.ts';

/** Differences that are kept until the roots are known; a directory that is all wrong needs no longer list. */
const SUSPECTS_MAX = 1000;

export type FindError = (code: ErrorCode, place: string, message: string) => void;

/** A stored tree head and where it stands; the most trusted first. */
export interface NamedHead {
  readonly place: string;
  readonly head: TreeHead;
}

export interface TreeCheckInput {
  readonly tiles: TileStore;
  readonly heads: readonly NamedHead[];
  /** Size of the tree that has tiles. */
  readonly size: number;
  readonly find: FindError;
}

interface Sides<T> {
  readonly entries: T;
  readonly tiles: T;
}
type Side = keyof Sides<unknown>;

interface TileSuspect {
  readonly at: TileCoordinates;
  /** First leaf below the tile. */
  readonly leaf: number;
  readonly isRight: Sides<boolean>;
}

interface EntryTileSuspect {
  readonly number: number;
  /** Leaf hashes of what the stored entry tile holds. */
  readonly stored: readonly Uint8Array[];
  readonly leaves: Sides<readonly Uint8Array[]>;
}

export class TreeCheck {
  private readonly input: TreeCheckInput;
  private readonly edges: Sides<TreeEdge> = { entries: new TreeEdge(), tiles: new TreeEdge() };
  private readonly roots: Sides<Map<number, Uint8Array>> = { entries: new Map(), tiles: new Map() };
  private readonly headSizes: ReadonlySet<number>;
  /** Entries whose stored leaf hash is another. */
  private readonly mismatches: number[] = [];
  private readonly tileSuspects: TileSuspect[] = [];
  private readonly entryTileSuspects: EntryTileSuspect[] = [];
  /** The level-0 tile that is being compared. */
  private leafTile: Uint8Array | undefined;
  private tail: (Uint8Array | undefined)[] = [];
  private leaves: Sides<Uint8Array[]> = { entries: [], tiles: [] };
  private upperTiles = 0;

  constructor(input: TreeCheckInput) {
    this.input = input;
    this.headSizes = new Set(input.heads.map(({ head }) => head.size));
    this.keepRoots();
  }

  /** Hash tiles that a tree of this size has: what a census must not exceed. */
  get tilesExpected(): number {
    return Math.ceil(this.input.size / TILE_WIDTH) + this.upperTiles;
  }

  private keepRoots(): void {
    for (const side of ['entries', 'tiles'] as const) {
      const edge = this.edges[side];
      if (this.headSizes.has(edge.size)) this.roots[side].set(edge.size, edge.root());
    }
  }

  /** Takes the next entry; undefined for one that is missing. */
  async append(index: number, entry: Uint8Array | undefined): Promise<void> {
    const leaf = entry === undefined ? undefined : leafHash(entry);
    if (index >= this.input.size) {
      this.edges.entries.append(leaf ?? new Uint8Array(HASH_BYTES), () => undefined);
      this.keepRoots();
      return;
    }
    const inTile = index % TILE_WIDTH;
    if (inTile === 0) await this.startTile(Math.floor(index / TILE_WIDTH));
    const at = inTile * HASH_BYTES;
    const stored =
      (this.leafTile?.length ?? 0) >= at + HASH_BYTES ? this.leafTile?.subarray(at, at + HASH_BYTES) : undefined;
    if (leaf !== undefined && stored !== undefined && !equalBytes(leaf, stored)) this.suspect(this.mismatches, index);
    this.tail.push(entry);
    await this.grow(leaf ?? stored ?? new Uint8Array(HASH_BYTES), stored ?? leaf ?? new Uint8Array(HASH_BYTES));
    if (inTile === TILE_WIDTH - 1) await this.checkEntryTile(Math.floor(index / TILE_WIDTH));
  }

  private suspect<T>(list: T[], suspect: T): void {
    if (list.length < SUSPECTS_MAX) list.push(suspect);
  }

  private async startTile(number: number): Promise<void> {
    this.tail = [];
    this.leaves = { entries: [], tiles: [] };
    const width = Math.min(TILE_WIDTH, this.input.size - number * TILE_WIDTH);
    const place = `tree ${tilePath({ level: 0, index: number, width })}`;
    this.leafTile = await this.read(place, () => this.input.tiles.tile(0, number));
    const length = this.leafTile?.length ?? width * HASH_BYTES;
    // A log that lost its end keeps the tile of the longer one, and the heads say that it did.
    const isOfLonger = length > width * HASH_BYTES && this.input.heads.some(({ head }) => head.size > this.input.size);
    if (length !== width * HASH_BYTES && !isOfLonger)
      this.input.find('STORE_CORRUPT', place, `It has ${length} bytes, not ${width} hashes.`);
  }

  /** Reads something that the tree must have. */
  private async read(place: string, stored: () => Promise<Uint8Array | undefined>): Promise<Uint8Array | undefined> {
    try {
      const bytes = await stored();
      if (bytes === undefined) this.input.find('STORE_CORRUPT', place, 'It is missing.');
      return bytes;
    } catch (error) {
      this.input.find(error instanceof MeshtrailError ? error.code : 'STORE_FAILED', place, (error as Error).message);
      return undefined;
    }
  }

  private async grow(entryLeaf: Uint8Array, tileLeaf: Uint8Array): Promise<void> {
    const full: { readonly at: TileCoordinates; readonly bytes: Uint8Array }[] = [];
    const other: Uint8Array[] = [];
    this.leaves.entries.push(entryLeaf);
    this.leaves.tiles.push(tileLeaf);
    this.edges.entries.append(entryLeaf, (at, bytes) => full.push({ at, bytes }));
    this.edges.tiles.append(tileLeaf, (_at, bytes) => other.push(bytes));
    for (const [i, { at, bytes }] of full.entries()) await this.checkUpper(at, bytes, other[i] as Uint8Array);
    this.keepRoots();
    if (this.edges.entries.size !== this.input.size) return;
    const partials = [...this.edges.tiles.partials()];
    for (const [i, { bytes, ...at }] of [...this.edges.entries.partials()].entries())
      await this.checkUpper(at, bytes, partials[i]?.bytes as Uint8Array);
  }

  private async checkUpper(at: TileCoordinates, byEntries: Uint8Array, byTiles: Uint8Array): Promise<void> {
    if (at.level === 0) return;
    this.upperTiles++;
    const stored = await this.read(`tree ${tilePath(at)}`, () => this.input.tiles.tile(at.level, at.index));
    if (stored === undefined) return;
    const isRight = { entries: equalBytes(stored, byEntries), tiles: equalBytes(stored, byTiles) };
    if (!isRight.entries || !isRight.tiles)
      this.suspect(this.tileSuspects, { at, leaf: at.index * TILE_WIDTH ** (at.level + 1), isRight });
  }

  private async checkEntryTile(number: number): Promise<void> {
    const place = `tree entry tile ${number}`;
    const stored = await this.read(place, () => this.input.tiles.entryTile(number));
    const whole = this.tail.filter((entry) => entry !== undefined);
    if (stored === undefined || (whole.length === TILE_WIDTH && equalBytes(stored, encodeEntryTile(whole)))) return;
    try {
      const hashes = decodeEntryTile(stored, TILE_WIDTH).map(leafHash);
      this.suspect(this.entryTileSuspects, { number, stored: hashes, leaves: this.leaves });
    } catch (error) {
      this.input.find('STORE_CORRUPT', place, (error as Error).message);
    }
  }

  /** Says what is damaged, now that the roots are known. */
  finish(): void {
    const { find } = this.input;
    for (const index of this.mismatches) this.blame(index);
    for (const { at, leaf, isRight } of this.tileSuspects) {
      if (!isRight[this.rightSide(leaf) ?? 'entries'])
        find('STORE_CORRUPT', `tree ${tilePath(at)}`, 'It does not hold the hashes of the tiles below it.');
    }
    for (const { number, stored, leaves } of this.entryTileSuspects) {
      const right = leaves[this.rightSide(number * TILE_WIDTH) ?? 'entries'];
      const wrong = stored.findIndex((hash, i) => !equalBytes(hash, right[i] as Uint8Array));
      if (wrong >= 0)
        find('STORE_CORRUPT', `tree entry tile ${number}`, `It holds another entry ${number * TILE_WIDTH + wrong}.`);
    }
    for (const { place, head } of this.input.heads) this.checkHead(place, head);
  }

  /** Entries that are not what was signed, or of which nobody can tell; known when it is finished. */
  doubtful(): number[] {
    return this.mismatches.filter((index) => this.rightSide(index) !== 'entries');
  }

  private blame(index: number): void {
    const { find, size } = this.input;
    const number = Math.floor(index / TILE_WIDTH);
    const tile = tilePath({ level: 0, index: number, width: Math.min(TILE_WIDTH, size - number * TILE_WIDTH) });
    const side = this.rightSide(index);
    const why = side === undefined ? '' : ', which leads to the signed root';
    if (side !== 'entries')
      find('STORE_CORRUPT', `segment entry ${index}`, `It does not have the hash that ${tile} holds${why}.`);
    if (side !== 'tiles')
      find('STORE_CORRUPT', `tree ${tile}`, `Its hash ${index % TILE_WIDTH} is not that of entry ${index}${why}.`);
  }

  /** Which of the two trees leads to a stored head that covers a leaf. */
  private rightSide(leaf: number): Side | undefined {
    for (const { head } of this.input.heads) {
      if (head.size <= leaf) continue;
      for (const side of ['entries', 'tiles'] as const) if (this.leadsTo(side, head)) return side;
    }
    return undefined;
  }

  private leadsTo(side: Side, { size, root }: TreeHead): boolean {
    const own = this.roots[side].get(size);
    return own !== undefined && equalBytes(own, root);
  }

  private checkHead(place: string, head: TreeHead): void {
    const { size } = this.edges.entries;
    if (head.size > size)
      this.input.find('TREE_SHRANK', place, `It names size ${head.size}; ${size} entries are stored.`);
    else if (!this.leadsTo('entries', head) && !this.leadsTo('tiles', head))
      this.input.find('STORE_DIVERGED', place, `Its root is not that of the first ${head.size} entries.`);
  }
}
