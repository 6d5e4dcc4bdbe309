// Opening LevelDB, and its errors in our words.

import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Level } from 'level';
import { MeshtrailError } from '../core/error.ts';
import { checkLevelFiles } from './level-files.ts';

export type Database = Level<Uint8Array, Uint8Array>;

/** Opens (and makes) a database. Throws STORE_LOCKED when another process has it, STORE_FAILED otherwise. */
export async function openLevel(path: string, writeBufferBytes: number): Promise<Database> {
  try {
    await makeDirectory(path);
    await refuseDamaged(path);
    // Values are packed before they come here, so LevelDB's own compression would only cost time.
    const database: Database = new Level(path, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      compression: false,
      writeBufferSize: writeBufferBytes,
    });
    await database.open();
    return database;
  } catch (cause) {
    throw storeError(path, cause);
  }
}

/** Makes a directory so that it is still there after a power cut: LevelDB syncs what is in it, not its own name. */
async function makeDirectory(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 });
  if (made === undefined) return;
  for (let at = path; at.length >= made.length; at = dirname(at)) {
    const parent = await open(dirname(at), 'r');
    try {
      await parent.sync();
    } finally {
      await parent.close();
    }
  }
}

/** Refuses what LevelDB would pass over: a damaged record of its log is acknowledged data that would be gone. */
async function refuseDamaged(path: string): Promise<void> {
  const [first] = await checkLevelFiles(path, 'logs');
  if (first !== undefined)
    throw new MeshtrailError(
      'STORE_CORRUPT',
      `${first.path} is damaged: ${first.damage}. Nothing was changed. Run \`meshtrail fsck\`, and restore the directory from a copy.`,
    );
}

/** Translates an error of the store. */
export function storeError(path: string, cause: unknown): MeshtrailError {
  if (cause instanceof MeshtrailError) return cause;
  const inner =
    cause instanceof Error && cause.cause instanceof Error ? cause.cause : (cause as Error & { code?: string });
  const code = (inner as Error & { code?: string }).code;
  if (code === 'LEVEL_LOCKED')
    return new MeshtrailError(
      'STORE_LOCKED',
      `${path} is open in another process. Stop that one first; two collectors must never write one log.`,
      { cause },
    );
  if (code === 'LEVEL_CORRUPTION')
    return new MeshtrailError(
      'STORE_CORRUPT',
      `${path} is damaged: ${inner.message}. Run \`meshtrail fsck\`, and restore the directory from a copy.`,
      { cause },
    );
  return new MeshtrailError('STORE_FAILED', `${path}: ${inner.message}`, { cause });
}

/** Runs a store operation and translates what it throws. */
export async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw storeError(path, cause);
  }
}

/** A value as plain bytes: LevelDB gives Buffers, whose `slice` shares memory where that of a Uint8Array copies. */
export function plain<T extends Uint8Array | undefined>(value: T): T {
  return (value === undefined ? undefined : new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) as T;
}
