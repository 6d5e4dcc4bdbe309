// A replay: the past as it would have been shown live, at a speed, in frames and single records. A reader has a place in it and
// nothing else: to pause is to leave, to go on is to come back with the id of the last event.

import { setTimeout as sleep } from 'node:timers/promises';
import { toBase64 } from '../core/bytes.ts';
import { timeText } from '../core/codec/text.ts';
import { MeshtrailError } from '../core/error.ts';
import type { Filter } from '../core/query/filter.ts';
import { rootFromTiles } from '../core/tlog/tile.ts';
import type { BatchCache } from '../index/batch-cache.ts';
import { ReplayOrder, type ReplayPlan, type ReplayRecord } from '../index/replay-plan.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import type { EventStream } from './event-stream.ts';
import { Frame, type Width } from './replay-frame.ts';

export type Step = Width | 'exchange';
export const STEPS = ['1s', '10s', 'exchange'] as const satisfies readonly Step[];

/** A record that came so long after it was made is marked: who watched live saw it later. */
const LATE_NS = 10_000_000_000n;
const RECORDS_BETWEEN_PAUSES = 64;
const NS_PER_MS = 1_000_000;

/** What a reader has seen: up to an instant the frames that ended then (`1s`, then `10s`), or a record made then. */
export interface ReplayPlace {
  readonly atNs: bigint;
  readonly last: Width | { readonly index: number; readonly row: number };
  /** Log entries that the replay stands on; absent for a time that was given. */
  readonly size?: number;
}

const PLACE = /^(\d{1,20})\.(?:(1s|10s)|(\d{1,15})\.(\d{1,5}))@(\d{1,15})$/;

export function formatReplayPlace({ atNs, last, size }: ReplayPlace): string {
  return `${atNs}.${typeof last === 'string' ? last : `${last.index}.${last.row}`}@${size ?? 0}`;
}

/** Reads the id of an event; undefined for what is none. Throws CURSOR_INVALID. */
export function parseReplayPlace(text: string, size: number): ReplayPlace | undefined {
  const [, atNs, width, index, row, asOf] = PLACE.exec(text) ?? [];
  if (atNs === undefined) return undefined;
  if (Number(asOf) > size)
    throw new MeshtrailError(
      'CURSOR_INVALID',
      'The place names entries that this log does not have; take the id of an event of this very replay.',
    );
  const last = width === undefined ? { index: Number(index), row: Number(row) } : (width as Width);
  return { atNs: BigInt(atNs), last, size: Number(asOf) };
}

const rankOf = ({ last }: ReplayPlace): number => (last === '1s' ? 0 : last === '10s' ? 1 : 2);

/** Whether a place comes behind another. */
function isBehind(a: ReplayPlace, b: ReplayPlace): boolean {
  if (a.atNs !== b.atNs) return a.atNs > b.atNs;
  if (typeof a.last === 'string' || typeof b.last === 'string') return rankOf(a) > rankOf(b);
  return a.last.index - b.last.index > 0 || (a.last.index === b.last.index && a.last.row > b.last.row);
}

export interface ReplayInput {
  readonly log: EvidenceLog;
  readonly cache: BatchCache;
  readonly plan: ReplayPlan;
  readonly out: EventStream;
  readonly from: ReplayPlace;
  readonly filter: Filter | undefined;
  readonly speed: number;
  readonly step: Step | undefined;
  readonly frames: readonly Step[];
  /** Lets others run after work that took so long. */
  readonly rest: (usedMs: number) => Promise<void>;
}

export class Replay {
  readonly #input: ReplayInput;
  readonly #untilNs: bigint;
  readonly #size: number;
  readonly #startedMs = performance.now();
  #one: Frame;
  #ten: Frame;
  #place: ReplayPlace;
  #work = 0;
  #isStepped = false;

  constructor(input: ReplayInput) {
    const { plan, from } = input;
    this.#input = input;
    this.#untilNs = plan.window.untilNs;
    this.#size = plan.window.size;
    this.#place = { ...from, size: this.#size };
    this.#ten = new Frame('10s', from.atNs);
    // A frame is always whole, wherever one comes in.
    this.#one = new Frame('1s', this.#ten.sinceNs);
  }

