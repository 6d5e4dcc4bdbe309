// The cost table of one setting: a row for each variant.

import { median, type Notebook, type Ratio, resampledMedian, shown, spreadText, type Table } from '../lib/figures.ts';
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
  'bytes a request',
  'bytes a record',
  'records a batch',
  'memory, MiB',
  'memory grew, MiB',
  'drift, us',
  'p50, ms',
  'p99, ms',
] as const;

/** A figure's median; nothing where it was not measured. */
function cell(notebook: Notebook, name: string, figure: string): string {
  const values = notebook.valuesOf(name, figure);
  return values.length === 0 ? '' : shown(median(values));
}

/** A figure's median and how sure it is. */
function sure(notebook: Notebook, name: string, figure: string): string {
  const values = notebook.valuesOf(name, figure);
  return values.length === 0 ? '' : spreadText(resampledMedian('', values));
}

function ratioText(ratios: readonly Ratio[], of: string, to: string): string {
  const found = ratios.find((ratio) => ratio.of === of && ratio.to === to);
  if (found === undefined) return '';
  return `x${spreadText(found.kind === 'paired' ? resampledMedian('', found.values) : found)}`;
}

export function costTable(input: {
  readonly title: string;
  readonly names: readonly VariantName[];
  readonly notebook: Notebook;
  readonly ratios: readonly Ratio[];
}): Table {
  const { title, names, notebook, ratios } = input;
  return {
    title: `${title}: medians, [5 %..95 %] of the medians of resampled rounds`,
    head: HEAD,
    rows: names.map((name) => [
      `\`${name}\``,
      cell(notebook, name, 'cpuPerRequestUs'),
      sure(notebook, name, 'addedCpuPerRequestUs'),
      ratioText(ratios, name, 'none'),
      ratioText(ratios, name, 'grpcAls'),
      cell(notebook, name, 'hostCallsPerRequest'),
      cell(notebook, name, 'hostCallsWithDataPerRequest'),
      cell(notebook, name, 'wireBytesPerRequest'),
      cell(notebook, name, 'wireBytesPerRecord'),
      cell(notebook, name, 'recordsPerBatch'),
      cell(notebook, name, 'residentMib'),
      cell(notebook, name, 'residentGrowthMib'),
      cell(notebook, name, 'driftUs'),
      cell(notebook, name, 'latencyP50Ms'),
      cell(notebook, name, 'latencyP99Ms'),
    ]),
  };
}
