// A collector's directory on real LevelDB, made once and copied for every damage that is done to it.

import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { toHex } from '../../collector/src/core/bytes.ts';
import { sealBatch } from '../../collector/src/core/codec/encode.ts';
import { parseEntry } from '../../collector/src/core/codec/entry.ts';
import { HEADER } from '../../collector/src/core/codec/layout.ts';
import { MeshtrailError } from '../../collector/src/core/error.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import type { Finding } from '../../collector/src/log/fsck.ts';
import { type Database, openLevel } from '../../collector/src/store/level.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted, levelStores, ManualClock, openLevelLog, signer } from '../support/logs.ts';

/** A directory for one test file; removed whole. */
export class Workshop {
  readonly root: string;
  private count = 0;

  private constructor(root: string) {
    this.root = root;
  }

  static async open(): Promise<Workshop> {
    return new Workshop(await mkdtemp(join(tmpdir(), 'meshtrail fault ')));
  }

  next(): string {
    return join(this.root, `copy ${this.count++}`);
  }

  /** A copy of a directory, to be damaged. */
  async copy(of: string): Promise<string> {
    const to = this.next();
    await cp(of, to, { recursive: true });
    return to;
  }

  async remove(): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

/** What makes a directory of stores one of a collector. */
export async function finish(directory: string): Promise<void> {
  await writeFile(
    join(directory, 'meshtrail.json'),
    JSON.stringify({ format: 'meshtrail/directory/v1', origin: signer.name }),
  );
  await mkdir(join(directory, 'keys'), { recursive: true });
  await writeFile(join(directory, 'keys', 'log.vkey'), `${signer.vkey}\n`);
}

const conflicting = (wire: Uint8Array): Uint8Array => {
  const forged = Uint8Array.from(wire);
  forged[HEADER.sealedMonoNs] = (forged[HEADER.sealedMonoNs] as number) ^ 1;
  return sealBatch(forged);
};

/** Lets idle minutes pass until one has its heartbeat. */
async function idle(log: EvidenceLog, clock: ManualClock): Promise<void> {
  for (let last: Uint8Array | undefined; last === undefined || parseEntry(last).kind !== 'heartbeat'; ) {
    const { size } = await log.publishNow();
    await clock.advance(60_000);
    while (log.published().size === size) await setTimeout(5);
    last = await log.entry(log.published().size - 1);
  }
}

/** Appends batches, a conflict and a heartbeat, and publishes now and then. */
export async function grow(log: EvidenceLog, clock: ManualClock, batches: number, seed: number): Promise<void> {
  const maker = new StreamMaker(seed);
  for (let i = 0; i < batches; i++) {
    const wire = maker.batch(1);
    await log.append(admitted(wire));
    if (i === 1) await log.append(admitted(conflicting(wire))).catch(() => undefined);
    if (i === 2) await idle(log, clock);
    if (i % 40 === 0) await log.publishNow();
  }
}

/** Makes a closed directory with all kinds of keys: two segments, a full tile, a conflict, a heartbeat. */
export async function makeDirectory(directory: string, batches = 270, seed = 1): Promise<void> {
  const clock = new ManualClock();
  const log = await openLevelLog(directory, { clock, heartbeatIntervalMs: 1000 });
  await grow(log, clock, batches, seed);
  await log.close();
  await finish(directory);
}

/** Databases of a directory, as paths below it. */
export async function databasesOf(directory: string): Promise<string[]> {
  const segments = await readdir(join(directory, 'segments'));
  return [...segments.sort().map((name) => join('segments', name)), 'tree', 'last-signed'];
}

/** Works on the keys and values of a closed database. */
export async function edit(path: string, work: (database: Database) => Promise<void>): Promise<void> {
  const database = await openLevel(path, 1024 * 1024);
  try {
    await work(database);
  } finally {
    await database.close();
  }
}

export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const bent = Uint8Array.from(bytes);
  bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
  return bent;
}

/** Kind of a key: database and first letter, or the whole name of one that stands alone. */
export function kindOf(database: string, key: Uint8Array): string {
  const letter = String.fromCharCode(key[0] as number);
  const where = dirname(database) === '.' ? database : 'segment';
  return letter === 'm' || where === 'last-signed' ? `${where} ${Buffer.from(key).toString()}` : `${where} ${letter}`;
}

/** What `meshtrail fsck` says: its findings that are damage, or the refusal to open as one of them. */
export async function damage(directory: string): Promise<readonly Pick<Finding, 'code' | 'place'>[]> {
  try {
    const { findings } = await fsckDirectory(directory, '', signer.vkey, () => undefined);
    return findings.filter(({ severity }) => severity === 'error');
  } catch (error) {
    if (!(error instanceof MeshtrailError)) throw error;
    return [{ code: error.code, place: error.message }];
  }
}

/** Everything that a log gives out, as one hash. */
export async function exportOf(directory: string): Promise<string> {
  const stores = await levelStores(directory);
  const parts: string[] = [];
  const end = await stores.segments.end();
  for (let index = 0; index < end; index++)
    for (const bytes of [await stores.segments.entry(index), await stores.segments.body(index)])
      parts.push(bytes === undefined ? '-' : toHex(sha256(bytes)));
  parts.push((await stores.tiles.published()) ?? '-', String((await stores.lock.read())?.size));
  for (const store of Object.values(stores)) await store.close();
  return toHex(sha256(new TextEncoder().encode(parts.join('\n'))));
}

/** All files below a directory, as paths. */
export async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
