// The machine that figures come from, and how much others used it meanwhile.

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { cpuNs } from './processes.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly system: string;
  readonly node: string;
  readonly loadAverage1Min: number;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    loadAverage1Min: Number((loadavg()[0] ?? 0).toFixed(2)),
  };
}

/** Busy and stolen time of all cores since start, in ticks of 10 ms. */
function ticks(): { readonly busy: number; readonly steal: number } {
  const line = readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map((text) => Number(text));
  return { busy: user + nice + system + irq + softirq, steal };
}

/** Tells how many cores' worth of time went to processes that are not ours, and how much the hypervisor took. */
export class Disturbance {
  private readonly pids: readonly number[];
  private from = { atMs: 0, busy: 0, steal: 0, oursNs: 0 };

  constructor(pids: readonly number[]) {
    this.pids = [...pids, process.pid];
    this.begin();
  }

  private ours(): number {
    return this.pids.reduce((sum, pid) => sum + cpuNs(pid), 0);
  }

  begin(): void {
    this.from = { atMs: performance.now(), ...ticks(), oursNs: this.ours() };
  }

  end(): { readonly foreignCores: number; readonly stealCores: number } {
    const { busy, steal } = ticks();
    const seconds = (performance.now() - this.from.atMs) / 1000;
    const ours = (this.ours() - this.from.oursNs) / 1e9;
    return {
      foreignCores: Math.max(0, ((busy - this.from.busy) / 100 - ours) / seconds),
      stealCores: (steal - this.from.steal) / 100 / seconds,
    };
  }
}
