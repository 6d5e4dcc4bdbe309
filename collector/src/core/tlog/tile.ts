// C2SP tlog-tiles (https://c2sp.org/tlog-tiles): paths, entry tiles, and proofs computed from hash tiles.

import { concatBytes, parseDecimal } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { checkSize, EMPTY_ROOT, nodeHash, rootOf } from './merkle.ts';

export const TILE_WIDTH = 256;
export const ENTRY_BYTES_MAX = 65_535;
const LEVEL_MAX = 63;

/** Coordinates of a hash tile; `width` 256 is a full tile. */
export interface TileCoordinates {
  readonly level: number;
  readonly index: number;
  readonly width: number;
}

/** Reads hash tiles: `width` hashes of 32 bytes, or undefined when there is no such tile. */
export interface TileReader {
  tile(level: number, index: number, width: number): Promise<Uint8Array | undefined>;
}

function indexPath(index: number): string {
  const digits = String(index);
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/\d{3}/g) ?? [];
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
}

const suffix = (width: number): string => (width === TILE_WIDTH ? '' : `.p/${width}`);

/** Path of a hash tile below the log's prefix: `tile/0/x001/000.p/17`. */
export function tilePath({ level, index, width }: TileCoordinates): string {
  return `tile/${level}/${indexPath(index)}${suffix(width)}`;
}

/** Path of an entry tile. */
export function entryTilePath(index: number, width: number): string {
  return `tile/entries/${indexPath(index)}${suffix(width)}`;
}

/** Parses a path made by `tilePath` or `entryTilePath`; undefined for any other spelling. Throws TREE_SIZE_UNSUPPORTED for indices over 2^53 - 1. */
export function parseTilePath(
  path: string,
): { readonly level: number | 'entries'; readonly index: number; readonly width: number } | undefined {
  const match = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/){0,6}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path);
  if (match === null) return undefined;
  const [, levelText = '', groups = '', widthText] = match;
  const level = levelText === 'entries' ? 'entries' : Number(levelText);
  const width = widthText === undefined ? TILE_WIDTH : Number(widthText);
  if ((level !== 'entries' && level > LEVEL_MAX) || (widthText !== undefined && width >= TILE_WIDTH)) return undefined;
  const index = parseDecimal(groups.replaceAll(/[x/]/g, '').replace(/^0+(?=\d)/, ''));
  if (index === undefined || indexPath(index) !== groups) return undefined;
  return { level, index, width };
}

/** Number of hashes at a tile level in a tree of a size: `floor(size / 256^level)`. */
export function hashesAtLevel(size: number, level: number): number {
  let count = size;
  for (let l = 0; l < level && count > 0; l++) count = Math.floor(count / TILE_WIDTH);
  return count;
}

/** Width of a tile in a tree of a size: 0 when the tree does not reach it. */
export function widthInTree(size: number, level: number, index: number): number {
  return Math.max(0, Math.min(TILE_WIDTH, hashesAtLevel(size, level) - index * TILE_WIDTH));
}

/** Every hash tile of a tree, level by level, lazily: a huge size costs nothing until it is walked. */
export function* tilesOf(size: number): Generator<TileCoordinates> {
  checkSize('The tree size', size);
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE_WIDTH)) {
    for (let index = 0; index * TILE_WIDTH < count; index++)
      yield { level, index, width: Math.min(TILE_WIDTH, count - index * TILE_WIDTH) };
  }
}

/** Frames entries as an entry tile: `uint16 big-endian length || entry`. Throws TILE_MALFORMED for an entry over 65,535 bytes. */
export function encodeEntryTile(entries: readonly Uint8Array[]): Uint8Array {
  return concatBytes(
    ...entries.flatMap((entry) => {
      if (entry.length > ENTRY_BYTES_MAX)
        throw new MeshtrailError(
          'TILE_MALFORMED',
          `An entry has ${entry.length} bytes; at most ${ENTRY_BYTES_MAX} fit.`,
        );
      return [Uint8Array.of(entry.length >>> 8, entry.length & 255), entry];
    }),
  );
}

