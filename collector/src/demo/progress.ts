// Progress on stderr: a line for each step when it is done; one that takes longer than a second is seen while it runs.

import { note } from '../cli/output.ts';

const SHOW_AFTER_MS = 1000;
const TITLE_WIDTH = 82;

/** Runs a step and tells how long it took. */
export async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const seconds = (digits: number): string => ((performance.now() - startedAt) / 1000).toFixed(digits);
  const isTerminal = process.stderr.isTTY === true;
  let isShown = false;
  const timer = setInterval(() => {
    if (isTerminal) process.stderr.write(`\r  ${title} ... ${seconds(0)} s`);
    else if (!isShown) note(`  ${title} ...`);
    isShown = true;
  }, SHOW_AFTER_MS);
  // The counting line is written over by what comes next, whether that is the step's end or an error.
  const clear = (): void => {
    clearInterval(timer);
    if (isShown && isTerminal) process.stderr.write('\r\u001b[K');
  };
  try {
    const result = await work();
    clear();
    note(`  ${title.padEnd(TITLE_WIDTH)}${seconds(1).padStart(6)} s`);
    return result;
  } catch (error) {
    clear();
    throw error;
  }
}
