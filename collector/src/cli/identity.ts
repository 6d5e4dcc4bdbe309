// `meshtrail identity PRINCIPAL`: what one principal did, and from where.

import { textOption, type Verb } from './args.ts';
import {
  ago,
  askCount,
  COUNT_OPTIONS,
  type CountAnswer,
  EDGE_NAMES,
  type Edge,
  fitted,
  type GraphNode,
  nodeText,
  noteCount,
  parametersOf,
  shortTime,
  WINDOW_OPTIONS,
} from './count.ts';
import { edgeColumns } from './edges.ts';
import { type Column, type Format, print, printRows, table } from './output.ts';

interface Seen {
  readonly count: number;
  readonly denied: number;
  readonly firstSeen?: string;
  readonly lastSeen?: string;
}
type SeenRow = Seen & Readonly<Record<string, unknown>>;
interface Identity {
  readonly asSource: Seen;
  readonly asDestination: Seen;
  readonly asClaim: Seen;
  readonly asRejected: Seen;
  readonly addresses: readonly SeenRow[];
  readonly certificates: readonly SeenRow[];
  readonly workloads: readonly SeenRow[];
  readonly callees: readonly Edge[];
  readonly callers: readonly Edge[];
  readonly denials: readonly SeenRow[];
}
interface IdentityAnswer extends CountAnswer {
  readonly identity: Identity;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null ? nodeText(value as GraphNode) : (value as string | undefined);
}

function seenColumns(names: readonly string[], nowMs: number): readonly Column<SeenRow>[] {
  return [
    ...names.map((name) => ({ title: name.toUpperCase(), of: (row: SeenRow) => textOf(row[name]), isElastic: true })),
    { title: 'COUNT', of: ({ count }) => String(count), alignsRight: true },
    { title: 'DENIED', of: ({ denied }) => String(denied), alignsRight: true },
    { title: 'FIRST (UTC)', of: ({ firstSeen }) => shortTime(firstSeen) },
    { title: 'LAST', of: ({ lastSeen }) => ago(lastSeen, nowMs) },
  ];
}

/** What it was in records, and how often. */
function rolesOf({ asSource, asDestination, asClaim, asRejected }: Identity): readonly SeenRow[] {
  return [
    { role: 'caller', ...asSource },
    { role: 'callee', ...asDestination },
    { role: 'claimed', ...asClaim },
    { role: 'refused certificate', ...asRejected },
  ];
}

const SEEN_LISTS = [
  ['addresses', ['address']],
  ['certificates', ['certificate', 'address']],
  ['workloads', ['workload', 'node']],
  ['denials', ['destination', 'policy', 'method']],
] as const;
const EDGE_LISTS = ['callees', 'callers'] as const;

function tables(identity: Identity): string {
  const now = Date.now();
  const seen = [['roles', ['role'], rolesOf(identity)] as const].concat(
    SEEN_LISTS.map(([list, names]) => [list, names, identity[list]] as never),
  );
  return [
    ...seen.map(([list, names, rows]) => [list, rows.length, table(seenColumns(names, now), rows)] as const),
    ...EDGE_LISTS.map(
      (list) => [list, identity[list].length, table(fitted(edgeColumns(now), identity[list]), identity[list])] as const,
    ),
  ]
    .filter(([, count]) => count > 0)
    .map(([list, , text]) => `${list}\n${text}`)
    .join('\n\n');
}

/** One list for programs: each row says what it is. */
function rowsOf(identity: Identity): readonly object[] {
  const lists = [...SEEN_LISTS.map(([list]) => list), ...EDGE_LISTS];
  return [
    ...rolesOf(identity).map((row) => ({ list: 'roles', ...row })),
    ...lists.flatMap((list) => identity[list].map((row) => ({ list, ...row }))),
  ];
}
const NAMES: readonly string[] = [
  ...['list', 'role', 'address', 'certificate', 'workload', 'node', 'policy', 'method', 'count'],
  ...EDGE_NAMES,
];

export const identity: Verb = {
  summary: 'Shows what one principal did and from where: addresses, certificates, workloads, peers, denials.',
  positionals: 'PRINCIPAL',
  positionalsMin: 1,
  positionalsMax: 1,
  options: { ...WINDOW_OPTIONS, ...COUNT_OPTIONS },
  examples: ['meshtrail identity spiffe://demo.mesh/ns/backend/sa/inventory --since -1d'],
  async run(input) {
    const [principal] = input.positionals;
    const parameters = { principal, ...parametersOf(input, ['since', 'until']) };
    const answer = await askCount<IdentityAnswer>(input, '/v1/identity', 'identity', parameters);
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format === 'table') print(tables(answer.identity));
    else printRows(format, { whole: answer, rows: rowsOf(answer.identity), columns: [], names: NAMES });
    return noteCount(answer, answer.identity.asSource.count, 'call');
  },
};
