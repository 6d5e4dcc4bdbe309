// Step 3: the collector's Merkle kernel, a Wasm module with SIMD.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findNode24 } from '../../collector/bin/node24.js';
import { run } from './programs.js';
import { digestOf } from './stamps.js';

/**
 * @param {string} root
 * @returns {import('./stamps.js').Step}
 */
export function merkleStep(root) {
  return {
    stampFile: join(root, '.tools', 'merkle.stamp'),
    digest: () => digestOf(root, ['collector/assembly', 'package-lock.json'], ['merkle 1']),
    results: [join(root, 'build', 'merkle.wasm')],
    work: async (surroundings) => {
      mkdirSync(join(root, 'build'), { recursive: true });
      const asc = join(root, 'node_modules', 'assemblyscript', 'bin', 'asc.js');
      await run(surroundings, {
        title: 'building the Merkle kernel (asc)',
        command: findNode24(),
        args: [asc, '--config', 'collector/assembly/asconfig.json', '--target', 'release'],
        remedy: 'Correct what the compiler names under collector/assembly, then run `npm run build`.',
      });
    },
  };
}
