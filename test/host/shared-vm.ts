// The VMs of plugins that share code, vm_id and VM configuration: one for each thread, and those that FAIL_RELOAD brings.

import type { Plugin, RootContext } from './contexts.ts';
import type { Machine } from './machine.ts';
import { Refused } from './module.ts';

/** Where a plugin runs on one thread. */
export interface Seat {
  readonly machine: Machine;
  readonly root: RootContext;
}

/** One plugin as its users name it. */
export interface Use {
  readonly plugin: Plugin;
  readonly key: string;
  readonly vmKey: string;
}

/** How a reload ended; `backoff`: it was too soon. */
export type Reload = 'success' | 'failure' | 'backoff';

/** Envoy draws the wait at random below this; the emulator always takes it whole. */
const RELOAD_BACKOFF_MS = 1000;

export class SharedVm {
  /** One for each thread, main thread first. */
  readonly machines: Machine[] = [];
  /** Outcomes by plugin key: a configuration is tried once. */
  readonly canaries = new Map<string, Refused | undefined>();
  /** After a reload a plugin has a VM of its own on a thread; the dead one lingers. */
  readonly #reloaded = new Map<string, Machine>();
  readonly #reloadedMs = new Map<string, number>();
  readonly #make: (name: string, plugin: Plugin) => Machine;

  constructor(make: (name: string, plugin: Plugin) => Machine) {
    this.#make = make;
  }

  /** Starts a plugin on every thread. A dead VM is made anew only here, when the configuration changes. */
  start({ plugin, key }: Use, threads: readonly string[]): void {
    threads.forEach((thread, i) => {
      this.#reloaded.delete(`${i} ${key}`);
      const known = this.machines[i];
      const machine = known === undefined || known.failure !== undefined ? this.#make(thread, plugin) : known;
      this.machines[i] = machine;
      machine.startRoot(plugin).isRetired = false;
    });
  }

  seat(use: Use, thread: number): Seat | undefined {
    const machine = this.#reloaded.get(`${thread} ${use.key}`) ?? this.machines[thread];
    const root = machine?.roots.get(use.key);
    return machine === undefined || root === undefined ? undefined : { machine, root };
  }

  /** What FAIL_RELOAD does when a plugin is needed and its VM is dead: at once the first time, then not before the back-off is over. */
  reload(use: Use, thread: number, nowMs: number): Reload {
    const key = `${thread} ${use.key}`;
    const name = this.machines[thread]?.name;
    if (name === undefined || nowMs - (this.#reloadedMs.get(key) ?? Number.NEGATIVE_INFINITY) < RELOAD_BACKOFF_MS)
      return 'backoff';
    this.#reloadedMs.set(key, nowMs);
    try {
      const machine = this.#make(name, use.plugin);
      machine.startRoot(use.plugin);
      this.#reloaded.set(key, machine);
      return 'success';
    } catch (error) {
      if (error instanceof Refused) return 'failure';
      throw error;
    }
  }

  /** VMs in the order in which they end. */
  workersFirst(): Machine[] {
    const all = [...this.machines.slice(1), ...this.machines.slice(0, 1), ...this.#reloaded.values()];
    return [...all.filter(({ name }) => name !== 'main'), ...all.filter(({ name }) => name === 'main')];
  }
}
