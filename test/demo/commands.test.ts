// The commands that the demo prints name real things, in a spelling that a shell understands.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CommandsInput, nextCommands, quoted } from '../../collector/src/demo/commands.ts';

const path = '/some where/.meshtrail/demo';
const input = (more: Partial<CommandsInput> = {}): CommandsInput => ({
  directory: {
    path,
    collector: `${path}/collector`,
    run: `${path}/run`,
    proofs: `${path}/proofs`,
    truthFile: `${path}/truth.json`,
    vkeyFile: `${path}/log.vkey`,
    release: () => undefined,
  },
  incident: undefined,
  api: '127.0.0.1:4600',
  ingest: '127.0.0.1:4601',
  isUp: true,
  cwd: '/some where',
  ...more,
});
const lines = (more: Partial<CommandsInput>): string[] => nextCommands(input(more)).map(({ line }) => line);

test('a word is quoted so that a shell reads it as it was', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ minLength: 1, maxLength: 20 }).filter((s) => !s.includes('\0')),
        { maxLength: 20 },
      ),
      (words) => {
        const script = `printf '%s\\0' ${words.map(quoted).join(' ')}`;
        const out = words.length === 0 ? '' : execFileSync('sh', ['-c', script], { encoding: 'utf8' });
        assert.equal(out, words.map((word) => `${word}\0`).join(''));
      },
    ),
    { numRuns: 30 },
  );
});

test('with the collector up nothing needs to be started, and the defaults need no options', () => {
  const up = lines({});
  assert.ok(up.every((line) => !line.includes(' serve ') && !line.includes('--api')));
  assert.equal(up.at(-1), 'npx meshtrail fsck --dir .meshtrail/demo/collector');
});

test('with the collector gone, serve comes before what asks it, on the same ports', () => {
  const [check, serve, ...queries] = lines({ isUp: false, api: '127.0.0.1:5000', ingest: '127.0.0.1:5001' });
  assert.match(check ?? '', /^npx meshtrail fsck --dir /);
  assert.equal(
    serve,
    'npx meshtrail serve --dir .meshtrail/demo/collector --api 127.0.0.1:5000 --ingest 127.0.0.1:5001',
  );
  assert.ok(queries.length > 0);
  for (const line of queries) assert.match(line, / --api http:\/\/127\.0\.0\.1:5000$/);
});

test('from elsewhere paths are whole', () => {
  assert.equal(lines({ cwd: '/elsewhere' }).at(-1), `npx meshtrail fsck --dir '${path}/collector'`);
});
