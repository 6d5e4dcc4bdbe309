// Relative links of every page lead to files that exist, and to headings that they have.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { anchorsOf, commandsOf, linksOf, pages, ROOT } from './readme.ts';

test('links lead somewhere', () => {
  const broken = pages().flatMap((page) =>
    linksOf(page).flatMap(({ target, path, anchor }) => {
      if (!existsSync(join(ROOT, path))) return [`${page}: ${target}: there is no ${path}`];
      if (anchor === undefined || !path.endsWith('.md')) return [];
      const isThere = anchorsOf(readFileSync(join(ROOT, path), 'utf8')).has(anchor);
      return isThere ? [] : [`${page}: ${target}: ${path} has no such heading`];
    }),
  );
  assert.deepEqual(broken, []);
});

test('npm scripts that pages name exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
  for (const page of pages()) {
    for (const line of commandsOf(readFileSync(join(ROOT, page), 'utf8'))) {
      const [, script] = /^npm (?:run )?([\w:]+)/.exec(line) ?? [];
      if (script !== undefined && script !== 'ci') assert.ok(Object.hasOwn(scripts, script), `${page}: ${line}`);
    }
  }
});
