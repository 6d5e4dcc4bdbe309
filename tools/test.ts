// Runs the test suites: `npm test` the fast one, `npm run test:slow` the slow one. Words narrow the run to files whose path
// contains one of them, `--name=PATTERN` to tests with such a name: npm test -- core/tlog --name=consistency
// A file that takes longer than its suite allows (or than `--file-timeout=SECONDS`) is ended and counts as failed.

import { globSync } from 'node:fs';
import { dirname } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';
import { endWithLauncher } from '../collector/bin/node24.js';
import { TestReport } from './test-report.ts';
import { FILE_TIMEOUT_VARIABLE } from './test-watchdog.ts';

interface Suite {
  readonly suffix: string;
  readonly fileTimeoutMs: number;
  readonly concurrency: number;
}

const FAST: Suite = { suffix: '.test.ts', fileTimeoutMs: 100_000, concurrency: 2 };
// Slow suites drive real proxies, kill processes and measure time: one file after the other.
const SLOW: Suite = { suffix: '.slow.ts', fileTimeoutMs: 900_000, concurrency: 1 };
// These start proxies of their own: they run alone, after the others, so that nothing that watches a clock starves.
const ALONE = /^test\/e2e\//;
const WATCHDOG = new URL('test-watchdog.ts', import.meta.url).href;
const FILE_TIMEOUT = '--file-timeout=';
const root = dirname(dirname(fileURLToPath(import.meta.url)));

function filesOf(suite: Suite, words: readonly string[]): string[] {
  return globSync(`test/**/*${suite.suffix}`, { cwd: root })
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .sort();
}

async function main(args: readonly string[]): Promise<number> {
  const suite = args.includes('--slow') ? SLOW : FAST;
  const names = args.filter((arg) => arg.startsWith('--name=')).map((arg) => new RegExp(arg.slice('--name='.length)));
  const words = args.filter((arg) => !arg.startsWith('--'));
  const files = filesOf(suite, words);
  if (files.length === 0) {
    process.stderr.write(`No test file under test/ ends with ${suite.suffix} and contains ${words.join(' or ')}.\n`);
    return 1;
  }
  const timeoutS = args.find((arg) => arg.startsWith(FILE_TIMEOUT))?.slice(FILE_TIMEOUT.length);
  const fileTimeoutMs = timeoutS === undefined ? suite.fileTimeoutMs : Number(timeoutS) * 1000;
  process.env[FILE_TIMEOUT_VARIABLE] = String(fileTimeoutMs);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const report = new TestReport(root, (text) => process.stdout.write(text));
  const groups: [files: string[], concurrency: number][] = [
    [files.filter((file) => !ALONE.test(file)), suite.concurrency],
    [files.filter((file) => ALONE.test(file)), 1],
  ];
  for (const [group, concurrency] of groups) {
    if (group.length === 0 || stop.signal.aborted) continue;
    const events = run({
      files: group,
      cwd: root,
      concurrency,
      // Ends a single test, which can then still close what it opened; the watchdog ends the file.
      timeout: fileTimeoutMs * 0.9,
      execArgv: ['--import', WATCHDOG],
      signal: stop.signal,
      ...(names.length > 0 ? { testNamePatterns: names } : {}),
    });
    for await (const event of events) report.add(event);
  }
  return report.end() && !stop.signal.aborted ? 0 : 1;
}

endWithLauncher();
process.chdir(root);
process.exitCode = await main(process.argv.slice(2));
