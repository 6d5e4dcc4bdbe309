// Both records of one exchange, the client's and the server's: found by their ids, who they are and when, whatever batches they came in.

import type { FilterRow } from '../core/attributes.ts';
import { Heap } from './heap.ts';

/** How far apart the clocks of two proxies may be, and the way to the server may take. */
export const TWIN_SLACK_NS = 1_000_000_000n;
/** An id that more servers have at once is none: it tells no exchange from another. */
export const TWIN_CANDIDATES_MAX = 256;

/** A record that may have a twin, and what was made of it. */
export interface Half<T> {
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly index: number;
  readonly row: number;
  readonly isClient: boolean;
  readonly ids: readonly string[];
  readonly source: string | undefined;
  readonly destination: string | undefined;
  readonly node: string | undefined;
  readonly method: string | undefined;
  readonly host: string | undefined;
  readonly what: T;
}

/** The half that a record is; undefined when it cannot have a twin, or has no id that tells. */
export function halfOf<T>(
  { record, startNs }: FilterRow,
  duration: bigint | undefined,
  place: { readonly index: number; readonly row: number },
  what: T,
): Half<T> | undefined {
  const { reporter, request, trace } = record;
  const isClient = reporter === 'source';
  if (!isClient && reporter !== 'destination') return undefined;
  if (record.record.kind !== 'http' || record.record.repeat === true) return undefined;
  const ids: string[] = [];
  if (request.id !== undefined) ids.push(`r${request.id}`);
  if (trace.id !== undefined && trace.span_id !== undefined) ids.push(`t${trace.id} ${trace.span_id}`);
  if (ids.length === 0) return undefined;
  const [source, destination] = [record.source.principal, record.destination.principal];
  const about = { source, destination, node: record.node.id, method: request.method, host: request.host };
  return { startNs, endNs: startNs + (duration ?? 0n), ...place, isClient, ids, ...about, what };
}

interface Server<T> {
  readonly half: Half<T>;
  /** No client that is yet to come can be its twin. */
  isLate: boolean;
}

export interface TwinsInput<T> {
  /** A client's record without a twin. */
  readonly alone: (client: T) => void;
  readonly paired: (client: T, server: T) => void;
}

/**
 * Pairs halves that come in by time, some before others: whoever calls says from time to time that nothing earlier than a time
 * will come. A client is decided when its last possible server has been seen; so the pairs depend on the records alone.
 */
export class Twins<T> {
  readonly #input: TwinsInput<T>;
  readonly #clients = new Heap<Half<T>>((a, b) => compareBig(a.endNs, b.endNs) || compareHalves(a, b));
  readonly #serversByTime = new Heap<Server<T>>((a, b) => compareHalves(a.half, b.half));
  /** Undefined of an id: too many have it. */
  readonly #servers = new Map<string, Server<T>[] | undefined>();
  /** The undecided clients that have an id. */
  readonly #clientsOf = new Map<string, Set<Half<T>>>();
  #pending = 0;

  constructor(input: TwinsInput<T>) {
    this.#input = input;
  }

  /** Halves that wait. */
  get pending(): number {
    return this.#pending;
  }

