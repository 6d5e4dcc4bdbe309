// Stamps: a step is done again exactly when what it depends on changed, a result is gone, or it was cut off.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Claim } from '../../tools/set-up/claims.js';
import { checkPlatform } from '../../tools/set-up/envoy.js';
import { digestOf, isDone, perform } from '../../tools/set-up/stamps.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'meshtrail stamps '));
  await mkdir(join(root, 'src', 'deep'), { recursive: true });
  await writeFile(join(root, 'src', 'deep', 'a'), 'one');
});
afterEach(() => rm(root, { recursive: true }));

test('the digest covers contents, names and what is not there', async () => {
  const digest = (): string => digestOf(root, ['src', 'missing'], ['step 1']);
  const seen = new Set([digest(), digestOf(root, ['src', 'missing'], ['step 2']), digestOf(root, ['src'], ['step 1'])]);
  await writeFile(join(root, 'src', 'deep', 'a'), 'two');
  seen.add(digest());
  await writeFile(join(root, 'src', 'b'), '');
  seen.add(digest());
  await writeFile(join(root, 'missing'), '');
  seen.add(digest());
  assert.equal(seen.size, 6);
  assert.equal(digest(), digest());
});

test('a step runs once, again after a change or a lost result, and again when it was cut off', async () => {
  let runs = 0;
  let isFailing = false;
  const result = join(root, 'result');
  const step = {
    stampFile: join(root, 'folder', 'stamp'),
    digest: () => digestOf(root, ['src'], []),
    results: [result],
    work: async () => {
      runs += 1;
      await writeFile(result, '');
      if (isFailing) throw new Error('cut off');
    },
  };
  const surroundings = { root, claim: new Claim(root), stop: AbortSignal.timeout(10_000) };
  await perform(step, surroundings);
  await perform(step, surroundings);
  assert.equal(runs, 1);
  await rm(result);
  await perform(step, surroundings);
  assert.equal(runs, 2);
  await writeFile(join(root, 'src', 'deep', 'a'), 'two');
  isFailing = true;
  await assert.rejects(perform(step, surroundings));
  await writeFile(join(root, 'src', 'deep', 'a'), 'one');
  assert.equal(isDone(step), false);
  isFailing = false;
  await perform(step, surroundings);
  assert.deepEqual([runs, isDone(step)], [4, true]);
});

test('systems for which there is no Envoy package are told so', () => {
  checkPlatform('linux', 'x64', '2.31');
  checkPlatform('linux', 'arm64', '2.41');
  checkPlatform('linux', 'x64', '3.0');
  assert.throws(
    () => checkPlatform('linux', 'x64', '2.30'),
    /glibc 2\.31 or newer, and this system has 2\.30: .*MESHTRAIL_ENVOY/,
  );
  assert.throws(() => checkPlatform('linux', 'x64', undefined), /another C library.*MESHTRAIL_ENVOY/);
  assert.throws(
    () => checkPlatform('darwin', 'arm64', undefined),
    /no Envoy package for darwin arm64.*MESHTRAIL_ENVOY/,
  );
  assert.throws(() => checkPlatform('linux', 'riscv64', '2.41'), /riscv64/);
});
