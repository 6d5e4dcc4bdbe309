// One set-up at a time in a checkout, also after a kill. Each process that works on the checkout (a set-up and the program
// that it runs) is named by an empty file `<pid>-<start time>` in one folder; whoever sees a living stranger there steps back.

import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from './output.js';

const POLL_INTERVAL_MS = 100;
const POLL_JITTER_MS = 100;
const START_TIME_FIELD = 19;

/**
 * When a process started, in the kernel's clock ticks; '0' where the system does not tell, undefined when it is not alive.
 * With the start time, a process number that was given out again does not pass for its former owner.
 * @param {number} pid
 * @returns {string | undefined}
 */
export function startOf(pid) {
  if (process.platform === 'linux') {
    try {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      // A zombie only waits to be reaped: it does nothing any more.
      return fields[0] === 'Z' ? undefined : fields[START_TIME_FIELD];
    } catch {
      return undefined;
    }
  }
  try {
    process.kill(pid, 0);
    return '0';
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM' ? '0' : undefined;
  }
}

/** What one process did to name itself and its children. */
export class Claim {
  /** @type {string} */
  #folder;
  /** @type {Set<string>} */
  #names = new Set();

  /** @param {string} folder */
  constructor(folder) {
    this.#folder = folder;
  }

  /**
   * Names a process as working on the checkout. A process that is over already is left out.
   * @param {number} pid
   */
  add(pid) {
    const start = startOf(pid);
    if (start === undefined) return;
    const name = `${pid}-${start}`;
    this.#names.add(name);
    closeSync(openSync(join(this.#folder, name), 'w'));
  }

  /**
   * Process number of a living stranger; files of the dead are removed on the way.
   * @returns {number | undefined}
   */
  stranger() {
    for (const name of readdirSync(this.#folder)) {
      const [pid, start] = name.split('-').map(Number);
      if (this.#names.has(name) || pid === undefined || !Number.isInteger(pid)) continue;
      if (startOf(pid) === String(start)) return pid;
      rmSync(join(this.#folder, name), { force: true });
    }
    return undefined;
  }

  /** Takes this process's file away, and those of its children that are over; a child that is still alive keeps its own. */
  release() {
    for (const name of this.#names) {
      const pid = Number.parseInt(name, 10);
      if (pid === process.pid || startOf(pid) === undefined) rmSync(join(this.#folder, name), { force: true });
    }
    this.#names.clear();
  }
}

/**
 * Waits until nobody else works on the checkout, then works. Two that claim at once see each other, step back and try again
 * after unequal pauses; so a claim that saw no stranger after it was made is the only one.
 * @template T
 * @param {string} folder
 * @param {AbortSignal} stop
 * @param {(claim: Claim) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function oneAtATime(folder, stop, work) {
  mkdirSync(folder, { recursive: true });
  const claim = new Claim(folder);
  for (let isTold = false; ; ) {
    let other = claim.stranger();
    if (other === undefined) {
      claim.add(process.pid);
      other = claim.stranger();
      if (other === undefined) break;
      claim.release();
    }
    if (!isTold) say(`waiting for another set-up (process ${other})`);
    isTold = true;
    await sleep(POLL_INTERVAL_MS + Math.random() * POLL_JITTER_MS, undefined, { signal: stop });
  }
  try {
    return await work(claim);
  } finally {
    claim.release();
  }
}
