// Rules for package.json and package-lock.json: exact pins, and a lock that installs everywhere, from any registry.

import { posix } from 'node:path';

const BELOW = '/node_modules/';

type Versions = Readonly<Record<string, string>>;

export interface Manifest {
  readonly dependencies?: Versions;
  readonly devDependencies?: Versions;
  readonly optionalDependencies?: Versions;
}

export interface LockEntry {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly inBundle?: boolean;
  readonly optionalDependencies?: Versions;
}

export interface Lock {
  readonly packages: Readonly<Record<string, LockEntry>>;
}

/** Dependencies that are not pinned to one version. */
export function loosePins(manifest: Manifest): string[] {
  const all = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };
  return Object.entries(all)
    .filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))
    .map(([name, version]) => `${name} is pinned to "${version}", which is no single version`);
}

/** Pins of the manifest that the lock does not have, in this version. */
export function unlockedPins(manifest: Manifest, lock: Lock): string[] {
  const all = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };
  return Object.entries(all)
    .filter(([name, version]) => lock.packages[`node_modules/${name}`]?.version !== version)
    .map(([name, version]) => `${name} ${version} is not what the lock has`);
}

/**
 * Packages for other platforms that the lock does not name: npm then refuses the whole lock. They get lost when a registry
 * lacks them at the moment at which the lock is made.
 */
export function platformHoles(lock: Lock): string[] {
  return Object.entries(lock.packages).flatMap(([at, entry]) =>
    Object.keys(entry.optionalDependencies ?? {})
      .filter((name) => !isReachable(lock, at, name))
      .map((name) => `${at === '' ? 'package.json' : at} needs ${name}, which the lock does not have`),
  );
}

/** Looks a package up as Node does: below the one that needs it, then outwards. */
function isReachable(lock: Lock, from: string, name: string): boolean {
  const folders = [from, ''];
  for (let cut = from.lastIndexOf(BELOW); cut !== -1; cut = from.lastIndexOf(BELOW, cut - 1)) {
    folders.push(from.slice(0, cut));
  }
  return folders.some((folder) => lock.packages[posix.join(folder, 'node_modules', name)] !== undefined);
}

/** Entries that are not bound to their bytes, or that name the registry they came from. */
export function looseEntries(lock: Lock): string[] {
  return Object.entries(lock.packages).flatMap(([at, entry]) => {
    if (at === '' || entry.inBundle === true) return [];
    return [
      ...(entry.integrity === undefined ? [`${at} has no integrity`] : []),
      ...(entry.resolved === undefined ? [] : [`${at} names where it came from: ${entry.resolved}`]),
    ];
  });
}
