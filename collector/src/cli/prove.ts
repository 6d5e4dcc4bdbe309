// `meshtrail prove ID`: the proof of one record as a file that `verify` checks anywhere.

import { existsSync, writeFileSync } from 'node:fs';
import { MeshtrailError } from '../core/error.ts';
import { API_OPTION, textOption, type Verb } from './args.ts';
import { apiOf, ask } from './client.ts';
import { note, print } from './output.ts';
import { pathOfRecord } from './show.ts';

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
    const out = textOption(input, 'out') ?? `${id.replaceAll('/', '_')}.proof.json`;
    if (out === '-') {
      print(text);
      return 0;
    }
    if (existsSync(out)) throw new MeshtrailError('USAGE', `${out} exists already; name another file with --out.`);
    writeFileSync(out, text, { flag: 'wx' });
    note(`wrote ${out}; check it with: meshtrail verify ${out} --vkey LOG.vkey`);
    return 0;
  },
};
