// The house rules that a program can check, as functions over one file: each returns what it found, one line per finding.

import { posix } from 'node:path';
import { functionsOf, importsOf, lineAt, mask } from './source.ts';

export interface SourceFile {
  /** Path from the root of the repository, with slashes. */
  readonly path: string;
  readonly text: string;
}

export type Rule = (file: SourceFile) => string[];

const FILE_LINES_MAX = 420;
const FUNCTION_LINES_MAX = 75;
const COLLECTOR = 'collector/src/';
const FILTER = 'filter/assembly/';

/** What each room and each file beside the rooms may import of ours. Only the composition sees the drivers in `store`. */
const COLLECTOR_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  core: ['core'],
  log: ['core', 'log'],
  index: ['core', 'log', 'index'],
  store: ['core', 'log', 'index', 'store'],
  ingest: ['core', 'log', 'index', 'ingest', 'problem.ts'],
  api: ['core', 'log', 'index', 'api', 'problem.ts'],
  cli: ['core', 'cli', 'demo', 'config.ts'],
  demo: ['core', 'cli', 'demo', 'config.ts', 'folder.ts'],
  'config.ts': ['core'],
  'folder.ts': [],
  'kernel.ts': ['core'],
  'problem.ts': ['core'],
  'events.ts': ['core', 'log', 'index', 'ingest'],
  'telemetry.ts': [],
  'compose.ts': [
    'core',
    'log',
    'index',
    'store',
    'ingest',
    'api',
    'config.ts',
    'events.ts',
    'folder.ts',
    'kernel.ts',
    'problem.ts',
    'telemetry.ts',
  ],
};
/** The verbs that reach a directory, or carry the telemetry of the process. */
const EXTRA_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  'cli/fsck.ts': ['compose.ts'],
  'cli/verify.ts': ['compose.ts'],
  'cli/serve.ts': ['compose.ts', 'telemetry.ts'],
};
const FILTER_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  abi: ['abi'],
  record: ['record'],
  context: ['abi', 'record', 'context'],
  'index.ts': ['abi', 'record', 'context'],
};
/** Packages that only some places may use. */
const GUARDED_PACKAGES: readonly (readonly [pattern: RegExp, places: RegExp])[] = [
  [/^@opentelemetry\/api/, /^collector\/src\/(?:telemetry|events)\.ts$/],
  [/^@opentelemetry\/(?!api)/, /^collector\/src\/telemetry\.ts$/],
  [/^(?:classic-)?level$/, /^collector\/src\/store\//],
];

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  readonly in: RegExp;
  readonly except?: RegExp;
  /** Look at code only, not at comments and literals. */
  readonly isCodeOnly?: boolean;
}

