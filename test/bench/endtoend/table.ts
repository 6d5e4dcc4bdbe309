// The table of one setting: a row for each way from the exchange to the disk.

import { median, type Notebook, type Ratio, shown, spread, spreadText, type Table } from '../lib/figures.ts';

const COLUMNS = [
  ['CPU of the proxy, us', 'cpuPerRequestUs', true],
  ['of which added, us', 'proxyAddedUs', true],
  ['CPU of the receiver, us', 'receiverCpuPerRequestUs', true],
  ['added and receiver, us', 'togetherUs', true],
  ['records a batch', 'recordsPerBatch', false],
  ['bytes on the wire', 'wireBytesPerRecord', false],
  ['bytes on disk', 'diskBytesPerRecord', false],
] as const;
const RIVALS = ['alsRecords', 'alsMessages'] as const;

export function endToEndTable(input: {
  readonly title: string;
  readonly names: readonly string[];
  readonly notebook: Notebook;
  readonly ratios: readonly Ratio[];
}): Table {
  const { title, names, notebook, ratios } = input;
  const cell = (name: string, figure: string, isSpread: boolean): string => {
    const values = notebook.valuesOf(name, figure);
    if (values.length === 0) return '';
    return isSpread ? spreadText(spread('', values)) : shown(median(values));
  };
  const ratio = (name: string, rival: string): string => {
    const found = ratios.find(({ of, to }) => of === name && to === rival);
    return found === undefined ? '' : `x${spreadText(found)}`;
  };
  return {
    title,
    head: ['for each record', ...COLUMNS.map(([head]) => head), ...RIVALS.map((rival) => `together, to \`${rival}\``)],
    rows: names.map((name) => [
      `\`${name}\``,
      ...COLUMNS.map(([, figure, isSpread]) => cell(name, figure, isSpread)),
      ...RIVALS.map((rival) => ratio(name, rival)),
    ]),
  };
}
