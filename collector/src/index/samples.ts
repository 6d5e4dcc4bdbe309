// Values for percentiles: kept as they are while a query has few, then counted in bins of growing width.

/** How far a percentile of a sketch is from a recorded value, at most. */
export const SKETCH_ERROR = 0.01;

const GAMMA = (1 + SKETCH_ERROR) / (1 - SKETCH_ERROR);
const LOG_GAMMA = Math.log(GAMMA);
const FIRST_CAPACITY = 8;

/** How many values all samples of one query keep. When there are more, all of them turn into sketches, so that no answer depends on what was seen first. */
export class SampleBudget {
  readonly #valuesMax: number;
  readonly #samples: Samples[] = [];
  #values = 0;
  #isSpent = false;

  constructor(valuesMax: number) {
    this.#valuesMax = valuesMax;
  }

  get isSpent(): boolean {
    return this.#isSpent;
  }

  /** New samples of this budget. */
  samples(): Samples {
    const samples = new Samples(this);
    this.#samples.push(samples);
    return samples;
  }

  /** Whether one more value may be kept. */
  take(): boolean {
    if (this.#isSpent) return false;
    if (++this.#values <= this.#valuesMax) return true;
    this.#isSpent = true;
    for (const samples of this.#samples) samples.sketch();
    return false;
  }
}

/** Whole numbers from 0 on, of which percentiles are asked. */
export class Samples {
  readonly #budget: SampleBudget;
  #values = new Float64Array(FIRST_CAPACITY);
  /** How many values a bin has; bin i holds those above GAMMA^(i-1) up to GAMMA^i. */
  #bins: Map<number, number> | undefined;
  #zeros = 0;
  #count = 0;
  #isSorted = false;

  constructor(budget: SampleBudget) {
    this.#budget = budget;
  }

  add(value: number): void {
    if (this.#budget.take()) {
      if (this.#count === this.#values.length) this.#grow();
      this.#values[this.#count++] = value;
      this.#isSorted = false;
    } else {
      this.#count++;
      this.#bin(value);
    }
  }

  #grow(): void {
    const grown = new Float64Array(this.#values.length * 2);
    grown.set(this.#values);
    this.#values = grown;
  }

  /** Counts the values in bins from now on. */
  sketch(): void {
    const kept = this.#values.subarray(0, this.#count);
    this.#values = new Float64Array(0);
    for (const value of kept) this.#bin(value);
  }

  #bin(value: number): void {
    this.#bins ??= new Map();
    if (value <= 0) {
      this.#zeros++;
      return;
    }
    const bin = Math.ceil(Math.log(value) / LOG_GAMMA);
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + 1);
  }

  /** The smallest value that at least so many percent of all do not exceed; undefined where there are none. */
  percentile(percentile: number): number | undefined {
    if (this.#count === 0) return undefined;
    const rank = Math.max(1, Math.ceil((percentile / 100) * this.#count));
    return this.#bins === undefined ? this.#exact(rank) : this.#sketched(rank, this.#bins);
  }

  #exact(rank: number): number | undefined {
    if (!this.#isSorted) this.#values.subarray(0, this.#count).sort();
    this.#isSorted = true;
    return this.#values[rank - 1];
  }

  #sketched(rank: number, bins: ReadonlyMap<number, number>): number {
    let seen = this.#zeros;
    if (seen >= rank) return 0;
    for (const [bin, count] of [...bins].sort(([a], [b]) => a - b)) {
      seen += count;
      // In the middle of the bin, relative to its bounds.
      if (seen >= rank) return (2 * GAMMA ** bin) / (GAMMA + 1);
    }
    return 0;
  }
}
