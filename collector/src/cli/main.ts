// The `meshtrail` command: finds the verb, runs it, turns errors into a line and an exit code
// (0 done and verified, 1 not verified or incomplete, 2 usage, 3 could not check).

import { readFileSync } from 'node:fs';
import { ERROR_CODES, MeshtrailError } from '../core/error.ts';
import { parseVerb, type Verb, verbHelp } from './args.ts';
import { note, print, visible } from './output.ts';

// Loaded on demand: a query must not pay for the collector's packages.
const VERBS: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Verb> }>> = {
  serve: { summary: 'Runs the collector.', load: async () => (await import('./serve.ts')).serve },
  flows: { summary: 'Lists recorded exchanges.', load: async () => (await import('./flows.ts')).flows },
  show: { summary: 'Shows one record in full.', load: async () => (await import('./show.ts')).show },
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

async function runVerb(name: string, args: readonly string[]): Promise<number> {
  const entry = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (entry === undefined)
    throw new MeshtrailError(
      'USAGE',
      `There is no verb ${JSON.stringify(name)}; verbs: ${Object.keys(VERBS).join(', ')}.`,
    );
  const verb = await entry.load();
  const input = parseVerb(name, verb, args);
  if (input === 'help') {
    print(verbHelp(name, verb));
    return 0;
  }
  return await verb.run(input);
}

/** Runs the command with its arguments (verb first) and returns the exit code; never throws. */
export async function main(argv: readonly string[]): Promise<number> {
  // A reader that closes early, such as `head`, ends the command quietly.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const [name, ...args] = argv;
  try {
    if (name === undefined) {
      note(help());
      return 2;
    }
    if (['--help', '-h', 'help'].includes(name)) {
      print(args[0] === undefined ? help() : verbHelp(args[0], await (VERBS[args[0]] ?? unknownVerb(args[0])).load()));
      return 0;
    }
    if (['--version', '-V', 'version'].includes(name)) {
      print(version());
      return 0;
    }
    return await runVerb(name, args);
  } catch (error) {
    if (error instanceof MeshtrailError) {
      note(`meshtrail: ${visible(error.message)} [${error.code}]`);
      return ERROR_CODES[error.code].exit;
    }
    note(
      `meshtrail: unexpected: ${visible(error instanceof Error ? (error.stack ?? error.message) : String(error))} [INTERNAL]`,
    );
    return ERROR_CODES.INTERNAL.exit;
  }
}

function unknownVerb(name: string): never {
  throw new MeshtrailError(
    'USAGE',
    `There is no verb ${JSON.stringify(name)}; verbs: ${Object.keys(VERBS).join(', ')}.`,
  );
}
