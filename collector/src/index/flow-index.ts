// What the query side needs of an index, and what the index needs of a store. The index is a cache: it can be rebuilt from the log at any time.

import type { Filter } from '../core/query/filter.ts';
import type { FlowRecord } from '../core/record.ts';
import type { LogClock } from '../log/evidence-log.ts';
import type { AggregateQuery, AggregateResult, LimitName } from './aggregate.ts';
import type { Coverage, CoverageQuery } from './coverage.ts';
import type { ProxyEvents } from './proxies.ts';
import type { StreamCondition } from './stream.ts';

/** When the records of one batch started: what lets a time range skip the batch. */
export interface Zone {
  readonly index: number;
  /** Unix ns. */
  readonly startNsMin: bigint;
  readonly startNsMax: bigint;
  readonly records: number;
}

/** Durable zones; declared here, driven in store/. */
export interface ZoneStore {
  /** Writes zones and moves `indexed` in one piece; durability may lag, since the index is rebuildable. */
  write(zones: readonly Zone[], indexed: number): Promise<void>;
  zones(): AsyncIterable<Zone>;
  /** Number of log entries indexed so far; undefined: never, or of another version. */
  indexed(): Promise<number | undefined>;
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** A place in an answer's order: what comes strictly behind it is the next page. */
export interface FlowPosition {
  readonly startNs: bigint;
  readonly index: number;
  readonly row: number;
}

export interface FlowQuery {
  readonly filter?: Filter;
  readonly sinceNs?: bigint;
  /** Exclusive. */
  readonly untilNs?: bigint;
  readonly order: 'asc' | 'desc';
  readonly limit: number;
  /** Log entries to look at, from 0: an answer's pages all see the same. */
  readonly size: number;
  readonly after?: FlowPosition;
  /** Ends the search when nobody waits for its answer any more. */
  readonly signal?: AbortSignal;
}

export interface FlowPage {
  readonly flows: readonly FlowRecord[];
  /** Where the next page begins; undefined when there is none. */
  readonly next: FlowPosition | undefined;
  /** Why the page is not all that could be found here: a limit was reached. Without `next` there is no going on behind it. */
  readonly partial: string | undefined;
}

/** What an answer may lack: a hole in a stream's batches, records that the proxy gave up, a limit, an entry that cannot be read; of coverage also a stream without its end, and a VM that is dead. */
export interface Gap {
  readonly kind: 'missing' | 'dropped' | 'partial' | 'damaged' | 'ended unknown' | 'silent';
  readonly stream?: string;
  readonly node?: string;
  /** First and last record number that is missing. */
  readonly from?: number;
  readonly to?: number;
  readonly count?: number;
  /** Time that may lack. */
  readonly seconds?: number;
  /** The log entry that is damaged. */
  readonly entry?: number;
  readonly reason?: string;
  /** Which limit made an answer partial. */
  readonly limit?: LimitName;
}

export interface Conditions {
  readonly streams: Readonly<Record<StreamCondition, number>>;
  readonly proxiesSilent: number;
}

/** What the API asks of an index over one log. */
export interface FlowIndex {
  /** Log entries indexed so far. */
  readonly size: number;
  /** Throws QUERY_OVERLOADED when too many searches wait already. */
  search(query: FlowQuery): Promise<FlowPage>;
  /** Groups and metrics of the records that a query finds. Throws QUERY_OVERLOADED likewise. */
  aggregate(query: AggregateQuery): Promise<AggregateResult>;
  /** Zones of the entries from `from` (inclusive) to `to` (exclusive), in the order of the log; at most `limit` of them. */
  zones(from: number, to: number, limit: number): readonly Zone[];
  /** The record at a place, or undefined. Throws STORE_CORRUPT. */
  record(index: number, row: number): Promise<FlowRecord | undefined>;
  /** Holes and drops of all streams indexed so far, and entries that could not be read. */
  gaps(): readonly Gap[];
  /** What was recorded by whom over which time, as far as it is indexed. */
  coverage(query: CoverageQuery): Coverage;
  /** How many streams are in each condition, and how many proxies fell silent lately. */
  conditions(nowMs: number): Conditions;
  /** From now on, tells who falls silent; ends with the index. Once for an index. */
  watchSilence(clock: LogClock, events: ProxyEvents): void;
  /** Why the index does not follow the log at the moment. */
  failure(): Error | undefined;
  /** Resolves when everything published until now is indexed. */
  idle(): Promise<void>;
  close(): Promise<void>;
}
