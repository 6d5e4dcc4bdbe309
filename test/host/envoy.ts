// An emulated Envoy process: plugins, one VM for each thread that shares code, time, and the end.

import { createHash } from 'node:crypto';
import { isMessage, type Message, NODE_BYTES, Protobuf } from './abi.ts';
import { DEFAULT_NAME, type Facts, type Plugin, pluginKey, type RootContext } from './contexts.ts';
import { Machine, type Process } from './machine.ts';
import { Refused } from './module.ts';
import { type Seat, SharedVm, type Use } from './shared-vm.ts';
import { HttpStream, type StreamOptions, TcpConnection } from './streams.ts';
import { Upstreams } from './upstreams.ts';
import type { LoggerRole, TlsState } from './views.ts';
import { World } from './world.ts';

export type { Use } from './shared-vm.ts';

export interface EnvoyOptions {
  readonly seed?: number;
  readonly workers?: number;
  readonly properties?: Message;
}

export class Envoy implements Process {
  readonly world: World;
  readonly upstreams = new Upstreams();
  readonly properties: Message;
  /** Main thread first, then the workers. */
  readonly threads: readonly string[];
  /** VMs made so far, with those for code and canaries. */
  vmsCreated = 0;
  /** Envoy’s own counters; those of Wasm plugins move with FAIL_RELOAD only. */
  readonly stats = new Map<string, number>();
  readonly #vms = new Map<string, SharedVm>();
  readonly #uses = new Set<Use>();

  constructor({ seed = 1, workers = 1, properties = {} }: EnvoyOptions = {}) {
    this.world = new World(seed);
    this.properties = withNode(properties);
    this.threads = ['main', ...Array.from({ length: workers }, (_, i) => `worker-${i}`)];
  }

  #machine(name: string, { code, vmId }: Plugin): Machine {
    this.vmsCreated++;
    return new Machine(name, code, this, vmId);
  }

  /** Puts a plugin on a listener. Throws Refused, and nothing has changed then. */
  load(plugin: Plugin): Use {
    // Code that is still to be fetched is not part of the key: with the vm_id of other code, that code goes on running.
    const code = plugin.isRemote === true ? '' : createHash('sha256').update(plugin.code).digest('hex');
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
    vm.start(use, this.threads);
    this.#uses.add(use);
    return use;
  }

  #newVm(plugin: Plugin): SharedVm {
    // Envoy keeps one that only holds the code: it has no root, so nothing ticks in it.
    this.#machine('base', plugin);
    return new SharedVm((name, of) => this.#machine(name, of));
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
    return this.replace(use, { ...use.plugin, configuration });
  }

  /** Replaces the plugin. With other code that is a new VM, while the old one serves its streams to their end. */
  replace(use: Use, plugin: Plugin): Use {
    const next = this.load(plugin);
    this.unload(use);
    return next;
  }

  #seat(use: Use, thread: number): Seat {
    const seat = this.#vms.get(use.vmKey)?.seat(use, thread);
    if (seat === undefined) throw new Error(`The plugin has no root on thread ${thread}.`);
    return seat;
  }

  /** VM of a thread: 0 is the main thread, which no traffic reaches. */
  machine(use: Use, thread = 1): Machine {
    return this.#seat(use, thread).machine;
  }

  root(use: Use, thread = 1): RootContext {
    return this.#seat(use, thread).root;
  }

  /** Where something new meets the plugin; with a dead VM, what becomes of it instead. Only FAIL_RELOAD brings a dead VM back. */
  enter(use: Use, thread: number): Seat | 'passes' | 'refused' {
    const seat = this.#seat(use, thread);
    if (seat.machine.failure === undefined) return seat;
    const { failurePolicy = 'FAIL_CLOSED', name = DEFAULT_NAME } = use.plugin;
    if (failurePolicy !== 'FAIL_RELOAD') return failurePolicy === 'FAIL_CLOSED' ? 'refused' : 'passes';
    const reload = this.#vms.get(use.vmKey)?.reload(use, thread, this.world.nowMs) ?? 'failure';
    const stat = `wasm.${name}.vm_reload_${reload}`;
    this.stats.set(stat, (this.stats.get(stat) ?? 0) + 1);
    return reload === 'success' ? this.#seat(use, thread) : 'refused';
  }

  openHttp(use: Use, thread = 1): HttpStream {
    return new HttpStream(this, use, { thread });
  }

  /** One whole HTTP exchange; false when the client got a 503 because of the VM. */
  exchange(use: Use, facts: Facts, thread = 1): boolean {
    const stream = this.openHttp(use, thread);
    stream.end(facts);
    return !stream.isFailed;
  }

  openConnection(use: Use, options: StreamOptions = {}): TcpConnection {
    return new TcpConnection(this, use, options);
  }

  /** Logs in the role of an access logger: with the id of the root, and no context of the stream's own. A dead VM harms no traffic. */
  accessLog(use: Use, facts: Facts, role: LoggerRole = 'http_logger', thread = 1, tls?: TlsState): void {
    const seat = this.enter(use, thread);
    if (typeof seat === 'object') seat.machine.accessLog(seat.root, facts, role, tls);
  }

  #workersFirst(vmKey: string): Machine[] {
    return this.#vms.get(vmKey)?.workersFirst() ?? [];
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
    this.upstreams.isExiting = true;
    for (const machine of this.#allMachines()) if (machine.name !== 'main') machine.destroy();
    for (const machine of this.#allMachines()) machine.destroy();
    this.#vms.clear();
  }

  /** SIGKILL: nothing runs any more, and nothing goes out. */
  kill(): void {
    for (const machine of this.#allMachines()) machine.vanish();
    this.#vms.clear();
  }
}

/** The node can be read by its fields, which is cheap, and whole, which is not. */
function withNode(properties: Message): Message {
  const { xds } = properties;
  const node = isMessage(xds) ? xds['node'] : undefined;
  if (!isMessage(xds) || !isMessage(node)) return properties;
  return { ...properties, xds: { ...xds, node: new Protobuf(new Uint8Array(NODE_BYTES).fill(0x0a), node) } };
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
