// Progress of the demo: a line for each step, at once for one that takes long, and nothing on stdout.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const MODULE = new URL('../../collector/src/demo/progress.ts', import.meta.url).href;

function ran(program: string): { readonly stdout: string; readonly lines: string[] } {
  const text = `import { step } from ${JSON.stringify(MODULE)};\nimport { setTimeout as sleep } from 'node:timers/promises';\n${program}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', text], { encoding: 'utf8' });
  return { stdout, lines: stderr.trimEnd().split('\n') };
}

test('a quick step is told when it is done, a slow one also while it runs', () => {
  const { stdout, lines } = ran("await step('quick', async () => 1); await step('slow', () => sleep(1300));");
  assert.equal(stdout, '');
  assert.equal(lines.length, 3);
  assert.match(lines[0] ?? '', /^ {2}quick +0\.\d s$/);
  assert.equal(lines[1], '  slow ...');
  assert.match(lines[2] ?? '', /^ {2}slow +1\.\d s$/);
});

test('a step that fails is not told as done', () => {
  const { lines } = ran(
    "await step('hopeless', async () => { throw new Error('no'); }).catch((e) => console.error(e.message));",
  );
  assert.deepEqual(lines, ['no']);
});
