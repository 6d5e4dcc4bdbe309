// Brings a fresh clone to a working state: the packages with Node 24, the Wasm filter, Envoy; each only when something changed.
// Plain JavaScript for Node 20, since it runs before anything is installed.
//   node tools/set-up.js [--envoy | --envoy=optional]
// `--envoy=optional` goes on without Envoy outside CI; tests that need it then skip themselves.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { oneAtATime } from './set-up/claims.js';
import { envoyStep } from './set-up/envoy.js';
import { filterStep } from './set-up/filter.js';
import { merkleStep } from './set-up/merkle.js';
import { missing, SetUpError, say } from './set-up/output.js';
import { packagesStep } from './set-up/packages.js';
import { isDone, perform } from './set-up/stamps.js';

const NODE_MAJOR_MIN = 20;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param {string} version */
function checkNode(version) {
  if (Number.parseInt(version, 10) >= NODE_MAJOR_MIN) return;
  throw missing(
    `Node ${NODE_MAJOR_MIN} or newer is needed, and this is ${version}: install one from https://nodejs.org.`,
  );
}

/**
 * @param {import('./set-up/stamps.js').Step} step
 * @param {import('./set-up/programs.js').Surroundings} surroundings
 */
async function performOptional(step, surroundings) {
  try {
    await perform(step, surroundings);
  } catch (error) {
    if (!(error instanceof SetUpError) || process.env['CI']) throw error;
    say(`going on without Envoy, tests that need it are skipped. ${error.message}`);
  }
}

/**
 * @param {readonly string[]} args
 * @param {AbortSignal} stop
 */
async function setUp(args, stop) {
  checkNode(process.versions.node);
  const steps = [packagesStep(root), filterStep(root), merkleStep(root)];
  const envoy = envoyStep(root);
  const wantsEnvoy = args.includes('--envoy') || args.includes('--envoy=optional');
  if ([...steps, ...(wantsEnvoy ? [envoy] : [])].every(isDone)) return;
  await oneAtATime(join(root, '.tools', 'set-up.lock'), stop, async (claim) => {
    const surroundings = { root, claim, stop };
    for (const step of steps) await perform(step, surroundings);
    if (args.includes('--envoy')) await perform(envoy, surroundings);
    else if (wantsEnvoy) await performOptional(envoy, surroundings);
  });
}

const stop = new AbortController();
for (const [signal, number] of Object.entries(SIGNALS)) {
  process.once(signal, () => {
    process.exitCode = 128 + number;
    stop.abort();
  });
}
try {
  await setUp(process.argv.slice(2), stop.signal);
} catch (error) {
  if (!stop.signal.aborted) {
    say(error instanceof SetUpError ? error.message : String(error instanceof Error ? error.stack : error));
    process.exitCode = error instanceof SetUpError ? error.exitCode : 1;
  }
}
