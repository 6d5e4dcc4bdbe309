// Frames of a replay: what went over each edge of the service graph in a second, and in ten.

import { timeText } from '../core/codec/text.ts';
import type { FlowRecord, Peer } from '../core/record.ts';

/** Edges that a frame lists; what goes over more of them is summed up. */
export const EDGES_OF_FRAME_MAX = 5000;
export const WIDTHS = { '1s': 1_000_000_000n, '10s': 10_000_000_000n } as const;
export type Width = keyof typeof WIDTHS;

interface Counts {
  exchanges: number;
  connections: number;
  denied: number;
  failed: number;
  /** Exchanges that ended with 5xx. */
  errors: number;
  request_bytes: number;
  response_bytes: number;
}

interface Edge extends Counts {
  readonly source: Pick<Peer, 'principal' | 'namespace' | 'workload'>;
  readonly destination: Pick<Peer, 'principal' | 'namespace' | 'workload'>;
  /** Both sides record an exchange: counts of one reporter add up, those of several do not. */
  readonly reporter: FlowRecord['reporter'];
}

const zero = (): Counts => ({
  ...{ exchanges: 0, connections: 0, denied: 0, failed: 0, errors: 0 },
  ...{ request_bytes: 0, response_bytes: 0 },
});

const nameOf = ({ principal, namespace, workload }: Peer): Edge['source'] => ({
  ...(principal === undefined ? {} : { principal }),
  ...(namespace === undefined ? {} : { namespace }),
  ...(workload === undefined ? {} : { workload }),
});

export class Frame {
  readonly width: Width;
  readonly sinceNs: bigint;
  readonly endNs: bigint;
  readonly #edges = new Map<string, Edge>();
  readonly #others = zero();
  #records = 0;
  #hasOthers = false;

  /** The frame that an instant is in. */
  constructor(width: Width, atNs: bigint) {
    this.width = width;
    this.sinceNs = atNs - (atNs % WIDTHS[width]);
    this.endNs = this.sinceNs + WIDTHS[width];
  }

  get isEmpty(): boolean {
    return this.#records === 0;
  }

  add(record: FlowRecord): void {
    this.#records++;
    // What goes on is counted at its end, what another record counts not at all.
    if (record.record.phase !== 'end' || record.record.repeat === true) return;
    const edge = this.#edge(record);
    if (record.record.kind === 'http') edge.exchanges++;
    else edge.connections++;
    if (record.verdict === 'denied') edge.denied++;
    if (['failed', 'reset', 'invalid', 'unrouted'].includes(record.verdict)) edge.failed++;
    if ((record.response.code ?? 0) >= 500) edge.errors++;
    edge.request_bytes += record.request.total_size ?? 0;
    edge.response_bytes += record.response.total_size ?? 0;
  }

  #edge({ source, destination, reporter }: FlowRecord): Counts {
    const [from, to] = [nameOf(source), nameOf(destination)];
    const key = JSON.stringify([from, to, reporter]);
    const known = this.#edges.get(key);
    if (known !== undefined) return known;
    if (this.#edges.size >= EDGES_OF_FRAME_MAX) {
      this.#hasOthers = true;
      return this.#others;
    }
    const edge: Edge = { source: from, destination: to, reporter, ...zero() };
    this.#edges.set(key, edge);
    return edge;
  }

  json(size: number, untilNs: bigint): string {
    return JSON.stringify({
      width: this.width,
      since: timeText(this.sinceNs),
      until: timeText(this.endNs < untilNs ? this.endNs : untilNs),
      asOf: { size },
      records: this.#records,
      edges: [...this.#edges.values()],
      ...(this.#hasOthers ? { others: this.#others } : {}),
    });
  }
}
