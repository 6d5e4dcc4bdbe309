// Stamps: a step of set-up is done when its stamp names what it was made from and its results are there.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * SHA-256 over files (of folders: every file below, by name), this platform and further words, in hexadecimal.
 * @param {string} root
 * @param {readonly string[]} paths relative to the root; one that does not exist counts as such
 * @param {readonly string[]} words
 */
export function digestOf(root, paths, words) {
  const hash = createHash('sha256').update(JSON.stringify([process.platform, process.arch, ...words]));
  /** @param {string} path */
  const add = (path) => {
    const full = join(root, path);
    const stat = statSync(full, { throwIfNoEntry: false });
    if (stat?.isDirectory()) for (const name of readdirSync(full).sort()) add(join(path, name));
    else {
      const bytes = stat === undefined ? undefined : readFileSync(full);
      hash.update(`\n${path} ${bytes?.length ?? 'absent'}\n`).update(bytes ?? '');
    }
  };
  for (const path of paths) add(path);
  return hash.digest('hex');
}

/**
 * @typedef {object} Step
 * @property {string} stampFile
 * @property {() => string} digest what the results depend on
 * @property {readonly string[]} results paths that must exist
 * @property {(surroundings: import('./programs.js').Surroundings) => Promise<void>} work
 */

/** @param {Step} step */
export function isDone({ stampFile, digest, results }) {
  return (
    existsSync(stampFile) && results.every((path) => existsSync(path)) && readFileSync(stampFile, 'utf8') === digest()
  );
}

/**
 * Does a step's work unless it is done. The stamp goes first and comes last, so a step that was cut off is done again.
 * @param {Step} step
 * @param {import('./programs.js').Surroundings} surroundings
 */
export async function perform(step, surroundings) {
  if (isDone(step)) return;
  rmSync(step.stampFile, { force: true });
  const digest = step.digest();
  await step.work(surroundings);
  mkdirSync(dirname(step.stampFile), { recursive: true });
  writeFileSync(step.stampFile, digest);
}
