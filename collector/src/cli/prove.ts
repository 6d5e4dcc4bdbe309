// `meshtrail prove ID`: the proof of one record as a file that `verify` checks anywhere.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseRecordProof } from '../core/codec/record-proof.ts';
import { MeshtrailError } from '../core/error.ts';
import { quoted } from '../demo/commands.ts';
import { API_OPTION, textOption, type Verb } from './args.ts';
import { apiOf, ask } from './client.ts';
import { note, print, visible } from './output.ts';
import { pathOfRecord } from './show.ts';

function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: 'wx' });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST')
      throw new MeshtrailError('USAGE', `${file} exists already; name another file with --out.`, { cause });
    throw new MeshtrailError('PREREQUISITE_MISSING', `${file} cannot be written: ${(cause as Error).message}.`, {
      cause,
    });
  }
}

export const prove: Verb = {
  summary:
    'Writes the proof of one record: the record as it was received, the path to its batch, and the signed checkpoint.',
  positionals: 'ID',
  positionalsMin: 1,
  positionalsMax: 1,
  options: {
    out: {
      type: 'string',
      value: 'FILE',
      help: 'Where to write; "-" is stdout. An existing file is not overwritten.',
      default: 'ID.proof.json',
    },
    api: API_OPTION,
  },
  examples: [
    'meshtrail prove 93.12',
    'meshtrail prove 93.12 --out evidence.json',
    'meshtrail prove 93.12 --out - | jq .header',
  ],
  async run(input) {
    const id = input.positionals[0] ?? '';
    const text = await ask(apiOf(input), `${pathOfRecord(id)}/proof`);
    // Not verified here, which is what `verify` is for, with a key from elsewhere; but nothing is kept that is no proof.
    const { origin } = parseRecordProof(text);
    const out = textOption(input, 'out') ?? `${id.replaceAll('/', '_')}.proof.json`;
    if (out === '-') {
      print(text);
      return 0;
    }
    writeNew(out, text);
    const own = join(process.env['MESHTRAIL_DIR'] ?? '', 'keys', 'log.vkey');
    const vkey = process.env['MESHTRAIL_DIR'] && existsSync(own) ? own : 'log.vkey';
    note(`wrote ${visible(out)}; check it with: npx meshtrail verify ${quoted(out)} --vkey ${quoted(vkey)}`);
    if (!existsSync(vkey))
      note(
        `log.vkey is the verifier key of ${visible(origin)}, DIR/keys/log.vkey: from somebody you trust, not from the proof`,
      );
    return 0;
  },
};
