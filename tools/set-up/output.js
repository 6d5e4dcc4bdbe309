// What set-up tells the user, on stderr: progress lines, and failures that say what to do.

const COUNT_AFTER_MS = 1000;
const LINE_INTERVAL_S = 10;

/** A set-up that cannot go on. The message says what is wrong and what to do; exit code 3 stands for a missing prerequisite. */
export class SetUpError extends Error {
  /**
   * @param {string} message
   * @param {number} exitCode
   */
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** @param {string} message */
export function missing(message) {
  return new SetUpError(message, 3);
}

/** @param {string} text */
export function say(text) {
  process.stderr.write(`set-up: ${text}\n`);
}

/**
 * Shows a step that takes longer than a second: a terminal sees the seconds count, a log gets a line now and then.
 * @param {string} title
 * @returns {(isDone: boolean) => void} ends the display
 */
export function showProgress(title) {
  const startedAt = performance.now();
  const seconds = () => Math.round((performance.now() - startedAt) / 1000);
  const isTerminal = process.stderr.isTTY === true;
  let isShown = false;
  const timer = setInterval(() => {
    if (isTerminal) process.stderr.write(`\rset-up: ${title} ... ${seconds()} s`);
    else if (!isShown || seconds() % LINE_INTERVAL_S === 0) say(`${title} ... ${seconds()} s`);
    isShown = true;
  }, COUNT_AFTER_MS);
  return (isDone) => {
    clearInterval(timer);
    if (!isShown) return;
    const end = `${title}: ${isDone ? 'done' : 'failed'} after ${seconds()} s`;
    if (isTerminal) process.stderr.write(`\r\u001b[Kset-up: ${end}\n`);
    else say(end);
  };
}
