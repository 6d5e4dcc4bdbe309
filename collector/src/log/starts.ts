// When the records of recent batches started: taken while the batch is at hand, so that nobody has to read and unpack it again for that.

import { HEADER, ROW, ROW_BYTES } from '../core/codec/layout.ts';

/** Batches that are remembered: those of many publications, in 2 MB at most. */
const REMEMBERED_MAX = 16_384;

/** Start of the earliest and of the latest record of a batch, in Unix ns. */
export interface StartSpan {
  readonly startNsMin: bigint;
  readonly startNsMax: bigint;
}

/** The span of a checked batch; undefined for one without rows. */
export function startSpanOf(wire: Uint8Array): StartSpan | undefined {
  const view = new DataView(wire.buffer, wire.byteOffset, wire.byteLength);
  const rows = view.getUint32(HEADER.rowCount, true);
  if (rows === 0) return undefined;
  const first = view.getUint16(HEADER.headerBytes, true) + ROW.startNs;
  // In halves: a BigInt for each row would be allocated.
  const high = (at: number): number => view.getUint32(at + 4, true);
  const isBefore = (a: number, b: number): boolean =>
    high(a) < high(b) || (high(a) === high(b) && view.getUint32(a, true) < view.getUint32(b, true));
  let [min, max] = [first, first];
  for (let at = first, i = 0; i < rows; i++, at += ROW_BYTES) {
    if (isBefore(at, min)) min = at;
    if (isBefore(max, at)) max = at;
  }
  return { startNsMin: view.getBigInt64(min, true), startNsMax: view.getBigInt64(max, true) };
}

/** Spans of the newest batches, by index. */
export class RecentStarts {
  readonly #spans = new Map<number, StartSpan>();

  note(index: number, wire: Uint8Array): void {
    const span = startSpanOf(wire);
    if (span === undefined) return;
    this.#spans.set(index, span);
    if (this.#spans.size <= REMEMBERED_MAX) return;
    // The oldest: indices only grow.
    for (const oldest of this.#spans.keys()) {
      this.#spans.delete(oldest);
      return;
    }
  }

  of(index: number): StartSpan | undefined {
    return this.#spans.get(index);
  }
}
