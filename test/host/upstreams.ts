// Envoy's clusters as the guest's http_call meets them.

import type { Pairs } from './abi.ts';
import type { Machine } from './machine.ts';

export interface OutgoingCall {
  readonly token: number;
  readonly machine: Machine;
  readonly rootId: number;
  readonly cluster: string;
  readonly headers: readonly (readonly [name: Uint8Array, value: Uint8Array])[];
  readonly body: Uint8Array;
  readonly timeoutMs: number;
  readonly sentMs: number;
  /** `pending` until its callback; `cancelled` when its root went first, and no callback follows. */
  state: 'pending' | 'answered' | 'cancelled';
  /** The body that reached the upstream; undefined where nothing did. Only a process that ends makes it another one than was sent. */
  arrived: Uint8Array | undefined;
}

/** An answer; without a status it is a reset, and the guest is shown no headers. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Pairs;
  readonly body?: Uint8Array;
  readonly trailers?: Pairs;
}

/**
 * How a cluster behaves. `held`: the test answers when it likes, or the time-out does. `refused`: the connection is refused, which the
 * guest learns from a callback. `inline_failure`: no healthy host, known at once (status 10, no callback). A function: answers at the
 * next turn of the event loop; undefined holds the call.
 */
export type Cluster = 'held' | 'refused' | 'inline_failure' | ((call: OutgoingCall) => Answer | undefined);

/** What Envoy answers in the place of an upstream: three headers, as measured. */
export function localAnswer(status: number, text: string): Answer {
  const body = new TextEncoder().encode(text);
  return {
    status,
    headers: [
      ['content-length', String(body.length)],
      ['content-type', 'text/plain'],
    ],
    body,
  };
}

export const REFUSED = localAnswer(503, 'upstream connect error or disconnect/reset before headers');
export const TIMED_OUT = localAnswer(504, 'upstream request timeout');

/**
 * What becomes of calls that are made while the process ends: one goes out whole on each idle connection of its thread and cluster.
 * With HTTP/1.1 the others never leave; with HTTP/2 they arrive with an intact head and a body that is empty or cut short.
 */
export interface Exit {
  readonly idleConnections: number;
  readonly others: 'lost' | 'truncated';
}

export class Upstreams {
  /** Without a word from the test, there is an idle connection for every call. */
  exit: Exit = { idleConnections: Number.POSITIVE_INFINITY, others: 'lost' };
  isExiting = false;
  readonly #usedAtExit = new Map<string, number>();
  /** A name that is not here is an unknown cluster: status 2, token 0, no callback. */
  readonly clusters = new Map<string, Cluster>();
  /** Every call that was accepted, in order. */
  readonly calls: OutgoingCall[] = [];
  readonly #pending = new Set<OutgoingCall>();
  readonly #ready: { readonly call: OutgoingCall; readonly answer: Answer }[] = [];

  pending(): OutgoingCall[] {
    return [...this.#pending];
  }

  accept(call: OutgoingCall, cluster: Cluster): void {
    this.calls.push(call);
    this.#pending.add(call);
    if (cluster === 'refused' || !this.#goesOut(call)) call.arrived = undefined;
    if (call.arrived !== call.body && cluster !== 'refused') return;
    const answer = cluster === 'refused' ? REFUSED : typeof cluster === 'function' ? cluster(call) : undefined;
    if (answer !== undefined) this.#ready.push({ call, answer });
  }

  #goesOut(call: OutgoingCall): boolean {
    if (!this.isExiting) return true;
    const place = `${call.machine.name} ${call.cluster}`;
    const used = this.#usedAtExit.get(place) ?? 0;
    this.#usedAtExit.set(place, used + 1);
    if (used < this.exit.idleConnections) return true;
    if (this.exit.others === 'lost') return false;
    // Cut somewhere, the first one at once.
    const cut = ((used - this.exit.idleConnections) * 997) % Math.max(call.body.length, 1);
    call.arrived = call.body.subarray(0, cut);
    return true;
  }

  cancel(call: OutgoingCall): void {
    if (call.state === 'pending') call.state = 'cancelled';
    this.#pending.delete(call);
  }

  /** Runs the callback of a pending call; false when nobody waits for it any more. */
  answer(call: OutgoingCall, answer: Answer): boolean {
    if (call.state !== 'pending') return false;
    call.state = 'answered';
    this.#pending.delete(call);
    call.machine.answerCall(call, answer);
    return true;
  }

  /** Delivers the answers that are there; returns how many. */
  deliver(): number {
    let delivered = 0;
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift())
      if (this.answer(next.call, next.answer)) delivered++;
    return delivered;
  }

  nextDeadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const call of this.#pending) earliest = Math.min(earliest, deadlineOf(call));
    return earliest;
  }

  expire(nowMs: number): void {
    for (const call of this.pending()) if (deadlineOf(call) <= nowMs) this.answer(call, TIMED_OUT);
  }
}

/** A time-out of 0 is none. */
function deadlineOf({ sentMs, timeoutMs }: OutgoingCall): number {
  return timeoutMs === 0 ? Number.POSITIVE_INFINITY : sentMs + timeoutMs;
}
