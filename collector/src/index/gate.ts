// How many searches run at once. They share one thread, so more at once finish no sooner and only hold more memory.

import { MeshtrailError } from '../core/error.ts';

/** Lets a few in at a time, the others in the order of their arrival. */
export class Gate {
  readonly #runningMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(runningMax: number, waitingMax: number) {
    this.#runningMax = runningMax;
    this.#waitingMax = waitingMax;
  }

  /** Does the work when its turn comes. Throws QUERY_OVERLOADED when too many wait. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#runningMax) this.#running++;
    else if (this.#waiting.length >= this.#waitingMax)
      throw new MeshtrailError('QUERY_OVERLOADED', `${this.#waiting.length} queries wait already; ask again later.`);
    // Who leaves hands the place on, so the count stays.
    else await new Promise<void>((enter) => this.#waiting.push(enter));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
