// Shows that every house rule finds what it forbids, and leaves alone what it allows.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { looseEntries, loosePins, platformHoles, unlockedPins } from './lock.ts';
import * as rules from './rules.ts';
import { functionsOf, importsOf, mask } from './source.ts';

function found(rule: rules.Rule, path: string, text: string): number {
  return rule({ path, text }).length;
}

/** A word that the rules forbid, spelled so that they do not find it here. */
function word(...parts: readonly string[]): string {
  return parts.join('');
}

describe('reading sources', () => {
  test('comments, strings, templates and regular expressions are masked in place', () => {
    const source = "const a = 'x{'; // y{\nconst b = `t{$".concat(
      "{ f({ k: '}' }) }u}` /* { */ + /[/{]\\/{/.source;\nreturn a / b / {};",
    );
    const masked = mask(source, ['comment', 'text']);
    assert.equal(masked.length, source.length);
    assert.equal(masked.split('\n').length, 3);
    assert.equal(masked.replaceAll(/\s+/g, ' '), 'const a = ; const b = f({ k: }) + .source; return a / b / {};');
  });

  test('imports are found in every spelling, and not in strings or comments', () => {
    const source = [
      "import a, { type B } from './a.ts';",
      "import {\n  c,\n} from './c.ts';",
      "export type { D } from './d.ts';",
      "export * from './e.ts';",
      "import './f.ts';",
      "const g = await import('./g.ts');",
      "// import h from './h.ts';",
    ].join('\n');
    assert.deepEqual(
      importsOf(source).map(({ specifier }) => specifier),
      ['./a.ts', './c.ts', './d.ts', './e.ts', './f.ts', './g.ts'],
    );
  });

  test('functions are found in every shape', () => {
    const source = [
      'export async function first(\n  a: string,\n): Promise<void> {\n  a;\n}',
      'class C {\n  #two(x: number): { a: number } {\n    if (x) {\n      x;\n    }\n  }\n}',
      "test('three', async () => {\n  const text = `\n}\n`;\n});",
      "describe('no function', () => {\n  call();\n});",
      'call(\n  1,\n);\nconst o = call({\n  a,\n});',
    ].join('\n');
    assert.deepEqual(
      functionsOf(source).map(({ lines }) => lines),
      [5, 5, 5],
    );
  });
});

