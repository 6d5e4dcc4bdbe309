// The matrix role x event of docs/filter.md: written from what was measured, and held against the page.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Sight } from './event.ts';
import type { Theme } from './events.ts';
import type { Judged } from './judge.ts';
import { PLACE_TITLES, PLACES } from './places.ts';

const PAGE = fileURLToPath(new URL('../../../docs/filter.md', import.meta.url));
const BEGIN = '<!-- matrix: begin -->';
const END = '<!-- matrix: end -->';
/** Set: the page is written anew instead of being held against what was measured. */
export const WRITE_VARIABLE = 'MESHTRAIL_WRITE_MATRIX';

const CELLS: Readonly<Record<Sight, string>> = {
  recorded: 'recorded',
  repeat: 'repeat',
  'not visible': 'not visible',
  elsewhere: '',
};
const SENSOR_TITLES: Readonly<Record<string, string>> = {
  http_filter: PLACE_TITLES.http_filter,
  network_filter: PLACE_TITLES.network_filter,
  http_logger: PLACE_TITLES.manager_logger,
  connection_logger: PLACE_TITLES.listener_logger,
};

function cellsOf({ alone, counts }: Judged): readonly string[] {
  return [...PLACES.map((place) => CELLS[alone[place]]), SENSOR_TITLES[counts ?? ''] ?? ''];
}

/** The table: events of one theme that all places see alike share a row. */
export function matrixOf(themes: readonly Theme[], judged: readonly Judged[]): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const head = ['', 'events', ...PLACES.map((place) => PLACE_TITLES[place]), 'counts, all together'];
  const rows = themes.flatMap(({ title, events }) => {
    const own = judged.filter(({ event }) => events.includes(event));
    const groups = Map.groupBy(own, (one) => row(cellsOf(one)));
    return [...groups.values()].map((group) => {
      const names = group.map(({ event }) => event.name).join('; ');
      return row([title, names, ...cellsOf(group[0] as Judged)]);
    });
  });
  return [row(head), `|${head.map(() => '---').join('|')}|`, ...rows].join('\n');
}

/** Asserts that the page has this matrix; writes it there instead when the variable says so. */
export function assertMatrix(matrix: string): void {
  const page = readFileSync(PAGE, 'utf8');
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  assert.ok(from >= 0 && to > from, `docs/filter.md has no ${BEGIN} ... ${END}`);
  const before = page.slice(0, from + BEGIN.length);
  const written = `${before}\n${matrix}\n${page.slice(to)}`;
  if (process.env[WRITE_VARIABLE] !== undefined) writeFileSync(PAGE, written);
  else assert.equal(page, written, `docs/filter.md differs from what was measured; ${WRITE_VARIABLE}=1 writes it anew`);
}
