// What to group by and what to measure, from the texts of their parameters; what is wrong is told with its place.

import { ATTRIBUTES, type Attribute, nearestAttribute, nearestChoice } from '../core/attributes.ts';
import { MeshtrailError } from '../core/error.ts';
import { type Key, keyOf, type Measure, type Metric } from '../index/aggregate.ts';

export const BY_MAX = 4;
export const METRICS_MAX = 16;
/** Of so many fields percentiles may be asked at once: each keeps its values. */
export const PERCENTILE_FIELDS_MAX = 4;

const PERCENTILES: Readonly<Record<string, number>> = { p50: 50, p90: 90, p95: 95, p99: 99 };
const MEASURES = ['count', 'sum', 'min', 'max', ...Object.keys(PERCENTILES), 'distinct'];
const DEFAULT_FIELD = 'duration';

interface Item {
  readonly text: string;
  readonly start: number;
}

/** A metric as it is asked for; its name is also that in the answer. */
export interface NamedMetric extends Metric {
  readonly name: string;
}

function invalid(parameter: string, { text, start }: Item, message: string, nearest?: string): MeshtrailError {
  return new MeshtrailError(
    'PARAMETER_INVALID',
    `The parameter ${parameter} is invalid at character ${start + 1}: ${message}`,
    { position: { start, end: start + text.length }, nearest },
  );
}

function itemsOf(list: string): readonly Item[] {
  const items: Item[] = [];
  let at = 0;
  for (const part of list.split(',')) {
    const text = part.trim();
    items.push({ text, start: at + (text === '' ? 0 : part.indexOf(text)) });
    at += part.length + 1;
  }
  return items;
}

function fieldOf(parameter: string, item: Item): Attribute {
  const found = ATTRIBUTES.get(item.text);
  if (found !== undefined) return found;
  if (item.text === '') throw invalid(parameter, item, 'the name of a field is needed here.');
  const nearest = nearestAttribute(item.text);
  const hint = nearest === undefined ? '.' : `; did you mean ${nearest}?`;
  throw invalid(parameter, item, `there is no field ${JSON.stringify(item.text.slice(0, 80))}${hint}`, nearest);
}

/** Reads `by`: names of fields, separated by commas. Throws PARAMETER_INVALID with the position. */
export function parseBy(list: string | undefined): readonly Key[] {
  if (list === undefined) return [];
  const items = itemsOf(list);
  const tooMany = items[BY_MAX];
  if (tooMany !== undefined) throw invalid('by', tooMany, `at most ${BY_MAX} fields are taken.`);
  return items.map((item, i) => {
    const field = fieldOf('by', item);
    if (field.type === 'map') throw invalid('by', item, `${field.name} is a map, and no value to group by.`);
    if (items.findIndex(({ text }) => text === item.text) < i) throw invalid('by', item, `${field.name} stands twice.`);
    return keyOf(field);
  });
}

/** Reads `metrics`: `count`, `sum(request.total_size)`, `p99` and the like, separated by commas. Throws PARAMETER_INVALID with the position. */
export function parseMetrics(list: string): readonly NamedMetric[] {
  const items = itemsOf(list);
  const tooMany = items[METRICS_MAX];
  if (tooMany !== undefined) throw invalid('metrics', tooMany, `at most ${METRICS_MAX} are taken.`);
  const metrics = items.map(metricOf);
  const fields = new Set<string>();
  for (const [i, { name, measure, of }] of metrics.entries()) {
    const item = items[i] as Item;
    if (metrics.findIndex((other) => other.name === name) < i) throw invalid('metrics', item, `${name} stands twice.`);
    if (measure === 'p') fields.add(of?.name ?? '');
    if (fields.size > PERCENTILE_FIELDS_MAX)
      throw invalid('metrics', item, `percentiles are taken of at most ${PERCENTILE_FIELDS_MAX} fields at once.`);
  }
  return metrics;
}

function metricOf(item: Item): NamedMetric {
  const match = /^([a-z]\w*)\s*(?:\(\s*([^()]*?)\s*\))?$/.exec(item.text);
  const [, measure = '', argument] = match ?? [];
  if (match === null || !MEASURES.includes(measure)) {
    const nearest = nearestChoice(measure === '' ? item.text : measure, MEASURES);
    const hint = nearest === undefined ? '.' : `; did you mean ${nearest}?`;
    const text = JSON.stringify(item.text.slice(0, 80));
    const known = `There are ${MEASURES.join(', ')}, of a field in parentheses.`;
    throw invalid('metrics', item, `${text} is no metric${hint} ${known}`, nearest);
  }
  const start = argument === undefined ? item.start : item.start + item.text.indexOf(argument, item.text.indexOf('('));
  return named(measure, argument, { text: argument ?? item.text, start }, item);
}

function named(measure: string, argument: string | undefined, place: Item, item: Item): NamedMetric {
  const percentile = PERCENTILES[measure];
  const kind = (percentile === undefined ? measure : 'p') as Measure;
  if (argument === undefined && kind === 'count') return { name: 'count', measure: 'count' };
  if (argument === undefined && (kind === 'sum' || kind === 'distinct'))
    throw invalid(
      'metrics',
      item,
      `${kind} needs a field, such as ${kind}(${kind === 'sum' ? 'request.total_size' : 'source.principal'}).`,
    );
  const field = fieldOf('metrics', argument === undefined ? { text: DEFAULT_FIELD, start: item.start } : place);
  expectMeasurable(kind, measure, field, place);
  // As it was asked for: `p99` stays `p99`, and is of the duration.
  const name = argument === undefined ? measure : `${measure}(${field.name})`;
  return { name, measure: kind, of: keyOf(field), ...(percentile === undefined ? {} : { percentile }) };
}

function expectMeasurable(kind: Measure, measure: string, { name, type }: Attribute, place: Item): void {
  const isNumber = type === 'int' || type === 'duration';
  const isGood =
    kind === 'count' || kind === 'distinct'
      ? type !== 'map' || kind === 'count'
      : isNumber || (type === 'timestamp' && (kind === 'min' || kind === 'max'));
  if (!isGood) throw invalid('metrics', place, `${measure} does not apply to ${name}, which is a ${type}.`);
}
