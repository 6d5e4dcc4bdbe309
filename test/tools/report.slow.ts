// The runner: failures, crashed files, skips and totals are told, the totals come last, and the exit code follows.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
let checkout = '';

before(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'meshtrail runner '));
  await cp(join(ROOT, 'tools'), join(checkout, 'tools'), { recursive: true });
  await cp(join(ROOT, 'collector', 'bin'), join(checkout, 'collector', 'bin'), { recursive: true });
  for (const folder of ['e2e', 'hangs']) await mkdir(join(checkout, 'test', folder), { recursive: true });
  await writeFile(join(checkout, 'package.json'), '{"type":"module"}');
  const head = "import { test } from 'node:test';\n";
  const files = {
    'good.test.ts': "test('one', () => {}); test('two', { skip: 'no reason to' }, () => {});",
    'bad.test.ts': "test('three', () => { console.log('heard'); throw new Error('broken thing'); });",
    'crash.test.ts': "throw new Error('crashed early');",
    'e2e/late.test.ts': "test('four', () => {});",
    'long.slow.ts': "test('five', () => {});",
    // Ways not to end: something left open behind a failure or a success, a test that waits, a loop that hears no signal.
    'hangs/open.test.ts': "test('six', () => { setInterval(() => {}, 1000); throw new Error('left open'); });",
    'hangs/passed.test.ts': "test('nine', () => { setInterval(() => {}, 1000); });",
    'hangs/wait.test.ts': "test('seven', () => new Promise(() => { setInterval(() => {}, 1000); }));",
    'hangs/loop.test.ts': "process.on('SIGTERM', () => {}); test('eight', () => { for (;;); });",
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(checkout, 'test', name), `${head}${text}\n`);
});
after(() => rm(checkout, { recursive: true }));

function runTests(...args: string[]): { readonly status: number | null; readonly lines: string[] } {
  // The variable would make the inner run report to the outer one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(checkout, 'tools', 'test.ts'), ...args], {
    env,
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, lines: `${stderr}${stdout}`.trimEnd().split('\n') };
}

function totals(lines: readonly string[]): string {
  return lines.slice(-8, -1).join(' ');
}

test('a run that passes', () => {
  const { status, lines } = runTests('good', 'late');
  assert.equal(status, 0);
  assert.match(lines[0] ?? '', /^ok {5}test\/good\.test\.ts: 1 of 2 passed/);
  assert.equal(lines[1], '  skipped: two (no reason to)');
  assert.match(lines[2] ?? '', /^ok {5}test\/e2e\/late\.test\.ts: 1 of 1 passed/);
  assert.equal(totals(lines), '# tests 3 # suites 0 # pass 2 # fail 0 # cancelled 0 # skipped 1 # todo 0');
  assert.match(lines.at(-1) ?? '', /^# duration_ms \d+$/);
});

test('failures and crashes are told with their place, and fail the run', () => {
  const { status, lines } = runTests('bad', 'crash', 'good');
  const text = lines.join('\n');
  assert.equal(status, 1);
  assert.match(
    text,
    /FAILED test\/bad\.test\.ts: 0 of 1 passed.*\nheard\n {2}FAILED: three \(test\/bad\.test\.ts:2\)\n {4}Error: broken thing/,
  );
  assert.match(text, /crashed early/);
  assert.equal(totals(lines), '# tests 4 # suites 0 # pass 1 # fail 2 # cancelled 0 # skipped 1 # todo 0');
});

test('names and suites narrow the run; nothing to run is a failure', () => {
  assert.equal(
    totals(runTests('--slow').lines),
    '# tests 1 # suites 0 # pass 1 # fail 0 # cancelled 0 # skipped 0 # todo 0',
  );
  assert.equal(totals(runTests('good', '--name=one').lines).slice(0, 9), '# tests 1');
  const { status, lines } = runTests('nowhere');
  assert.deepEqual([status, lines], [1, ['No test file under test/ ends with .test.ts and contains nowhere.']]);
});

test('a file that hangs is ended, told as failed, and keeps nobody waiting', () => {
  const { status, lines } = runTests('hangs', 'good', '--file-timeout=2');
  const text = lines.join('\n');
  assert.equal(status, 1);
  assert.equal(text.split('This file took longer than 2 s and was ended').length - 1, 4);
  assert.match(text, /FAILED: six .*\n {4}Error: left open/, 'what failed before the end is still told');
  for (const name of ['seven', 'test/hangs/loop.test.ts', 'test/hangs/passed.test.ts'])
    assert.match(text, new RegExp(`FAILED: ${name} `));
  assert.match(text, /ok {5}test\/good\.test\.ts/);
  assert.match(totals(lines), /# pass 2 # fail 3 # cancelled 1 /);
});
