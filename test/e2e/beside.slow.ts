// Demos beside each other on one machine.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { demo, type Running, until } from './command.ts';
import { scratch, withEnvoy } from './support.ts';

const envoy = withEnvoy();

test(
  'two demos beside each other, each with its own ports; a third into the same directory is told',
  envoy.options,
  async (t) => {
    const dir = scratch(t);
    const [one, two] = ['one', 'two'].map((name) => demo(t, '--once', '--dir', join(dir, name))) as [Running, Running];
    await until('the first has started', () => one.stderr().includes('collector started'));
    const third = demo(t, '--once', '--dir', join(dir, 'one'));
    assert.equal(await third.ended, 2);
    assert.match(third.stderr(), /Another demo runs in .*--dir/);
    for (const run of [one, two]) assert.equal(await run.ended, 0, run.stderr() + run.stdout());
    const [portsOne, portsTwo] = [one, two].map((run) => /queries at (\S+), batches at (\S+)/.exec(run.stderr()));
    assert.notEqual(portsOne?.[1], portsTwo?.[1]);
    assert.notEqual(portsOne?.[2], portsTwo?.[2]);
  },
);
