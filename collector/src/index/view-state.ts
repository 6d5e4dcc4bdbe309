// One view while its records come in: what each record adds is taken out of it first, so that it can wait for the record's twin.

import type { FilterRow } from '../core/attributes.ts';
import type { Filter } from '../core/query/filter.ts';
import type { Group, KeyValue, Metric, View, ViewResult } from './aggregate.ts';
import { type Cell, type CellContext, cellFor, cellKindOf, measuredOf } from './cells.ts';

/** What one record adds to a view. */
export interface Contribution {
  readonly bucketNs: bigint | undefined;
  readonly values: readonly KeyValue[];
  /** A value for each cell; undefined adds nothing to it. */
  readonly inputs: readonly KeyValue[];
}

/** What a view's state shares with those of the same query. */
export interface ViewContext extends CellContext {
  readonly groupsMax: number;
  /** A group was not made, since there are too many. */
  tooManyGroups(): void;
}

interface OpenGroup {
  readonly bucketNs: bigint | undefined;
  readonly values: readonly KeyValue[];
  readonly cells: readonly Cell[];
  count: number;
  twins: number;
}

export class ViewState {
  readonly view: View;
  readonly #context: ViewContext;
  readonly #groups = new Map<string, OpenGroup>();
  /** The metric that each cell was made for. */
  readonly #cells: readonly Metric[];
  /** The cell of each metric. */
  readonly #cellOfMetric: readonly number[];
  /** Conditions of metrics, each once: many share one. */
  readonly #conditions: readonly Filter[];
  /** The condition of each cell, -1 where it has none. */
  readonly #conditionOfCell: readonly number[];
  #leftOut = 0;

  constructor(view: View, context: ViewContext) {
    this.view = view;
    this.#context = context;
    const cells: Metric[] = [];
    this.#cellOfMetric = view.metrics.map((metric) => {
      const known = cells.findIndex((cell) => isSameCell(cell, metric));
      return known === -1 ? cells.push(metric) - 1 : known;
    });
    this.#cells = cells;
    this.#conditions = [...new Set(cells.flatMap(({ where }) => (where === undefined ? [] : [where])))];
    this.#conditionOfCell = cells.map(({ where }) => (where === undefined ? -1 : this.#conditions.indexOf(where)));
  }

  /** What a record adds; undefined when the view is not of such records. */
  contribution(row: FilterRow): Contribution | undefined {
    const { by, bucketNs, where, keep } = this.view;
    if (where !== undefined && !where.matches(row)) return undefined;
    const values = by.map((key) => key.of(row));
    if (keep !== undefined && !keep(values)) return undefined;
    const holds = this.#conditions.map((condition) => condition.matches(row));
    const inputs = this.#cells.map(({ of }, i) => {
      if (holds[this.#conditionOfCell[i] as number] === false) return undefined;
      return of === undefined ? true : measuredOf(of, row);
    });
    return { bucketNs: bucketNs === undefined ? undefined : floorTo(row.startNs, bucketNs), values, inputs };
  }

  /** Adds it to its group, which it returns; undefined when there are too many groups. */
  add({ bucketNs, values, inputs }: Contribution): OpenGroup | undefined {
    const text = textOf(bucketNs, values);
    let group = this.#groups.get(text);
    if (group === undefined) {
      if (this.#groups.size >= this.#context.groupsMax) {
        this.#leftOut++;
        this.#context.tooManyGroups();
        return undefined;
      }
      group = this.#open(bucketNs, values);
      this.#groups.set(text, group);
    }
    group.count++;
    for (let i = 0; i < inputs.length; i++) {
      const input = inputs[i];
      if (input !== undefined) group.cells[i]?.add(input);
    }
    return group;
  }

  #open(bucketNs: bigint | undefined, values: readonly KeyValue[]): OpenGroup {
    const cells = this.#cells.map((metric) => cellFor(metric, this.#context));
    return { bucketNs, values, cells, count: 0, twins: 0 };
  }

  result(): ViewResult {
    const { by, bucketNs, metrics } = this.view;
    const groups = [...this.#groups.values()];
    // Of all records together there is always one group, and it may be empty.
    if (groups.length === 0 && by.length === 0 && bucketNs === undefined) groups.push(this.#open(undefined, []));
    return {
      groups: groups.map(
        (group): Group => ({
          bucketNs: group.bucketNs,
          values: group.values,
          metrics: metrics.map((metric, i) => group.cells[this.#cellOfMetric[i] as number]?.read(metric)),
          count: group.count,
          twins: group.twins,
        }),
      ),
      leftOut: this.#leftOut,
      isApproximate: this.#context.samples.isSpent && metrics.some(({ measure }) => measure === 'p'),
    };
  }
}

export type { OpenGroup };

function isSameCell(a: Metric, b: Metric): boolean {
  return cellKindOf(a) === cellKindOf(b) && a.of?.name === b.of?.name && a.where === b.where;
}

function floorTo(ns: bigint, width: bigint): bigint {
  const into = ns % width;
  return into < 0n ? ns - into - width : ns - into;
}

/** The group as a text that no other group has: absent, empty, zero and "0" are four. */
function textOf(bucketNs: bigint | undefined, values: readonly KeyValue[]): string {
  let text = bucketNs === undefined ? '' : `${bucketNs}`;
  for (const value of values) {
    if (typeof value === 'string') text += `,${JSON.stringify(value)}`;
    else text += value === undefined ? ',-' : typeof value === 'bigint' ? `,${value}n` : `,${value}`;
  }
  return text;
}
