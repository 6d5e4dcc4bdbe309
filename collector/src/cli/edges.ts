// `meshtrail edges`: the service graph of a window or an instant.

import { textOption, type Verb } from './args.ts';
import {
  askCount,
  BY_OPTION,
  COUNT_OPTIONS,
  type CountAnswer,
  EDGE_NAMES,
  type Edge,
  figureColumns,
  fitted,
  GRAPH_OUTPUT_OPTION,
  LIMIT_OPTION,
  nodeText,
  noteCount,
  parametersOf,
  WINDOW_OPTIONS,
} from './count.ts';
import { dot, type GraphEdge, mermaid } from './graph.ts';
import { type Column, type Format, print, printRows } from './output.ts';

interface EdgesAnswer extends CountAnswer {
  readonly edges: readonly Edge[];
}

/** Columns of a list of edges. */
export function edgeColumns(nowMs: number): readonly Column<Edge>[] {
  return [
    { title: 'SOURCE', of: ({ source }) => nodeText(source), isElastic: true },
    { title: 'DESTINATION', of: ({ destination }) => nodeText(destination), isElastic: true },
    ...figureColumns(nowMs),
  ];
}

function drawn({ source, destination, requests, connections, denied }: Edge): GraphEdge {
  const parts = [
    ...(requests > 0 || connections === 0 ? [`${requests} requests`] : []),
    ...(connections > 0 ? [`${connections} connections`] : []),
    ...(denied > 0 ? [`${denied} denied`] : []),
  ];
  return { source, destination, label: parts.join(', '), ...(denied > 0 ? { style: 'denied' as const } : {}) };
}

export const edges: Verb = {
  summary: 'Shows who called whom, and how it went: the service graph of a window or of an instant.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    ...WINDOW_OPTIONS,
    at: { type: 'string', value: 'TIME', help: 'The window that ends at this time, instead of --since and --until.' },
    window: { type: 'string', value: 'LENGTH', help: 'Its length.', default: '1m' },
    by: BY_OPTION,
    twins: {
      type: 'string',
      value: 'HOW',
      help: 'join: both records of one exchange count once; separate: each counts.',
      default: 'join',
      choices: ['join', 'separate'],
    },
    limit: LIMIT_OPTION,
    ...COUNT_OPTIONS,
    output: GRAPH_OUTPUT_OPTION,
  },
  examples: [
    'meshtrail edges --since -15m',
    'meshtrail edges --at 2026-11-24T13:05:00Z --window 10s --by principal',
    'meshtrail edges --since -1h -o mermaid',
  ],
  async run(input) {
    const parameters = parametersOf(input, ['since', 'until', 'at', 'window', 'by', 'twins', 'limit']);
    const answer = await askCount<EdgesAnswer>(input, '/v1/edges', 'edges', parameters);
    const format = textOption(input, 'output') ?? 'table';
    if (format === 'mermaid') print(mermaid(answer.edges.map(drawn)));
    else if (format === 'dot') print(dot(answer.edges.map(drawn)));
    else {
      const columns = fitted(edgeColumns(Date.now()), answer.edges);
      printRows(format as Format, { whole: answer, rows: answer.edges, columns, names: EDGE_NAMES });
    }
    return noteCount(answer, answer.edges.length, 'edge');
  },
};
