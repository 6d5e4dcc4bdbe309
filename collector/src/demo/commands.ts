// The commands that a person would type after the demo, with real ids, as they work when pasted into a shell.

import { join, relative } from 'node:path';
import type { DemoDirectory } from './directory.ts';
import type { Incident } from './findings.ts';

const DEFAULT_API = '127.0.0.1:4600';
const DEFAULT_INGEST = '127.0.0.1:4601';

export interface CommandsInput {
  readonly directory: DemoDirectory;
  readonly incident: Incident | undefined;
  /** HOST:PORT of the collector's listeners in this run. */
  readonly api: string;
  readonly ingest: string;
  /** Whether the collector goes on after the demo's report. */
  readonly isUp: boolean;
  /** Where they will be typed. */
  readonly cwd: string;
}

export interface Command {
  readonly why: string;
  readonly line: string;
}

/** Quotes a word for a POSIX shell when it needs to be. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The shortest way to name a path from a directory. */
function near(path: string, cwd: string): string {
  const way = relative(cwd, path);
  return way.startsWith('..') || way === '' ? path : way;
}

/** Commands in the order in which they make sense; `serve` only where the collector is gone by then. */
export function nextCommands({ directory, incident, api, ingest, isUp, cwd }: CommandsInput): Command[] {
  const command = (...words: string[]): string => ['npx', 'meshtrail', ...words.map(quoted)].join(' ');
  const at = api === DEFAULT_API ? [] : ['--api', `http://${api}`];
  const dir = near(directory.collector, cwd);
  const check: Command = {
    why: isUp ? 're-read and re-hash everything, once the demo is stopped' : 're-read and re-hash everything',
    line: command('fsck', '--dir', dir),
  };
  const ports = [
    ...(api === DEFAULT_API ? [] : ['--api', api]),
    ...(ingest === DEFAULT_INGEST ? [] : ['--ingest', ingest]),
  ];
  const serve: Command = {
    why: 'start the collector again, in a terminal of its own; then, in another',
    line: command('serve', '--dir', dir, ...ports),
  };
  const queries: Command[] = [
    {
      why: 'every refusal, in order',
      line: command('flows', '--filter', 'verdict == "denied"', '--order', 'asc', ...at),
    },
  ];
  const first = incident?.firstAllowed;
  if (first !== undefined) {
    const proof = near(join(directory.proofs, `${first.id}.json`), cwd);
    if (first.trace.id !== undefined)
      queries.push({
        why: 'how the call that was allowed went on, by its trace',
        line: command('flows', '--filter', `trace.id == "${first.trace.id}"`, '--order', 'asc', ...at),
      });
    queries.push(
      { why: 'that record in full', line: command('show', first.id, ...at) },
      { why: 'its proof, as evidence', line: command('prove', first.id, '--out', proof, ...at) },
      {
        why: 'and the proof checked, with no collector and no network',
        line: command('verify', proof, '--vkey', near(directory.vkeyFile, cwd)),
      },
    );
  }
  return isUp ? [...queries, check] : [check, serve, ...queries];
}
