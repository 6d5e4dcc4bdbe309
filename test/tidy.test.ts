// The house rules, checked over every file of the repository: types, lint, import direction (docs/architecture.md, rooms),
// lengths, banned words, the lock file, error codes. That each rule can fail is shown in test/tidy/rules.test.ts.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERROR_CODES } from '../collector/src/core/error.ts';
import { type Lock, looseEntries, loosePins, type Manifest, platformHoles, unlockedPins } from './tidy/lock.ts';
import * as rules from './tidy/rules.ts';

const FINDINGS_CHARS_MAX = 6000;
const FILE_BYTES_MAX = 1 << 20;
const TEXT = /\.(?:[jt]s|json|md|sh|yaml|go|txt)$|^\.ci\/|^[^./]+$/;
/** Published vectors are kept as they came. */
const FOREIGN = /^test\/vectors\/|^LICENSE$/;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const paths = repositoryFiles();
const files = paths
  .filter((path) => TEXT.test(path) && !FOREIGN.test(path))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

/** Files that are tracked or could be: what git ignores is left out. */
function repositoryFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  const names = new Set(list.toString().split('\0'));
  return [...names].filter((path) => path !== '' && existsSync(join(root, path))).sort();
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(join(root, path), 'utf8'));
}

function runTool(script: string, args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'node_modules', script), ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) assert.fail(`${script} found something:\n${stdout}${stderr}`.slice(0, FINDINGS_CHARS_MAX));
}

function check(title: string, rule: rules.Rule): void {
  test(title, () => {
    assert.deepEqual(files.flatMap(rule), []);
  });
}

test('the repository is seen', () => {
  assert.ok(files.some(({ path }) => path === 'collector/src/core/error.ts'));
  assert.ok(files.some(({ path }) => path.startsWith('filter/assembly/')));
});
test('types are right', () => runTool('typescript/bin/tsc', ['-p', '.']));
test('lint and format are right', () =>
  runTool('@biomejs/biome/bin/biome', ['ci', '--error-on-warnings', '--colors=off', '--diagnostic-level=warn', '.']));
check('imports run in one direction', rules.importDirection);
check('relative imports name files', rules.importExtension);
check('only filter/assembly/abi declares host imports', rules.hostImports);
check('files and functions are short', rules.length);
check('nothing is left undone or switched off', rules.bannedWords);
check('no path of a machine', rules.machinePaths);

test('no file is larger than 1 MiB', () => {
  const large = paths.filter((path) => statSync(join(root, path)).size > FILE_BYTES_MAX);
  assert.deepEqual(large, []);
});

test('dependencies are pinned, and the lock is whole for every platform and registry', () => {
  const manifest = readJson('package.json') as Manifest;
  const lock = readJson('package-lock.json') as Lock;
  assert.deepEqual(loosePins(manifest), []);
  assert.deepEqual(unlockedPins(manifest, lock), []);
  assert.deepEqual(platformHoles(lock), []);
  assert.deepEqual(looseEntries(lock), []);
});

test('docs/errors.md explains exactly the error codes there are', (t) => {
  const file = join(root, 'docs', 'errors.md');
  if (!existsSync(file)) return t.skip('docs/errors.md is not written yet');
  assert.deepEqual(rules.documentedCodes(readFileSync(file, 'utf8')), Object.keys(ERROR_CODES).sort());
});
