#!/usr/bin/env node
// The `meshtrail` command. Runs the sources on Node 24, and loads telemetry before everything else for the verbs that measure
// themselves. Plain JavaScript for Node 20.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { endWithLauncher, fail, isNode24, runNode24 } from './node24.js';

const MEASURED_VERBS = ['demo', 'serve'];
const HELP = ['--help', '-h'];
/** Buffers beside the heap count against the limit of the whole: by a limit of their own, every 60 batches or so made V8 collect it all. */
const MEMORY_FLAGS = '--external-memory-accounted-in-global-limit';
const packages = new URL('../../node_modules/', import.meta.url);
const telemetry = new URL('../src/telemetry.ts', import.meta.url);
const command = new URL('../src/cli/main.ts', import.meta.url);
const args = process.argv.slice(2);

const isMeasured = MEASURED_VERBS.includes(args[0] ?? '') && !args.some((arg) => HELP.includes(arg));

function preload() {
  return isMeasured && existsSync(telemetry) ? ['--import', telemetry.href] : [];
}

async function start() {
  if (!existsSync(packages)) throw new Error('packages are not installed yet: run `npm run setup` in the checkout.');
  const imports = preload();
  // Started as it should be: on Node 24, with what has to be loaded first.
  if (isNode24() && imports.every((word) => process.execArgv.includes(word))) {
    endWithLauncher();
    // Not on the command line: another version of Node would not start with a flag that it does not know.
    if (isMeasured) setFlagsFromString(MEMORY_FLAGS);
    const { main } = await import(command.href);
    process.exitCode = await main(args);
    return;
  }
  runNode24([...imports, fileURLToPath(import.meta.url), ...args]);
}

try {
  await start();
} catch (error) {
  fail(error);
}
