// One Wasm VM of one thread: enters the guest, hands over bytes, and is dead for ever after a trap.

import { instantiateSync } from '@assemblyscript/loader';
import { BUFFER, bytesOf, type Message, type Pairs } from './abi.ts';
import { Context, type Facts, type Plugin, pluginKey, RootContext } from './contexts.ts';
import { HOST_FUNCTIONS, hostFunctions } from './imports.ts';
import { Crashed, GuestModule, Refused } from './module.ts';
import type { Answer, OutgoingCall, Upstreams } from './upstreams.ts';
import type { LoggerRole, TlsState } from './views.ts';
import type { MetricTable, World } from './world.ts';

/** What a VM shares with the other VMs of its process. */
export interface Process {
  readonly world: World;
  readonly upstreams: Upstreams;
  /** Properties that every context has, such as `xds.node`. */
  readonly properties: Message;
}

export interface HostCall {
  readonly name: string;
  readonly args: readonly (number | bigint)[];
}

/** One host call that a test watched. */
export interface Traced {
  readonly name: string;
  readonly what: string;
  readonly status: number;
  /** It handed bytes over, for which the host entered the guest again. */
  readonly isCostly: boolean;
}

/** A trap that the host raises, as for a call that the phase forbids. */
export class HostTrap extends Error {
  override readonly name = 'HostTrap';
}

const ALLOWED_IN_ALLOCATOR = new Set(['env.proxy_log', 'wasi_snapshot_preview1.clock_time_get']);
const ALLOWED_IN_START = new Set([...ALLOWED_IN_ALLOCATOR, 'wasi_snapshot_preview1.random_get']);
const WASI_RIGHTS: Readonly<Record<'start' | 'allocator', ReadonlySet<string>>> = {
  start: ALLOWED_IN_START,
  allocator: ALLOWED_IN_ALLOCATOR,
};

type Hook = (...args: number[]) => number | undefined;
const nothing: Hook = () => undefined;

export class Machine {
  readonly name: string;
  /** VMs of one process with the same id share their shared data. */
  readonly vmId: string;
  readonly process: Process;
  readonly metrics: MetricTable;
  readonly roots = new Map<string, RootContext>();
  /** Roots whose on_done returned 0 and which wait for proxy_done. */
  readonly pendingDone = new Map<string, RootContext>();
  readonly contexts = new Map<number, Context>();
  /** How often each host function was called. */
  readonly hostCalls = new Map<string, number>();
  /** Entries into the guest: hooks, and the allocator when the host hands bytes over, with the most bytes at once. */
  readonly entries = { hooks: 0, allocations: 0, largest: 0 };
  /** What the guest did that a correct guest never does, though Envoy lets it pass. */
  readonly violations: string[] = [];
  /** Why the VM is dead. */
  failure: string | undefined;
  isGone = false;
  /** Stands between guest and host: a test can answer in the host's place. */
  tamper: ((call: HostCall, proceed: () => number) => number) | undefined;
  /** Set to a list, it is told every host call, so that a test can say which call buys what. */
  trace: Traced[] | undefined;
  /** Makes the guest's allocator look exhausted. */
  isAllocatorBroken = false;
  /** Ids ascend, wrap at 32 bits, and leave out those that live. A test can bring the wrap near. */
  nextContextId = 1;
  readonly #vmContext = new Context(0, undefined);
  readonly #exports: Readonly<Record<string, unknown>>;
  readonly #hooks = new Map<string, Hook>();
  readonly #allocate: Hook;
  #phase: 'instantiate' | 'start' | 'allocator' | 'run' = 'instantiate';
  #current: Context | undefined;
  #effectiveId = 0;
  #nextToken = 1;
  #afterCall: (() => void)[] = [];

  /** Instantiates and initialises. Throws Refused, or Crashed where Envoy would die. */
  constructor(name: string, code: Uint8Array, process: Process, vmId = '') {
    this.name = name;
    this.vmId = vmId;
    this.process = process;
    this.metrics = process.world.metrics.table();
    const guest = new GuestModule(code, HOST_FUNCTIONS);
    const { instance } = instantiateSync(guest.module as never, hostFunctions(this));
    this.#exports = (instance as unknown as { exports: Record<string, unknown> }).exports;
    this.#allocate = this.#hook('malloc') ?? this.#hook('proxy_on_memory_allocate') ?? nothing;
    this.#phase = 'start';
    const start = this.#hook('_initialize') ?? this.#hook('_start');
    if (start !== undefined) this.#enter('_initialize', this.#vmContext, () => start());
    this.#phase = 'run';
    if (this.failure !== undefined) throw new Refused(this.failure);
  }

