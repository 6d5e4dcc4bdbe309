// Batches that were read, checked and decoded not long ago; queries and neighbours on a page share them.

import { equalBytes } from '../core/bytes.ts';
import { type Batch, decodeStoredBatch } from '../core/codec/batch.ts';
import { ROW, ROW_BYTES, TRAILER_BYTES } from '../core/codec/layout.ts';
import { MeshtrailError } from '../core/error.ts';
import { sha256 } from '../core/hash.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';

/** A batch, and its rows in the order of their start; rows that start together stay in theirs. */
export interface OpenBatch {
  readonly batch: Batch;
  readonly starts: BigInt64Array;
  readonly rows: Uint16Array;
}

/** Wire bytes of all batches that are kept; decoded they take a few times that. */
const CACHE_BYTES_MAX = 8 * 1024 * 1024;

export class BatchCache {
  readonly #log: Pick<EvidenceLog, 'wireBatch'>;
  /** Least recently used first. */
  readonly #open = new Map<number, OpenBatch>();
  #bytes = 0;

  constructor(log: Pick<EvidenceLog, 'wireBatch'>) {
    this.#log = log;
  }

  /** The batch of an entry, if it is at hand. */
  peek(index: number): OpenBatch | undefined {
    const known = this.#open.get(index);
    if (known === undefined) return undefined;
    this.#open.delete(index);
    this.#open.set(index, known);
    return known;
  }

  /** The batch of an entry; undefined for an entry without one. Throws STORE_CORRUPT. */
  async get(index: number): Promise<OpenBatch | undefined> {
    const known = this.peek(index);
    if (known !== undefined) return known;
    const wire = await this.#log.wireBatch(index);
    if (wire === undefined) return undefined;
    const open = openBatch(wire, index);
    // Two queries may have read it at the same time.
    if (!this.#open.has(index)) this.#bytes += wire.length;
    this.#open.set(index, open);
    for (const [oldest, { batch }] of this.#open) {
      if (this.#bytes <= CACHE_BYTES_MAX) break;
      this.#open.delete(oldest);
      this.#bytes -= batch.wire.length;
    }
    return open;
  }
}

function openBatch(wire: Uint8Array, index: number): OpenBatch {
  const end = wire.length - TRAILER_BYTES;
  // What is shown has the hash that was acknowledged: a flipped bit is told, never shown as a fact.
  if (end < 0 || !equalBytes(sha256(wire.subarray(0, end)), wire.subarray(end)))
    throw new MeshtrailError('STORE_CORRUPT', `The body of entry ${index} does not match its hash.`);
  const batch = decodeStoredBatch(wire);
  const rows = Uint16Array.from({ length: batch.rowCount }, (_, row) => row);
  const starts = BigInt64Array.from(rows, (row) => startOf(batch, row));
  rows.sort((a, b) => compare(starts[a] as bigint, starts[b] as bigint) || a - b);
  return { batch, starts: BigInt64Array.from(rows, (row) => starts[row] as bigint), rows };
}

function startOf(batch: Batch, row: number): bigint {
  return batch.view.getBigInt64(batch.headerBytes + row * ROW_BYTES + ROW.startNs, true);
}

/** Order of two times. */
export function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
