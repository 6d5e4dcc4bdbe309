// Judges, second by second, which proxies fell silent. It must not take a collector that is slow for a proxy that is dead.

import { parseEntry } from '../core/codec/entry.ts';
import type { EvidenceLog, LogClock } from '../log/evidence-log.ts';
import type { ProxyEvents } from './proxies.ts';
import type { Streams } from './streams.ts';

const CHECK_MS = 1000;
/** With so long between two checks the process stood still, and nobody listened. */
const STOOD_STILL_MS = 10_000;

export interface SilenceWatchInput {
  readonly log: Pick<EvidenceLog, 'entry' | 'published'>;
  readonly streams: Streams;
  /** Entries that the streams know; undefined while that is not to be relied on. */
  readonly size: () => number | undefined;
  readonly clock: LogClock;
  readonly events: ProxyEvents;
}

export class SilenceWatch {
  readonly #input: SilenceWatchInput;
  #cancel: () => void = () => undefined;
  #checking: Promise<void> = Promise.resolve();
  #isStopped = false;
  #checkedMs: number;

  /** From now on everybody is told what happens; a proxy has its full time to be heard. */
  constructor(input: SilenceWatchInput) {
    const { streams, clock, events } = input;
    this.#input = input;
    this.#checkedMs = clock.nowMs();
    streams.live(this.#checkedMs);
    streams.proxies.events = events;
    streams.proxies.tellSilentVms();
    this.#wait();
  }

  #wait(): void {
    this.#cancel = this.#input.clock.after(CHECK_MS, () => {
      // A log that cannot be read is told of by whoever reads it for a purpose.
      this.#checking = this.#check()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#isStopped) this.#wait();
        });
    });
  }

  async #check(): Promise<void> {
    const { streams, clock } = this.#input;
    const nowMs = clock.nowMs();
    if (nowMs - this.#checkedMs > STOOD_STILL_MS) streams.proxies.listenFrom(nowMs);
    this.#checkedMs = nowMs;
    const knownMs = await this.#knownMs(nowMs);
    if (knownMs !== undefined && !this.#isStopped) streams.proxies.judge(knownMs);
  }

  /** Everything that was received before this time is in the table of streams. */
  async #knownMs(nowMs: number): Promise<number | undefined> {
    const { log, size } = this.#input;
    const known = size();
    if (known === undefined || known < log.published().size) return undefined;
    // What is stored and not published yet comes to the table with the next publication.
    const next = await log.entry(known);
    if (next === undefined) return nowMs;
    const entry = parseEntry(next);
    return Math.min(nowMs, entry.kind === 'heartbeat' ? entry.timeMs : entry.receivedMs);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#checking;
  }
}
