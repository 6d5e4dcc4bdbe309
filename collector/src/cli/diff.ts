// `meshtrail diff`: new, gone and changed edges between two windows.

import { styleText } from 'node:util';
import { textOption, type Verb } from './args.ts';
import {
  askCount,
  BY_OPTION,
  COUNT_OPTIONS,
  type CountAnswer,
  FIGURE_NAMES,
  type Figures,
  GRAPH_OUTPUT_OPTION,
  type GraphNode,
  LIMIT_OPTION,
  nodeText,
  noteCount,
  parametersOf,
  WINDOW_OPTIONS,
} from './count.ts';
import { dot, type GraphEdge, mermaid } from './graph.ts';
import { type Column, type Format, print, printRows } from './output.ts';

interface DiffRow {
  readonly change: 'new' | 'gone' | 'changed';
  readonly source: GraphNode;
  readonly destination: GraphNode;
  readonly changes: readonly { readonly what: string; readonly a: number; readonly b: number }[];
  readonly a?: Figures;
  readonly b?: Figures;
}
interface DiffAnswer extends CountAnswer {
  readonly diff: readonly DiffRow[];
}

const STYLES = { new: 'green', gone: 'red', changed: 'yellow' } as const;

function styledChange(padded: string): string {
  const style = STYLES[padded.trim() as keyof typeof STYLES];
  return style === undefined ? padded : styleText(style, padded, { stream: process.stdout });
}

const short = (value: number): string => (value === 0 ? '0' : Number(value.toPrecision(3)).toString());
const UNITS: Readonly<Record<string, string>> = { requests: '/s', latency: 's' };

/** What changed, with the figures before and after. */
function changesText({ changes }: DiffRow): string | undefined {
  const parts = changes.map(({ what, a, b }) =>
    what in UNITS
      ? `${what} ${short(a)}${UNITS[what]} -> ${short(b)}${UNITS[what]}`
      : `${what} ${short(100 * a)}% -> ${short(100 * b)}%`,
  );
  return parts.length === 0 ? undefined : parts.join('; ');
}

const busy = (figures: Figures | undefined): string | undefined =>
  figures === undefined ? undefined : String(figures.requests + figures.connections);

const COLUMNS: readonly Column<DiffRow>[] = [
  { title: 'CHANGE', of: ({ change }) => change, style: styledChange },
  { title: 'SOURCE', of: ({ source }) => nodeText(source), isElastic: true },
  { title: 'DESTINATION', of: ({ destination }) => nodeText(destination), isElastic: true },
  { title: 'A', of: ({ a }) => busy(a), alignsRight: true },
  { title: 'B', of: ({ b }) => busy(b), alignsRight: true },
  { title: 'DENIED A', of: ({ a }) => a?.denied.toString(), alignsRight: true },
  { title: 'DENIED B', of: ({ b }) => b?.denied.toString(), alignsRight: true },
  { title: 'WHAT', of: changesText, isElastic: true },
];
const NAMES: readonly string[] = [
  ...['change', 'source.name', 'source.field', 'source.claimed'],
  ...['destination.name', 'destination.field', 'destination.claimed', 'changes'],
  ...['a', 'b'].flatMap((window) => FIGURE_NAMES.map((name) => `${window}.${name}`)),
  'filter',
];

function drawn({ change, source, destination, a, b }: DiffRow): GraphEdge {
  const label = `${change}: ${busy(a) ?? 0} -> ${busy(b) ?? 0}`;
  return { source, destination, label, ...(change === 'changed' ? {} : { style: change }) };
}

const { filter } = WINDOW_OPTIONS;

export const diff: Verb = {
  summary: 'Compares the service graph of two windows: new, gone and changed edges.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  tooMany: 'windows stand behind --a and --b',
  options: {
    a: { type: 'string', value: 'SINCE/UNTIL', help: 'The window before, such as -2h/-1h.' },
    b: { type: 'string', value: 'SINCE/UNTIL', help: 'The window after, such as -1h/now.' },
    ...(filter === undefined ? {} : { filter }),
    by: BY_OPTION,
    limit: LIMIT_OPTION,
    ...COUNT_OPTIONS,
    output: GRAPH_OUTPUT_OPTION,
  },
  examples: [
    'meshtrail diff --a -2h/-1h --b -1h/now',
    'meshtrail diff --a 2026-11-24T13:00:00Z/2026-11-24T14:00:00Z --b 2026-11-24T14:00:00Z/2026-11-24T15:00:00Z --by principal',
  ],
  async run(input) {
    const parameters = parametersOf(input, ['a', 'b', 'by', 'limit']);
    const answer = await askCount<DiffAnswer>(input, '/v1/diff', 'diff', parameters);
    const format = textOption(input, 'output') ?? 'table';
    if (format === 'mermaid') print(mermaid(answer.diff.map(drawn)));
    else if (format === 'dot') print(dot(answer.diff.map(drawn)));
    else printRows(format as Format, { whole: answer, rows: answer.diff, columns: COLUMNS, names: NAMES });
    return noteCount(answer, answer.diff.length, 'difference');
  },
};
