// `meshtrail scope INDICATOR`: where something that was found elsewhere appears.

import { textOption, type Verb } from './args.ts';
import {
  ago,
  askCount,
  BY_OPTION,
  COUNT_OPTIONS,
  type CountAnswer,
  EDGE_NAMES,
  type Edge,
  fitted,
  noteCount,
  parametersOf,
  shortTime,
  WINDOW_OPTIONS,
} from './count.ts';
import { edgeColumns } from './edges.ts';
import { type Column, type Format, print, printRows, table } from './output.ts';

interface Role {
  readonly field: string;
  readonly class: string;
  readonly count: number;
  readonly denied: number;
  readonly firstSeen?: string;
  readonly lastSeen?: string;
}
interface ScopeAnswer extends CountAnswer {
  readonly scope: {
    readonly count: number;
    readonly roles: readonly Role[];
    readonly edges: readonly Edge[];
  };
}

function roleColumns(nowMs: number): readonly Column<Role>[] {
  return [
    { title: 'FIELD', of: ({ field }) => field },
    { title: 'CLASS', of: (role) => role.class },
    { title: 'RECORDS', of: ({ count }) => String(count), alignsRight: true },
    { title: 'DENIED', of: ({ denied }) => String(denied), alignsRight: true },
    { title: 'FIRST (UTC)', of: ({ firstSeen }) => shortTime(firstSeen) },
    { title: 'LAST', of: ({ lastSeen }) => ago(lastSeen, nowMs) },
  ];
}

/** One list for programs: each row says what it is. */
const NAMES: readonly string[] = ['list', 'field', 'class', 'count', ...EDGE_NAMES];

export const scope: Verb = {
  summary: 'Shows where an address, principal, path, certificate, user agent, workload, host or id appears.',
  positionals: 'INDICATOR',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    kind: {
      type: 'string',
      value: 'KIND',
      help: 'What it is; without it, what it looks like.',
      choices: ['address', 'principal', 'path', 'certificate', 'useragent', 'workload', 'host', 'id'],
    },
    by: BY_OPTION,
    ...WINDOW_OPTIONS,
    ...COUNT_OPTIONS,
  },
  examples: [
    'meshtrail scope 10.0.3.7 --since -1d',
    'meshtrail scope spiffe://demo.mesh/ns/backend/sa/inventory',
    "meshtrail scope 'curl/8.0' --kind useragent",
  ],
  async run(input) {
    const [indicator] = input.positionals;
    const parameters = { indicator, ...parametersOf(input, ['since', 'until', 'kind', 'by']) };
    const answer = await askCount<ScopeAnswer>(input, '/v1/scope', 'scope', parameters);
    const { roles, edges, count } = answer.scope;
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format === 'table') {
      const now = Date.now();
      print(table(roleColumns(now), roles));
      if (edges.length > 0) print(`\n${table(fitted(edgeColumns(now), edges), edges)}`);
    } else {
      const rows = [
        ...roles.map((role) => ({ list: 'role', ...role })),
        ...edges.map((edge) => ({ list: 'edge', ...edge })),
      ];
      printRows<object>(format, { whole: answer, rows, columns: [], names: NAMES });
    }
    return noteCount(answer, count, 'record');
  },
};
