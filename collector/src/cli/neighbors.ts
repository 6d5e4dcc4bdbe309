// `meshtrail neighbors NODE`: who called a node, and whom it called.

import { textOption, type Verb } from './args.ts';
import {
  askCount,
  BY_OPTION,
  COUNT_OPTIONS,
  type CountAnswer,
  FIGURE_NAMES,
  type Figures,
  figureColumns,
  fitted,
  type GraphNode,
  LIMIT_OPTION,
  nodeText,
  noteCount,
  parametersOf,
  WINDOW_OPTIONS,
} from './count.ts';
import { type Column, type Format, printRows } from './output.ts';

interface Neighbor extends Figures {
  readonly direction: 'in' | 'out';
  readonly peer: GraphNode;
  readonly share: number;
}
interface NeighborsAnswer extends CountAnswer {
  readonly neighbors: readonly Neighbor[];
}

function columns(nowMs: number): readonly Column<Neighbor>[] {
  return [
    { title: 'DIR', of: ({ direction }) => direction },
    { title: 'PEER', of: ({ peer }) => nodeText(peer), isElastic: true },
    { title: 'SHARE', of: ({ share }) => `${(share * 100).toFixed(1)}%`, alignsRight: true },
    ...figureColumns(nowMs),
  ];
}
const NAMES: readonly string[] = [
  ...['direction', 'peer.name', 'peer.field', 'peer.claimed', 'node.name', 'node.field', 'node.claimed', 'share'],
  ...FIGURE_NAMES,
  'filter',
];

export const neighbors: Verb = {
  summary: 'Shows who called a node, and whom it called.',
  positionals: 'NODE',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    direction: { type: 'string', value: 'DIR', help: 'in or out alone.', choices: ['in', 'out'] },
    by: BY_OPTION,
    ...WINDOW_OPTIONS,
    limit: LIMIT_OPTION,
    ...COUNT_OPTIONS,
  },
  examples: [
    'meshtrail neighbors orders.shop --since -1h',
    'meshtrail neighbors spiffe://demo.mesh/ns/backend/sa/inventory --by principal --direction out',
  ],
  async run(input) {
    const [node] = input.positionals;
    const parameters = { node, ...parametersOf(input, ['since', 'until', 'direction', 'by', 'limit']) };
    const answer = await askCount<NeighborsAnswer>(input, '/v1/neighbors', 'neighbors', parameters);
    const format = (textOption(input, 'output') ?? 'table') as Format;
    printRows(format, {
      whole: answer,
      rows: answer.neighbors,
      columns: fitted(columns(Date.now()), answer.neighbors),
      names: NAMES,
    });
    return noteCount(answer, answer.neighbors.length, 'neighbor');
  },
};
