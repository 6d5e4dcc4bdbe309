// Which proxies live, by what they send: each life of a proxy has its streams, and promises a sign of life now and then.

import { toHex } from '../core/bytes.ts';
import type { BatchEntry } from '../core/codec/entry.ts';
import type { Stream } from './stream.ts';

/** A proxy that lives gives a sign of life every interval; after so many without one it is silent. */
const ALIVE_INTERVALS_MAX = 3;
/** VMs of one life that may be named without ever having sent a batch: a proxy's own table of them has no more places. */
const UNHEARD_MAX = 64;
/** A silence that nobody ended in this time is no news any more. */
const SILENCE_NEWS_MS = 24 * 3_600_000;

/** One life of a proxy. */
export class ProxyState {
  /** Names this life, and the proxy whose life it is. */
  readonly key: string;
  readonly proxyKey: string;
  readonly node: string | undefined;
  /** Unix ns; undefined where its VMs have no shared data: then each stream is a life of its own. */
  readonly sinceNs: bigint | undefined;
  readonly streams = new Set<Stream>();
  /** Of these, the ones that did not say that they end. */
  readonly unended = new Set<Stream>();
  /** Of these, the ones that another VM named as dead. */
  readonly named = new Set<Stream>();
  lastHeardMs: number;
  aliveIntervalMs = 0;
  vmsKnown = 0;
  vmsAlive = 0;
  isSilent = false;
  /** A later life of the same proxy that began when this one was heard no more. */
  successor: ProxyState | undefined;

  constructor(key: string, stream: Stream, sinceNs: bigint | undefined, ms: number) {
    this.key = key;
    // Who gives no name cannot be known again.
    this.proxyKey = stream.node === undefined ? key : proxyKeyOf(stream);
    this.node = stream.node;
    this.sinceNs = sinceNs;
    this.lastHeardMs = ms;
  }

  get isOver(): boolean {
    return this.isSilent || this.successor !== undefined;
  }

  /** Whether it has a stream that did not say that it ends, and is not known to be dead. */
  get hasOpen(): boolean {
    for (const { silence } of this.unended) if (silence === undefined) return true;
    return false;
  }
}

export interface ProxyEvents {
  /** A VM was named as dead by another VM of its proxy. */
  vmSilent(stream: Stream, proxy: ProxyState): void;
  /** A proxy gave no sign of life for too long. */
  proxySilent(proxy: ProxyState): void;
  /** A proxy that was silent is heard again. */
  proxyHeard(proxy: ProxyState): void;
}

/** Where streams are found and made by their names. */
export interface StreamTable {
  get(name: string): Stream | undefined;
  make(name: string): Stream;
  drop(stream: Stream): void;
}

const NOBODY: ProxyEvents = { vmSilent() {}, proxySilent() {}, proxyHeard() {} };

export class Proxies {
  /** Told of what happens from now on; nobody, while the past is read. */
  events: ProxyEvents = NOBODY;
  readonly #lives = new Map<string, ProxyState>();
  /** Lives that can fall silent. */
  readonly #watched = new Set<ProxyState>();
  /** Lives of each proxy that have no later one. */
  readonly #newest = new Map<string, Set<ProxyState>>();
  /** Nobody was listening before this. */
  #listeningMs = 0;

  /** From this moment on a proxy has its full time to be heard. */
  listenFrom(ms: number): void {
    this.#listeningMs = ms;
  }

  /** Takes what a batch says of its proxy; `isNewest` of its stream. */
  heard(stream: Stream, entry: BatchEntry, isNewest: boolean, streams: StreamTable): void {
    const { life, receivedMs } = entry;
    if (life === undefined) return;
    const proxy = this.#lifeOf(stream, life.proxySinceWallNs, receivedMs, isNewest);
    this.#join(stream, proxy);
    proxy.lastHeardMs = Math.max(proxy.lastHeardMs, receivedMs);
    proxy.aliveIntervalMs = life.aliveIntervalMs;
    proxy.vmsKnown = life.vmsKnown;
    proxy.vmsAlive = life.vmsAlive;
    if (proxy.isOver) {
      if (proxy.isSilent && proxy.successor === undefined) this.events.proxyHeard(proxy);
      [proxy.isSilent, proxy.successor] = [false, undefined];
      this.#siblings(proxy).add(proxy);
    }
    if (life.silentStream !== undefined) this.#named(toHex(life.silentStream), stream, proxy, entry, streams);
    else if (isNewest && life.vmsKnown > 0 && life.vmsAlive === life.vmsKnown)
      this.#allTick(stream, proxy, entry, streams);
    if (proxy.unended.size > 0) this.#watched.add(proxy);
    else this.#watched.delete(proxy);
  }

