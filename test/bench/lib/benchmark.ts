// What a benchmark is, and what it is given.

import type { Outcome } from './figures.ts';
import type { Cleanup } from './processes.ts';

export interface RunInput {
  readonly rounds: number;
  /** Rounds as short as they can be: shows that it works, not how fast. */
  readonly isSmoke: boolean;
  /** Adds a CPU profile of the collector. */
  readonly isProfiled: boolean;
  /** Subjects to run; empty for all. */
  readonly variants: readonly string[];
  /** Values of the benchmark's own options, by name. */
  readonly options: Readonly<Record<string, string>>;
  readonly cleanup: Cleanup;
  readonly progress: (text: string) => void;
}

export interface Benchmark {
  readonly name: string;
  /** One line for the list. */
  readonly summary: string;
  readonly roundsDefault: number;
  /** Options beyond those of every benchmark: what stands behind the name, and what it means. */
  readonly options?: Readonly<Record<string, readonly [value: string, meaning: string]>>;
  run(input: RunInput): Promise<Outcome>;
}

/** The subjects that were asked for, in the benchmark's order; all when none was named. Throws for a name that it does not have. */
export function chosen<Name extends string>(names: readonly Name[], wanted: readonly string[]): readonly Name[] {
  const unknown = wanted.find((name) => !(names as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`there is no ${JSON.stringify(unknown)}; there are ${names.join(', ')}`);
  return wanted.length === 0 ? names : names.filter((name) => wanted.includes(name));
}

/** The values of an option that lists some of a few, all when it was not given. */
export function chosenByOption<Name extends string>(
  input: RunInput,
  option: string,
  names: readonly Name[],
): readonly Name[] {
  return chosen(names, input.options[option]?.split(',') ?? []);
}

/** The value of an option that is a count. Throws for anything else. */
export function countOption({ options }: RunInput, option: string, otherwise: number): number {
  const text = options[option] ?? String(otherwise);
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new Error(`--${option} is a whole number from 1, not ${JSON.stringify(text)}`);
  return Number(text);
}
