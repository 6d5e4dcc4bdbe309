// The demo's directory: claimed by one demo at a time, and cleared before a run only when a demo made it.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { MeshtrailError } from '../core/error.ts';
import { makeFolder } from '../folder.ts';
import { COMMAND, cleanEnvironment } from './collector.ts';

const run = promisify(execFile);

const FORMAT = 'meshtrail/demo/v1';
const MARKER = 'demo.json';
/** What a run makes in its directory, and all that the next run removes. */
const MADE = ['collector', 'run', 'proofs', 'truth.json', 'log.vkey'] as const;
const SIBLINGS_MAX = 100;
const START_TIME_FIELD = 19;
const CLAIM_SETTLE_MS = 50;

interface Marker {
  readonly format: typeof FORMAT;
  /** The process that runs in it, and when that started; absent: none. */
  readonly pid?: number;
  readonly started?: string;
}

export interface DemoDirectory {
  readonly path: string;
  /** A directory that `serve --dir` opens. */
  readonly collector: string;
  /** Certificates, bootstraps and logs of the processes. */
  readonly run: string;
  /** For proofs of single records. */
  readonly proofs: string;
  readonly truthFile: string;
  readonly vkeyFile: string;
  /** Lets the next demo have it. */
  release(): void;
}

/** When a process started, in the kernel's ticks ('' where the system does not tell); undefined when it is not alive. */
function startOf(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') return process.kill(pid, 0) ? '' : undefined;
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[START_TIME_FIELD];
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? '' : undefined;
  }
}

function readMarker(path: string): Marker | undefined {
  try {
    const marker = JSON.parse(readFileSync(join(path, MARKER), 'utf8')) as Marker;
    return marker.format === FORMAT ? marker : undefined;
  } catch {
    // Missing or unreadable: then no demo made this directory.
    return undefined;
  }
}

function writeMarker(path: string, marker: Marker): void {
  const file = join(path, MARKER);
  writeFileSync(`${file}.${process.pid}.new`, `${JSON.stringify(marker)}\n`);
  renameSync(`${file}.${process.pid}.new`, file);
}

/** Process number of another demo that runs in a directory. */
function occupantOf(path: string): number | undefined {
  const { pid, started } = readMarker(path) ?? {};
  return pid !== undefined && pid !== process.pid && startOf(pid) === started ? pid : undefined;
}

/** A directory that somebody else is using. */
class DirectoryBusy extends MeshtrailError {
  constructor(message: string) {
    super('USAGE', `${message}: stop it, or name another directory with --dir.`);
  }
}

/** Whether a collector has the log of an earlier run open: removing it would pull the ground from under it. */
async function isServed(path: string): Promise<boolean> {
  const collector = join(path, 'collector');
  if (!existsSync(join(collector, 'meshtrail.json'))) return false;
  try {
    await run(process.execPath, [COMMAND, 'fsck', '--dir', collector], { env: cleanEnvironment() });
    return false;
  } catch (error) {
    // Whatever else is wrong with an old log does not matter any more.
    return String((error as { readonly stderr?: unknown }).stderr).includes('[STORE_LOCKED]');
  }
}

/** The given directory, or the first of `<path>-2`, `<path>-3`, ... that nobody is using. */
export async function claimDefault(path: string): Promise<DemoDirectory> {
  for (let n = 1; ; n++) {
    try {
      return await claimDirectory(n === 1 ? path : `${path}-${n}`);
    } catch (error) {
      if (!(error instanceof DirectoryBusy) || n === SIBLINGS_MAX) throw error;
    }
  }
}

function refuseOccupied(path: string): void {
  const occupant = occupantOf(path);
  if (occupant !== undefined) throw new DirectoryBusy(`Another demo runs in ${path} (process ${occupant})`);
}

async function take(path: string): Promise<void> {
  makeFolder(path);
  if (readMarker(path) === undefined && readdirSync(path).length > 0)
    throw new MeshtrailError(
      'USAGE',
      `${path} holds files and was not made by a demo, so nothing was touched: name an empty directory with --dir.`,
    );
  refuseOccupied(path);
  writeMarker(path, { format: FORMAT, pid: process.pid, started: startOf(process.pid) ?? '' });
  // Of two that came at once, the one that wrote last has it.
  await sleep(CLAIM_SETTLE_MS);
  refuseOccupied(path);
  // Only now, with the directory claimed: the question takes long enough for another demo to come in between.
  if (await isServed(path)) {
    writeMarker(path, { format: FORMAT });
    throw new DirectoryBusy(`A collector serves ${join(path, 'collector')}`);
  }
  for (const name of MADE) rmSync(join(path, name), { recursive: true, force: true });
  for (const name of ['run', 'proofs']) mkdirSync(join(path, name), { mode: 0o700 });
}

/** Takes a directory for one run and removes what the run before left there. Throws USAGE for one that is in use or that no demo made. */
export async function claimDirectory(path: string): Promise<DemoDirectory> {
  try {
    await take(path);
  } catch (cause) {
    if (cause instanceof MeshtrailError) throw cause;
    throw new MeshtrailError(
      'PREREQUISITE_MISSING',
      `The directory ${path} cannot be used: ${(cause as Error).message}. Name another one with --dir.`,
      { cause },
    );
  }
  return {
    path,
    collector: join(path, 'collector'),
    run: join(path, 'run'),
    proofs: join(path, 'proofs'),
    truthFile: join(path, 'truth.json'),
    vkeyFile: join(path, 'log.vkey'),
    release() {
      // Somebody may have removed it meanwhile; then there is nothing to let go.
      if (existsSync(join(path, MARKER))) writeMarker(path, { format: FORMAT });
    },
  };
}
