// Builds the recorder that traps on command (filter/trap): the release's own hooks and options, and one more file.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compilerArguments } from '../../../tools/set-up/filter.js';
import { ROOT } from '../command.ts';

interface Target {
  readonly optimizeLevel: number;
  readonly shrinkLevel: number;
}
interface Config {
  readonly options: Readonly<Record<string, string | number | readonly string[]>>;
  readonly targets: { readonly release: Target };
}

/** Compiles the module into a directory and returns its path. */
export function buildTrapModule(dir: string): string {
  const outFile = join(dir, 'trap.wasm');
  const { options, targets } = JSON.parse(readFileSync(join(ROOT, 'asconfig.json'), 'utf8')) as Config;
  const { optimizeLevel, shrinkLevel } = targets.release;
  const args = Object.entries({ ...options, optimizeLevel, shrinkLevel, outFile }).flatMap(([name, value]) =>
    [value].flat().flatMap((one) => [`--${name}`, String(one)]),
  );
  // All that the release is compiled with, but another entry: the compiler would take both.
  const release = compilerArguments(ROOT, 'release');
  const [asc = ''] = release;
  const transform = release[release.indexOf('--transform') + 1] ?? '';
  const entry = 'filter/trap/index.ts';
  const run = spawnSync(
    process.execPath,
    [asc, entry, '--config', 'none', '--transform', transform, '--noAssert', ...args],
    {
      cwd: ROOT,
      encoding: 'utf8',
    },
  );
  if (run.status !== 0) throw new Error(`the trap module does not build: ${run.stderr}`);
  return outFile;
}
