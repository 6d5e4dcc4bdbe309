// One plugin's context of one HTTP stream or connection, the hooks that run on it, and what a trap does to it.

import { Context, type Facts } from './contexts.ts';
import type { Envoy } from './envoy.ts';
import type { Seat, Use } from './shared-vm.ts';
import type { Role, TlsState } from './views.ts';

export interface StreamOptions {
  /** 0 is the main thread, which no traffic reaches. */
  readonly thread?: number;
  /** What Envoy knows already; `update` tells what it learns later. */
  readonly facts?: Facts;
  /** The connection's TLS side, when roles share it. */
  readonly tls?: TlsState | undefined;
}

abstract class Stream {
  /** Envoy ended it because of the VM: an HTTP request with a 503, a connection or an upgraded stream by closing it. */
  isFailed: boolean;
  /** Undefined where a dead VM lets it pass, or refuses it. */
  protected readonly seat: Seat | undefined;
  protected context: Context | undefined;
  readonly #role: Role;
  readonly #tls: TlsState | undefined;
  readonly #envoy: Envoy;
  readonly #use: Use;

  constructor(envoy: Envoy, use: Use, role: Role, { thread = 1, tls }: StreamOptions) {
    this.#role = role;
    this.#tls = tls;
    this.#envoy = envoy;
    this.#use = use;
    const seat = envoy.enter(use, thread);
    this.isFailed = seat === 'refused';
    this.seat = typeof seat === 'object' ? seat : undefined;
    if (this.seat !== undefined) this.seat.root.liveStreams++;
  }

  get contextId(): number | undefined {
    return this.context?.id;
  }

  /** What a hook reads from now on that makes the live stream its effective context. */
  update(facts: Facts): this {
    if (this.context !== undefined) this.context.facts = facts;
    return this;
  }

  /** Something reaches the filter. A dead VM ends its live streams there, whatever the policy but the older `fail_open: true`. */
  protected call(hook: string, ...args: number[]): void {
    if (this.seat === undefined || this.context === undefined) return;
    this.seat.machine.call(hook, this.context, ...args);
    if (this.seat.machine.failure !== undefined && this.#use.plugin.failurePolicy !== 'fail_open: true')
      this.isFailed = true;
  }

  /** Makes the context, as when the first bytes reach the filter. */
  protected create(facts: Facts): void {
    if (this.seat === undefined) return;
    const { machine, root } = this.seat;
    const context = new Context(machine.allocateContextId(), root);
    context.facts = facts;
    context.role = this.#role;
    context.tls = this.#tls;
    machine.contexts.set(context.id, context);
    this.context = context;
    machine.call('on_context_create', context, root.id);
  }

  /** The end itself harms nothing: Envoy is done with the stream. */
  protected callAtEnd(hook: 'on_log' | 'on_done'): void {
    if (this.context !== undefined) this.seat?.machine.call(hook, this.context);
  }

  protected callLog(facts: Facts): void {
    if (this.context === undefined) return;
    this.context.facts = facts;
    this.context.isLogging = true;
    this.callAtEnd('on_log');
    this.context.isLogging = false;
  }

  protected delete(): void {
    const { context, seat } = this;
    if (context === undefined || seat === undefined) return;
    seat.machine.call('on_delete', context);
    seat.machine.contexts.delete(context.id);
    this.context = undefined;
    seat.root.liveStreams--;
    this.#envoy.settle(seat.machine, seat.root, this.#use.vmKey);
  }
}

/** An HTTP stream at an HTTP filter: create, headers, log, done, delete. */
export class HttpStream extends Stream {
  #isOver = false;

  constructor(envoy: Envoy, use: Use, options: StreamOptions = {}) {
    super(envoy, use, 'http', options);
  }

  /** The request's headers reach the filter. Streams that end before (codec errors) get their context only for the log. */
  begin(facts: Facts = {}): this {
    this.create(facts);
    this.call('on_request_headers', facts.requestHeaders?.length ?? 0, 1);
    return this;
  }

  /** Bytes of a body, or of an upgraded stream such as a WebSocket. */
  data(side: 'request' | 'response', bytes: number): void {
    this.call(`on_${side}_body`, bytes, 0);
  }

  /** The exchange is over. */
  end(facts: Facts): void {
    this.log(facts);
    this.finish();
  }

  /** First half of the end: access loggers log between the two. */
  log(facts: Facts): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.context === undefined) this.create(facts);
    if (facts.responseHeaders !== undefined) this.call('on_response_headers', facts.responseHeaders.length, 1);
    this.callLog(facts);
  }

  finish(): void {
    this.callAtEnd('on_done');
    this.delete();
  }
}

/** A connection at a network filter: create, new connection, data, closes, done, log, delete. */
export class TcpConnection extends Stream {
  #hasUpstreamEnded = false;

  constructor(envoy: Envoy, use: Use, options: StreamOptions = {}) {
    super(envoy, use, 'network', options);
    // Before the TLS handshake.
    this.create(options.facts ?? {});
    this.call('on_new_connection');
  }

  data(side: 'downstream' | 'upstream', bytes: number, isEnd = false): void {
    this.call(`on_${side}_data`, bytes, isEnd ? 1 : 0);
    if (isEnd && side === 'upstream') this.#hasUpstreamEnded = true;
  }

  /** 1: closed here, 2: by the peer. */
  close(by: 1 | 2, facts: Facts): void {
    const { context, seat } = this;
    if (context === undefined || seat === undefined) return;
    // Only a write that ends the stream tells of the upstream's close, and not by whom.
    if (this.#hasUpstreamEnded) seat.machine.call('on_upstream_connection_close', context, 0);
    seat.machine.call('on_downstream_connection_close', context, by);
    this.callAtEnd('on_done');
    this.callLog(facts);
    this.delete();
  }
}
