// `meshtrail stats`: groups of records and their metrics.

import { textOption, type Verb } from './args.ts';
import {
  askCount,
  COUNT_OPTIONS,
  type CountAnswer,
  LIMIT_OPTION,
  noteCount,
  parametersOf,
  shortTime,
  WINDOW_OPTIONS,
} from './count.ts';
import { type Column, type Format, flatten, printRows } from './output.ts';

interface StatsRow {
  readonly bucket?: string;
  readonly group: Readonly<Record<string, unknown>>;
  readonly metrics: Readonly<Record<string, string | number>>;
}
interface StatsAnswer extends CountAnswer {
  readonly stats: readonly StatsRow[];
  readonly groups: number;
}

/** A row as lists and CSV have it: everything side by side, under the names of fields and metrics. */
type FlatRow = Readonly<Record<string, unknown>>;

const listOf = (text: string | undefined): readonly string[] =>
  text === undefined ? [] : text.split(',').map((name) => name.trim());

/** `sum( request.total_size )` is answered as `sum(request.total_size)`. */
const metricNames = (text: string | undefined): readonly string[] =>
  listOf(text ?? 'count').map((name) => name.replaceAll(/\s+/g, ''));

export const stats: Verb = {
  summary: 'Counts records in groups: by up to 4 fields, in buckets of time, with sums, extremes and percentiles.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  tooMany: 'fields to group by stand behind --by',
  options: {
    by: { type: 'string', value: 'FIELDS', help: 'Up to 4 fields to group by, separated by commas.' },
    metrics: {
      type: 'string',
      short: 'm',
      value: 'METRICS',
      help: 'count, sum(x), min(x), max(x), p50(x), p90(x), p95(x), p99(x), distinct(x), separated by commas.',
      default: 'count',
    },
    bucket: { type: 'string', value: 'LENGTH', help: 'Width of buckets of time, such as 1m.' },
    ...WINDOW_OPTIONS,
    twins: {
      type: 'string',
      value: 'HOW',
      help: 'join: both records of one exchange count once.',
      default: 'separate',
      choices: ['join', 'separate'],
    },
    limit: LIMIT_OPTION,
    ...COUNT_OPTIONS,
  },
  examples: [
    'meshtrail stats --by source.service_account,verdict --since -1h',
    "meshtrail stats --by request.path -m 'count,p99,sum(response.total_size)' -f 'response.code >= 500'",
    'meshtrail stats --bucket 1m --by verdict --twins join',
  ],
  async run(input) {
    const parameters = parametersOf(input, ['since', 'until', 'by', 'metrics', 'bucket', 'twins', 'limit']);
    const answer = await askCount<StatsAnswer>(input, '/v1/stats', 'stats', parameters);
    const [by, metrics] = [listOf(parameters['by']), metricNames(parameters['metrics'])];
    const hasBuckets = parameters['bucket'] !== undefined;
    const names = [...(hasBuckets ? ['bucket'] : []), ...by, ...metrics];
    const cell = (row: FlatRow, name: string): string | undefined => flatten(row, names)[name];
    const columns: Column<FlatRow>[] = [
      ...(hasBuckets ? [{ title: 'BUCKET (UTC)', of: (row: FlatRow) => shortTime(cell(row, 'bucket')) }] : []),
      ...by.map((name) => ({ title: name.toUpperCase(), of: (row: FlatRow) => cell(row, name), isElastic: true })),
      ...metrics.map((name) => ({
        title: name.toUpperCase(),
        of: (row: FlatRow) => cell(row, name),
        alignsRight: true,
      })),
    ];
    const rows = answer.stats.map(
      ({ bucket, group, metrics: measured }): FlatRow => ({
        ...(bucket === undefined ? {} : { bucket }),
        ...group,
        ...measured,
      }),
    );
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format === 'ndjson') printRows(format, { whole: answer, rows: answer.stats, columns: [], names });
    else printRows(format, { whole: answer, rows, columns, names });
    return noteCount(answer, answer.stats.length, 'group');
  },
};
