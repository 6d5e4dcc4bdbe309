// What the command prints: answers on stdout as table, JSON, NDJSON or CSV; progress and notes on stderr, never mixed.

import { styleText } from 'node:util';

export type Format = 'table' | 'json' | 'ndjson' | 'csv';

/** Writes an answer. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Writes a note or progress, to stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
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

/** Colours a verdict on a terminal that shows colours; elsewhere the text stays as it is. */
export function styledVerdict(padded: string): string {
  const style = STYLES[padded.trim() as keyof typeof STYLES];
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

/** Flattens nested JSON to dotted names: the names of the filter language. */
export function flatten(value: unknown, prefix = '', into: Record<string, string> = {}): Record<string, string> {
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, prefix === '' ? key : `${prefix}.${key}`, into);
  } else if (value !== undefined) {
    into[prefix] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  return into;
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** CSV by RFC 4180; columns are the dotted names that occur, in order of first sight. An absent value is an empty cell, an empty text is `""`. */
export function csv(rows: readonly unknown[]): string {
  const flat = rows.map((row) => flatten(row));
  const names = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  const line = (row: Record<string, string>): string =>
    names.map((name) => (row[name] === undefined ? '' : row[name] === '' ? '""' : csvCell(row[name]))).join(',');
  return [names.map(csvCell).join(','), ...flat.map(line)].join('\r\n');
}

/** Prints rows in a format: `whole` is what JSON shows, `rows` what the other formats show. */
export function printRows<T>(format: Format, whole: unknown, rows: readonly T[], columns: readonly Column<T>[]): void {
  if (format === 'json') print(JSON.stringify(whole, null, 2));
  else if (format === 'ndjson') {
    if (rows.length > 0) print(rows.map((row) => JSON.stringify(row)).join('\n'));
  } else if (format === 'csv') print(csv(rows));
  else print(table(columns, rows));
}
