// What the command prints: answers on stdout as table, JSON, NDJSON or CSV; progress and notes on stderr, never mixed.

import { styleText } from 'node:util';

export type Format = 'table' | 'json' | 'ndjson' | 'csv';

const gone = new Set<NodeJS.WritableStream>();

/** Lets a reader close early, as `head` does: what is written then goes nowhere, and the exit code still tells the truth. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      gone.add(stream);
    });
  }
}

/** Whether nobody reads answers any more. */
export function isUnread(): boolean {
  return gone.has(process.stdout);
}

function write(stream: NodeJS.WriteStream, text: string): void {
  if (text !== '' && !gone.has(stream)) stream.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Writes an answer. */
export function print(text: string): void {
  write(process.stdout, text);
}

/** Writes a note or progress, to stderr. */
export function note(text: string): void {
  write(process.stderr, text);
}

/** JSON that no terminal obeys: what could move or reorder text is escaped, which changes nothing for a parser. */
export function json(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, (text) =>
    Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** Makes a text safe for a terminal: control characters and what could reorder the line become `\xNN` or `\u{NNNN}`. */
export function visible(text: string): string {
  // A recorded path may hold escape sequences; a terminal would obey them.
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => {
    const code = c.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

const STYLES = {
  denied: 'red',
  failed: 'yellow',
  reset: 'yellow',
  invalid: 'yellow',
  unrouted: 'yellow',
  allowed: 'green',
} as const;

/** Colours a verdict, whatever stands behind it, on a terminal that shows colours; elsewhere the text stays as it is. */
export function styledVerdict(padded: string): string {
  const style = STYLES[padded.trim().split(' ')[0] as keyof typeof STYLES];
  return style === undefined ? padded : styleText(style, padded, { stream: process.stdout });
}

export interface Column<T> {
  readonly title: string;
  readonly of: (row: T) => string | undefined;
  readonly style?: (padded: string) => string;
  /** May be cut with an ellipsis on a narrow terminal. */
  readonly isElastic?: boolean;
  readonly alignsRight?: boolean;
}

const ELASTIC_WIDTH_MIN = 12;

/** Lays rows out in columns, fitted to the terminal's width when there is one. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[], width = process.stdout.columns): string {
  const cells = rows.map((row) => columns.map((column) => visible(column.of(row) ?? '-')));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((line) => line[i]?.length ?? 0)),
  );
  if (width !== undefined) {
    let over = widths.reduce((sum, w) => sum + w + 2, -2) - width;
    for (let i = columns.length - 1; i >= 0 && over > 0; i--) {
      if (columns[i]?.isElastic !== true) continue;
      const cut = Math.min(over, Math.max(0, (widths[i] ?? 0) - ELASTIC_WIDTH_MIN));
      widths[i] = (widths[i] ?? 0) - cut;
      over -= cut;
    }
  }
  const line = (texts: readonly string[], isHead: boolean): string =>
    columns
      .map((column, i) => {
        const w = widths[i] ?? 0;
        const text = texts[i] ?? '';
        const cut = text.length > w ? `${text.slice(0, w - 1)}…` : text;
        const padded = column.alignsRight ? cut.padStart(w) : i === columns.length - 1 ? cut : cut.padEnd(w);
        return isHead || column.style === undefined ? padded : column.style(padded);
      })
      .join('  ')
      .trimEnd();
  return [
    line(
      columns.map((column) => column.title),
      true,
    ),
    ...cells.map((texts) => line(texts, false)),
  ].join('\n');
}

/** Flattens nested JSON to dotted names, the names of the filter language; what stands under one of `whole` stays in one piece. */
export function flatten(
  value: unknown,
  whole: readonly string[] = [],
  prefix = '',
  into: Record<string, string> = {},
): Record<string, string> {
  if (value !== null && typeof value === 'object' && !Array.isArray(value) && !whole.includes(prefix)) {
    for (const [key, inner] of Object.entries(value))
      flatten(inner, whole, prefix === '' ? key : `${prefix}.${key}`, into);
  } else if (value !== undefined) {
    into[prefix] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  return into;
}

function csvCell(text: string): string {
  // A terminal is no program that reads CSV.
  const shown = process.stdout.isTTY ? visible(text) : text;
  return /[",\r\n]/.test(shown) ? `"${shown.replaceAll('"', '""')}"` : shown;
}

/** A line of CSV (RFC 4180). An absent value is an empty cell, an empty text is `""`. */
function csvLine(cells: readonly (string | undefined)[]): string {
  return cells.map((cell) => (cell === undefined ? '' : cell === '' ? '""' : csvCell(cell))).join(',');
}

/** CSV with a fixed header, each line ended by CRLF: the same columns whatever the rows hold, so that a program can rely on them. */
export function csv(names: readonly string[], rows: readonly unknown[], hasHeader = true): string {
  const lines = rows.map((row) => {
    const flat = flatten(row, names);
    return csvLine(names.map((name) => flat[name]));
  });
  return [...(hasHeader ? [csvLine(names)] : []), ...lines].map((line) => `${line}\r\n`).join('');
}

export interface Rows<T> {
  /** What JSON shows. */
  readonly whole: unknown;
  /** What the other formats show. */
  readonly rows: readonly T[];
  /** For tables. */
  readonly columns: readonly Column<T>[];
  /** For CSV: dotted names. */
  readonly names: readonly string[];
}

/** Prints rows in a format. */
export function printRows<T>(format: Format, { whole, rows, columns, names }: Rows<T>): void {
  if (format === 'json') print(json(whole, 2));
  else if (format === 'csv') print(csv(names, rows));
  else if (format === 'table') print(table(columns, rows));
  else if (rows.length > 0) print(rows.map((row) => json(row)).join('\n'));
}
