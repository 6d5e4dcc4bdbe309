// The real collector as a child process with default settings, and what its log says.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type BatchEntry, parseEntry } from '../../../collector/src/core/codec/entry.ts';
import { decodeEntryTile, entryTilePath, TILE_WIDTH } from '../../../collector/src/core/tlog/tile.ts';
import { NodeChild } from './processes.ts';

const READY_MS_MAX = 30_000;
const PUBLISHED_MS_MAX = 30_000;
const BIN = fileURLToPath(new URL('../../../collector/bin/meshtrail.js', import.meta.url));
const TELEMETRY = new URL('../../../collector/src/telemetry.ts', import.meta.url).href;

export interface RunningCollector {
  readonly pid: number;
  readonly dir: string;
  readonly ingestPort: number;
  /** Entries below the published, signed checkpoint. */
  published(): Promise<number>;
  /** Waits until the signed checkpoint covers so many entries; resolves with its size then, or after the longest wait. */
  waitForPublished(entries: number): Promise<number>;
  /** The batch headers of the signed log. */
  batches(): Promise<BatchEntry[]>;
  stop(): Promise<void>;
}

/** Starts `meshtrail serve` over a directory. With `profileDir` it leaves a CPU profile there when it stops. */
export async function startCollector(input: {
  readonly workDir: string;
  readonly core: number;
  readonly profileDir?: string | undefined;
}): Promise<RunningCollector> {
  const { workDir, core, profileDir } = input;
  const dir = join(workDir, 'collector');
  const readyFile = join(workDir, 'ready.json');
  const profile = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`];
  const child = new NodeChild({
    args: [
      ...profile,
      // As the launcher would start it, without the launcher's process.
      '--import',
      TELEMETRY,
      BIN,
      'serve',
      `--dir=${dir}`,
      '--api=127.0.0.1:0',
      '--ingest=127.0.0.1:0',
      `--ready-file=${readyFile}`,
    ],
    core,
    logFile: join(workDir, 'collector.log'),
  });
  for (const deadline = performance.now() + READY_MS_MAX; !existsSync(readyFile); ) {
    if (child.hasEnded || performance.now() > deadline) {
      await child.stop();
      throw new Error(`the collector did not start:\n${child.logTail()}`);
    }
    await sleep(20);
  }
  const ready = JSON.parse(readFileSync(readyFile, 'utf8')) as { api: string; ingest: string };
  const published = async (): Promise<number> => Number((await text(`${ready.api}/log/checkpoint`)).split('\n')[1]);
  return {
    pid: child.pid,
    dir,
    ingestPort: Number(ready.ingest.split(':').at(-1)),
    published,
    async waitForPublished(entries) {
      const deadline = performance.now() + PUBLISHED_MS_MAX;
      let size = await published();
      for (; size < entries && performance.now() < deadline; size = await published()) await sleep(50);
      return size;
    },
    batches: async () => await batchesOf(ready.api, await published()),
    stop: () => child.stop(),
  };
}

async function fetched(url: string): Promise<Response> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer;
}

const text = async (url: string): Promise<string> => await (await fetched(url)).text();

async function batchesOf(api: string, size: number): Promise<BatchEntry[]> {
  const batches: BatchEntry[] = [];
  for (let tile = 0; tile * TILE_WIDTH < size; tile++) {
    const width = Math.min(TILE_WIDTH, size - tile * TILE_WIDTH);
    const answer = await fetched(`${api}/log/${entryTilePath(tile, width)}`);
    for (const bytes of decodeEntryTile(new Uint8Array(await answer.arrayBuffer()), width)) {
      const entry = parseEntry(bytes);
      if (entry.kind === 'batch') batches.push(entry);
    }
  }
  return batches;
}
