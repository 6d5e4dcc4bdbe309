// Logs for tests: over memory, whose stores outlive a log as a disk would, or over LevelDB in a directory.

import { join } from 'node:path';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { headerOf } from '../../collector/src/core/codec/entry.ts';
import { ed25519Signer, parseVkey } from '../../collector/src/core/tlog/note.ts';
import type { AdmittedBatch, EvidenceLog, LogClock, LogEvents } from '../../collector/src/log/evidence-log.ts';
import { type FsckReport, fsck } from '../../collector/src/log/fsck.ts';
import { type OpenLogInput, openLog } from '../../collector/src/log/open-log.ts';
import type { LastSigned, StoredEntry } from '../../collector/src/log/stores.ts';
import { openLevelSegments } from '../../collector/src/store/level-segments.ts';
import { openLevelLock, openLevelTiles } from '../../collector/src/store/level-tree.ts';
import { MemoryTree, memoryLock, memorySegments, memoryTiles } from '../../collector/src/store/memory.ts';

export const signer = ed25519Signer('test.mesh/log', new Uint8Array(32).fill(9));
export const verifier = parseVkey(signer.vkey);

export const realClock: LogClock = {
  nowMs: () => Date.now(),
  after(delayMs, work) {
    const timer = setTimeout(work, delayMs);
    return () => clearTimeout(timer);
  },
};

/** A clock that moves only when told. */
export class ManualClock implements LogClock {
  private now = 1_795_521_600_000;
  private timers: { readonly at: number; readonly work: () => void }[] = [];
  nowMs(): number {
    return this.now;
  }
  after(delayMs: number, work: () => void): () => void {
    const timer = { at: this.now + delayMs, work };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  }
  /** Moves time on, and lets what is due run to its end. */
  async advance(ms: number): Promise<void> {
    this.now += ms;
    const due = this.timers.filter(({ at }) => at <= this.now);
    this.timers = this.timers.filter(({ at }) => at > this.now);
    for (const { work } of due) work();
    for (let i = 0; i < 50; i++) await new Promise((done) => setImmediate(done));
  }
}

export const quiet: LogEvents = {
  sequenced() {},
  published() {},
  duplicate() {},
  conflict() {},
  conflictLost() {},
  fatal() {},
};

/** What a memory log's stores hold. */
export class MemoryDisk {
  readonly entries: StoredEntry[] = [];
  readonly tree = new MemoryTree();
  readonly lock: { value?: LastSigned | undefined } = {};

  stores(): Pick<OpenLogInput, 'segments' | 'tiles' | 'lock'> {
    return { segments: memorySegments(this.entries), tiles: memoryTiles(this.tree), lock: memoryLock(this.lock) };
  }
}

const DEFAULTS = {
  signer,
  clock: realClock,
  events: quiet,
  queueBytesMax: 64 * 1024 * 1024,
  publishIntervalMs: 1000,
  heartbeatIntervalMs: 60_000,
};

export async function openMemoryLog(disk = new MemoryDisk(), more: Partial<OpenLogInput> = {}): Promise<EvidenceLog> {
  return await openLog({ ...DEFAULTS, ...disk.stores(), ...more });
}

export async function levelStores(directory: string): Promise<Pick<OpenLogInput, 'segments' | 'tiles' | 'lock'>> {
  const segments = await openLevelSegments(join(directory, 'segments'), 256);
  return {
    segments,
    tiles: await openLevelTiles(join(directory, 'tree')),
    lock: await openLevelLock(join(directory, 'last-signed')),
  };
}

export async function openLevelLog(directory: string, more: Partial<OpenLogInput> = {}): Promise<EvidenceLog> {
  const stores = await levelStores(directory);
  try {
    return await openLog({ ...DEFAULTS, ...stores, ...more });
  } catch (error) {
    for (const store of Object.values(stores)) await store.close();
    throw error;
  }
}

export function admitted(wire: Uint8Array): AdmittedBatch {
  return { wire, header: headerOf(decodeBatch(wire), undefined) };
}

export async function fsckDisk(disk: MemoryDisk): Promise<FsckReport> {
  return await fsck({ ...disk.stores(), verifier });
}

export async function fsckDirectory(directory: string): Promise<FsckReport> {
  const stores = await levelStores(directory);
  try {
    return await fsck({ ...stores, verifier });
  } finally {
    for (const store of Object.values(stores)) await store.close();
  }
}