const PROGRAM = /\.[jt]s$/;
const BANS: readonly Ban[] = [
  { what: 'a note to do it later', pattern: /\b(?:TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b/, in: /\.(?:[jt]s|md|sh|yaml|go)$/ },
  { what: 'any', pattern: /\bas any\b|: any\b|<any>/, in: PROGRAM, isCodeOnly: true },
  { what: 'a silenced check', pattern: /@ts-(?:[i]gnore|[n]ocheck|[e]xpect-error)|biome-[i]gnore/, in: PROGRAM },
  {
    what: 'console',
    pattern: /\bconsole\s*\./,
    in: PROGRAM,
    except: /^(?:collector\/src\/cli\/|collector\/bin\/|tools\/|test\/bench\/)/,
    isCodeOnly: true,
  },
  {
    what: 'a clock of its own',
    pattern: /\bDate\.now\(\)/,
    in: /^collector\/src\/.*\.ts$/,
    except: /^collector\/src\/(?:compose\.ts|cli\/|demo\/)|\/clock\.ts$/,
    isCodeOnly: true,
  },
  {
    what: 'a test that stands alone',
    pattern: /\b(?:test|it|describe|suite)\.only\(|\bonly: true/,
    in: PROGRAM,
    isCodeOnly: true,
  },
  {
    what: 'a skip without a reason',
    pattern: /\b(?:test|it|describe|suite)\.(?:skip|todo)\(|\bskip: true\b|\bt\.skip\(\)/,
    in: PROGRAM,
    isCodeOnly: true,
  },
  { what: 'an empty catch', pattern: /\bcatch\s*(?:\([^)]*\)\s*)?\{\s*\}/, in: PROGRAM, isCodeOnly: true },
];
const MACHINE_PATH = /(?<![\w.~-])\/(?:work|root|home)\/[\w.-]/;

/** Room (or file beside the rooms) of a path under `base`: its first part. */
function roomOf(path: string, base: string): string | undefined {
  return path.startsWith(base) ? path.slice(base.length).split('/')[0] : undefined;
}

/** Imports run in one direction, and some packages have one user. */
export function importDirection({ path, text }: SourceFile): string[] {
  const base = [COLLECTOR, FILTER].find((prefix) => path.startsWith(prefix));
  if (base === undefined || !PROGRAM.test(path)) return [];
  const table = base === COLLECTOR ? COLLECTOR_IMPORTS : FILTER_IMPORTS;
  const room = roomOf(path, base) ?? '';
  const allowed = table[room];
  if (allowed === undefined) return [`${path}: ${room} is no room of ${base}; give it a place in test/tidy/rules.ts`];
  const mine = [...allowed, room, ...(base === COLLECTOR ? (EXTRA_IMPORTS[path.slice(base.length)] ?? []) : [])];
  return importsOf(text).flatMap(({ specifier, line }) => {
    if (!specifier.startsWith('.')) {
      const guard = GUARDED_PACKAGES.find(([pattern, places]) => pattern.test(specifier) && !places.test(path));
      return guard === undefined ? [] : [`${path}:${line}: ${specifier} has its place elsewhere (${guard[1].source})`];
    }
    const target = posix.join(posix.dirname(path), specifier);
    const to = roomOf(target, base) ?? target;
    return mine.includes(to) || mine.includes(`${to}.ts`) ? [] : [`${path}:${line}: ${room} must not import ${to}`];
  });
}

/** Relative imports name the file as it is, so that Node needs no resolver. */
export function importExtension({ path, text }: SourceFile): string[] {
  if (!PROGRAM.test(path) || path.startsWith('filter/') || path.startsWith('collector/assembly/')) return [];
  return importsOf(text)
    .filter(({ specifier }) => specifier.startsWith('.') && !/\.(?:[jt]s|json)$/.test(specifier))
    .map(({ specifier, line }) => `${path}:${line}: ${specifier} lacks its extension`);
}

/** Only the binding to the host declares imports of the Wasm module. */
export function hostImports({ path, text }: SourceFile): string[] {
  if (!path.startsWith(FILTER) || path.startsWith(`${FILTER}abi/`)) return [];
  return find(path, mask(text, ['comment', 'text']), /@external\b/, 'declares a host import outside abi/');
}

/** Files and functions stay short enough to be read at once. */
export function length({ path, text }: SourceFile): string[] {
  if (!PROGRAM.test(path)) return [];
  const lines = text.split('\n').length - 1;
  const long = functionsOf(text).filter((span) => span.lines > FUNCTION_LINES_MAX);
  return [
    ...(lines > FILE_LINES_MAX ? [`${path}: ${lines} lines, more than ${FILE_LINES_MAX}`] : []),
    ...long.map((span) => `${path}:${span.line}: a function of ${span.lines} lines, more than ${FUNCTION_LINES_MAX}`),
  ];
}

/** Words that stand for work left undone or a check switched off. */
export function bannedWords({ path, text }: SourceFile): string[] {
  const code = PROGRAM.test(path) ? mask(text, ['comment', 'text']) : text;
  return BANS.filter((ban) => ban.in.test(path) && ban.except?.test(path) !== true).flatMap((ban) =>
    find(path, ban.isCodeOnly === true ? code : text, ban.pattern, ban.what),
  );
}

/** Nothing knows the machine that it was written on. */
export function machinePaths({ path, text }: SourceFile): string[] {
  return find(path, text, MACHINE_PATH, 'a path of somebody’s machine');
}

function find(path: string, text: string, pattern: RegExp, what: string): string[] {
  return [...text.matchAll(new RegExp(pattern, 'g'))].map(
    (match) => `${path}:${lineAt(text, match.index)}: ${what}: ${match[0]}`,
  );
}

/** Error codes that a page explains, sorted: those that begin a heading or a table row. */
export function documentedCodes(page: string): string[] {
  const codes = [...page.matchAll(/^(?:#+\s+|\|\s*)`?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)`?(?=\s|$|:)/gm)];
  return [...new Set(codes.map((match) => match[1] ?? ''))].sort();
}
