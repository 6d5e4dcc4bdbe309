// Rounds: every subject once in each, in shuffled order, so that what changes on the machine meanwhile meets all of them alike.

import { random } from '../../support/facts.ts';

export function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}

/** Runs each subject once in each round. */
export async function interleave(
  subjects: readonly string[],
  rounds: number,
  progress: (text: string) => void,
  run: (subject: string, round: number) => Promise<void>,
): Promise<void> {
  const next = random(rounds + subjects.length);
  for (let round = 0; round < rounds; round++) {
    for (const subject of shuffled(subjects, next)) {
      progress(`round ${round + 1} of ${rounds}: ${subject}`);
      await run(subject, round);
    }
  }
}