  /** A batch that was sealed before its VM's first tick does not know since when the proxy lives. */
  #lifeOf(stream: Stream, sinceNs: bigint | undefined, ms: number, isNewest: boolean): ProxyState {
    const { proxy: before } = stream;
    if (before !== undefined && stream.batches > 1)
      if (sinceNs === undefined || sinceNs === before.sinceNs || !isNewest) return before;
    const key = sinceNs === undefined ? `stream ${stream.name}` : `${sinceNs} ${proxyKeyOf(stream)}`;
    const known = this.#lives.get(key);
    if (known !== undefined) return known;
    const proxy = new ProxyState(key, stream, sinceNs, ms);
    this.#lives.set(key, proxy);
    if (sinceNs === undefined) return proxy;
    const siblings = this.#siblings(proxy);
    for (const other of siblings) {
      if (other.sinceNs === undefined || other.sinceNs >= sinceNs) continue;
      other.successor = proxy;
      siblings.delete(other);
      this.#watched.delete(other);
    }
    siblings.add(proxy);
    return proxy;
  }

  #siblings({ proxyKey }: ProxyState): Set<ProxyState> {
    const known = this.#newest.get(proxyKey) ?? new Set();
    this.#newest.set(proxyKey, known);
    return known;
  }

  #join(stream: Stream, proxy: ProxyState): void {
    if (stream.proxy !== proxy) {
      this.leave(stream);
      stream.proxy = proxy;
      proxy.streams.add(stream);
      // One text for all of them: there are many streams.
      if (stream.node === proxy.node) stream.node = proxy.node;
    }
    if (stream.hasFin) proxy.unended.delete(stream);
    else proxy.unended.add(stream);
  }

  /** Forgets a stream, and its proxy's life with the last one. */
  leave(stream: Stream): void {
    const { proxy } = stream;
    if (proxy === undefined) return;
    proxy.streams.delete(stream);
    proxy.unended.delete(stream);
    proxy.named.delete(stream);
    stream.proxy = undefined;
    if (proxy.unended.size === 0) this.#watched.delete(proxy);
    if (proxy.streams.size > 0) return;
    this.#lives.delete(proxy.key);
    const siblings = this.#newest.get(proxy.proxyKey);
    siblings?.delete(proxy);
    if (siblings?.size === 0) this.#newest.delete(proxy.proxyKey);
  }

  /** Only another VM of the same proxy is believed. */
  #named(name: string, by: Stream, proxy: ProxyState, { clock }: BatchEntry, streams: StreamTable): void {
    if (name === by.name || proxy.sinceNs === undefined) return;
    const stream = streams.get(name) ?? this.#unheard(name, by, proxy, streams);
    if (stream?.proxy !== proxy || !stream.giveUp(by.name, clock)) return;
    proxy.named.add(stream);
    this.events.vmSilent(stream, proxy);
  }

  /** Who was named and ticks again was only held up, and may have nothing to say for a long time. */
  #allTick(by: Stream, proxy: ProxyState, { clock }: BatchEntry, streams: StreamTable): void {
    for (const stream of proxy.named) {
      if (stream.silence !== undefined && !stream.comeBack(by.name, clock)) continue;
      proxy.named.delete(stream);
      // It never sent anything, so it will not say that it ends either.
      if (stream.batches === 0) streams.drop(stream);
    }
  }

  /** A VM that never sent a batch, and of which another one tells. */
  #unheard(name: string, by: Stream, proxy: ProxyState, streams: StreamTable): Stream | undefined {
    let count = 0;
    for (const { batches } of proxy.unended) if (batches === 0) count++;
    if (count >= UNHEARD_MAX) return undefined;
    const stream = streams.make(name);
    [stream.node, stream.nodeCluster, stream.meshCluster] = [by.node, by.nodeCluster, by.meshCluster];
    this.#join(stream, proxy);
    return stream;
  }

  /** Finds the proxies that are silent, where everything that came before `ms` is known. */
  judge(ms: number): void {
    for (const proxy of this.#watched) {
      const sinceMs = Math.max(proxy.lastHeardMs, this.#listeningMs);
      if (proxy.aliveIntervalMs === 0 || ms - sinceMs <= ALIVE_INTERVALS_MAX * proxy.aliveIntervalMs) continue;
      this.#watched.delete(proxy);
      proxy.isSilent = true;
      proxy.successor = this.#laterThan(proxy);
      // When its next life has begun, or all that is left are VMs that were named already, it is no news.
      if (proxy.successor === undefined && proxy.hasOpen) this.events.proxySilent(proxy);
    }
  }

  #laterThan(proxy: ProxyState): ProxyState | undefined {
    const { sinceNs } = proxy;
    if (sinceNs === undefined) return undefined;
    for (const other of this.#siblings(proxy)) if (other.sinceNs !== undefined && other.sinceNs > sinceNs) return other;
    return undefined;
  }

  /** Tells again what was found while nobody was told, and holds still. */
  tellSilentVms(): void {
    for (const proxy of this.#lives.values())
      for (const stream of proxy.streams) if (stream.condition === 'silent') this.events.vmSilent(stream, proxy);
  }

  /** Proxies that fell silent lately and have no later life. */
  silentCount(ms: number): number {
    let count = 0;
    for (const proxy of this.#lives.values()) {
      const { isSilent, successor, hasOpen, lastHeardMs } = proxy;
      if (isSilent && successor === undefined && hasOpen && ms - lastHeardMs < SILENCE_NEWS_MS) count++;
    }
    return count;
  }
}

function proxyKeyOf({ node, meshCluster }: Stream): string {
  return JSON.stringify([node ?? null, meshCluster ?? null]);
}
