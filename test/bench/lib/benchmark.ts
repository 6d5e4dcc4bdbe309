// What a benchmark is, and what it is given.

import type { Outcome } from './figures.ts';
import type { Cleanup } from './processes.ts';

export interface RunInput {
  readonly rounds: number;
  /** Rounds as short as they can be: shows that it works, not how fast. */
  readonly isSmall: boolean;
  /** Adds a CPU profile of the collector. */
  readonly isProfiled: boolean;
  readonly cleanup: Cleanup;
  readonly progress: (text: string) => void;
}

export interface Benchmark {
  readonly name: string;
  /** One line for the list. */
  readonly summary: string;
  readonly roundsDefault: number;
  run(input: RunInput): Promise<Outcome>;
}
