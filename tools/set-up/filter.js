// Step 2: the Wasm filter, release and debug, and the digest of the release module.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findNode24 } from '../../collector/bin/node24.js';
import { run } from './programs.js';
import { digestOf } from './stamps.js';

const TARGETS = ['release', 'debug'];
const TRANSFORM = 'tools/static-data.js';

/**
 * What Node is to run for one target of asconfig.json.
 * @param {string} root
 * @param {string} target
 * @param {string} [outFile] where another file than the target's is wanted
 */
export function compilerArguments(root, target, outFile) {
  const asc = join(root, 'node_modules', 'assemblyscript', 'bin', 'asc.js');
  // The compiler finds a transform by an absolute path only.
  const args = [asc, '--config', 'asconfig.json', '--transform', join(root, TRANSFORM)];
  return [...args, ...(outFile === undefined ? [] : ['--outFile', outFile]), '--target', target];
}

/**
 * @param {string} root
 * @returns {import('./stamps.js').Step}
 */
export function filterStep(root) {
  const build = join(root, 'build');
  const module = join(build, 'filter.wasm');
  return {
    stampFile: join(root, '.tools', 'filter.stamp'),
    digest: () => digestOf(root, ['filter/assembly', 'asconfig.json', TRANSFORM, 'package-lock.json'], ['filter 2']),
    results: [module, `${module}.sha256`, join(build, 'filter.debug.wasm')],
    work: async (surroundings) => {
      mkdirSync(build, { recursive: true });
      for (const target of TARGETS) {
        await run(surroundings, {
          title: `building the filter (asc, ${target})`,
          command: findNode24(),
          args: compilerArguments(root, target),
          remedy: 'Correct what the compiler names under filter/assembly, then run `npm run build`.',
        });
      }
      const digest = createHash('sha256').update(readFileSync(module)).digest('hex');
      writeFileSync(`${module}.sha256`, `${digest}  filter.wasm\n`);
    },
  };
}
