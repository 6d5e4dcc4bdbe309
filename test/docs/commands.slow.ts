// The README's commands run as they stand there: the demo first, then what one asks its log. Only directory, ids and ports are this test's own.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { quoted } from '../../collector/src/demo/commands.ts';
import { freePorts } from '../../collector/src/demo/ports.ts';
import { scratch, withEnvoy } from '../e2e/support.ts';
import { commandsOf, ROOT } from './readme.ts';

const envoy = withEnvoy();
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const READY_MS_MAX = 20_000;
const COMMAND_MS_MAX = 90_000;

const environment = (more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:MESHTRAIL_(?!ENVOY)|NODE_TEST)/.test(name)),
  ),
  ...more,
});

function shell(line: string, env: NodeJS.ProcessEnv): string {
  const options = { cwd: ROOT, env, encoding: 'utf8', timeout: COMMAND_MS_MAX } as const;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', line], options);
  assert.equal(status, 0, `${line}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs `serve` as in the README until the returned function is called. */
async function serving(
  t: TestContext,
  line: string,
  dir: string,
  env: NodeJS.ProcessEnv,
): Promise<() => Promise<void>> {
  const readyFile = join(dir, 'ready.json');
  const server = spawn('sh', ['-c', `exec ${line} --ready-file ${quoted(readyFile)}`], {
    cwd: ROOT,
    env,
    stdio: 'ignore',
    detached: true,
  });
  const ended = once(server, 'close');
  const stop = async (): Promise<void> => {
    if (server.exitCode === null && server.signalCode === null) process.kill(-(server.pid as number), 'SIGTERM');
    await ended;
  };
  t.after(stop);
  const deadline = performance.now() + READY_MS_MAX;
  while (!existsSync(readyFile)) {
    assert.ok(performance.now() < deadline, `${line} is not ready`);
    await sleep(25);
  }
  return stop;
}

test('the commands of the README run', envoy.options, async (t) => {
  const dir = scratch(t);
  const demoDir = join(dir, 'demo');
  const here = (line: string): string => line.replaceAll('.meshtrail/demo', quoted(demoDir));
  const lines = commandsOf(README);
  assert.deepEqual(lines.slice(0, 2), ['npm run demo', 'npm test']);
  const [api = 0, ingest = 0] = await freePorts(2);
  const url = `http://127.0.0.1:${api}`;
  const env = environment({ MESHTRAIL_API: url, MESHTRAIL_INGEST: `127.0.0.1:${ingest}` });

  const report = shell(`npm run --silent demo -- --once --dir ${quoted(demoDir)}`, environment());
  assert.match(report, /They agree/);
  // The suite itself is what runs here; that `npm test` starts, sets up and reports is shown on one file.
  assert.match(shell('npm test --silent -- demo/ports', environment()), /^. pass 3$/m);

  const commands = lines.filter((line) => line.startsWith('npx meshtrail '));
  const [serve = '', ...others] = commands;
  assert.match(serve, /^npx meshtrail serve /);
  assert.deepEqual(
    new Set(commands.map((line) => line.split(' ')[2])),
    new Set(['serve', 'flows', 'show', 'edges', 'stats', 'identity', 'prove', 'verify', 'fsck']),
  );
  const stop = await serving(t, here(serve), dir, env);
  const answer = (await (await fetch(`${url}/v1/flows?limit=1`)).json()) as { flows: { id: string }[] };
  const id = answer.flows[0]?.id ?? '';
  for (const line of others) {
    if (line.includes(' fsck ')) await stop();
    const out = shell(here(line).replaceAll(/\bID\b/g, id), env);
    if (line.includes(' verify ')) assert.match(out, /VERIFIED/);
  }
});

test('what the README says of a demo run is what a run prints', () => {
  const shown = /```\n(Recorded: [\s\S]*?)^```/m.exec(README)?.[1] ?? '';
  for (const part of [
    'They agree: ',
    'The incident, from the records alone',
    'sent out ',
    'The log demo.mesh/log',
    'proven ',
  ])
    assert.ok(shown.includes(part), part);
});