/** Splits an entry tile into exactly `width` entries. Throws TILE_MALFORMED. */
export function decodeEntryTile(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length && entries.length <= width) {
    const end = at + 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
    if (at + 2 > bytes.length || end > bytes.length)
      throw new MeshtrailError('TILE_MALFORMED', `Entry ${entries.length} of the entry tile is cut short.`);
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  if (entries.length !== width) {
    throw new MeshtrailError(
      'TILE_MALFORMED',
      `The entry tile holds ${entries.length > width ? 'more than' : ''} ${Math.min(entries.length, width)} entries, not ${width}.`,
    );
  }
  return entries;
}

/** Splits a hash tile into its hashes. Throws TILE_MALFORMED when it does not hold exactly `width`. */
export function splitTile(bytes: Uint8Array, { level, index, width }: TileCoordinates): Uint8Array[] {
  if (bytes.length !== width * HASH_BYTES) {
    throw new MeshtrailError(
      'TILE_MALFORMED',
      `${tilePath({ level, index, width })} has ${bytes.length} bytes, not ${width * HASH_BYTES}.`,
    );
  }
  return Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

/** The right edge of a tree: what is needed to append to it, and to know its root. */
export class TreeEdge {
  /** Hashes of the partial tile at each level, lowest first. */
  private readonly levels: Uint8Array[][] = [];
  size = 0;

  /** The edge of a stored tree. Throws TILE_MISSING or TILE_MALFORMED. */
  static async of(size: number, reader: TileReader): Promise<TreeEdge> {
    checkSize('The tree size', size);
    const edge = new TreeEdge();
    edge.size = size;
    for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE_WIDTH)) {
      const width = count % TILE_WIDTH;
      const at = { level, index: Math.floor(count / TILE_WIDTH), width };
      edge.levels.push(width === 0 ? [] : splitTile(await mustRead(reader, at), at));
    }
    return edge;
  }

  /** Adds a leaf; calls `full` for each tile that it fills. */
  append(hash: Uint8Array, full: (at: TileCoordinates, bytes: Uint8Array) => void): void {
    let carry: Uint8Array | undefined = hash;
    this.size++;
    for (let level = 0; carry !== undefined; level++) {
      const hashes: Uint8Array[] = this.levels[level] ?? [];
      this.levels[level] = hashes;
      hashes.push(carry);
      if (hashes.length < TILE_WIDTH) return;
      full({ level, index: hashesAtLevel(this.size, level + 1) - 1, width: TILE_WIDTH }, concatBytes(...hashes));
      carry = rootOf(hashes);
      this.levels[level] = [];
    }
  }

  /** The partial tiles of the tree as it is. */
  *partials(): Generator<TileCoordinates & { readonly bytes: Uint8Array }> {
    for (const [level, hashes] of this.levels.entries()) {
      if (hashes.length > 0)
        yield {
          level,
          index: hashesAtLevel(this.size, level + 1),
          width: hashes.length,
          bytes: concatBytes(...hashes),
        };
    }
  }

  root(): Uint8Array {
    let right: Uint8Array | undefined;
    // An incomplete subtree on the right joins as the odd last node: RFC 6962 splits at the largest power of two.
    for (const hashes of this.levels) {
      const nodes = right === undefined ? hashes : [...hashes, right];
      if (nodes.length > 0) right = rootOf(nodes);
    }
    return right ?? EMPTY_ROOT;
  }
}

async function mustRead(reader: TileReader, at: TileCoordinates): Promise<Uint8Array> {
  const bytes = await reader.tile(at.level, at.index, at.width);
  if (bytes === undefined) throw new MeshtrailError('TILE_MISSING', `${tilePath(at)} is missing; the tree needs it.`);
  return bytes;
}

