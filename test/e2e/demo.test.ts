// The main job as a newcomer runs it: `meshtrail demo`, what it prints and leaves, the commands that it proposes, and its ends.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Edge } from '../../collector/src/api/edges.ts';
import type { GraphNode } from '../../collector/src/api/nodes.ts';
import { INCIDENT_STEPS, type Truth } from '../../collector/src/demo/truth.ts';
import { COMMAND, demo, processesOf, ROOT, start, until } from './command.ts';
import { scratch, withEnvoy } from './support.ts';

const TELEMETRY = new URL('../../collector/src/telemetry.ts', import.meta.url).href;
const WIDTH_MAX = 100;
const envoy = withEnvoy();

test('one run: counts agree, the log verifies, and every proposed command works', envoy.options, async (t) => {
  const dir = join(scratch(t), 'demo');
  const run = demo(t, '--once', '--dir', dir, '--seed', '3');
  assert.equal(await run.ended, 0, run.stderr() + run.stdout());
  const text = run.stdout();
  const commands = [...text.matchAll(/^ {2}(npx meshtrail .*)$/gm)].map((match) => match[1] as string);
  for (const line of text.split('\n'))
    assert.ok(line.length <= WIDTH_MAX || line.includes('npx meshtrail'), `${line.length} columns: ${line}`);
  assert.ok(!text.includes('\u001b'), 'colours without a terminal');
  for (const part of [
    /They agree/,
    /spiffe:\/\/demo\.mesh\/ns\/backend\/sa\/inventory/,
    /the signature is good/,
    /nothing dropped/,
  ])
    assert.match(text, part);
  assert.deepEqual(processesOf(dir), []);

  const truth = JSON.parse(readFileSync(join(dir, 'truth.json'), 'utf8')) as Truth;
  assert.equal(truth.seed, 3);
  assert.deepEqual(Object.keys(truth.services).toSorted(), ['frontend', 'inventory', 'orders', 'payments']);
  assert.deepEqual(new Set(truth.exchanges.map((e) => e.incident_step)), new Set([null, ...INCIDENT_STEPS]));
  assert.match(readFileSync(join(dir, 'log.vkey'), 'utf8'), /^demo\.mesh\/log\+[0-9a-f]{8}\+\S+\n$/);

  const verbs = commands.map((line) => line.split(' ')[2]);
  assert.deepEqual(verbs, ['fsck', 'serve', 'flows', 'flows', 'show', 'prove', 'verify']);
  for (const line of commands) await paste(t, line);
  const served = commands.find((line) => line.includes(' flows ')) ?? '';
  await assertGraph(t, truth, / --api (\S+)/.exec(served)?.slice(1) ?? []);
});

/** The service graph of what is served counts what the services counted. */
async function assertGraph(t: TestContext, truth: Truth, api: readonly string[]): Promise<void> {
  const from = api.flatMap((url) => ['--api', url]);
  const asked = start(t, process.execPath, [COMMAND, 'edges', '-o', 'json', ...from]);
  assert.equal(await asked.ended, 0, asked.stderr());
  const { edges } = JSON.parse(asked.stdout()) as { readonly edges: readonly Edge[] };
  for (const [service, { sent, received }] of Object.entries(truth.services)) {
    const isOf = ({ name = '' }: GraphNode): boolean => name.startsWith(`${service}.`);
    const sum = (list: readonly Edge[], of: (edge: Edge) => number): number => list.reduce((all, e) => all + of(e), 0);
    const out = edges.filter(({ source }) => isOf(source));
    // The ingress has seen the visitors' calls too; what the service's own proxy has seen, the service has.
    const into = edges.filter(({ destination, reported }) => isOf(destination) && reported.destination > 0);
    const counted = [sum(out, (edge) => edge.requests), sum(into, ({ requests, denied }) => requests - denied)];
    assert.deepEqual(counted, [sent, received], `${service}: ${asked.stdout()}`);
  }
}

/** Runs a line as a person would paste it. */
async function paste(t: TestContext, line: string): Promise<void> {
  const pasted = start(t, 'sh', ['-c', line]);
  if (line.includes(' serve ')) return await until(`${line} is ready`, () => pasted.stderr().includes('Ctrl-C stops'));
  assert.equal(await pasted.ended, 0, `${line}\n${pasted.stderr()}`);
  assert.notEqual((pasted.stdout() + pasted.stderr()).trim(), '', line);
  if (line.includes(' verify ')) assert.match(pasted.stdout(), /VERIFIED/);
  if (line.includes(' fsck ')) assert.match(pasted.stdout(), /CLEAN/);
  if (line.includes('denied')) assert.match(pasted.stdout(), /payments-only-from-orders/);
}

test('interrupted in the middle it stops everything and lets the directory go', envoy.options, async (t) => {
  const dir = join(scratch(t), 'demo');
  const run = demo(t, '--once', '--dir', dir);
  await until('the mesh has started', () => run.stderr().includes('mesh started'));
  run.child.kill('SIGINT');
  assert.equal(await run.ended, 130, run.stderr());
  assert.deepEqual(processesOf(dir), []);
  assert.ok(!readFileSync(join(dir, 'demo.json'), 'utf8').includes('pid'));
  assert.ok(existsSync(join(dir, 'collector', 'meshtrail.json')));
});

test('killed without a word it leaves nothing running', envoy.options, async (t) => {
  if (process.platform !== 'linux') return t.skip('the list of processes is read from /proc');
  const dir = join(scratch(t), 'demo');
  // The process that has the children, and not the launcher before it.
  const run = start(t, process.execPath, ['--import', TELEMETRY, COMMAND, 'demo', '--once', '--dir', dir]);
  await until('the mesh has started', () => run.stderr().includes('mesh started'));
  assert.ok(processesOf(dir).length > 5);
  run.child.kill('SIGKILL');
  await run.ended;
  await until('everything has ended', () => processesOf(dir).length === 0);
});

test('a missing prerequisite and a wrong option are told in one line', async (t) => {
  const dir = join(scratch(t), 'demo');
  const args = [COMMAND, 'demo', '--once', '--dir', dir];
  for (const [words, env, code, message] of [
    [['--seed', 'x'], {}, 2, /^meshtrail: --seed is "x"; it must be a whole number .*\[USAGE\]$/],
    [['--dir', ROOT], {}, 2, /^meshtrail: .* holds files and was not made by a demo, so nothing was touched: /],
    [
      [],
      { MESHTRAIL_ENVOY: '/nowhere/envoy' },
      3,
      /^meshtrail: MESHTRAIL_ENVOY is "\/nowhere\/envoy", .* set it to an Envoy/,
    ],
  ] as const) {
    const run = start(t, process.execPath, [...args, ...words], env);
    assert.equal(await run.ended, code, run.stderr());
    const told = run.stderr().trim().split('\n');
    assert.match(told.at(-1) ?? '', message);
    assert.deepEqual(told.slice(0, -1), ['Meshtrail demo'].slice(0, told.length - 1));
    assert.equal(run.stdout(), '');
  }
});