  add(half: Half<T>): void {
    this.#pending++;
    if (half.isClient) {
      this.#clients.push(half);
      for (const id of half.ids) {
        const clients = this.#clientsOf.get(id) ?? new Set();
        this.#clientsOf.set(id, clients.add(half));
      }
      return;
    }
    const server: Server<T> = { half, isLate: false };
    this.#serversByTime.push(server);
    for (const id of half.ids) {
      if (!this.#servers.has(id)) this.#servers.set(id, [server]);
      else {
        const others = this.#servers.get(id);
        if (others === undefined) continue;
        if (others.length < TWIN_CANDIDATES_MAX) others.push(server);
        else this.#servers.set(id, undefined);
      }
    }
  }

  /** Decides what can be decided: nothing that starts before this time will come. */
  advance(beforeNs: bigint): void {
    for (let client = this.#clients.first(); client !== undefined; client = this.#clients.first()) {
      // Until then not only its servers are known, but also whose else they could be.
      if (client.endNs + 2n * TWIN_SLACK_NS >= beforeNs) break;
      this.#clients.pop();
      this.#decide(client);
    }
    for (let server = this.#serversByTime.first(); server !== undefined; server = this.#serversByTime.first()) {
      if (server.half.startNs + TWIN_SLACK_NS >= beforeNs) break;
      this.#serversByTime.pop();
      this.#pending--;
      server.isLate = true;
      for (const id of server.half.ids) if (!this.#clientsOf.has(id)) this.#remove(id, server);
    }
  }

  /** Decides everything: nothing more comes. */
  finish(): void {
    for (let client = this.#clients.pop(); client !== undefined; client = this.#clients.pop()) this.#decide(client);
  }

  #decide(client: Half<T>): void {
    this.#pending--;
    const server = this.#serverOf(client);
    if (server === undefined) this.#input.alone(client.what);
    else {
      for (const id of server.half.ids) this.#remove(id, server);
      this.#input.paired(client.what, server.half.what);
    }
    for (const id of client.ids) {
      const clients = this.#clientsOf.get(id);
      clients?.delete(client);
      if ((clients?.size ?? 0) > 0) continue;
      this.#clientsOf.delete(id);
      for (const late of this.#servers.get(id)?.filter(({ isLate }) => isLate) ?? []) this.#remove(id, late);
    }
  }

  /** The surest server, then the one that began nearest to the client, by its request id rather than its trace. */
  #serverOf(client: Half<T>): Server<T> | undefined {
    for (const grade of [SURE, POSSIBLE])
      for (const id of client.ids) {
        let best: Server<T> | undefined;
        for (const server of this.#servers.get(id) ?? []) {
          if (gradeOf(client, server.half) !== grade || (grade === POSSIBLE && this.#isAnothers(server.half))) continue;
          if (best === undefined || isNearer(client, server.half, best.half)) best = server;
        }
        if (best !== undefined) return best;
      }
    return undefined;
  }

  /** Whether a client that is not yet decided is surely the server's. */
  #isAnothers(server: Half<T>): boolean {
    return server.ids.some((id) => {
      const clients = this.#clientsOf.get(id);
      // Where so many have an id, nobody looks through them.
      if (clients === undefined || clients.size > TWIN_CANDIDATES_MAX) return clients !== undefined;
      return [...clients].some((client) => gradeOf(client, server) === SURE);
    });
  }

  #remove(id: string, server: Server<T>): void {
    const servers = this.#servers.get(id);
    if (servers === undefined) return;
    const at = servers.indexOf(server);
    if (at >= 0) servers.splice(at, 1);
    if (servers.length === 0) this.#servers.delete(id);
  }
}

const SURE = 2;
const POSSIBLE = 1;

/** How sure it is that both are of one exchange: a request id stays the same from call to call, so that it alone says little. */
function gradeOf(client: Half<unknown>, server: Half<unknown>): 0 | typeof POSSIBLE | typeof SURE {
  if (server.startNs < client.startNs - TWIN_SLACK_NS || server.startNs > client.endNs + TWIN_SLACK_NS) return 0;
  if (differ(client.method, server.method)) return 0;
  if (differ(client.source, server.source) || differ(client.destination, server.destination)) return 0;
  const isSame = (a: string | undefined, b: string | undefined): boolean => a !== undefined && a === b;
  if (isSame(client.source, server.source) || isSame(client.destination, server.destination)) return SURE;
  // The call that a service received is none of those that it made.
  if (isSame(client.node, server.node)) return 0;
  const isKnown = [client, server].some(({ source, destination }) => (source ?? destination) !== undefined);
  const isOtherHost = differ(client.host, server.host);
  if (isKnown) return isOtherHost ? 0 : POSSIBLE;
  return isOtherHost ? POSSIBLE : SURE;
}

/** What one side cannot tell is no contradiction. */
function differ(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a !== b;
}

function isNearer(client: Half<unknown>, a: Half<unknown>, b: Half<unknown>): boolean {
  const distance = ({ startNs }: Half<unknown>): bigint =>
    startNs < client.startNs ? client.startNs - startNs : startNs - client.startNs;
  return (compareBig(distance(a), distance(b)) || compareHalves(a, b)) < 0;
}

function compareHalves(a: Half<unknown>, b: Half<unknown>): number {
  return compareBig(a.startNs, b.startNs) || a.index - b.index || a.row - b.row;
}

function compareBig(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