/** Reads nodes of one tree from its tiles, each tile once. */
class NodeReader {
  private readonly cache = new Map<string, Uint8Array[]>();
  private readonly reader: TileReader;
  private readonly size: number;

  constructor(reader: TileReader, size: number) {
    checkSize('The tree size', size);
    this.reader = reader;
    this.size = size;
  }

  /** Root of the leaves from `low` (inclusive) to `high` (exclusive). */
  async range(low: number, high: number): Promise<Uint8Array> {
    const count = high - low;
    const split = powerOfTwoBelow(count);
    if (count === 1 || (split * 2 === count && low % count === 0)) return await this.node(low, count);
    return nodeHash(await this.range(low, low + split), await this.range(low + split, high));
  }

  /** Root of a complete, aligned subtree of `count` leaves, a power of two. */
  private async node(low: number, count: number): Promise<Uint8Array> {
    let level = 0;
    let unit = 1;
    while (unit * TILE_WIDTH <= count) {
      unit *= TILE_WIDTH;
      level++;
    }
    const first = low / unit;
    const index = Math.floor(first / TILE_WIDTH);
    const hashes = await this.hashes({ level, index, width: widthInTree(this.size, level, index) });
    const from = first - index * TILE_WIDTH;
    return rootOf(hashes.slice(from, from + count / unit));
  }

  private async hashes(at: TileCoordinates): Promise<Uint8Array[]> {
    const key = tilePath(at);
    let hashes = this.cache.get(key);
    if (hashes === undefined) {
      hashes = splitTile(await mustRead(this.reader, at), at);
      this.cache.set(key, hashes);
    }
    return hashes;
  }
}

/** The largest power of two below n, for n of 2 or more. */
function powerOfTwoBelow(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** Root of a tree, from its tiles. Throws TILE_MISSING or TILE_MALFORMED. */
export async function rootFromTiles(reader: TileReader, size: number): Promise<Uint8Array> {
  return size === 0 ? EMPTY_ROOT : await new NodeReader(reader, size).range(0, size);
}

/** Inclusion proof of a leaf (RFC 6962 section 2.1.1), leaf sibling first. Throws PROOF_NOT_VERIFIED when the index is not in the tree. */
export async function inclusionProof(reader: TileReader, index: number, size: number): Promise<Uint8Array[]> {
  checkSize('The index', index);
  if (index >= size) throw new MeshtrailError('PROOF_NOT_VERIFIED', `Index ${index} is not in a tree of size ${size}.`);
  const nodes = new NodeReader(reader, size);
  const path: Uint8Array[] = [];
  let [low, high] = [0, size];
  while (high - low > 1) {
    const middle = low + powerOfTwoBelow(high - low);
    if (index < middle) {
      path.push(await nodes.range(middle, high));
      high = middle;
    } else {
      path.push(await nodes.range(low, middle));
      low = middle;
    }
  }
  return path.reverse();
}

/** Consistency proof between two sizes of one log (RFC 6962 section 2.1.2). */
export async function consistencyProof(reader: TileReader, size1: number, size2: number): Promise<Uint8Array[]> {
  checkSize('The older size', size1);
  if (size1 === 0 || size1 > size2)
    throw new MeshtrailError(
      'PROOF_NOT_VERIFIED',
      `There is no consistency proof from size ${size1} to size ${size2}.`,
    );
  const nodes = new NodeReader(reader, size2);
  const path: Uint8Array[] = [];
  let [low, high] = [0, size2];
  let isWholeOlderTree = true;
  while (size1 !== high) {
    const middle = low + powerOfTwoBelow(high - low);
    if (size1 <= middle) {
      path.push(await nodes.range(middle, high));
      high = middle;
    } else {
      path.push(await nodes.range(low, middle));
      low = middle;
      isWholeOlderTree = false;
    }
  }
  if (!isWholeOlderTree) path.push(await nodes.range(low, high));
  return path.reverse();
}
