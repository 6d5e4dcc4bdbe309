// A listener with plugins in every role, and its connections: which role hears of what, and in which order.

import type { Facts } from './contexts.ts';
import type { Envoy, Use } from './envoy.ts';
import { HttpStream, type TcpConnection } from './streams.ts';
import { TlsState } from './views.ts';

/** Plugins by the place where they stand. */
export interface Chain {
  readonly network?: readonly Use[];
  readonly http?: readonly Use[];
  readonly httpLoggers?: readonly Use[];
  readonly tcpLoggers?: readonly Use[];
  readonly listenerLoggers?: readonly Use[];
}

export class Listener {
  readonly envoy: Envoy;
  /** A test may replace it: what is open keeps its network filters, and what follows has the new plugins. */
  chain: Chain;

  constructor(envoy: Envoy, chain: Chain) {
    this.envoy = envoy;
    this.chain = chain;
  }

  /** A connection is accepted. With `isHandshakeOver` false it waits for its TLS handshake until `handshake` is called. */
  connect(facts: Facts = {}, thread = 1, isHandshakeOver = true): Connection {
    return new Connection(this, facts, thread, isHandshakeOver);
  }

  /** A connection that matches no filter chain: only the listener's loggers hear of it. */
  matchNothing(facts: Facts, thread = 1): void {
    for (const use of this.chain.listenerLoggers ?? [])
      this.envoy.accessLog(use, facts, 'listener_logger', thread, new TlsState());
  }
}

export class Connection {
  readonly thread: number;
  readonly tls = new TlsState();
  readonly #listener: Listener;
  readonly #networks: readonly TcpConnection[];
  readonly #open = new Set<Exchange>();

  constructor(listener: Listener, facts: Facts, thread: number, isHandshakeOver: boolean) {
    this.#listener = listener;
    this.thread = thread;
    this.tls.isHandshakeOver = false;
    const { envoy, chain } = listener;
    const options = { thread, facts, tls: this.tls };
    this.#networks = (chain.network ?? []).map((use) => envoy.openConnection(use, options));
    this.tls.isHandshakeOver = isHandshakeOver;
  }

  /** Contexts of the network filters, in the order of the chain. */
  get contextIds(): (number | undefined)[] {
    return this.#networks.map(({ contextId }) => contextId);
  }

  /** Envoy closed it because of a dead VM. */
  get isFailed(): boolean {
    return this.#networks.some(({ isFailed }) => isFailed);
  }

  handshake(): void {
    this.tls.isHandshakeOver = true;
  }

  /** What the live connection shows from now on. */
  update(facts: Facts): void {
    for (const network of this.#networks) network.update(facts);
  }

  data(side: 'downstream' | 'upstream', bytes: number, isEnd = false): void {
    for (const network of this.#networks) network.data(side, bytes, isEnd);
  }

  /** A request's headers arrive. */
  request(facts: Facts = {}): Exchange {
    const exchange = this.#exchange();
    this.#open.add(exchange.begin(facts));
    return exchange;
  }

  /** What the codec refuses gets its contexts only for the log. */
  codecError(facts: Facts): void {
    this.#exchange().end(facts);
  }

  #exchange(): Exchange {
    const { envoy, chain } = this.#listener;
    return new Exchange(envoy, chain, this, (ended) => this.#open.delete(ended));
  }

  /**
   * The connection ends; exchanges that are open end with it, after the network filters. `unfinished`: a request that never was whole,
   * which only the connection manager's loggers tell of.
   */
  close(by: 1 | 2, facts: Facts, ends: { readonly open?: Facts; readonly unfinished?: Facts } = {}): void {
    const { chain } = this.#listener;
    this.tls.isHandshakeOver = true;
    for (const network of this.#networks) network.close(by, facts);
    for (const exchange of [...this.#open]) exchange.end(ends.open ?? {});
    if (ends.unfinished !== undefined) this.log(chain.httpLoggers, ends.unfinished, 'http_logger');
    this.log(chain.listenerLoggers, facts, 'listener_logger');
    this.log(chain.tcpLoggers, facts, 'tcp_logger');
  }

  log(uses: readonly Use[] | undefined, facts: Facts, role: 'http_logger' | 'tcp_logger' | 'listener_logger'): void {
    for (const use of uses ?? []) this.#listener.envoy.accessLog(use, facts, role, this.thread, this.tls);
  }
}

/** One HTTP exchange on a connection, at every HTTP filter and logger. */
export class Exchange {
  readonly #streams: readonly HttpStream[];
  readonly #chain: Chain;
  readonly #connection: Connection;
  readonly #onEnd: (exchange: Exchange) => void;

  constructor(envoy: Envoy, chain: Chain, connection: Connection, onEnd: (exchange: Exchange) => void) {
    this.#chain = chain;
    this.#connection = connection;
    this.#onEnd = onEnd;
    const options = { thread: connection.thread, tls: connection.tls };
    this.#streams = (chain.http ?? []).map((use) => new HttpStream(envoy, use, options));
  }

  /** Contexts of the HTTP filters, in the order of the chain. */
  get contextIds(): (number | undefined)[] {
    return this.#streams.map(({ contextId }) => contextId);
  }

  /** Envoy ended it, because of a dead VM, with a 503 or by a reset. */
  get isFailed(): boolean {
    return this.#streams.some(({ isFailed }) => isFailed);
  }

  begin(facts: Facts): this {
    for (const stream of this.#streams) stream.begin(facts);
    return this;
  }

  /** What the live exchange shows from now on. */
  update(facts: Facts): void {
    for (const stream of this.#streams) stream.update(facts);
  }

  /** Bytes of a body, or of an upgraded stream such as a WebSocket. */
  data(side: 'request' | 'response', bytes: number): void {
    for (const stream of this.#streams) stream.data(side, bytes);
  }

  /** The filters log, then the loggers, and only then are the filters' contexts done and gone. */
  end(facts: Facts): void {
    this.#onEnd(this);
    for (const stream of this.#streams) stream.log(facts);
    this.#connection.log(this.#chain.httpLoggers, facts, 'http_logger');
    for (const stream of this.#streams) stream.finish();
  }
}
