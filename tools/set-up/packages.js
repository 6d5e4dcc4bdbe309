// Step 1: the packages of the lock file, Node 24 among them.

import { basename, join } from 'node:path';
import { findNode24 } from '../../collector/bin/node24.js';
import { missing } from './output.js';
import { answerOf, run } from './programs.js';
import { digestOf } from './stamps.js';

/**
 * The npm that started us, run by this Node; else the one on the PATH.
 * @returns {[command: string, args: readonly string[]]}
 */
function npm() {
  const script = process.env['npm_execpath'];
  if (script !== undefined && /^npm-cli\.c?js$/.test(basename(script))) return [process.execPath, [script]];
  if (answerOf('npm', ['--version']) === undefined) {
    throw missing('npm is missing: install it beside Node (https://nodejs.org, or your system\'s package "npm").');
  }
  return ['npm', []];
}

/** npm leaves an optional package out without a word when it cannot have it; and not every system can run ours. */
function checkNode24() {
  let node = '';
  try {
    node = findNode24();
  } catch {
    throw missing(
      `Node 24 did not come with the packages (${process.platform} ${process.arch}): run \`npm run setup\` again, or install Node 24 and set MESHTRAIL_NODE to it.`,
    );
  }
  if (answerOf(node, ['--version']) === undefined) {
    throw missing(
      `Node 24 from the packages does not run on this system (it needs glibc 2.28 or newer): install Node 24 and set MESHTRAIL_NODE to it.`,
    );
  }
}

/**
 * @param {string} root
 * @returns {import('./stamps.js').Step}
 */
export function packagesStep(root) {
  return {
    // Inside node_modules, so that it goes when they go.
    stampFile: join(root, 'node_modules', '.meshtrail-stamp'),
    digest: () => digestOf(root, ['package-lock.json', 'package.json'], ['packages 1']),
    results: [join(root, 'node_modules')],
    work: async (surroundings) => {
      const [command, first] = npm();
      // The includes overrule NODE_ENV=production and a user's `omit`: the build needs all of them.
      const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
      await run(surroundings, {
        title: 'installing packages (npm ci)',
        command,
        args: [...first, 'ci', ...options, '--include=dev', '--include=optional'],
        remedy: 'Check the network and the npm registry (`npm config get registry`), then run `npm run setup` again.',
      });
      checkNode24();
    },
  };
}
