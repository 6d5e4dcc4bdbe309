// Every check of docs/threat-model.md names tests that exist and test something.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(join(ROOT, 'docs/threat-model.md'), 'utf8');

/** Rows of the table below a heading, as cells. */
function tableBelow(heading: string): string[][] {
  const section = page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** Test files that a path names: itself, or those in a folder. */
function testFiles(path: string): string[] {
  const at = join(ROOT, path);
  if (!statSync(at).isDirectory()) return [at];
  return readdirSync(at)
    .filter((name) => /\.(?:test|slow)\.ts$/.test(name))
    .map((name) => join(at, name));
}

test('every attack has a check, and every check links to tests that exist', () => {
  const rows = tableBelow('Checks and where they are tested');
  assert.ok(rows.length >= 10, `only ${rows.length} rows were read`);
  for (const [attack = '', check = '', tests = ''] of rows) {
    assert.ok(attack !== '' && check !== '', `a row is not whole: ${attack}`);
    const links = [...tests.matchAll(/\[`(test\/[^`]+)`\]\(\.\.\/([^)]+)\)/g)];
    assert.ok(links.length > 0, `no test is linked for: ${attack}`);
    assert.equal(links.map(([whole]) => whole).join(', '), tests, `something else stands among the links: ${tests}`);
    for (const [, shown, target] of links) {
      assert.equal(shown, target);
      const files = testFiles(target as string);
      assert.ok(files.length > 0, `${target} holds no test files`);
      for (const file of files) assert.match(readFileSync(file, 'utf8'), /^\s*test\(/m, file);
    }
  }
});
