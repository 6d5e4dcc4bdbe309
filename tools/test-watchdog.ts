// Loaded into every test file by the runner: a file that takes longer than it may is ended from a thread of its own, so that
// neither an open server nor an endless loop can keep a run waiting. Node's own timeout ends tests, not what they leave open.

import { isMainThread, Worker } from 'node:worker_threads';

/** Carries the limit to the test file's process. */
export const FILE_TIMEOUT_VARIABLE = 'MESHTRAIL_TEST_FILE_TIMEOUT_MS';

const WATCH = `
const { writeSync } = require('node:fs');
const { workerData: limitMs } = require('node:worker_threads');
setTimeout(() => {
  writeSync(2, 'This file took longer than ' + limitMs / 1000 + ' s and was ended: a test hangs, or left something open.\\n');
  process.kill(process.pid, 'SIGKILL');
}, limitMs);
`;

const limitMs = Number(process.env[FILE_TIMEOUT_VARIABLE]);
if (isMainThread && limitMs > 0) {
  // The variable ends here: what a test starts is its own to end.
  delete process.env[FILE_TIMEOUT_VARIABLE];
  new Worker(WATCH, { eval: true, execArgv: [], workerData: limitMs }).unref();
}
