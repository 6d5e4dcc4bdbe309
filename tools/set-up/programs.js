// Runs the programs that set-up needs (npm, asc, pip): named in the claim while they live, their output shown only on failure.

import { spawn, spawnSync } from 'node:child_process';
import { SetUpError, showProgress } from './output.js';

const OUTPUT_CHARS_MAX = 20_000;
const TAIL_LINES = 15;

/**
 * @typedef {object} Job
 * @property {string} title shown as progress
 * @property {string} command
 * @property {readonly string[]} args
 * @property {string} remedy one line: what to do when it fails
 *
 * @typedef {object} Surroundings
 * @property {string} root the checkout; programs run there
 * @property {import('./claims.js').Claim} claim
 * @property {AbortSignal} stop
 */

/**
 * @param {Job} job
 * @param {string} output
 * @param {string} outcome
 */
function failure(job, output, outcome) {
  const tail = output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  return new SetUpError(`${job.title} ${outcome}:\n${tail}\nset-up: ${job.remedy}`, 1);
}

/**
 * Runs a program to its end; rejects with its last lines and the remedy when it fails.
 * @param {Surroundings} surroundings
 * @param {Job} job
 * @returns {Promise<void>}
 */
export function run({ root, claim, stop }, job) {
  return new Promise((done, fail) => {
    stop.throwIfAborted();
    const end = showProgress(job.title);
    const child = spawn(job.command, job.args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], signal: stop });
    if (child.pid !== undefined) claim.add(child.pid);
    let output = '';
    const keep = (/** @type {Buffer} */ chunk) => {
      output = (output + chunk).slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => {
      end(false);
      fail(stop.aborted ? error : failure(job, error.message, 'could not start'));
    });
    child.on('close', (code, signal) => {
      if (code === 0 || !stop.aborted) end(code === 0);
      if (code === 0) done();
      else fail(failure(job, output, signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`));
    });
  });
}

/**
 * First line of what a program answers, or undefined when it is not there or fails.
 * @param {string} command
 * @param {readonly string[]} args
 */
export function answerOf(command, args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim().split('\n')[0] : undefined;
}
