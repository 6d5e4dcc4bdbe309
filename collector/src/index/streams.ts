// What the batch headers say of each stream: which numbers came, which did not, and what the proxy gave up.

import { fromUtf8, toHex } from '../core/bytes.ts';
import type { BatchEntry } from '../core/codec/entry.ts';
import type { Gap } from './flow-index.ts';

interface StreamState {
  readonly node: string | undefined;
  /** Number of the next batch when none is missing before it. */
  nextBatch: number;
  nextRecord: number;
  /** Batches beyond a hole, by number: first record and number after the last. */
  readonly ahead: Map<number, { readonly first: number; readonly end: number }>;
  droppedBuffersFull: number;
  droppedUnreadable: number;
}

/** Gaps that an answer lists; whoever forges batches with holes between them must not make every answer long. */
const GAPS_MAX = 1000;

/** Follows the streams of a log, header by header in the order of the log. */
export class Streams {
  private readonly streams = new Map<string, StreamState>();
  private known: readonly Gap[] | undefined;

  note(entry: BatchEntry): void {
    this.known = undefined;
    const name = toHex(entry.stream);
    let state = this.streams.get(name);
    if (state === undefined) {
      const node = entry.nodeId === undefined ? undefined : fromUtf8(entry.nodeId);
      state = { node, nextBatch: 0, nextRecord: 0, ahead: new Map(), droppedBuffersFull: 0, droppedUnreadable: 0 };
      this.streams.set(name, state);
    }
    state.droppedBuffersFull = Math.max(state.droppedBuffersFull, entry.counters.droppedBuffersFull);
    state.droppedUnreadable = Math.max(state.droppedUnreadable, entry.counters.droppedUnreadable);
    if (entry.batchNumber < state.nextBatch) return;
    state.ahead.set(entry.batchNumber, { first: entry.firstRecord, end: entry.firstRecord + entry.recordCount });
    for (let next = state.ahead.get(state.nextBatch); next !== undefined; next = state.ahead.get(state.nextBatch)) {
      state.ahead.delete(state.nextBatch);
      state.nextBatch++;
      state.nextRecord = next.end;
    }
  }

  /** The gaps as of now; where there are too many, the last one sums up the rest. */
  gaps(): readonly Gap[] {
    if (this.known === undefined) {
      const all = this.allGaps();
      const rest = all.splice(GAPS_MAX);
      const count = rest.reduce((sum, gap) => sum + (gap.count ?? 0), 0);
      this.known =
        rest.length === 0
          ? all
          : [...all, { kind: 'missing', count, reason: `${rest.length} more gaps are not listed` }];
    }
    return this.known;
  }

  private allGaps(): Gap[] {
    const gaps: Gap[] = [];
    for (const [stream, state] of this.streams) {
      const of = { stream, ...(state.node === undefined ? {} : { node: state.node }) };
      let from = state.nextRecord;
      for (const [, { first, end }] of [...state.ahead].sort(([a], [b]) => a - b)) {
        if (first > from) gaps.push({ kind: 'missing', ...of, from, to: first - 1, count: first - from });
        from = end;
      }
      if (state.droppedBuffersFull > 0)
        gaps.push({ kind: 'dropped', ...of, count: state.droppedBuffersFull, reason: 'buffers_full' });
      if (state.droppedUnreadable > 0)
        gaps.push({ kind: 'dropped', ...of, count: state.droppedUnreadable, reason: 'unreadable' });
    }
    return gaps;
  }
}
