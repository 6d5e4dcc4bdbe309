// A snapshot of closed databases, to be opened in place of them: LevelDB writes into what it opens, and evidence must stay as it is.

import { rmSync } from 'node:fs';
import { access, constants, copyFile, link, mkdir, mkdtemp, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import type { Finding } from '../log/fsck.ts';
import { guarded, openLevel } from './level.ts';
import { checkLevelFiles, liveFiles } from './level-files.ts';

const PROBE = 'probe';
const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;
const PROBE_BUFFER_BYTES = 64 * 1024;

/** A database of a collector's directory. */
export interface DatabasePlace {
  /** Below the directory, or as if it were: `segments/0000000000000000`, `tree`, `last-signed`. */
  readonly name: string;
  readonly path: string;
}

/** Databases that are there. `lastSigned`: the path of that store, or undefined to leave it out. */
export async function databasesOf(dir: string, lastSigned: string | undefined): Promise<DatabasePlace[]> {
  const segments = await readdir(join(dir, 'segments')).catch(() => []);
  const places = [
    ...segments.sort().map((name) => ({ name: join('segments', name), path: join(dir, 'segments', name) })),
    { name: 'tree', path: join(dir, 'tree') },
    ...(lastSigned === undefined ? [] : [{ name: 'last-signed', path: lastSigned }]),
  ];
  const isDirectory = await Promise.all(
    places.map(async ({ path }) => (await stat(path).catch(() => undefined))?.isDirectory() === true),
  );
  return places.filter((_, i) => isDirectory[i]);
}

/** Damage of the files themselves. They are then not opened: LevelDB would drop what is damaged, and take the rest for all there is. */
export async function damagedFiles(dir: string, databases: readonly DatabasePlace[]): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const database of databases) {
    for (const { path, damage } of await guarded(database.path, () => checkLevelFiles(database.path, 'all')))
      found.push({
        severity: 'error',
        code: 'STORE_CORRUPT',
        place: relative(dir, path),
        message: `The file is damaged: ${damage}. Nothing was opened, and nothing else checked.`,
      });
  }
  return found;
}

/** Makes a second name of a file; tests put a file system here that cannot. */
export type LinkFile = (from: string, to: string) => Promise<void>;

/** A temporary directory with second names of files, removed at the end and on signals. */
export class LevelSnapshot {
  readonly directory: string;
  private readonly linkFile: LinkFile;
  private readonly taken: DatabasePlace[] = [];
  private readonly end = (signal: NodeJS.Signals): void => {
    this.remove();
    // Nobody else listens any more, so this ends the process as the signal would have.
    process.kill(process.pid, signal);
  };

  private constructor(directory: string, linkFile: LinkFile) {
    this.directory = directory;
    this.linkFile = linkFile;
    for (const signal of SIGNALS) process.on(signal, this.end);
  }

  /** Makes an empty one beside a directory, where names of its files can be made, or else where temporary files go. */
  static async beside(dir: string, linkFile: LinkFile = link): Promise<LevelSnapshot> {
    const prefix = '.meshtrail-fsck-';
    const made = await mkdtemp(join(dirname(resolve(dir)), prefix)).catch(() =>
      guarded(tmpdir(), () => mkdtemp(join(tmpdir(), prefix))),
    );
    return new LevelSnapshot(made, linkFile);
  }

  /** Refuses a database that is open elsewhere, before its files are read: they change meanwhile. Throws STORE_LOCKED. */
  async refuseOpen({ name, path }: DatabasePlace): Promise<void> {
    const to = join(this.directory, PROBE, name);
    this.taken.push({ name: join(PROBE, name), path });
    await mkdir(to, { recursive: true });
    await this.takeLock(path, to);
    const database = await openLevel(to, PROBE_BUFFER_BYTES);
    await database.close();
  }

  /** Takes a database whose files are sound. Throws STORE_FAILED, such as when there is no room for copies. */
  async add({ name, path }: DatabasePlace): Promise<void> {
    const to = join(this.directory, name);
    this.taken.push({ name, path });
    await guarded(path, async () => {
      await mkdir(to, { recursive: true });
      await this.takeLock(path, to);
      // Only what belongs to the database: LevelDB gives out again the number of a file that nobody knows, and writes over it.
      for (const file of await liveFiles(path)) await this.take(join(path, file), join(to, file));
    });
  }

  private async take(from: string, to: string): Promise<void> {
    // LevelDB never changes a table or log that it finds, so a second name is as good as a copy. Other volumes have none.
    await this.linkFile(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
  }

  /** The lock goes by the file and not by its name, so whoever holds it is found; what cannot be written cannot be locked either. */
  private async takeLock(path: string, to: string): Promise<void> {
    const [from, lock] = [resolve(path, 'LOCK'), join(to, 'LOCK')];
    const isLockable = await access(from, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!isLockable) await writeFile(lock, '');
    else await this.linkFile(from, lock).catch(() => symlink(from, lock));
  }

  /** A text about the snapshot as one about what it was taken of. */
  original(text: string): string {
    return this.taken.reduce((said, { name, path }) => said.replaceAll(join(this.directory, name), path), text);
  }

  /** Removes it; what it was taken of keeps its own names. */
  remove(): void {
    for (const signal of SIGNALS) process.off(signal, this.end);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
