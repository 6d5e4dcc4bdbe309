// Groups and metrics over HTTP: `GET /v1/stats`.

import { timeText } from '../core/codec/text.ts';
import type { Group, Key, View } from '../index/aggregate.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import { type Counted, type CountParameters, lengthOf, type Question } from './answer.ts';
import { type NamedMetric, parseBy, parseMetrics } from './stats-parameters.ts';
import { nest, type Written, writtenKey, writtenMetric } from './values.ts';

export const STATS_LIMIT_DEFAULT = 1000;
const BUCKET_NS_MIN = 1_000_000n;
const BUCKET_NS_MAX = 366n * 86_400_000_000_000n;

export interface StatsParameters extends CountParameters {
  readonly by?: string;
  readonly metrics?: string;
  readonly bucket?: string;
  readonly limit?: number;
  readonly twins?: 'join' | 'separate';
}

/** A group as the API writes it. */
export interface StatsRow {
  /** Begin of the bucket. */
  readonly bucket?: string;
  /** Nested by the names of its fields; an absent value is absent. */
  readonly group: Readonly<Record<string, unknown>>;
  readonly metrics: Readonly<Record<string, Written>>;
}

/** A question of stats whose texts are understood. */
export interface StatsQuestion {
  readonly by: readonly Key[];
  readonly metrics: readonly NamedMetric[];
  readonly view: View;
  readonly limit: number;
}

/** Reads what to count. Throws PARAMETER_INVALID. */
export function statsQuestionOf(parameters: StatsParameters): StatsQuestion {
  const by = parseBy(parameters.by);
  const metrics = parseMetrics(parameters.metrics ?? 'count');
  const { bucket, twins, limit = STATS_LIMIT_DEFAULT } = parameters;
  const bucketNs = bucket === undefined ? undefined : lengthOf('bucket', bucket, BUCKET_NS_MIN, BUCKET_NS_MAX);
  const view: View = {
    ...{ by, metrics, joinsTwins: twins === 'join' },
    ...(bucketNs === undefined ? {} : { bucketNs }),
  };
  return { by, metrics, view, limit };
}

/** Counts. Throws QUERY_OVERLOADED. */
export async function stats(
  index: FlowIndex,
  question: Question,
  { by, metrics, view, limit }: StatsQuestion,
  size: number,
  signal: AbortSignal,
): Promise<Counted> {
  const { views, limits } = await index.aggregate({ ...question, size, signal, views: [view] });
  const [result = { groups: [], leftOut: 0, isApproximate: false }] = views;
  const sorted = sortedGroups(result.groups);
  const records = result.groups.reduce((sum, { count }) => sum + count, result.leftOut);
  return {
    body: {
      stats: sorted.slice(0, limit).map((group) => rowOf(group, by, metrics)),
      groups: sorted.length,
      records,
      ...(view.joinsTwins ? { twins: result.groups.reduce((sum, { twins }) => sum + twins, 0) } : {}),
      ...(result.leftOut === 0 ? {} : { leftOut: result.leftOut }),
      approximate: result.isApproximate ? metrics.filter(({ measure }) => measure === 'p').map(({ name }) => name) : [],
    },
    limits,
  };
}

function rowOf(
  { bucketNs, values, metrics: measured }: Group,
  by: readonly Key[],
  metrics: readonly NamedMetric[],
): StatsRow {
  const group: Record<string, unknown> = {};
  for (const [i, { name, type }] of by.entries()) {
    const value = values[i];
    if (value !== undefined) nest(group, name, writtenKey(type, value));
  }
  const written: Record<string, Written> = {};
  for (const [i, metric] of metrics.entries()) {
    const value = writtenMetric(metric, measured[i]);
    if (value !== undefined) written[metric.name] = value;
  }
  return { ...(bucketNs === undefined ? {} : { bucket: timeText(bucketNs) }), group, metrics: written };
}

/** By bucket, the largest first metric first; groups that are alike by their values, absent ones last. */
function sortedGroups(groups: readonly Group[]): readonly Group[] {
  return groups.toSorted(
    (a, b) =>
      order(a.bucketNs, b.bucketNs) ||
      order(b.metrics[0] ?? -1, a.metrics[0] ?? -1) ||
      a.values.reduce((found: number, value, i) => found || order(value, b.values[i]), 0),
  );
}

type Comparable = string | number | bigint | boolean | undefined;

function order(a: Comparable, b: Comparable): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
}