  /** Runs to the end of the window or of the step, or until nobody reads any more. */
  async run(): Promise<void> {
    const { plan, cache, out, filter, rest } = this.#input;
    const { sinceNs } = plan.window;
    await this.#hello();
    const told = (entry: number, reason: string): void => out.add('damaged', JSON.stringify({ entry, reason }));
    const order = new ReplayOrder(cache, plan, this.#ten.sinceNs, told);
    let usedMs = 0;
    while (!out.signal.aborted && !this.#isStepped) {
      const startedMs = performance.now();
      const next = await order.next();
      if (next === undefined || next.atNs >= this.#untilNs) {
        await this.#advance(this.#untilNs);
        break;
      }
      if (next.atNs < sinceNs || next.atNs < this.#ten.sinceNs) continue;
      const isWanted = filter === undefined || filter.matches(next);
      usedMs += performance.now() - startedMs;
      if (isWanted) {
        await this.#advance(next.atNs);
        if (this.#isStepped) break;
        await this.#show(next);
      }
      if (++this.#work % RECORDS_BETWEEN_PAUSES === 0) {
        await rest(usedMs);
        usedMs = 0;
      }
    }
    await out.flush();
    if (out.signal.aborted) return;
    const end = { reason: this.#isStepped ? 'step' : 'done', at: timeText(this.#place.atNs) };
    out.end('end', JSON.stringify(end), formatReplayPlace(this.#place));
  }

  async #hello(): Promise<void> {
    const { log, plan, out, speed, step, filter } = this.#input;
    const { sinceNs, untilNs, size } = plan.window;
    const asOf = { origin: log.origin, size, root: toBase64(await rootFromTiles(log.tiles, size)) };
    const window = { since: timeText(sinceNs), until: timeText(untilNs), from: timeText(this.#place.atNs) };
    const ahead = plan.streams.filter(({ aheadNs }) => aheadNs > 0n).length;
    const how = {
      ...(step === undefined ? { speed } : { step }),
      ...(filter === undefined ? {} : { filter: filter.text }),
    };
    out.add(
      'hello',
      JSON.stringify({ asOf, ...window, ...how, clocks_corrected: ahead }),
      formatReplayPlace(this.#place),
    );
    await out.flush();
  }

  async #show(next: ReplayRecord): Promise<void> {
    const { out, frames, step } = this.#input;
    const { atNs, index, row, record } = next;
    this.#one.add(record);
    this.#ten.add(record);
    const place: ReplayPlace = { atNs, last: { index, row }, size: this.#size };
    if (!isBehind(place, this.#place)) return;
    await this.#pace(atNs);
    this.#place = place;
    if (frames.includes('exchange')) out.add('flow', this.#flowJson(next), formatReplayPlace(place));
    if (step === 'exchange') this.#isStepped = true;
    if (out.isFull) await out.flush();
  }

  #flowJson({ atNs, receivedMs, record }: ReplayRecord): string {
    const receivedNs = BigInt(receivedMs) * BigInt(NS_PER_MS);
    const isLate = receivedNs - atNs > LATE_NS;
    return JSON.stringify({
      at: timeText(atNs),
      received: timeText(receivedNs),
      ...(isLate ? { late: true } : {}),
      asOf: { size: this.#size },
      flow: record,
    });
  }

  /** Closes the frames that end before or at a time. */
  async #advance(toNs: bigint): Promise<void> {
    while (!this.#isStepped && !this.#input.out.signal.aborted) {
      const [one, ten] = [this.#one, this.#ten];
      if (!one.isEmpty && this.#endOf(one) <= toNs) {
        await this.#close(one, true);
        this.#one = new Frame('1s', one.endNs);
        continue;
      }
      if (this.#endOf(ten) > toNs) break;
      // Live, an empty frame tells that nothing happened; a step goes on to where something did.
      await this.#close(ten, this.#input.step === undefined);
      if (ten.endNs >= this.#untilNs) return;
      this.#ten = new Frame('10s', this.#input.step === undefined ? ten.endNs : toNs);
      this.#one = new Frame('1s', this.#ten.sinceNs);
    }
    if (this.#one.isEmpty && this.#one.endNs <= toNs) this.#one = new Frame('1s', toNs);
  }

  #endOf({ endNs }: Frame): bigint {
    return endNs < this.#untilNs ? endNs : this.#untilNs;
  }

  async #close(frame: Frame, showsEmpty: boolean): Promise<void> {
    const { out, frames, step } = this.#input;
    const atNs = this.#endOf(frame);
    const place: ReplayPlace = { atNs, last: frame.width, size: this.#size };
    if (!isBehind(place, this.#place) || (frame.isEmpty && !showsEmpty)) return;
    await this.#pace(atNs);
    this.#place = place;
    if (frames.includes(frame.width)) out.add('edges', frame.json(this.#size, this.#untilNs), formatReplayPlace(place));
    if (step === frame.width) this.#isStepped = true;
    if (out.isFull) await out.flush();
  }

  /** Waits until it is time for what happened at an instant. */
  async #pace(atNs: bigint): Promise<void> {
    const { out, from, speed, step } = this.#input;
    if (step !== undefined) return;
    const dueMs = this.#startedMs + Number(atNs - from.atNs) / NS_PER_MS / speed;
    if (dueMs - performance.now() < 1) return;
    await out.flush();
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: out.signal }).catch(() => undefined);
  }
}

/** The place right before everything that happened at a time. */
export function placeBefore(atNs: bigint): ReplayPlace {
  return { atNs, last: '10s' };
}
