// `meshtrail verify FILE`: checks a proof offline, with nothing but the log's public key, and says what it proves and what it does not.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { toBase64 } from '../core/bytes.ts';
import { PROOF_BYTES_MAX, parseRecordProof, verifyRecordProof } from '../core/codec/record-proof.ts';
import { MeshtrailError } from '../core/error.ts';
import { parseVkey } from '../core/tlog/note.ts';
import { textOption, type Verb, type VerbInput } from './args.ts';
import { FLOW_COLUMNS } from './flows.ts';
import { print, table, visible } from './output.ts';

function vkeyOf(input: VerbInput): string {
  const given = textOption(input, 'vkey');
  if (given === undefined)
    throw new MeshtrailError(
      'USAGE',
      "verify needs --vkey: the log's verifier key, or a file with it, from somebody you trust; never from the proof.",
    );
  return existsSync(given) ? readFileSync(given, 'utf8').trim() : given.trim();
}

function readProof(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > PROOF_BYTES_MAX)
      throw new MeshtrailError('PROOF_MALFORMED', `${file} has ${size} bytes; a proof has at most ${PROOF_BYTES_MAX}.`);
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if (cause instanceof MeshtrailError) throw cause;
    // Not a verdict: a file that cannot be read is neither verified nor refuted.
    throw new MeshtrailError('PREREQUISITE_MISSING', `${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

export const verify: Verb = {
  summary: 'Checks a record proof offline. Exit code 0: verified; 1: not verified; 3: could not be checked.',
  positionals: 'FILE',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    vkey: { type: 'string', value: 'KEY|FILE', help: 'Verifier key of the log, as text or in a file.' },
    output: {
      type: 'string',
      short: 'o',
      value: 'FORMAT',
      help: 'table or json.',
      default: 'table',
      choices: ['table', 'json'],
    },
  },
  examples: [
    'meshtrail verify 93.12.proof.json --vkey log.vkey',
    "meshtrail verify 93.12.proof.json --vkey 'mesh.example.com/log+1a2b3c4d+AY...' -o json",
  ],
  async run(input) {
    const log = parseVkey(vkeyOf(input));
    const { record, checkpoint, proven, notProven } = verifyRecordProof(
      parseRecordProof(readProof(input.positionals[0] ?? '')),
      log,
    );
    if (textOption(input, 'output') === 'json') {
      print(
        JSON.stringify(
          {
            verified: true,
            record,
            checkpoint: { origin: checkpoint.origin, size: checkpoint.size, root: toBase64(checkpoint.root) },
            proven,
            notProven,
          },
          null,
          2,
        ),
      );
      return 0;
    }
    print(table(FLOW_COLUMNS, [record]));
    print(
      [
        '',
        'VERIFIED. This proof shows:',
        ...proven.map((line) => `  ${visible(line)}`),
        'It does not show:',
        ...notProven.map((line) => `  ${visible(line)}`),
      ].join('\n'),
    );
    return 0;
  },
};
