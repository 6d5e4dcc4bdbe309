// The `meshtrail` command: finds the verb, runs it, turns errors into a line and an exit code
// (0 done and verified, 1 not verified or incomplete, 2 usage, 3 could not check).

import { readFileSync } from 'node:fs';
import { ERROR_CODES, MeshtrailError } from '../core/error.ts';
import { nearestName, parseVerb, type Verb, verbHelp } from './args.ts';
import { note, print, tolerateClosedPipes, visible } from './output.ts';

// Loaded on demand: a query must not pay for the collector's packages.
const VERBS: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Verb> }>> = {
  serve: { summary: 'Runs the collector.', load: async () => (await import('./serve.ts')).serve },
  demo: {
    summary: 'Plays an incident in a small mesh of real Envoys, and shows what was recorded of it.',
    load: async () => (await import('./demo.ts')).demo,
  },
  flows: { summary: 'Lists recorded exchanges.', load: async () => (await import('./flows.ts')).flows },
  show: { summary: 'Shows one record in full.', load: async () => (await import('./show.ts')).show },
  tail: {
    summary: 'Shows records as they are published, from history on.',
    load: async () => (await import('./tail.ts')).tail,
  },
  replay: {
    summary: 'Plays the past as if it were live, to the terminal or to a test target.',
    load: async () => (await import('./replay.ts')).replay,
  },
  stats: {
    summary: 'Counts records in groups, with sums, extremes and percentiles.',
    load: async () => (await import('./stats.ts')).stats,
  },
  edges: { summary: 'Shows who called whom, and how it went.', load: async () => (await import('./edges.ts')).edges },
  diff: {
    summary: 'Compares who called whom in two windows of time.',
    load: async () => (await import('./diff.ts')).diff,
  },
  scope: {
    summary: 'Shows where an address, principal, path, certificate or name appears.',
    load: async () => (await import('./scope.ts')).scope,
  },
  neighbors: {
    summary: 'Shows who called a node, and whom it called.',
    load: async () => (await import('./neighbors.ts')).neighbors,
  },
  identity: {
    summary: 'Shows what one principal did, and from where.',
    load: async () => (await import('./identity.ts')).identity,
  },
  coverage: {
    summary: 'Lists the proxies that were recorded, over which time, and what is missing.',
    load: async () => (await import('./coverage.ts')).coverage,
  },
  prove: { summary: 'Writes the proof of one record to a file.', load: async () => (await import('./prove.ts')).prove },
  verify: {
    summary: "Checks a proof file offline, with nothing but the log's public key.",
    load: async () => (await import('./verify.ts')).verify,
  },
  fsck: {
    summary: "Re-reads and re-hashes everything in a collector's directory.",
    load: async () => (await import('./fsck.ts')).fsck,
  },
  keys: { summary: 'Makes and shows the keys of a log.', load: async () => (await import('./keys.ts')).keys },
};

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}

function help(): string {
  const width = Math.max(...Object.keys(VERBS).map((name) => name.length));
  return [
    'Meshtrail, the flight recorder of a service mesh.\n',
    'usage: meshtrail VERB [options]\n',
    ...Object.entries(VERBS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    '\n`meshtrail VERB --help` says more and shows examples.',
    'Exit codes: 0 done and verified, 1 not verified or incomplete, 2 usage, 3 could not check.',
    '',
  ].join('\n');
}

async function loadVerb(name: string): Promise<Verb> {
  const names = Object.keys(VERBS);
  const entry = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (entry !== undefined) return await entry.load();
  const nearest = nearestName(name, names);
  const hint = nearest === undefined ? '.' : `; did you mean ${nearest}?`;
  throw new MeshtrailError('USAGE', `There is no verb ${JSON.stringify(name)}${hint} Verbs: ${names.join(', ')}.`);
}

async function runVerb(name: string, args: readonly string[]): Promise<number> {
  const verb = await loadVerb(name);
  const input = parseVerb(name, verb, args);
  if (input !== 'help') return await verb.run(input);
  print(verbHelp(name, verb));
  return 0;
}

/** Says what went wrong in one line; the number is the exit code. */
function noteError(error: unknown): number {
  if (error instanceof MeshtrailError) {
    note(`meshtrail: ${visible(error.message)} [${error.code}]`);
    return ERROR_CODES[error.code].exit;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  note(`meshtrail: unexpected: ${text.split('\n').map(visible).join('\n')} [INTERNAL]`);
  return ERROR_CODES.INTERNAL.exit;
}

/** Runs the command with its arguments (verb first) and returns the exit code; never throws. */
export async function main(argv: readonly string[]): Promise<number> {
  tolerateClosedPipes();
  const [name, ...args] = argv;
  try {
    if (name === undefined) {
      note(help());
      return 2;
    }
    if (['--help', '-h', 'help'].includes(name)) {
      const [about] = args;
      print(about === undefined ? help() : verbHelp(about, await loadVerb(about)));
      return 0;
    }
    if (['--version', '-V', 'version'].includes(name)) {
      print(version());
      return 0;
    }
    return await runVerb(name, args);
  } catch (error) {
    return noteError(error);
  }
}
