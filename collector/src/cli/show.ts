// `meshtrail show ID`: one record, every field by the name that a filter would use.

import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb } from './args.ts';
import { apiOf, askJson } from './client.ts';
import { FLOW_NAMES } from './flow-table.ts';
import { type Column, type Format, flatten, print, printRows, table } from './output.ts';

/** The API's path of a record; an id is checked by the API, so it is only made safe for a URL here. Throws RECORD_ID_INVALID. */
export function pathOfRecord(id: string): string {
  const parts = id.split('/');
  // A URL would go up a folder for these, encoded or not.
  if (parts.some((part) => /^(?:\.|%2e)*$/i.test(part)))
    throw new MeshtrailError('RECORD_ID_INVALID', `${JSON.stringify(id)} is no record id; one looks like 93.12.`);
  return `/v1/flows/${parts.map(encodeURIComponent).join('/')}`;
}

const FIELD_COLUMNS: readonly Column<readonly [string, string]>[] = [
  { title: 'FIELD', of: ([name]) => name },
  { title: 'VALUE', of: ([, value]) => value },
];

export const show: Verb = {
  summary: 'Shows one record in full.',
  positionals: 'ID',
  positionalsMin: 1,
  positionalsMax: 1,
  options: { output: OUTPUT_OPTION, api: API_OPTION },
  examples: ['meshtrail show 93.12', 'meshtrail show 93.12 -o json'],
  async run(input) {
    const record = await askJson<FlowRecord>(apiOf(input), pathOfRecord(input.positionals[0] ?? ''), ['id', 'time']);
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format === 'table') print(table(FIELD_COLUMNS, Object.entries(flatten(record))));
    else printRows(format, { whole: record, rows: [record], columns: [], names: FLOW_NAMES });
    return 0;
  },
};
