// The cost table of one setting: a row for each variant.

import { median, type Notebook, type Ratio, shown, spread, spreadText, type Table } from '../lib/figures.ts';
import type { VariantName } from './variants.ts';

/** How a figure moved: the median of the last third of the rounds less that of the first third. */
export function driftUs(values: readonly number[]): number {
  const third = Math.max(1, Math.floor(values.length / 3));
  return median(values.slice(-third)) - median(values.slice(0, third));
}

const HEAD = [
  'variant',
  'CPU, us',
  'added, us',
  'to `none`',
  'added, to `grpcAls`',
  'host calls',
  'with data',
  'bytes a record',
  'records a batch',
  'memory, MiB',
  'memory grew, MiB',
  'drift, us',
  'p50, ms',
  'p99, ms',
] as const;

/** A figure's median and spread; nothing where it was not measured. */
function cell(notebook: Notebook, name: string, figure: string, isSpread: boolean): string {
  const values = notebook.valuesOf(name, figure);
  if (values.length === 0) return '';
  return isSpread ? spreadText(spread('', values)) : shown(median(values));
}

const ratioText = (ratios: readonly Ratio[], of: string, to: string): string => {
  const found = ratios.find((ratio) => ratio.of === of && ratio.to === to);
  return found === undefined ? '' : `x${spreadText(found)}`;
};

export function costTable(input: {
  readonly title: string;
  readonly names: readonly VariantName[];
  readonly notebook: Notebook;
  readonly ratios: readonly Ratio[];
}): Table {
  const { title, names, notebook, ratios } = input;
  return {
    title,
    head: HEAD,
    rows: names.map((name) => [
      `\`${name}\``,
      cell(notebook, name, 'cpuPerRequestUs', true),
      cell(notebook, name, 'addedCpuPerRequestUs', true),
      ratioText(ratios, name, 'none'),
      ratioText(ratios, name, 'grpcAls'),
      cell(notebook, name, 'hostCallsPerRequest', false),
      cell(notebook, name, 'hostCallsWithDataPerRequest', false),
      cell(notebook, name, 'wireBytesPerRecord', false),
      cell(notebook, name, 'recordsPerBatch', false),
      cell(notebook, name, 'residentMib', false),
      cell(notebook, name, 'residentGrowthMib', false),
      cell(notebook, name, 'driftUs', false),
      cell(notebook, name, 'latencyP50Ms', false),
      cell(notebook, name, 'latencyP99Ms', false),
    ]),
  };
}
