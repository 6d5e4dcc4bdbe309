// Goal: docs/query.md has exactly the fields there are, each with its type, unit, class and Envoy's name, and its examples are accepted.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ATTRIBUTES } from '../../../collector/src/core/attributes.ts';
import { parseFilter } from '../../../collector/src/core/query/filter.ts';
import { FILTER_LIMITS } from '../../../collector/src/core/query/parse.ts';
import { fieldRow } from './docs.ts';

const page = readFileSync(new URL('../../../docs/query.md', import.meta.url), 'utf8');

test('the table of fields', () => {
  const rows = page
    .split('\n')
    .filter((line) => /^\| `[a-z0-9_.]+` \| (?:string|int|bool|timestamp|duration|map) \|/.test(line));
  assert.deepEqual(rows, [...ATTRIBUTES.values()].map(fieldRow));
});

test('closed lists of values are told in the table', () => {
  const closed = [...ATTRIBUTES.values()].filter(({ choices }) => choices !== undefined);
  assert.deepEqual(
    closed.map(({ name }) => name),
    ['verdict', 'reporter', 'connection.direction', 'rbac.result', 'rbac.shadow_result'],
  );
  for (const { description, choices } of closed)
    assert.deepEqual(
      [...description.matchAll(/`([a-z]+)`/g)].map(([, value]) => value),
      choices,
    );
});

test('the examples are filters', () => {
  const filters = [...page.matchAll(/^meshtrail flows -f '([^']+)'/gm)].map(([, filter = '']) => filter);
  assert.ok(filters.length >= 4);
  for (const filter of filters) parseFilter(filter);
});

test('the limits', () => {
  const { characters, nodes, depth, listElements } = FILTER_LIMITS;
  assert.ok(
    page.includes(
      `${characters.toLocaleString('en')} characters, ${nodes} parts, ${depth} levels, ${listElements} elements`,
    ),
  );
});
