// Values of groups and metrics as the API writes them, the way records do.

import type { AttributeType } from '../core/attributes.ts';
import { durationText, timeText } from '../core/codec/text.ts';
import type { KeyValue, Metric, MetricValue } from '../index/aggregate.ts';

/** A number beyond 2^53 - 1 is written as text. */
export type Written = string | number | boolean;

/** The value of a group. */
export function writtenKey(type: AttributeType, value: NonNullable<KeyValue>): Written {
  if (typeof value !== 'bigint') return value;
  return type === 'timestamp' ? timeText(value) : durationText(Number(value / 1000n));
}

/** The value of a metric; undefined where there was nothing to measure. */
export function writtenMetric(
  { measure, of }: Pick<Metric, 'measure' | 'of'>,
  value: MetricValue,
): Written | undefined {
  if (value === undefined) return undefined;
  const isCount = measure === 'count' || measure === 'distinct';
  if (!isCount && of?.type === 'timestamp') return timeText(BigInt(value));
  if (!isCount && of?.type === 'duration') return durationText(Number(value));
  return typeof value === 'bigint' ? String(value) : value;
}

/** Nests a value at the dots of its name. */
export function nest(into: Record<string, unknown>, name: string, value: unknown): void {
  const parts = name.split('.');
  const last = parts.pop() as string;
  let at = into;
  for (const part of parts) {
    at[part] ??= {};
    at = at[part] as Record<string, unknown>;
  }
  at[last] = value;
}
