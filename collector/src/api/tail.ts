// The live tail: records in the order in which they were published, from history into live, each once.
// A reader has a place in the log and nothing else, so no reader costs memory, and any of them can go on where it stopped.

import { toBase64 } from '../core/bytes.ts';
import { timeText } from '../core/codec/text.ts';
import { MeshtrailError } from '../core/error.ts';
import type { Filter } from '../core/query/filter.ts';
import { rootFromTiles } from '../core/tlog/tile.ts';
import type { Zone } from '../index/flow-index.ts';
import type { LiveBatch, LiveLog } from '../index/live-log.ts';
import type { EventStream } from './event-stream.ts';
import { formatTailPlace, type TailPlace } from './tail-place.ts';

/** A reader that followed live and is so far behind is told what it missed, and goes on with the present. */
export const LAG_MS_MAX = 10_000;
/** After so many records others run. */
const RECORDS_BETWEEN_PAUSES = 64;
const ZONES_AT_ONCE = 1024;

export interface TailInput {
  readonly live: LiveLog;
  readonly out: EventStream;
  readonly from: TailPlace;
  readonly filter: Filter | undefined;
  /** A monotonic clock in ms. */
  readonly now: () => number;
  readonly lagMsMax: number;
}

export class Tail {
  readonly #input: TailInput;
  readonly #sinceNs: bigint | undefined;
  #index: number;
  #row: number;
  /** Once level with the log, a reader is expected to stay so. */
  #isLive = false;
  /** Entries up to here were told of, damaged ones too. */
  #toldSize: number;
  #work = 0;

  constructor(input: TailInput) {
    this.#input = input;
    this.#index = input.from.index;
    this.#row = input.from.row;
    this.#sinceNs = input.from.sinceNs;
    this.#toldSize = input.from.index;
  }

  /** Runs until nobody reads any more. */
  async run(): Promise<void> {
    const { live, out } = this.#input;
    await this.#hello();
    while (!out.signal.aborted) {
      const { size } = live;
      if (this.#index >= size) {
        await this.#level(size);
        await live.grown(size, out.signal);
        continue;
      }
      await this.#walk(size);
      await out.flush();
    }
  }

  get #place(): string {
    return formatTailPlace({
      index: this.#index,
      row: this.#row,
      ...(this.#sinceNs === undefined ? {} : { sinceNs: this.#sinceNs }),
    });
  }

