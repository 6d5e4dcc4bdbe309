// Figures of a benchmark: values by round, their median and spread, ratios within a round, and the table and JSON that show them.

import { random } from '../../support/facts.ts';

/** Draws of the rounds for the spread of a ratio of medians. */
const RESAMPLES = 1000;

export interface Spread {
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** One for each round, in the order of the rounds. */
  readonly values: readonly number[];
}

export interface Subject {
  readonly name: string;
  /** What it is and does, in one line. */
  readonly what: string;
  readonly figures: Readonly<Record<string, Spread>>;
}

/**
 * One subject's figure divided by another's. `paired`: within each round, and the median of these. `ofMedians`, for differences,
 * which may come near zero in a round: of the medians of all rounds; min and max are then the 5 % and 95 % of resampled rounds.
 */
export interface Ratio extends Spread {
  readonly kind: 'paired' | 'ofMedians';
  readonly figure: string;
  readonly of: string;
  readonly to: string;
}

/** Something that had to be true for the figures to mean anything. */
export interface Check {
  readonly what: string;
  readonly ok: boolean;
}

/** A table of a benchmark's own, shown in place of the one with a column for each subject. */
export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Outcome {
  readonly settings: Readonly<Record<string, string | number>>;
  readonly subjects: readonly Subject[];
  readonly ratios: readonly Ratio[];
  readonly tables?: readonly Table[];
  readonly checks: readonly Check[];
  readonly notes: readonly string[];
}

/** Median of numbers: of an even count the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** The value that a share of the values does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function spread(unit: string, values: readonly number[]): Spread {
  return { unit, median: median(values), min: Math.min(...values), max: Math.max(...values), values: [...values] };
}

/** Median of rounds; min and max are the 5 % and 95 % of the medians of rounds drawn anew: how sure it is, not how far rounds differ. */
export function resampledMedian(unit: string, values: readonly number[]): Spread {
  const next = random(RESAMPLES);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(next() * values.length)] as number)),
  );
  return { unit, median: median(values), min: percentile(medians, 0.05), max: percentile(medians, 0.95), values };
}

/** Collects what the rounds measure, by subject and figure. */
export class Notebook {
  private readonly values = new Map<string, Map<string, { readonly unit: string; readonly values: number[] }>>();

  note(subject: string, figure: string, unit: string, value: number): void {
    const figures = this.values.get(subject) ?? new Map<string, { unit: string; values: number[] }>();
    this.values.set(subject, figures);
    const known = figures.get(figure) ?? { unit, values: [] };
    figures.set(figure, known);
    known.values.push(value);
  }

  valuesOf(subject: string, figure: string): readonly number[] {
    return this.values.get(subject)?.get(figure)?.values ?? [];
  }

  subject(name: string, what: string): Subject {
    const figures = [...(this.values.get(name) ?? [])];
    return {
      name,
      what,
      figures: Object.fromEntries(figures.map(([figure, { unit, values }]) => [figure, spread(unit, values)])),
    };
  }

  /** Ratios of each subject to each other one, where both were measured. */
  ratios(figure: string, of: readonly string[], to: readonly string[]): Ratio[] {
    const isThere = (subject: string): boolean => this.valuesOf(subject, figure).length > 0;
    return of.filter(isThere).flatMap((one) => to.filter(isThere).map((other) => this.ratio(figure, one, other)));
  }

  /** Ratio of two subjects, round by round: what disturbs a whole round disturbs both. */
  private ratio(figure: string, of: string, to: string): Ratio {
    const below = this.valuesOf(to, figure);
    const values = this.valuesOf(of, figure).map((value, round) => value / (below[round] ?? Number.NaN));
    return { kind: 'paired', figure, of, to, ...spread('x', values) };
  }

  /** Ratio of two subjects' medians, with how far it moves when rounds are drawn anew. */
  ratioOfMedians(figure: string, of: string, to: string): Ratio[] {
    const [above, below] = [this.valuesOf(of, figure), this.valuesOf(to, figure)];
    if (above.length === 0 || below.length === 0) return [];
    const next = random(RESAMPLES);
    const values = Array.from({ length: RESAMPLES }, () => {
      const draw = above.map(() => Math.floor(next() * above.length));
      return median(draw.map((i) => above[i] ?? Number.NaN)) / median(draw.map((i) => below[i] ?? Number.NaN));
    });
    return [
      {
        kind: 'ofMedians',
        figure,
        of,
        to,
        unit: 'x',
        median: median(above) / median(below),
        min: percentile(values, 0.05),
        max: percentile(values, 0.95),
        values: [],
      },
    ];
  }
}

/** A number as people read it: three or four digits that mean something. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export const spreadText = ({ median: middle, min, max }: Spread): string =>
  min < max ? `${shown(middle)} [${shown(min)}..${shown(max)}]` : shown(middle);

/** Rows of cells as aligned text; the first row is the head. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A table in Markdown, its columns aligned. */
function markdown({ title, head, rows }: Table): string {
  const cells = [head, head.map((_, column) => (column === 0 ? '---' : '---:')), ...rows];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  const lines = cells.map(
    (row) =>
      `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`,
  );
  return [title, '', ...lines].join('\n');
}

/** A row for each figure, a column for each subject; then the ratios. */
function plainTables(subjects: readonly Subject[], ratios: readonly Ratio[]): string[] {
  const names = [...new Set(subjects.flatMap(({ figures }) => Object.keys(figures)))];
  const rows = names.map((name) => {
    const unit = subjects.map(({ figures }) => figures[name]?.unit).find((text) => text !== undefined);
    return [
      `${name} (${unit})`,
      ...subjects.map(({ figures }) => {
        const figure = figures[name];
        return figure === undefined ? '' : spreadText(figure);
      }),
    ];
  });
  const ratioRows = ratios.map((ratio) => [
    `${ratio.figure}: ${ratio.of} / ${ratio.to}${ratio.kind === 'paired' ? '' : ', of medians'}`,
    `x${spreadText(ratio)}`,
  ]);
  return [
    aligned([['median [min..max] of the rounds', ...subjects.map(({ name }) => name)], ...rows]),
    ...(ratioRows.length === 0
      ? []
      : ['', aligned([['ratio', 'median [min..max], or of medians [5 %..95 % of resampled rounds]'], ...ratioRows])]),
  ];
}

/** An outcome as text: its subjects, its tables, checks and notes. */
export function report({ subjects, ratios, tables, checks, notes }: Outcome): string {
  return [
    ...subjects.map(({ name, what }) => `${name}: ${what}`),
    '',
    ...(tables === undefined ? plainTables(subjects, ratios) : [tables.map(markdown).join('\n\n')]),
    '',
    ...checks.map(({ what, ok }) => `${ok ? 'ok  ' : 'FAIL'}  ${what}`),
    ...notes.map((text) => `note  ${text}`),
  ].join('\n');
}
