// A table whose rows come one by one: columns keep their place as far as that can be known, and grow where they must.

import { type Column, print, visible } from './output.ts';

const ELASTIC_WIDTH_MIN = 12;
const ELASTIC_WIDTH = 20;

export class LiveTable<T> {
  readonly #columns: readonly Column<T>[];
  readonly #widths: number[];
  #hasHead = false;

  /** Widths that columns begin with, by title. */
  constructor(columns: readonly Column<T>[], widths: Readonly<Record<string, number>> = {}) {
    this.#columns = columns;
    this.#widths = columns.map(({ title, isElastic }) =>
      Math.max(title.length, widths[title] ?? (isElastic === true ? ELASTIC_WIDTH : 0)),
    );
  }

  /** Prints one row; before the first one the head. */
  row(row: T): void {
    const cells = this.#columns.map((column) => visible(column.of(row) ?? '-'));
    for (const [i, { isElastic }] of this.#columns.entries())
      if (isElastic !== true) this.#widths[i] = Math.max(this.#widths[i] ?? 0, cells[i]?.length ?? 0);
    const widths = this.#fitted(process.stdout.columns);
    if (!this.#hasHead)
      print(
        this.#line(
          this.#columns.map(({ title }) => title),
          widths,
          true,
        ),
      );
    this.#hasHead = true;
    print(this.#line(cells, widths, false));
  }

  /** On a terminal nothing is wider than it; elsewhere nothing is cut. */
  #fitted(width: number | undefined): readonly number[] {
    if (width === undefined) return this.#widths;
    const widths = [...this.#widths];
    let over = widths.reduce((sum, w) => sum + w + 2, -2) - width;
    for (let i = widths.length - 1; i >= 0 && over > 0; i--) {
      if (this.#columns[i]?.isElastic !== true) continue;
      const cut = Math.min(over, Math.max(0, (widths[i] ?? 0) - ELASTIC_WIDTH_MIN));
      widths[i] = (widths[i] ?? 0) - cut;
      over -= cut;
    }
    return widths;
  }

  #line(texts: readonly string[], widths: readonly number[], isHead: boolean): string {
    const isCut = process.stdout.columns !== undefined;
    return this.#columns
      .map(({ style, alignsRight }, i) => {
        const [text = '', width = 0] = [texts[i], widths[i]];
        const cut = isCut && text.length > width ? `${text.slice(0, width - 1)}…` : text;
        const padded = alignsRight === true ? cut.padStart(width) : cut.padEnd(width);
        return isHead || style === undefined ? padded : style(padded);
      })
      .join('  ')
      .trimEnd();
  }
}