  #hook(name: string): Hook | undefined {
    const hook = this.#exports[name];
    return typeof hook === 'function' ? (hook as Hook) : undefined;
  }

  get memory(): Uint8Array {
    const { buffer } = this.#exports['memory'] as { buffer: ArrayBuffer };
    return new Uint8Array(buffer);
  }

  /** Calls a hook, unless the VM is dead or the guest does not export it. */
  call(hook: string, context: Context, ...args: number[]): number | undefined {
    if (this.failure !== undefined || this.isGone) return undefined;
    let run = this.#hooks.get(hook);
    if (run === undefined) {
      run = this.#hook(`proxy_${hook}`) ?? nothing;
      this.#hooks.set(hook, run);
    }
    if (run === nothing) return undefined;
    this.entries.hooks++;
    const result = this.#enter(`proxy_${hook}`, context, () => run(context.id, ...args));
    for (const action of this.#afterCall.splice(0)) action();
    return result;
  }

  #enter(name: string, context: Context, run: () => number | undefined): number | undefined {
    const before = [this.#current, this.#effectiveId] as const;
    this.#current = context;
    this.#effectiveId = 0;
    try {
      return run();
    } catch (error) {
      this.#fail(name, error);
      return undefined;
    } finally {
      [this.#current, this.#effectiveId] = before;
    }
  }

  #fail(name: string, error: unknown): void {
    const isTrap =
      error instanceof HostTrap ||
      error instanceof RangeError ||
      (error as Error)?.constructor?.name === 'RuntimeError';
    if (!isTrap || error instanceof Crashed) throw error;
    this.failure = `Function: ${name} failed: Uncaught RuntimeError: ${(error as Error).message}`;
    this.process.world.logs.push({ vm: this.name, level: 'error', text: this.failure });
  }

  /** Refuses what the phase forbids, as the host does before it looks at a call. */
  checkPhase(name: string): void {
    this.hostCalls.set(name, (this.hostCalls.get(name) ?? 0) + 1);
    if (this.#phase === 'run') return;
    // A start section runs before Envoy has a context to answer from.
    if (this.#phase === 'instantiate') throw new Crashed(`${name} in the start section: Envoy ends with SIGSEGV`);
    if (!WASI_RIGHTS[this.#phase].has(name)) throw new HostTrap(`restricted_callback: ${name}`);
  }

  /** Bytes of the guest's memory; undefined where they are not inside it. */
  bytes(at: number, length: number): Uint8Array | undefined {
    const memory = this.memory;
    const start = at >>> 0;
    const size = length >>> 0;
    if (start + size <= memory.length) return memory.subarray(start, start + size);
    this.violations.push(`bytes ${start} to ${start + size} of ${memory.length}`);
    return undefined;
  }

  write(at: number, bytes: Uint8Array): boolean {
    const target = this.bytes(at, bytes.length);
    target?.set(bytes);
    return target !== undefined;
  }

  writeU32(at: number, value: number): boolean {
    return this.write(at, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }

  writeU64(at: number, value: bigint): boolean {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return this.write(at, bytes);
  }

  /** Asks the guest for room; 0 when it has none, or hands out what is outside its memory. */
  #allocated(length: number): number {
    this.entries.allocations++;
    this.entries.largest = Math.max(this.entries.largest, length);
    if (this.isAllocatorBroken) return 0;
    const phase = this.#phase;
    this.#phase = 'allocator';
    try {
      const at = (this.#allocate(length) ?? 0) >>> 0;
      return at !== 0 && this.bytes(at, length) !== undefined ? at : 0;
    } catch (error) {
      // The hook that asked goes on; later ones are not called any more.
      this.#fail('proxy_on_memory_allocate', error);
      return 0;
    } finally {
      this.#phase = phase;
    }
  }

  /** Hands bytes over; no bytes need no room. False: the guest gets InvalidMemoryAccess. */
  handOver(bytes: Uint8Array, outAt: number, outLength: number): boolean {
    const at = bytes.length === 0 ? 0 : this.#allocated(bytes.length);
    if (bytes.length > 0 && at === 0) return false;
    this.memory.set(bytes, at);
    return this.writeU32(outAt, at) && this.writeU32(outLength, bytes.length);
  }

  /** The context that host functions answer for. */
  context(): Context {
    return (
      (this.#effectiveId === 0 ? undefined : this.contexts.get(this.#effectiveId)) ?? this.#current ?? this.#vmContext
    );
  }

  setEffective(id: number): boolean {
    if (!this.contexts.has(id)) return false;
    this.#effectiveId = id;
    return true;
  }

  allocateContextId(): number {
    for (;;) {
      const id = this.nextContextId;
      this.nextContextId = (id + 1) >>> 0;
      if (id !== 0 && !this.contexts.has(id)) return id;
    }
  }

  /** Creates, starts and configures a root, or returns the one that the plugin has here. Throws Refused. */
  startRoot(plugin: Plugin): RootContext {
    const known = this.roots.get(pluginKey(plugin));
    if (known !== undefined) return known;
    const root = new RootContext(this.allocateContextId(), plugin);
    this.contexts.set(root.id, root);
    this.roots.set(root.key, root);
    this.call('on_context_create', root, 0);
    const steps = [
      ['on_vm_start', BUFFER.vmConfiguration, bytesOf(plugin.vmConfiguration ?? '')],
      ['on_configure', BUFFER.pluginConfiguration, bytesOf(plugin.configuration ?? '')],
    ] as const;
    for (const [hook, buffer, bytes] of steps) {
      root.configurations.set(buffer, bytes);
      const isAccepted = this.call(hook, root, bytes.length) !== 0;
      root.configurations.delete(buffer);
      if (this.failure !== undefined) throw new Refused(this.failure);
      if (!isAccepted) throw new Refused(`Failed to configure Wasm: ${hook} returned 0`);
    }
    return root;
  }

  /** Takes a root away: on_done, then on_delete at once or after proxy_done. */
  endRoot(root: RootContext): void {
    this.roots.delete(root.key);
    if (this.call('on_done', root) === 0) this.pendingDone.set(root.key, root);
    else this.#deleteRoot(root);
  }

  #deleteRoot(root: RootContext): void {
    this.call('on_delete', root);
    this.contexts.delete(root.id);
    root.tickDueMs = Number.POSITIVE_INFINITY;
    for (const call of root.calls.values()) this.process.upstreams.cancel(call);
    root.calls.clear();
  }

  /** proxy_done: the root may go, after the hook that says so has returned. */
  finish(root: RootContext | undefined): boolean {
    if (root === undefined || !this.pendingDone.delete(root.key)) return false;
    this.#afterCall.push(() => this.#deleteRoot(root));
    return true;
  }

  /** The VM goes, with everything in it. Its calls get no callback. */
  destroy(): void {
    // As seen at a SIGTERM: the newest root first.
    for (const root of [...this.roots.values()].reverse()) this.endRoot(root);
    this.vanish();
  }

  /** The VM goes without a word to the guest. */
  vanish(): void {
    this.isGone = true;
    for (const context of this.contexts.values())
      if (context instanceof RootContext)
        for (const call of context.calls.values()) this.process.upstreams.cancel(call);
  }

  /** Starts a call on the root's behalf; returns it, or undefined when the token could not be given. */
  startCall(root: RootContext, call: Pick<OutgoingCall, 'cluster' | 'headers' | 'body' | 'timeoutMs'>): OutgoingCall {
    const made: OutgoingCall = {
      ...call,
      token: this.#nextToken++,
      machine: this,
      rootId: root.id,
      sentMs: this.process.world.nowMs,
      state: 'pending',
      arrived: call.body,
    };
    root.calls.set(made.token, made);
    return made;
  }

  /** Runs the callback of a call on its root. */
  answerCall(call: OutgoingCall, answer: Answer): void {
    const root = this.contexts.get(call.rootId);
    if (root instanceof RootContext && root.calls.delete(call.token)) this.callBack(root, call.token, answer);
  }

  /** Runs a callback with any token: a host that answers twice, or a call that nobody made, is for tests of hostile hosts. */
  callBack(
    root: RootContext,
    token: number,
    { status, headers = [], body = new Uint8Array(0), trailers = [] }: Answer,
  ): void {
    const all: Pairs = status === undefined ? [] : [[':status', String(status)], ...headers];
    root.answer = { headers: all, body, trailers };
    this.call('on_http_call_response', root, token, all.length, body.length, trailers.length);
    root.answer = undefined;
  }

  setTickPeriod(root: RootContext, periodMs: number): void {
    root.tickPeriodMs = periodMs;
    root.tickDueMs = periodMs > 0 ? this.process.world.nowMs + periodMs : Number.POSITIVE_INFINITY;
  }

  /** Fires the timer of a root, which is armed again afterwards. */
  tick(root: RootContext): void {
    root.tickDueMs = Number.POSITIVE_INFINITY;
    this.call('on_tick', root);
    if (root.tickPeriodMs > 0 && this.contexts.has(root.id) && root.tickDueMs === Number.POSITIVE_INFINITY)
      root.tickDueMs = this.process.world.nowMs + root.tickPeriodMs;
  }

  /** Logs with the root's own id, as an access logger does. */
  accessLog(root: RootContext, facts: Facts, role: LoggerRole = 'http_logger', tls?: TlsState): void {
    root.facts = facts;
    root.role = role;
    root.tls = tls;
    root.isLogging = true;
    this.call('on_log', root);
    root.isLogging = false;
    root.tls = undefined;
    root.role = 'root';
    root.facts = {};
  }
}
