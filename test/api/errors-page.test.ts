// Goal: docs/errors.md has each code with the status, exit code and title that it really has, and says what to do.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES } from '../../collector/src/core/error.ts';

const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

test('the table of codes is complete and right', () => {
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (\d) \| ([^|]+) \| ([^|]{20,}) \|$/gm)];
  assert.deepEqual(
    Object.fromEntries(
      rows.map(([, code, http, exit, title]) => [code, { http: Number(http), exit: Number(exit), title }]),
    ),
    ERROR_CODES,
  );
});
