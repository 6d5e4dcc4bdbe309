// The demo's ground truth: what the services themselves saw, independent of every proxy and of the recorder.
//
// What is counted, and which records must exist for it, without tolerance:
// - `sent` of a service: requests that it handed to the outbound listener of its sidecar, whatever became of them (answered,
//   refused by a policy on the other side, failed, cut off). Each is one record of that sidecar with reporter `source`.
// - `received` of a service: requests that arrived at the service itself. Each is one record of its sidecar with reporter
//   `destination` and another verdict than `denied`.
// - A request that a policy refused never arrives: only its caller counts it, as an exchange with verdict `denied`. Each is one
//   record of the callee's sidecar with reporter `destination` and verdict `denied` (the caller's own sidecar saw a 403 come back
//   and records it as `allowed`: it refused nothing).
// - A request whose upstream cannot be reached ends in the caller's sidecar: one record there, none on the other side.
// - Requests of the visitor enter through the ingress: one record of the ingress with reporter `gateway`, one of frontend's sidecar.
// - A host outside the mesh has no sidecar: one record of the caller's.

import { writeFileSync } from 'node:fs';
import { INGRESS, SERVICES } from './policies.ts';

/** Steps of the incident, in order. */
export const INCIDENT_STEPS = ['probe', 'find', 'read', 'exfiltrate'] as const;
export type IncidentStep = (typeof INCIDENT_STEPS)[number];

/** How an exchange ended. `allowed` says only that nobody refused it: a 404 is allowed. */
export type TruthVerdict = 'allowed' | 'denied' | 'failed' | 'reset';

/** One request, as its sender saw it. */
export interface Exchange {
  /** When it was sent: RFC 3339, UTC, the sender's clock. */
  readonly at: string;
  readonly source: string;
  /** A service of the mesh by its name, or a host. */
  readonly destination: string;
  readonly method: string;
  readonly path: string;
  /** null: no answer came before the sender hung up. */
  readonly status: number | null;
  readonly verdict: TruthVerdict;
  readonly incident_step: IncidentStep | null;
  /** From the `traceparent` that was sent; null when none was. */
  readonly trace_id: string | null;
  readonly span_id: string | null;
}

export interface ServiceCounts {
  readonly sent: number;
  readonly received: number;
}

/** What is written to `truth.json`. */
export interface Truth {
  readonly seed: number;
  readonly exchanges: readonly Exchange[];
  /** The services that have a sidecar. */
  readonly services: Readonly<Record<string, ServiceCounts>>;
  /** Who sends or receives without a sidecar: the visitor and hosts outside. */
  readonly outside: Readonly<Record<string, ServiceCounts>>;
}

/** What is known of a request when it is sent. */
export type OpenExchange = Pick<Exchange, 'source' | 'destination' | 'method' | 'path' | 'trace_id' | 'span_id'> & {
  readonly step: IncidentStep | null;
};

/** Counts while the demo runs. */
export class Ledger {
  private readonly counts = new Map<string, { sent: number; received: number }>();
  private readonly exchanges: Exchange[] = [];
  private openCount = 0;

  private countsOf(name: string): { sent: number; received: number } {
    const known = this.counts.get(name);
    if (known !== undefined) return known;
    const fresh = { sent: 0, received: 0 };
    this.counts.set(name, fresh);
    return fresh;
  }

  /** A request is being sent; the function returned tells how it ended, once. */
  sent(open: OpenExchange): (status: number | null, verdict: TruthVerdict) => void {
    const { step, ...known } = open;
    const at = new Date().toISOString();
    this.countsOf(open.source).sent++;
    this.openCount++;
    return (status, verdict) => {
      this.openCount--;
      this.exchanges.push({ at, ...known, status, verdict, incident_step: step });
    };
  }

  /** A request arrived. */
  received(name: string): void {
    this.countsOf(name).received++;
  }

  /** Requests sent so far. */
  get size(): number {
    return this.exchanges.length + this.openCount;
  }

  /** The truth so far. `consequences` are paths that a service asked for only because the attacker made it do so. */
  truth(seed: number, consequences: ReadonlyMap<string, IncidentStep> = new Map()): Truth {
    if (this.openCount > 0) throw new Error(`${this.openCount} exchanges are not over yet`);
    const inMesh = new Set<string>(SERVICES.map(({ name }) => name));
    const all = [...this.counts].sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      seed,
      exchanges: this.exchanges
        .map((exchange) =>
          inMesh.has(exchange.source)
            ? { ...exchange, incident_step: exchange.incident_step ?? consequences.get(exchange.path) ?? null }
            : exchange,
        )
        .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)),
      services: Object.fromEntries(SERVICES.map(({ name }) => [name, { ...this.countsOf(name) }])),
      outside: Object.fromEntries(
        all.filter(([name]) => !inMesh.has(name)).map(([name, counts]) => [name, { ...counts }]),
      ),
    };
  }
}

/** Writes a truth as JSON. */
export function writeTruth(file: string, truth: Truth): void {
  writeFileSync(file, `${JSON.stringify(truth, null, 1)}\n`);
}

/** A record that the truth demands, or that was found: one line that names whatever both sides know. */
export function recordKey(key: {
  readonly proxy: string;
  readonly reporter: string;
  readonly verdict: string;
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly status: number | null | undefined;
  readonly spanId: string | null | undefined;
}): string {
  const { proxy, reporter, verdict, method, path, status, spanId } = key;
  return [proxy, reporter, verdict, method ?? '-', path ?? '-', status ?? '-', spanId ?? '-'].join(' ');
}

/** Keys of every record that must exist for a truth, with repetitions. */
export function expectedRecords(truth: Truth): string[] {
  const inMesh = new Set<string>(SERVICES.map(({ name }) => name));
  return truth.exchanges.flatMap((exchange) => {
    const { source, destination, method, path, status, verdict, span_id: spanId } = exchange;
    const common = { method, path, status, spanId };
    const seenBySender = verdict === 'denied' ? 'allowed' : verdict;
    const sender = inMesh.has(source)
      ? recordKey({ ...common, proxy: source, reporter: 'source', verdict: seenBySender })
      : recordKey({ ...common, proxy: INGRESS.name, reporter: 'gateway', verdict: seenBySender });
    const isReceived = inMesh.has(destination) && verdict !== 'failed';
    return isReceived
      ? [sender, recordKey({ ...common, proxy: destination, reporter: 'destination', verdict })]
      : [sender];
  });
}
