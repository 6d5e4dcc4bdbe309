// `meshtrail keys new|show`: the Ed25519 key that signs a log's checkpoints.

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MeshtrailError } from '../core/error.ts';
import { ed25519Signer, formatPrivateKey, parsePrivateKey } from '../core/tlog/note.ts';
import { textOption, type Verb, type VerbInput } from './args.ts';
import { readKeyFile } from './files.ts';
import { note, print } from './output.ts';

function newKey(input: VerbInput): number {
  const origin = textOption(input, 'origin') ?? 'meshtrail.local/log';
  const file = textOption(input, 'out');
  if (file === undefined)
    throw new MeshtrailError('USAGE', 'keys new needs --out FILE: where to write the private key.');
  const seed = randomBytes(32);
  const { vkey } = ed25519Signer(origin, seed);
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${formatPrivateKey(origin, seed)}\n`, { mode: 0o600, flag: 'wx', flush: true });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST')
      throw new MeshtrailError('USAGE', `${file} exists already; a key is never overwritten.`, { cause });
    throw new MeshtrailError('PREREQUISITE_MISSING', `${file} cannot be written: ${(cause as Error).message}.`, {
      cause,
    });
  }
  note(`wrote ${file} (mode 0600); the verifier key follows`);
  print(vkey);
  return 0;
}

function showKey(input: VerbInput): number {
  const dir = textOption(input, 'dir');
  const file = textOption(input, 'key-file') ?? (dir === undefined ? undefined : join(dir, 'keys', 'log.key'));
  if (file === undefined) throw new MeshtrailError('USAGE', 'keys show needs --dir DIR or --key-file FILE.');
  const { name, seed } = parsePrivateKey(readKeyFile(file));
  print(ed25519Signer(name, seed).vkey);
  return 0;
}

export const keys: Verb = {
  summary: 'Makes a key for a log, or shows the verifier key of one. The private key is never printed.',
  positionals: 'new|show',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    origin: {
      type: 'string',
      value: 'NAME',
      help: 'Name of the log that the new key is for.',
      default: 'meshtrail.local/log',
    },
    out: { type: 'string', value: 'FILE', help: 'Where to write the new private key.' },
    dir: { type: 'string', value: 'DIR', help: 'Directory of a collector whose key to show.' },
    'key-file': { type: 'string', value: 'FILE', help: 'Private key whose verifier key to show.' },
  },
  examples: [
    'meshtrail keys new --origin mesh.example.com/log --out log.key',
    'meshtrail keys show --dir /var/lib/meshtrail',
  ],
  async run(input) {
    const action = input.positionals[0];
    if (action === 'new') return newKey(input);
    if (action === 'show') return showKey(input);
    throw new MeshtrailError('USAGE', `keys takes new or show, not ${JSON.stringify(action)}.`);
  },
};
