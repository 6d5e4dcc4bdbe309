// The table of streams, header by header in the order of the log: which numbers came, what was given up, which proxies live.
// It is made anew from the log at each start, and holds a bounded number of streams.

import { toHex } from '../core/bytes.ts';
import type { BatchEntry, Entry } from '../core/codec/entry.ts';
import type { Gap } from './flow-index.ts';
import { Proxies, type StreamTable } from './proxies.ts';
import { droppedOf, Stream, type StreamCondition } from './stream.ts';

/** Streams that are held: ended and complete ones are forgotten first, then those that were not heard for longest. */
export const STREAMS_MAX = 100_000;
/** Holes whose place is held, in all streams and in one; of more, only the number of records is known. */
export const HOLES_MAX = 100_000;
export const HOLES_OF_STREAM_MAX = 2000;
/** Gaps that an answer lists; whoever forges batches with holes between them must not make every answer long. */
export const GAPS_MAX = 1000;
/** Two of the usual heartbeats. */
const DEAF_AFTER_MS = 120_000;

export interface StreamsLimits {
  readonly streamsMax?: number;
  readonly holesMax?: number;
  /** Entries that are further apart say that no collector ran between them: an idle log has heartbeats. */
  readonly deafAfterMs?: number;
}

/** What is left of streams that are no longer held. */
export interface Forgotten {
  streams: number;
  /** Of these, the ones that were not ended and complete. */
  incomplete: number;
  /** Newest sign of any of them, Unix ns. */
  lastNs: bigint;
  missingRecords: number;
  readonly dropped: { buffers_full: number; unreadable: number; no_random: number };
}

/** Follows the streams of a log, header by header in the order of the log. */
export class Streams {
  readonly proxies = new Proxies();
  readonly forgotten: Forgotten = {
    streams: 0,
    incomplete: 0,
    lastNs: 0n,
    missingRecords: 0,
    dropped: { buffers_full: 0, unreadable: 0, no_random: 0 },
  };
  readonly #streamsMax: number;
  readonly #holesMax: number;
  readonly #deafAfterMs: number;
  /** Least recently heard first, both. */
  readonly #held = new Map<string, Stream>();
  readonly #complete = new Map<string, Stream>();
  readonly #table: StreamTable = {
    get: (name) => this.#get(name),
    make: (name) => this.#keep(new Stream(name)),
    drop: (stream) => this.#drop(stream),
  };
  #holes = 0;
  #timeMs = 0;
  #isLive = false;
  #known: readonly Gap[] | undefined;

  constructor({ streamsMax = STREAMS_MAX, holesMax = HOLES_MAX, deafAfterMs = DEAF_AFTER_MS }: StreamsLimits = {}) {
    this.#streamsMax = streamsMax;
    this.#holesMax = holesMax;
    this.#deafAfterMs = deafAfterMs;
  }

  /** Takes the next entry of the log. */
  note(entry: Entry): void {
    this.#noteTime(entry.kind === 'heartbeat' ? entry.timeMs : entry.receivedMs);
    if (entry.kind === 'batch') this.#noteBatch(entry);
  }

  /** While the past is read, its own times say what was silent then: nothing arrives where nobody listens. */
  #noteTime(ms: number): void {
    if (!this.#isLive && ms - this.#timeMs > this.#deafAfterMs) {
      this.proxies.judge(this.#timeMs);
      this.proxies.listenFrom(ms);
    }
    this.#timeMs = Math.max(this.#timeMs, ms);
  }

  /** The past is read; what is silent is judged by `Proxies.judge` from now on. */
  live(ms: number): void {
    if (!this.#isLive) this.proxies.judge(this.#timeMs);
    this.#isLive = true;
    this.proxies.listenFrom(ms);
  }

  #noteBatch(entry: BatchEntry): void {
    this.#known = undefined;
    const name = toHex(entry.stream);
    const stream = this.#get(name) ?? new Stream(name);
    const holes = stream.holes;
    const isNewest = stream.take(entry);
    this.#holes += stream.holes - holes;
    this.#keep(stream);
    this.proxies.heard(stream, entry, isNewest, this.#table);
    while (stream.holes > HOLES_OF_STREAM_MAX || (this.#holes > this.#holesMax && stream.holes > 0)) {
      stream.forgetHole();
      this.#holes--;
    }
    while (this.#held.size + this.#complete.size > this.#streamsMax) this.#forgetOne();
  }

  #get(name: string): Stream | undefined {
    return this.#held.get(name) ?? this.#complete.get(name);
  }

  #keep(stream: Stream): Stream {
    const { name, isComplete } = stream;
    this.#held.delete(name);
    this.#complete.delete(name);
    (isComplete ? this.#complete : this.#held).set(name, stream);
    return stream;
  }

  #forgetOne(): void {
    const [oldest] = this.#complete.size > 0 ? this.#complete.values() : this.#held.values();
    if (oldest === undefined) return;
    this.#drop(oldest);
    const { forgotten } = this;
    forgotten.streams++;
    if (!oldest.isComplete) forgotten.incomplete++;
    const lastNs = oldest.lastNs ?? oldest.silence?.wallNs ?? 0n;
    if (lastNs > forgotten.lastNs) forgotten.lastNs = lastNs;
    forgotten.missingRecords += oldest.missingRecords;
    const dropped = droppedOf(oldest.counters);
    for (const reason of Object.keys(dropped) as (keyof typeof dropped)[]) forgotten.dropped[reason] += dropped[reason];
  }

  #drop(stream: Stream): void {
    this.#held.delete(stream.name);
    this.#complete.delete(stream.name);
    this.#holes -= stream.holes;
    this.proxies.leave(stream);
  }

  *[Symbol.iterator](): Iterator<Stream> {
    yield* this.#held.values();
    yield* this.#complete.values();
  }

  /** How many streams are in each condition. */
  counts(): Record<StreamCondition, number> {
    const counts = { open: 0, ended: 0, 'ended unknown': 0, silent: 0 };
    for (const { condition } of this) counts[condition]++;
    return counts;
  }

  /** The gaps of the whole log as of now; where there are too many, the last one sums up the rest. */
  gaps(): readonly Gap[] {
    this.#known ??= limited([...[...this].flatMap((stream) => stream.gaps()), ...this.forgottenGaps()]);
    return this.#known;
  }

  /** What is known to lack of streams that are no longer held. */
  forgottenGaps(): Gap[] {
    const { missingRecords, dropped } = this.forgotten;
    const of = 'streams that are no longer held';
    return [
      ...(missingRecords > 0 ? [{ kind: 'missing' as const, count: missingRecords, reason: of }] : []),
      ...Object.entries(dropped)
        .filter(([, count]) => count > 0)
        .map(([reason, count]) => ({ kind: 'dropped' as const, count, reason: `${reason}, in ${of}` })),
    ];
  }
}

/** At most so many gaps, and one that sums up the rest. */
export function limited(gaps: readonly Gap[]): readonly Gap[] {
  const rest = gaps.slice(GAPS_MAX);
  if (rest.length === 0) return gaps;
  const count = rest.reduce((sum, gap) => sum + (gap.count ?? 0), 0);
  return [...gaps.slice(0, GAPS_MAX), { kind: 'missing', count, reason: `${rest.length} more gaps are not listed` }];
}
