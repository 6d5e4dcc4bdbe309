// What one group keeps for its metrics: cells, shared by metrics that need the same.

import { toHex, utf8 } from '../core/bytes.ts';
import { sha256 } from '../core/hash.ts';
import type { Key, KeyValue, Metric, MetricValue } from './aggregate.ts';
import type { SampleBudget } from './samples.ts';

/** A longer text is kept as its hash: a set of paths must not cost what the paths do. */
const TEXT_KEPT_MAX = 64;

/** Takes the values of a group's records, one by one; undefined never comes. */
export interface Cell {
  add(value: NonNullable<KeyValue>): void;
  read(metric: Metric): MetricValue;
}

/** What all cells of a query share. */
export interface CellContext {
  readonly samples: SampleBudget;
  /** Whether one more different value may be kept. */
  takeDistinct(): boolean;
}

/** The kind of cell that a metric reads; metrics with the same kind, values and condition share one. */
export function cellKindOf({ measure }: Metric): 'count' | 'sum' | 'extremes' | 'samples' | 'distinct' {
  if (measure === 'min' || measure === 'max') return 'extremes';
  return measure === 'p' ? 'samples' : measure;
}

/** A new cell for a metric. */
export function cellFor(metric: Metric, context: CellContext): Cell {
  const kind = cellKindOf(metric);
  if (kind === 'count') return new CountCell();
  if (kind === 'sum') return new SumCell();
  if (kind === 'extremes') return new ExtremesCell();
  return kind === 'samples' ? new SamplesCell(context.samples) : new DistinctCell(context);
}

/** A value as metrics take it: durations in us. */
export function measuredOf({ type, of }: Key, row: Parameters<Key['of']>[0]): KeyValue {
  const value = of(row);
  return type === 'duration' && typeof value === 'bigint' ? Number(value / 1000n) : value;
}

class CountCell implements Cell {
  #count = 0;

  add(): void {
    this.#count++;
  }

  read(): number {
    return this.#count;
  }
}

class SumCell implements Cell {
  #sum = 0;
  /** What did not fit into a safe integer. */
  #above = 0n;
  #count = 0;

  add(value: NonNullable<KeyValue>): void {
    const number = value as number;
    if (this.#sum + number > Number.MAX_SAFE_INTEGER) {
      this.#above += BigInt(this.#sum);
      this.#sum = 0;
    }
    this.#sum += number;
    this.#count++;
  }

  read(): MetricValue {
    if (this.#count === 0) return undefined;
    return this.#above === 0n ? this.#sum : this.#above + BigInt(this.#sum);
  }
}

class ExtremesCell implements Cell {
  #min: number | bigint | undefined;
  #max: number | bigint | undefined;

  add(value: NonNullable<KeyValue>): void {
    const number = value as number | bigint;
    if (this.#min === undefined || number < this.#min) this.#min = number;
    if (this.#max === undefined || number > this.#max) this.#max = number;
  }

  read({ measure }: Metric): MetricValue {
    return measure === 'min' ? this.#min : this.#max;
  }
}

class SamplesCell implements Cell {
  readonly #samples: ReturnType<SampleBudget['samples']>;
  #max = 0;

  constructor(budget: SampleBudget) {
    this.#samples = budget.samples();
  }

  add(value: NonNullable<KeyValue>): void {
    const number = value as number;
    if (number > this.#max) this.#max = number;
    this.#samples.add(number);
  }

  read({ percentile = 50 }: Metric): MetricValue {
    const value = this.#samples.percentile(percentile);
    return value === undefined ? undefined : Math.min(Math.round(value), this.#max);
  }
}

class DistinctCell implements Cell {
  readonly #context: CellContext;
  readonly #values = new Set<NonNullable<KeyValue>>();

  constructor(context: CellContext) {
    this.#context = context;
  }

  add(value: NonNullable<KeyValue>): void {
    const kept = typeof value === 'string' && value.length > TEXT_KEPT_MAX ? toHex(sha256(utf8(value))) : value;
    if (!this.#values.has(kept) && this.#context.takeDistinct()) this.#values.add(kept);
  }

  read(): number {
    return this.#values.size;
  }
}
