// A real `meshtrail serve` as a child that can be killed at any moment, and its log read over HTTP by checks that are the verifier's.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { checkLog, type LogReader } from '../../collector/src/core/tlog/check-log.ts';
import { type Checkpoint, openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { parseVkey } from '../../collector/src/core/tlog/note.ts';
import { decodeEntryTile, entryTilePath, TILE_WIDTH, tilePath } from '../../collector/src/core/tlog/tile.ts';

const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));
const TELEMETRY = new URL('../../collector/src/telemetry.ts', import.meta.url).href;
const READY_MS_MAX = 30_000;

export interface Ready {
  readonly api: string;
  readonly ingest: string;
  readonly vkey: string;
  readonly origin: string;
}

export class Served {
  private readonly child: ChildProcess;
  private readonly ended: Promise<unknown>;
  private readonly readyFile: string;
  private stderr = '';

  /** Starts it without the launcher's process, so that a kill hits the collector itself. `fileKiBMax`: writes beyond it fail, as on a full disk. */
  constructor(dir: string, args: readonly string[] = [], fileKiBMax?: number) {
    this.readyFile = join(dir, 'ready.json');
    rmSync(this.readyFile, { force: true });
    const listeners = ['--api', '127.0.0.1:0', '--ingest', '127.0.0.1:0', '--ready-file', this.readyFile];
    const words = ['--import', TELEMETRY, COMMAND, 'serve', '--dir', join(dir, 'log'), ...listeners, ...args];
    const [program, all] =
      fileKiBMax === undefined
        ? [process.execPath, words]
        : ['sh', ['-c', `ulimit -f ${2 * fileKiBMax}; exec "$0" "$@"`, process.execPath, ...words]];
    this.child = spawn(program, all, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.ended = once(this.child, 'close');
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-20_000);
    });
  }

  async ready(): Promise<Ready> {
    for (const until = performance.now() + READY_MS_MAX; !existsSync(this.readyFile); await setTimeout(10))
      if (this.child.exitCode !== null || performance.now() > until)
        throw new Error(`serve did not start: ${this.stderr}`);
    return JSON.parse(readFileSync(this.readyFile, 'utf8')) as Ready;
  }

  /** Waits until it ends by itself; its exit code and what it said. */
  async exit(): Promise<{ readonly code: number | null; readonly stderr: string }> {
    await this.ended;
    return { code: this.child.exitCode, stderr: this.stderr };
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    await this.ended;
    return this.child.exitCode;
  }
}

/** Files of a log over HTTP. */
export function readerOf(api: string): LogReader {
  const get = async (path: string): Promise<Uint8Array | undefined> => {
    const response = await fetch(`${api}/log/${path}`);
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  return {
    tile: (level, index, width) => get(tilePath({ level, index, width })),
    entryTile: (index, width) => get(entryTilePath(index, width)),
  };
}

/** Fetches the newest checkpoint and checks the whole log against it and the older ones; gives every entry. */
export async function auditLog(
  { api, vkey }: Ready,
  older: readonly Checkpoint[],
): Promise<{ readonly head: Checkpoint; readonly entries: Uint8Array[]; readonly findings: readonly unknown[] }> {
  const head = openCheckpoint(await (await fetch(`${api}/log/checkpoint`)).text(), parseVkey(vkey));
  const reader = readerOf(api);
  const { findings } = await checkLog({ reader, head, older });
  const entries: Uint8Array[] = [];
  while (entries.length < head.size) {
    const width = Math.min(TILE_WIDTH, head.size - entries.length);
    const bytes = (await reader.entryTile(entries.length / TILE_WIDTH, width)) as Uint8Array;
    entries.push(...decodeEntryTile(bytes, width));
  }
  return { head, entries, findings };
}
