// What a benchmark is, and what it is given.

import type { Outcome } from './figures.ts';
import type { Cleanup } from './processes.ts';

export interface RunInput {
  readonly rounds: number;
  /** Rounds as short as they can be: shows that it works, not how fast. */
  readonly isSmall: boolean;
  /** Adds a CPU profile of the collector. */
  readonly isProfiled: boolean;
  /** Subjects to run; empty for all. */
  readonly only: readonly string[];
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

/** The subjects that were asked for, in the benchmark's order; all when none was named. Throws for a name that it does not have. */
export function chosen<Name extends string>(names: readonly Name[], only: readonly string[]): readonly Name[] {
  const unknown = only.find((name) => !(names as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new Error(`there is no subject ${JSON.stringify(unknown)}; subjects: ${names.join(', ')}`);
  return only.length === 0 ? names : names.filter((name) => only.includes(name));
}
