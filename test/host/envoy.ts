// An emulated Envoy process: plugins, one VM for each thread that shares code, time, and the end.

import { createHash } from 'node:crypto';
import type { Message } from './abi.ts';
import { type Facts, type Plugin, pluginKey, type RootContext } from './contexts.ts';
import { Machine, type Process } from './machine.ts';
import { Refused } from './module.ts';
import { HttpStream, type StreamOptions, TcpConnection } from './streams.ts';
import { Upstreams } from './upstreams.ts';
import type { LoggerRole, TlsState } from './views.ts';
import { World } from './world.ts';

export interface EnvoyOptions {
  readonly seed?: number;
  readonly workers?: number;
  readonly properties?: Message;
}

/** One use of a plugin, as by one listener. */
export interface Use {
  readonly plugin: Plugin;
  readonly key: string;
  readonly vmKey: string;
}

/** What plugins with the same VM key share. */
interface Vm {
  /** One for each thread. */
  readonly machines: Machine[];
  /** Outcomes by plugin key: a configuration is tried once. */
  readonly canaries: Map<string, Refused | undefined>;
}

export class Envoy implements Process {
  readonly world: World;
  readonly upstreams = new Upstreams();
  readonly properties: Message;
  /** Main thread first, then the workers. */
  readonly threads: readonly string[];
  /** VMs made so far, with those for code and canaries. */
  vmsCreated = 0;
  readonly #vms = new Map<string, Vm>();
  readonly #uses = new Set<Use>();

  constructor({ seed = 1, workers = 1, properties = {} }: EnvoyOptions = {}) {
    this.world = new World(seed);
    this.properties = properties;
    this.threads = ['main', ...Array.from({ length: workers }, (_, i) => `worker-${i}`)];
  }

