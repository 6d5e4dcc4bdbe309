// The stream part of fsck: numbers are dense and batches chained by hash. A damaged entry tells nothing about its stream,
// so what would follow only from one is not said: the batch arrived, and the damage has a finding of its own.

import { equalBytes, toHex } from '../core/bytes.ts';
import type { BatchEntry } from '../core/codec/entry.ts';
import type { FindError } from './fsck-tree.ts';

/** Batches of one gap that are looked up; with more, damage is not told from a gap. */
const LOOKUPS_MAX = 10_000;

/** One batch in its stream's chain. */
interface Link {
  readonly index: number;
  readonly firstRecord: number;
  /** Number after its last record. */
  readonly end: number;
  readonly hash: Uint8Array;
  readonly previous: Uint8Array | undefined;
}

interface Stream {
  readonly id: Uint8Array;
  /** More than one for a batch that is in the log twice. */
  readonly links: Map<number, Link[]>;
}

/** Batch numbers that no sound entry has. */
interface Gap {
  readonly stream: string;
  readonly from: number;
  readonly to: number;
  /** Their records, where the batches around them are known. */
  readonly records: string;
}

export interface StreamCheckInput {
  readonly isDamaged: (index: number) => boolean;
  /** Entries that are missing or damaged. */
  readonly damaged: number;
  /** Where the tree says that a batch is. */
  readonly indexOf: (stream: Uint8Array, batchNumber: number) => Promise<number | undefined>;
  readonly find: FindError;
  readonly gap: (place: string, message: string) => void;
}

export class StreamCheck {
  private readonly streams = new Map<string, Stream>();

  /** Takes a batch. They travel two at a time, so they can arrive in another order; the chain is checked when all are known. */
  add(index: number, { stream, batchNumber, firstRecord, recordCount, bodyHash, previous }: BatchEntry): void {
    const name = toHex(stream);
    const known = this.streams.get(name) ?? { id: stream, links: new Map<number, Link[]>() };
    this.streams.set(name, known);
    const link = { index, firstRecord, end: firstRecord + recordCount, hash: bodyHash, previous };
    known.links.set(batchNumber, [...(known.links.get(batchNumber) ?? []), link]);
  }

  /** Says what does not fit, now that the damaged entries are known. */
  async check(input: StreamCheckInput): Promise<void> {
    const gaps: Gap[] = [];
    let explained = 0;
    for (const [name, stream] of this.streams)
      for (const gap of this.checkChain(name, stream, input)) {
        const runs = input.damaged === 0 ? [gap] : await this.withoutDamaged(stream.id, gap, input);
        explained += gap.to - gap.from + 1 - runs.reduce((sum, { from, to }) => sum + to - from + 1, 0);
        gaps.push(...runs);
      }
    const doubt = input.damaged > explained ? ', or are among the damaged entries' : '';
    for (const { stream, from, to, records } of gaps)
      input.gap(`stream ${stream}`, `Batches ${from} to ${to} never arrived${records}${doubt}.`);
  }

  private checkChain(stream: string, { links }: Stream, { isDamaged, find }: StreamCheckInput): Gap[] {
    const gaps: Gap[] = [];
    let last: Link | undefined;
    let lastNumber = -1;
    for (const [batchNumber, all] of [...links].sort(([a], [b]) => a - b)) {
      const [link, ...again] = all.filter(({ index }) => !isDamaged(index));
      if (link === undefined) continue;
      for (const { index } of again)
        find(
          'STORE_DIVERGED',
          `segment entry ${index}`,
          `Batch ${batchNumber} of stream ${stream} is in the log twice.`,
        );
      if (batchNumber > lastNumber + 1) {
        const records = `: records ${last?.end ?? 0} to ${link.firstRecord - 1}`;
        gaps.push({ stream, from: lastNumber + 1, to: batchNumber - 1, records });
      } else if (
        last !== undefined &&
        (link.firstRecord !== last.end || link.previous === undefined || !equalBytes(link.previous, last.hash))
      ) {
        find(
          'STORE_DIVERGED',
          `segment entry ${link.index}`,
          `Batch ${batchNumber} of stream ${stream} does not continue batch ${lastNumber}: the proxy's chain is broken.`,
        );
      }
      [last, lastNumber] = [link, batchNumber];
    }
    return gaps;
  }

  /** What is left of a gap without the batches that the tree has at a damaged entry. */
  private async withoutDamaged(id: Uint8Array, gap: Gap, { isDamaged, indexOf }: StreamCheckInput): Promise<Gap[]> {
    const length = gap.to - gap.from + 1;
    if (length > LOOKUPS_MAX) return [gap];
    const runs: Gap[] = [];
    for (let batchNumber = gap.from; batchNumber <= gap.to; batchNumber++) {
      const index = await indexOf(id, batchNumber);
      if (index !== undefined && isDamaged(index)) continue;
      const before = runs.at(-1);
      if (before?.to === batchNumber - 1) runs[runs.length - 1] = { ...before, to: batchNumber };
      else runs.push({ ...gap, from: batchNumber, to: batchNumber, records: '' });
    }
    return runs[0] !== undefined && runs[0].to - runs[0].from + 1 === length ? [gap] : runs;
  }
}
