// `meshtrail verify FILE`: checks a proof offline, with nothing but the log's public key, and says what it proves and what it does not.

import { toBase64 } from '../core/bytes.ts';
import { PROOF_BYTES_MAX, parseRecordProof, verifyRecordProof } from '../core/codec/record-proof.ts';
import { MeshtrailError } from '../core/error.ts';
import { OUTPUT_OPTION, textOption, type Verb } from './args.ts';
import { readText, verifierOf } from './files.ts';
import { FLOW_COLUMNS, FLOW_NAMES } from './flow-table.ts';
import { type Format, print, printRows, table, visible } from './output.ts';

export const verify: Verb = {
  summary: 'Checks a record proof offline. Exit code 0: verified; 1: not verified; 3: could not be checked.',
  positionals: 'FILE',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    vkey: { type: 'string', value: 'KEY|FILE', help: 'Verifier key of the log, as text or in a file.' },
    output: OUTPUT_OPTION,
  },
  examples: [
    'meshtrail verify 93.12.proof.json --vkey log.vkey',
    "meshtrail verify 93.12.proof.json --vkey 'mesh.example.com/log+1a2b3c4d+AY...' -o json",
    'meshtrail prove 93.12 --out - | meshtrail verify - --vkey log.vkey',
  ],
  async run(input) {
    const given = textOption(input, 'vkey');
    if (given === undefined)
      throw new MeshtrailError(
        'USAGE',
        "verify needs --vkey: the log's verifier key, or a file with it, from somebody you trust; never from the proof.",
      );
    const log = verifierOf(given);
    const file = readText(input.positionals[0] ?? '', {
      what: 'proof',
      bytesMax: PROOF_BYTES_MAX,
      // Not a verdict: a file that cannot be read is neither verified nor refuted.
      unreadable: 'PREREQUISITE_MISSING',
      tooLong: 'PROOF_MALFORMED',
    });
    const { record, checkpoint, proven, notProven } = verifyRecordProof(parseRecordProof(file), log);
    const format = (textOption(input, 'output') ?? 'table') as Format;
    const { origin, size, root } = checkpoint;
    const whole = { verified: true, record, checkpoint: { origin, size, root: toBase64(root) }, proven, notProven };
    const rows = format === 'ndjson' ? [whole] : [record];
    if (format !== 'table') printRows<object>(format, { whole, rows, columns: [], names: FLOW_NAMES });
    else {
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
    }
    return 0;
  },
};
