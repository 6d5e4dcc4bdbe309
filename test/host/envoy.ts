// An emulated Envoy process: plugins on listeners, one VM for each thread that shares code, streams, time, and the end.

import { createHash } from 'node:crypto';
import type { Message } from './abi.ts';
import { Context, type Facts, type Plugin, pluginKey, type RootContext } from './contexts.ts';
import { Machine, type Process } from './machine.ts';
import { Refused } from './module.ts';
import { Upstreams } from './upstreams.ts';
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

  #machine(name: string, code: Uint8Array): Machine {
    this.vmsCreated++;
    return new Machine(name, code, this);
  }

  /** Puts a plugin on a listener. Throws Refused, and nothing has changed then. */
  load(plugin: Plugin): Use {
    const code = createHash('sha256').update(plugin.code).digest('hex');
    const use = {
      plugin,
      key: pluginKey(plugin),
      vmKey: JSON.stringify([plugin.vmId ?? '', plugin.vmConfiguration ?? '', code]),
    };
    const vm = this.#vms.get(use.vmKey) ?? this.#newVm(plugin.code);
    if (!vm.canaries.has(use.key)) vm.canaries.set(use.key, refusalOf(this.#machine('canary', plugin.code), plugin));
    const refusal = vm.canaries.get(use.key);
    if (refusal !== undefined) throw refusal;
    this.#vms.set(use.vmKey, vm);
    this.threads.forEach((thread, i) => {
      // A dead VM is made anew only here, when the configuration changes.
      if (vm.machines[i]?.failure !== undefined || vm.machines[i] === undefined)
        vm.machines[i] = this.#machine(thread, plugin.code);
      vm.machines[i].startRoot(plugin).isRetired = false;
    });
    this.#uses.add(use);
    return use;
  }

  #newVm(code: Uint8Array): Vm {
    // Envoy keeps one that only holds the code.
    this.#machine('base', code);
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
    if (this.#workersFirst(vmKey).every(({ isGone }) => isGone)) this.#vms.delete(vmKey);
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
    return new HttpStream(this, use, thread);
  }

  /** One whole HTTP exchange. */
  exchange(use: Use, facts: Facts, thread = 1): void {
    this.openHttp(use, thread).end(facts);
  }

  openConnection(use: Use, thread = 1): TcpConnection {
    return new TcpConnection(this, use, thread);
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

abstract class Stream {
  protected readonly machine: Machine;
  protected readonly root: RootContext;
  protected context: Context | undefined;
  readonly #envoy: Envoy;
  readonly #use: Use;

  constructor(envoy: Envoy, use: Use, thread: number) {
    this.#envoy = envoy;
    this.#use = use;
    this.machine = envoy.machine(use, thread);
    this.root = envoy.root(use, thread);
    this.root.liveStreams++;
  }

  get contextId(): number | undefined {
    return this.context?.id;
  }

  /** Makes the context, as when the first bytes reach the filter. */
  protected create(facts: Facts): Context {
    const context = new Context(this.machine.allocateContextId(), this.root);
    context.facts = facts;
    this.machine.contexts.set(context.id, context);
    this.context = context;
    this.machine.call('on_context_create', context, this.root.id);
    return context;
  }

  protected log(context: Context, facts: Facts): void {
    context.facts = facts;
    context.isLogging = true;
    this.machine.call('on_log', context);
    context.isLogging = false;
  }

  protected delete(context: Context): void {
    this.machine.call('on_delete', context);
    this.machine.contexts.delete(context.id);
    this.root.liveStreams--;
    this.#envoy.settle(this.machine, this.root, this.#use.vmKey);
  }
}

/** An HTTP stream: create, headers, log, done, delete. */
export class HttpStream extends Stream {
  /** The request's headers reach the filter. Streams that end before (codec errors) get their context only for the log. */
  begin(facts: Facts = {}): this {
    const context = this.create(facts);
    this.machine.call('on_request_headers', context, facts.requestHeaders?.length ?? 0, 1);
    return this;
  }

  /** The exchange is over. */
  end(facts: Facts): void {
    const context = this.context ?? this.create(facts);
    if (facts.responseHeaders !== undefined)
      this.machine.call('on_response_headers', context, facts.responseHeaders.length, 1);
    this.log(context, facts);
    this.machine.call('on_done', context);
    this.delete(context);
  }
}

/** A connection at a network filter: create, new connection, data, closes, done, log, delete. */
export class TcpConnection extends Stream {
  constructor(envoy: Envoy, use: Use, thread: number) {
    super(envoy, use, thread);
    this.machine.call('on_new_connection', this.create({}));
  }

  data(side: 'downstream' | 'upstream', bytes: number): void {
    if (this.context !== undefined) this.machine.call(`on_${side}_data`, this.context, bytes, 0);
  }

  /** 1: closed here, 2: by the peer. */
  close(by: 1 | 2, facts: Facts): void {
    const { context } = this;
    if (context === undefined) return;
    this.machine.call('on_upstream_connection_close', context, by);
    this.machine.call('on_downstream_connection_close', context, by);
    this.machine.call('on_done', context);
    this.log(context, facts);
    this.delete(context);
  }
}
