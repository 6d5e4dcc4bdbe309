// What can be counted over records: groups by keys and buckets of time, metrics of each group. An index answers it by whatever it holds;
// keys and conditions name the attributes that they read, so that an index of columns opens those alone.

import type { Attribute, AttributeType, FilterRow } from '../core/attributes.ts';
import type { Filter } from '../core/query/filter.ts';

/** A value of a group; absent is undefined, and a group of its own. */
export type KeyValue = string | number | boolean | bigint | undefined;

/** What records are grouped by, or what a metric is of. */
export interface Key {
  readonly name: string;
  readonly type: AttributeType;
  /** Attributes that it is made of. */
  readonly reads: readonly string[];
  readonly of: (row: FilterRow) => KeyValue;
}

/** How values of a group become one; `p` is the percentile of Metric. */
export type Measure = 'count' | 'sum' | 'min' | 'max' | 'p' | 'distinct';

export interface Metric {
  readonly measure: Measure;
  /** Values it is of; without one, a count of records. */
  readonly of?: Key;
  /** More than 0, at most 100; of measure `p`. */
  readonly percentile?: number;
  /** Only these records. */
  readonly where?: Filter;
}

/** One way to group the records that a query finds. */
export interface View {
  readonly by: readonly Key[];
  /** Width of the buckets of time, counted from 1970. */
  readonly bucketNs?: bigint;
  readonly metrics: readonly Metric[];
  /** Only these of the query's records. */
  readonly where?: Filter;
  /** Only groups with these values of `by`. */
  readonly keep?: (values: readonly KeyValue[]) => boolean;
  /** Both records of one exchange are counted once. */
  readonly joinsTwins: boolean;
}

export interface AggregateQuery {
  readonly filter?: Filter;
  readonly sinceNs?: bigint;
  /** Exclusive. */
  readonly untilNs?: bigint;
  /** Log entries to look at, from 0. */
  readonly size: number;
  /** Count what another record counts already. */
  readonly repeats: boolean;
  /** Answered together, by one look at each record. */
  readonly views: readonly View[];
  /** Ends the work when nobody waits for its answer any more. */
  readonly signal?: AbortSignal;
}

/** A number, of durations in us; a time in Unix ns; beyond 2^53 - 1 a bigint; undefined where there were no values. */
export type MetricValue = number | bigint | undefined;

export interface Group {
  /** Begin of the bucket, Unix ns. */
  readonly bucketNs: bigint | undefined;
  readonly values: readonly KeyValue[];
  readonly metrics: readonly MetricValue[];
  /** Records, or exchanges where twins are joined. */
  readonly count: number;
  /** Exchanges among them of which both records are known; 0 where twins are not joined. */
  readonly twins: number;
}

export interface ViewResult {
  /** In no order. */
  readonly groups: readonly Group[];
  /** Records whose groups are not there, because there were too many. */
  readonly leftOut: number;
  /** Whether percentiles are of a sketch, within SKETCH_ERROR of the exact value. */
  readonly isApproximate: boolean;
}

export type LimitName = 'rows' | 'time' | 'groups' | 'values' | 'twins';

/** Why an answer is not whole. */
export interface LimitHit {
  readonly limit: LimitName;
  readonly reason: string;
}

export interface AggregateResult {
  /** As the query's views. */
  readonly views: readonly ViewResult[];
  readonly limits: readonly LimitHit[];
}

export interface AggregateLimits {
  /** Groups of one view. */
  readonly groupsMax: number;
  /** Values that all percentiles of a query keep; with more, they are taken of sketches. */
  readonly samplesMax: number;
  /** Different values that all `distinct` of a query keep. */
  readonly distinctMax: number;
  /** Records whose twin may still come. */
  readonly twinsMax: number;
}

export const AGGREGATE_LIMITS: AggregateLimits = {
  groupsMax: 10_000,
  samplesMax: 1_000_000,
  distinctMax: 100_000,
  twinsMax: 100_000,
};

/** The key of a plain attribute; of a map there is none. */
export function keyOf({ name, type, of }: Attribute): Key {
  return { name, type, reads: [name], of: of as Key['of'] };
}