describe('rules over sources', () => {
  test('import direction', () => {
    const from = (path: string, specifier: string): number =>
      found(rules.importDirection, `collector/src/${path}`, `import { x } from '${specifier}';\n`);
    assert.equal(from('core/a.ts', '../log/b.ts'), 1);
    assert.equal(from('core/codec/a.ts', '../hash.ts'), 0);
    assert.equal(from('core/a.ts', '../events.ts'), 1);
    assert.equal(from('log/a.ts', '../store/level.ts'), 1);
    assert.equal(from('log/a.ts', '../core/hash.ts'), 0);
    assert.equal(from('api/a.ts', '../ingest/app.ts'), 1);
    assert.equal(from('cli/flows.ts', '../compose.ts'), 1);
    assert.equal(from('cli/fsck.ts', '../compose.ts'), 0);
    assert.equal(from('cli/flows.ts', '../log/fsck.ts'), 1);
    assert.equal(from('config.ts', './log/fsck.ts'), 1);
    assert.equal(from('newroom/a.ts', '../core/hash.ts'), 1);
    assert.equal(from('log/a.ts', '@opentelemetry/api'), 1);
    assert.equal(from('events.ts', '@opentelemetry/api'), 0);
    assert.equal(from('compose.ts', '@opentelemetry/sdk-node'), 1);
    assert.equal(from('index/a.ts', 'level'), 1);
    assert.equal(from('core/a.ts', '../../../tools/set-up.js'), 1);
  });

  test('import direction in the filter', () => {
    const from = (path: string, specifier: string): number =>
      found(rules.importDirection, `filter/assembly/${path}`, `import { x } from '${specifier}';\n`);
    assert.equal(from('record/a.ts', '../abi/host'), 1);
    assert.equal(from('context/a.ts', '../abi/host'), 0);
    assert.equal(from('index.ts', './context/root'), 0);
    assert.equal(found(rules.hostImports, 'filter/assembly/record/a.ts', '@external("env", "x")\n'), 1);
    assert.equal(found(rules.hostImports, 'filter/assembly/abi/a.ts', '@external("env", "x")\n'), 0);
  });

  test('extensions', () => {
    assert.equal(found(rules.importExtension, 'test/a.ts', "import { x } from './x';\n"), 1);
    assert.equal(found(rules.importExtension, 'test/a.ts', "import { x } from './x.ts';\nimport 'level';\n"), 0);
  });

  test('lengths', () => {
    const body = (lines: number): string => `function f(): void {\n${'  g();\n'.repeat(lines - 2)}}\n`;
    assert.equal(found(rules.length, 'a.ts', body(75)), 0);
    assert.equal(found(rules.length, 'a.ts', body(76)), 1);
    assert.equal(found(rules.length, 'a.ts', 'x;\n'.repeat(420)), 0);
    assert.equal(found(rules.length, 'a.ts', 'x;\n'.repeat(421)), 1);
  });

  test('banned words', () => {
    const ban = (path: string, text: string): number => found(rules.bannedWords, path, text);
    assert.equal(ban('docs/a.md', word('TO', 'DO')), 1);
    assert.equal(ban('collector/src/log/a.ts', `// ${word('FIX', 'ME')}`), 1);
    assert.equal(ban('collector/src/log/a.ts', word('x as ', 'any')), 1);
    assert.equal(ban('collector/src/log/a.ts', "'x as any'"), 0);
    assert.equal(ban('collector/src/log/a.ts', word('// @ts-', 'ignore')), 1);
    assert.equal(ban('collector/src/log/a.ts', word('// biome-', 'ignore lint: x')), 1);
    assert.equal(ban('collector/src/log/a.ts', word('console', '.log(1)')), 1);
    assert.equal(ban('collector/src/cli/a.ts', word('console', '.log(1)')), 0);
    assert.equal(ban('collector/src/log/a.ts', 'const now = Date.now();'), 1);
    assert.equal(ban('collector/src/compose.ts', 'const now = Date.now();'), 0);
    assert.equal(ban('test/a.test.ts', word('test.', "only('x', f)")), 1);
    assert.equal(ban('test/a.test.ts', word('test.', "skip('x', f)")), 1);
    assert.equal(ban('test/a.test.ts', "test('x', { skip: reason }, f); t.skip('no Go here')"), 0);
    assert.equal(ban('collector/src/log/a.ts', 'try { f(); } catch {}'), 1);
  });

  test('machine paths', () => {
    const path = (name: string): string => `see ${['', name, 'x'].join('/')}.`;
    for (const name of ['root', 'home', 'work']) assert.equal(found(rules.machinePaths, 'a.md', path(name)), 1, name);
    assert.equal(found(rules.machinePaths, 'a.md', 'a/work/b, ./home/x and /homework/x'), 0);
  });

  test('documented error codes', () => {
    assert.deepEqual(rules.documentedCodes('# Errors\n\n## `B_CODE`\nA_WORD\n| `A_CODE` | 400 |\n| code | http |\n'), [
      'A_CODE',
      'B_CODE',
    ]);
  });
});

describe('rules over the lock', () => {
  test('pins', () => {
    assert.equal(loosePins({ dependencies: { a: '^1.0.0', b: '1.0.0', c: '1.0.0-rc.1' } }).length, 1);
    assert.equal(
      unlockedPins({ devDependencies: { a: '1.0.1' } }, { packages: { 'node_modules/a': { version: '1.0.0' } } })
        .length,
      1,
    );
  });

  test('a missing platform package is found, wherever it would have to be', () => {
    const parent = { optionalDependencies: { 'p-linux': '1.0.0' } };
    const lock = (at: string): Parameters<typeof platformHoles>[0] => ({
      packages: { 'node_modules/a/node_modules/p': parent, [at]: {} },
    });
    assert.equal(platformHoles(lock('node_modules/other')).length, 1);
    assert.equal(platformHoles(lock('node_modules/p-linux')).length, 0);
    assert.equal(platformHoles(lock('node_modules/a/node_modules/p-linux')).length, 0);
    assert.equal(platformHoles({ packages: { '': parent } }).length, 1);
  });

  test('entries without integrity or with an address are found', () => {
    const lock = {
      packages: { '': {}, 'node_modules/a': {}, 'node_modules/b': { integrity: 'sha512-x', resolved: 'https://x' } },
    };
    assert.equal(looseEntries(lock).length, 2);
  });
});
