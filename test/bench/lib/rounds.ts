// Rounds: every subject once in each, in shuffled order, so that what changes on the machine meanwhile meets all of them alike.

import { setTimeout as sleep } from 'node:timers/promises';
import { random } from '../../support/facts.ts';
import type { Notebook } from './figures.ts';

/** Cores that other processes may use while something is measured. Beyond it the measurement is thrown away and made again. */
const FOREIGN_CORES_MAX = 0.2;
/** As often as this for each round, over the whole run; then disturbed figures are kept, and the spread shows them. */
const REPEATS_PER_ROUND = 3;
const REPEATS_IN_A_ROW_MAX = 6;
/** What disturbs now often ends soon. */
const REPEAT_PAUSE_MS = 2000;

export type Figures = Readonly<Record<string, readonly [unit: string, value: number]>>;

export interface Measurement {
  readonly figures: Figures;
  /** What is known only later, while other subjects are measured already. */
  readonly rest?: Promise<Figures>;
}

const isDisturbed = (figures: Figures): boolean => (figures['foreignCores']?.[1] ?? 0) > FOREIGN_CORES_MAX;

export function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}

/** Measures each subject once in each round and notes the figures. Returns how many measurements were made again because others used the machine. */
export async function interleave<Name extends string>(input: {
  readonly subjects: readonly Name[];
  readonly rounds: number;
  readonly isSmoke: boolean;
  readonly notebook: Notebook;
  readonly progress: (text: string) => void;
  readonly measure: (subject: Name) => Promise<Measurement>;
}): Promise<number> {
  const { subjects, rounds, isSmoke, notebook, progress, measure } = input;
  const repeatsMax = isSmoke ? 0 : REPEATS_PER_ROUND * rounds;
  const next = random(rounds + subjects.length);
  const late = new Map<Name, Promise<Figures>>();
  const note = (subject: Name, figures: Figures): void => {
    for (const [figure, [unit, value]] of Object.entries(figures)) notebook.note(subject, figure, unit, value);
  };
  const noteRest = async (subject: Name): Promise<void> => {
    note(subject, (await late.get(subject)) ?? {});
    late.delete(subject);
  };
  let repeats = 0;
  for (let round = 0; round < rounds; round++) {
    for (const subject of shuffled(subjects, next)) {
      await noteRest(subject);
      progress(`round ${round + 1} of ${rounds}: ${subject}`);
      let measured = await measure(subject);
      for (let row = 0; isDisturbed(measured.figures) && row < REPEATS_IN_A_ROW_MAX && repeats < repeatsMax; row++) {
        repeats++;
        progress(`round ${round + 1} of ${rounds}: ${subject} again, others used the machine`);
        await Promise.all([measured.rest, sleep(REPEAT_PAUSE_MS)]);
        measured = await measure(subject);
      }
      note(subject, measured.figures);
      if (measured.rest !== undefined) late.set(subject, measured.rest);
    }
  }
  for (const subject of subjects) await noteRest(subject);
  return repeats;
}