  async #asOf(size: number): Promise<object> {
    const { log } = this.#input.live;
    const head = log.published();
    const root = size === head.size ? head.root : await rootFromTiles(log.tiles, size);
    return { origin: log.origin, size, root: toBase64(root) };
  }

  async #hello(): Promise<void> {
    const { live, out, filter } = this.#input;
    const place = this.#place;
    const hello = {
      asOf: await this.#asOf(live.size),
      ...(this.#sinceNs === undefined ? {} : { since: timeText(this.#sinceNs) }),
      ...(filter === undefined ? {} : { filter: filter.text }),
    };
    out.add('hello', JSON.stringify(hello), place);
    await out.flush();
  }

  /** Everything up to a size was looked at: says so, with the checkpoint that it stands on. */
  async #level(size: number): Promise<void> {
    const { live, out } = this.#input;
    const isNews = size > this.#toldSize || !this.#isLive;
    this.#isLive = true;
    if (!isNews) return;
    for (const { kind, entry, reason } of live.index.gaps())
      if (kind === 'damaged' && entry !== undefined && entry >= this.#toldSize && entry < size)
        out.add('damaged', JSON.stringify({ entry, reason }));
    this.#toldSize = size;
    const behind = live.log.published().size - size;
    const level = { asOf: await this.#asOf(size), ...(behind > 0 ? { behind } : {}) };
    out.add('level', JSON.stringify(level), this.#place);
    await out.flush();
  }

  /** Goes through the next batches before a size, until there is something to look up again. */
  async #walk(size: number): Promise<void> {
    const { live, out } = this.#input;
    const zones = live.index.zones(this.#index, size, ZONES_AT_ONCE);
    for (const zone of zones) {
      if (out.signal.aborted) return;
      if (this.#isTooLate()) {
        this.#skip(live.size);
        return;
      }
      if (zone.index > this.#index) this.#goTo(zone.index);
      if (this.#canMatch(zone)) await this.#show(zone.index, size);
      this.#goTo(zone.index + 1);
    }
    if (zones.length < ZONES_AT_ONCE) this.#goTo(size);
  }

  #canMatch({ startNsMin, startNsMax }: Zone): boolean {
    const { sinceNs, untilNs } = this.#input.filter?.bounds ?? {};
    return (
      (this.#sinceNs === undefined || startNsMax >= this.#sinceNs) &&
      (sinceNs === undefined || startNsMax >= sinceNs) &&
      (untilNs === undefined || startNsMin < untilNs)
    );
  }

  #goTo(index: number): void {
    this.#index = index;
    this.#row = 0;
  }

  #isTooLate(): boolean {
    const { live, now, lagMsMax } = this.#input;
    return this.#isLive && now() - live.shownMs(this.#index) > lagMsMax;
  }

  async #show(index: number, size: number): Promise<void> {
    const batch = await this.#read(index);
    if (batch === undefined) return;
    const { filter, out, now } = this.#input;
    let startedMs = now();
    for (; this.#row < batch.rowCount; this.#row++) {
      const row = this.#row;
      const startNs = batch.startNs(row);
      if (this.#sinceNs !== undefined && startNs < this.#sinceNs) continue;
      if (filter === undefined || filter.matches({ record: batch.record(row), startNs })) {
        const id = formatTailPlace({
          index,
          row: row + 1,
          ...(this.#sinceNs === undefined ? {} : { sinceNs: this.#sinceNs }),
        });
        out.add('flow', `{"asOf":{"size":${size}},"flow":${batch.json(row)}}`, id);
      }
      if (++this.#work >= RECORDS_BETWEEN_PAUSES || out.isFull) {
        await this.#pause(startedMs);
        if (out.signal.aborted) return;
        startedMs = now();
      }
    }
  }

  async #pause(startedMs: number): Promise<void> {
    const { live, out, now } = this.#input;
    this.#work = 0;
    const flushed = out.flush();
    const usedMs = now() - startedMs;
    await flushed;
    await live.rest(usedMs);
  }

  /** One bad entry must not hide all others: it is told of. */
  async #read(index: number): Promise<LiveBatch | undefined> {
    try {
      return await this.#input.live.batch(index);
    } catch (error) {
      if (!(error instanceof MeshtrailError) || error.code === 'STORE_FAILED') throw error;
      this.#input.out.add('damaged', JSON.stringify({ entry: index, reason: error.message }));
      return undefined;
    }
  }

  /** Tells what lies between the reader's place and the present, and goes on there. */
  #skip(size: number): void {
    const { live, out, filter } = this.#input;
    const after = this.#place;
    const missed = missedOf(live, this.#index, this.#row, size);
    this.#goTo(size);
    if (missed.records === 0) return;
    const query = new URLSearchParams({
      since: missed.since,
      until: missed.until,
      order: 'asc',
      ...(filter === undefined ? {} : { filter: filter.text }),
    });
    out.add('missed', JSON.stringify({ ...missed, after, flows: `/v1/flows?${query}` }), this.#place);
  }
}

interface Missed {
  /** Before the filter: which of them match is known to who asks for them. */
  readonly records: number;
  readonly entries: number;
  readonly since: string;
  readonly until: string;
}

function missedOf(live: LiveLog, index: number, row: number, size: number): Missed {
  let [records, first, last]: [number, bigint | undefined, bigint | undefined] = [0, undefined, undefined];
  const take = (zone: Zone): void => {
    records += zone.records - (zone.index === index ? Math.min(row, zone.records) : 0);
    if (first === undefined || zone.startNsMin < first) first = zone.startNsMin;
    if (last === undefined || zone.startNsMax > last) last = zone.startNsMax;
  };
  for (let from = index; from < size; ) {
    const zones = live.index.zones(from, size, ZONES_AT_ONCE);
    zones.forEach(take);
    from = (zones.at(-1)?.index ?? size) + 1;
  }
  return { records, entries: size - index, since: timeText(first ?? 0n), until: timeText((last ?? 0n) + 1n) };
}