  #machine(name: string, { code, vmId }: Plugin): Machine {
    this.vmsCreated++;
    return new Machine(name, code, this, vmId);
  }

  /** Puts a plugin on a listener. Throws Refused, and nothing has changed then. */
  load(plugin: Plugin): Use {
    const code = createHash('sha256').update(plugin.code).digest('hex');
    const use = {
      plugin,
      key: pluginKey(plugin),
      vmKey: JSON.stringify([plugin.vmId ?? '', plugin.vmConfiguration ?? '', code]),
    };
    const vm = this.#vms.get(use.vmKey) ?? this.#newVm(plugin);
    if (!vm.canaries.has(use.key)) vm.canaries.set(use.key, refusalOf(this.#machine('canary', plugin), plugin));
    const refusal = vm.canaries.get(use.key);
    if (refusal !== undefined) throw refusal;
    this.#vms.set(use.vmKey, vm);
    this.threads.forEach((thread, i) => {
      // A dead VM is made anew only here, when the configuration changes.
      if (vm.machines[i]?.failure !== undefined || vm.machines[i] === undefined)
        vm.machines[i] = this.#machine(thread, plugin);
      vm.machines[i].startRoot(plugin).isRetired = false;
    });
    this.#uses.add(use);
    return use;
  }

  #newVm(plugin: Plugin): Vm {
    // Envoy keeps one that only holds the code: it has no root, so nothing ticks in it.
    this.#machine('base', plugin);
    return { machines: [], canaries: new Map() };
  }

  /** Takes a plugin off a listener; its root goes with its last listener and stream. */
  unload(use: Use): void {
    this.#uses.delete(use);
    if ([...this.#uses].some((other) => other.key === use.key && other.vmKey === use.vmKey)) return;
    for (const machine of this.#workersFirst(use.vmKey)) {
      const root = machine.roots.get(use.key);
      if (root === undefined) continue;
      root.isRetired = true;
      this.settle(machine, root, use.vmKey);
    }
  }

  /** Ends a root that nobody uses any more, and its VM with the last root. */
  settle(machine: Machine, root: RootContext, vmKey: string): void {
    if (!root.isRetired || root.liveStreams > 0 || !machine.roots.has(root.key)) return;
    machine.endRoot(root);
    if (machine.roots.size > 0) return;
    machine.destroy();
    if (!this.#workersFirst(vmKey).every(({ isGone }) => isGone)) return;
    this.#vms.delete(vmKey);
    if (!this.#allMachines().some(({ vmId }) => vmId === machine.vmId)) this.world.sharedData.drop(machine.vmId);
  }

  /** Replaces the configuration: the new root starts before the old one ends. */
  update(use: Use, configuration: string | Uint8Array): Use {
    const next = this.load({ ...use.plugin, configuration });
    this.unload(use);
    return next;
  }

  /** VM of a thread: 0 is the main thread, which no traffic reaches. */
  machine(use: Use, thread = 1): Machine {
    const machine = this.#vms.get(use.vmKey)?.machines[thread];
    if (machine === undefined) throw new Error(`The plugin has no VM on thread ${thread}.`);
    return machine;
  }

  root(use: Use, thread = 1): RootContext {
    const root = this.machine(use, thread).roots.get(use.key);
    if (root === undefined) throw new Error('The plugin has no root here.');
    return root;
  }

  openHttp(use: Use, thread = 1): HttpStream {
    return new HttpStream(this, use, { thread });
  }

  /** One whole HTTP exchange. */
  exchange(use: Use, facts: Facts, thread = 1): void {
    this.openHttp(use, thread).end(facts);
  }

  openConnection(use: Use, options: StreamOptions = {}): TcpConnection {
    return new TcpConnection(this, use, options);
  }

  /** Logs in the role of an access logger: with the id of the root, and no context of the stream's own. */
  accessLog(use: Use, facts: Facts, role: LoggerRole = 'http_logger', thread = 1, tls?: TlsState): void {
    this.machine(use, thread).accessLog(this.root(use, thread), facts, role, tls);
  }

  #workersFirst(vmKey: string): Machine[] {
    const [main, ...workers] = this.#vms.get(vmKey)?.machines ?? [];
    return main === undefined ? [] : [...workers, main];
  }

  #allMachines(): Machine[] {
    return [...this.#vms.keys()].flatMap((vmKey) => this.#workersFirst(vmKey));
  }

  /** Lets time pass: answers, time-outs and ticks come when they are due. */
  advance(ms: number): void {
    const until = this.world.nowMs + ms;
    for (;;) {
      while (this.upstreams.deliver() > 0);
      const ticking = this.#nextTick();
      const next = Math.min(ticking?.root.tickDueMs ?? Number.POSITIVE_INFINITY, this.upstreams.nextDeadlineMs());
      if (next > until) break;
      this.world.nowMs = Math.max(this.world.nowMs, next);
      this.upstreams.expire(this.world.nowMs);
      if (ticking !== undefined && ticking.root.tickDueMs <= this.world.nowMs) ticking.machine.tick(ticking.root);
    }
    this.world.nowMs = until;
  }

  #nextTick(): { readonly machine: Machine; readonly root: RootContext } | undefined {
    let best: { readonly machine: Machine; readonly root: RootContext } | undefined;
    for (const machine of this.#allMachines()) {
      if (machine.failure !== undefined) continue;
      for (const root of [...machine.pendingDone.values(), ...machine.roots.values()])
        if (root.tickDueMs < (best?.root.tickDueMs ?? Number.POSITIVE_INFINITY)) best = { machine, root };
    }
    return best;
  }

  /** SIGTERM: workers first, then the main thread; calls made meanwhile go out, and no callback follows. */
  shutDown(): void {
    for (const machine of this.#allMachines()) if (machine.name !== 'main') machine.destroy();
    for (const machine of this.#allMachines()) machine.destroy();
    this.#vms.clear();
  }
}

/** Starts and configures a plugin in a VM of its own. */
function refusalOf(canary: Machine, plugin: Plugin): Refused | undefined {
  try {
    canary.startRoot(plugin);
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  } finally {
    // Dropped without a word to the guest.
    canary.isGone = true;
  }
}
