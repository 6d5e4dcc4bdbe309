// When and how often something was seen: the short figures of scope and identity.

import { ATTRIBUTES } from '../core/attributes.ts';
import { timeText } from '../core/codec/text.ts';
import { type Filter, parseFilter } from '../core/query/filter.ts';
import { type Group, type Key, keyOf, type Metric, type View } from '../index/aggregate.ts';

/** How often, and between which times. */
export interface Seen {
  /** Records, or exchanges where both records of one are counted once. */
  readonly count: number;
  readonly denied: number;
  readonly firstSeen?: string;
  readonly lastSeen?: string;
}

const DENIED = parseFilter('verdict == "denied"');

/** The key of a field that there is. */
export function fieldKey(name: string): Key {
  const field = ATTRIBUTES.get(name);
  if (field === undefined) throw new TypeError(`there is no field ${name}`);
  return keyOf(field);
}

const TIME = fieldKey('time');

/** Metrics that seenOf() takes, four for each condition. */
export function seenMetrics(where?: Filter): readonly Metric[] {
  const only = where === undefined ? {} : { where };
  const denied = where === undefined ? DENIED : parseFilter(`(${where.text}) && ${DENIED.text}`);
  return [
    { measure: 'count', ...only },
    { measure: 'count', where: denied },
    { measure: 'min', of: TIME, ...only },
    { measure: 'max', of: TIME, ...only },
  ];
}

/** Reads four metrics of a group. */
export function seenOf({ metrics }: Pick<Group, 'metrics'>, from = 0): Seen {
  const [count, denied, first, last] = metrics.slice(from, from + 4);
  return {
    count: Number(count ?? 0),
    denied: Number(denied ?? 0),
    ...(first === undefined ? {} : { firstSeen: timeText(BigInt(first)) }),
    ...(last === undefined ? {} : { lastSeen: timeText(BigInt(last)) }),
  };
}

/** A view of how often each group was seen. */
export function seenView(by: readonly Key[], where: Filter, joinsTwins = false): View {
  return { by, metrics: seenMetrics(), where, joinsTwins };
}

/** The most frequent first. */
export function bySeen<T extends Seen>(rows: T[]): readonly T[] {
  const text = (row: T): string => JSON.stringify(row);
  return rows.sort((a, b) => b.count - a.count || (text(a) < text(b) ? -1 : 1));
}
