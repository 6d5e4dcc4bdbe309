// One plugin's context of one HTTP stream or connection, and the hooks that run on it.

import { Context, type Facts, type RootContext } from './contexts.ts';
import type { Envoy, Use } from './envoy.ts';
import type { Machine } from './machine.ts';
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
  protected readonly machine: Machine;
  protected readonly root: RootContext;
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
    this.machine = envoy.machine(use, thread);
    this.root = envoy.root(use, thread);
    this.root.liveStreams++;
  }

  get contextId(): number | undefined {
    return this.context?.id;
  }

  /** What a hook reads from now on that makes the live stream its effective context. */
  update(facts: Facts): this {
    if (this.context !== undefined) this.context.facts = facts;
    return this;
  }

  /** Makes the context, as when the first bytes reach the filter. */
  protected create(facts: Facts): Context {
    const context = new Context(this.machine.allocateContextId(), this.root);
    context.facts = facts;
    context.role = this.#role;
    context.tls = this.#tls;
    this.machine.contexts.set(context.id, context);
    this.context = context;
    this.machine.call('on_context_create', context, this.root.id);
    return context;
  }

  protected callLog(context: Context, facts: Facts): void {
    context.facts = facts;
    context.isLogging = true;
    this.machine.call('on_log', context);
    context.isLogging = false;
  }

  protected delete(context: Context): void {
    this.machine.call('on_delete', context);
    this.machine.contexts.delete(context.id);
    this.context = undefined;
    this.root.liveStreams--;
    this.#envoy.settle(this.machine, this.root, this.#use.vmKey);
  }
}

/** An HTTP stream at an HTTP filter: create, headers, log, done, delete. */
export class HttpStream extends Stream {
  constructor(envoy: Envoy, use: Use, options: StreamOptions = {}) {
    super(envoy, use, 'http', options);
  }

  /** The request's headers reach the filter. Streams that end before (codec errors) get their context only for the log. */
  begin(facts: Facts = {}): this {
    const context = this.create(facts);
    this.machine.call('on_request_headers', context, facts.requestHeaders?.length ?? 0, 1);
    return this;
  }

  /** The exchange is over. */
  end(facts: Facts): void {
    this.log(facts);
    this.finish();
  }

  /** First half of the end: access loggers log between the two. */
  log(facts: Facts): void {
    const context = this.context ?? this.create(facts);
    if (facts.responseHeaders !== undefined)
      this.machine.call('on_response_headers', context, facts.responseHeaders.length, 1);
    this.callLog(context, facts);
  }

  finish(): void {
    const { context } = this;
    if (context === undefined) return;
    this.machine.call('on_done', context);
    this.delete(context);
  }
}

/** A connection at a network filter: create, new connection, data, closes, done, log, delete. */
export class TcpConnection extends Stream {
  #hasUpstreamEnded = false;

  constructor(envoy: Envoy, use: Use, options: StreamOptions = {}) {
    super(envoy, use, 'network', options);
    // Before the TLS handshake.
    this.machine.call('on_new_connection', this.create(options.facts ?? {}));
  }

  data(side: 'downstream' | 'upstream', bytes: number, isEnd = false): void {
    if (this.context === undefined) return;
    this.machine.call(`on_${side}_data`, this.context, bytes, isEnd ? 1 : 0);
    if (isEnd && side === 'upstream') this.#hasUpstreamEnded = true;
  }

  /** 1: closed here, 2: by the peer. */
  close(by: 1 | 2, facts: Facts): void {
    const { context } = this;
    if (context === undefined) return;
    // Only a write that ends the stream tells of the upstream's close, and not by whom.
    if (this.#hasUpstreamEnded) this.machine.call('on_upstream_connection_close', context, 0);
    this.machine.call('on_downstream_connection_close', context, by);
    this.machine.call('on_done', context);
    this.callLog(context, facts);
    this.delete(context);
  }
}
