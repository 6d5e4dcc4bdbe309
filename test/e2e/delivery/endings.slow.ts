// Endings, measured: how many of the last records are lost, and whether the log shows it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withEnvoy } from '../support.ts';
import { type Case, type Ending, gone, playEnding, type Scene } from './endings.ts';
import type { Fault } from './faulty-collector.ts';

const envoy = withEnvoy();
const ROUNDS = 2;
/** Endings after which nothing is missing, with the number of streams that they leave. */
const WHOLE: Readonly<Record<string, number>> = {
  SIGTERM: 1,
  '/quitquitquit': 1,
  'drain, then quit': 1,
  'new code by ECDS': 2,
  'new code by LDS': 2,
  'new configuration by ECDS': 1,
  'new configuration by LDS': 1,
  'SIGTERM, a batch in flight beside an idle connection': 1,
};

const signal =
  (name: NodeJS.Signals) =>
  async (scene: Scene): Promise<void> => {
    process.kill(scene.proxy.envoy.pid, name);
    await gone(scene);
  };

async function admin({ proxy }: Scene, path: string): Promise<void> {
  await (await fetch(`${proxy.envoy.adminUrl}${path}`, { method: 'POST' })).text();
}

async function quit(scene: Scene): Promise<void> {
  await admin(scene, '/quitquitquit');
  await gone(scene);
}

async function drainThenQuit(scene: Scene): Promise<void> {
  await admin(scene, '/drain_listeners?graceful');
  await sleep(1500);
  await scene.load.stop();
  assert.ok(await scene.proxy.drained());
  await quit(scene);
}

/** Changes something under load, and lets the load go on. */
const update =
  (change: (scene: Scene) => void) =>
  async (scene: Scene): Promise<void> => {
    change(scene);
    await sleep(3500);
  };
const code = update(({ proxy, otherWasmFile }) => proxy.update({ wasmFile: otherWasmFile }));
const settings = update(({ proxy, wasmFile }) => proxy.update({ wasmFile, settings: { flush_interval_ms: 500 } }));

/** The collector does not take anything for a while, and is well again just before the end: the most that can be pending. */
const withBacklog =
  (fault: Fault) =>
  async (scene: Scene): Promise<void> => {
    scene.faulty.plan = () => fault;
    await sleep(4500);
    scene.faulty.plan = () => undefined;
    await signal('SIGTERM')(scene);
  };

/** The signal comes while the collector has not yet answered a batch. */
async function inFlight(scene: Scene): Promise<void> {
  scene.faulty.delayMs = 400;
  const before = scene.faulty.deliveries.length;
  while (scene.faulty.deliveries.length === before) await sleep(5);
  await sleep(50);
  await signal('SIGTERM')(scene);
}

/** Two deliveries at once leave two connections behind, of which one is idle when the signal comes. */
async function inFlightBesideIdle(scene: Scene): Promise<void> {
  scene.faulty.delayMs = 1500;
  await sleep(4000);
  scene.faulty.delayMs = 0;
  await sleep(1500);
  await inFlight(scene);
}

const CASES: readonly Case[] = [
  { name: 'SIGTERM', act: signal('SIGTERM') },
  { name: '/quitquitquit', act: quit },
  { name: 'drain, then quit', act: drainThenQuit },
  { name: 'new code by ECDS', channel: 'ecds', act: code },
  { name: 'new code by LDS', channel: 'lds', act: code },
  { name: 'new configuration by ECDS', channel: 'ecds', act: settings },
  { name: 'new configuration by LDS', channel: 'lds', act: settings },
  { name: 'SIGTERM, a batch in flight', act: inFlight },
  { name: 'SIGTERM, a batch in flight beside an idle connection', act: inFlightBesideIdle },
  { name: 'SIGTERM with a backlog, collector hung', act: withBacklog('hang') },
  { name: 'SIGTERM with a backlog, collector refused', act: withBacklog('unavailable') },
  { name: 'SIGTERM with a backlog, HTTP/2', isHttp2: true, act: withBacklog('hang') },
  { name: 'SIGKILL', act: signal('SIGKILL') },
];

/** Asserts that what is lost shows: by the numbers where the stream says that it ends, else by its not saying so. */
function assertVisible({ name, lost, streams, ended, missing, broken, end }: Ending): void {
  const streamsWanted = WHOLE[name];
  if (streamsWanted !== undefined) assert.deepEqual([lost, streams, ended], [0, streamsWanted, streamsWanted]);
  if (ended === streams) assert.equal(missing, lost);
  else assert.equal(streams - ended, 1);
  assert.ok(
    broken.every((status) => status === 400),
    'a body that was cut off was taken',
  );
  if (name === 'SIGKILL') assert.equal(ended, 0);
  else assert.equal(end, 'exit code 0');
}

const rowOf = ({ exchanges, lost, streams, ended, missing, broken }: Ending): string =>
  `${exchanges} exchanges, ${lost} lost, ${ended} of ${streams} streams with fin, ${missing} missing by numbers, ${broken.length} bodies cut off`;

for (const one of CASES)
  for (let round = 1; round <= ROUNDS; round++)
    test(`${one.name}, round ${round}`, envoy.options, async (t) => {
      const ending = await playEnding(t, envoy, one);
      t.diagnostic(rowOf(ending));
      assertVisible(ending);
    });
