// `meshtrail fsck --dir DIR`: everything in a collector's directory, re-read and re-hashed.

import { fsckDirectory } from '../compose.ts';
import { MeshtrailError } from '../core/error.ts';
import { OUTPUT_OPTION, textOption, type Verb } from './args.ts';
import { vkeyTextOf } from './files.ts';
import { type Format, note, print, printRows } from './output.ts';

const PROGRESS_MS = 1000;
const NAMES = ['severity', 'code', 'place', 'message'] as const;
type Finding = Awaited<ReturnType<typeof fsckDirectory>>['findings'][number];

export const fsck: Verb = {
  summary:
    "Re-reads and re-hashes everything in a collector's directory, and names the place of what does not fit. The collector must not run.",
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    dir: { type: 'string', value: 'DIR', help: 'Directory of the log; also MESHTRAIL_DIR.' },
    'last-signed-dir': {
      type: 'string',
      value: 'DIR',
      help: 'Where the last-signed record lives, if not in DIR/last-signed; also MESHTRAIL_LAST_SIGNED_DIR.',
    },
    vkey: {
      type: 'string',
      value: 'KEY|FILE',
      help: 'Verifier key of the log, from somebody you trust.',
      default: 'DIR/keys/log.vkey',
    },
    output: OUTPUT_OPTION,
  },
  examples: ['meshtrail fsck --dir /var/lib/meshtrail', 'meshtrail fsck --dir ./copy --vkey log.vkey -o json'],
  async run(input) {
    const dir = textOption(input, 'dir') ?? process.env['MESHTRAIL_DIR'];
    if (dir === undefined || dir === '')
      throw new MeshtrailError('USAGE', 'fsck needs --dir DIR: the directory of a collector.');
    const given = textOption(input, 'vkey');
    const lastSignedDir = textOption(input, 'last-signed-dir') ?? process.env['MESHTRAIL_LAST_SIGNED_DIR'] ?? '';
    const vkey = given === undefined ? undefined : vkeyTextOf(given);
    if (vkey === undefined)
      note(
        "checked against the directory's own key: who changed the log may have changed that too; --vkey names another",
      );
    let toldAt = performance.now();
    const report = await fsckDirectory(dir, lastSignedDir, vkey, (done, all) => {
      if (performance.now() - toldAt < PROGRESS_MS) return;
      toldAt = performance.now();
      note(`${done} of ${all} entries checked`);
    });
    const { findings, entries, records, published } = report;
    const errors = findings.filter(({ severity }) => severity === 'error').length;
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format !== 'table' || findings.length > 0)
      printRows<Finding>(format, {
        whole: { clean: errors === 0, ...report },
        rows: findings,
        columns: NAMES.map((name) => ({ title: name.toUpperCase(), of: (finding) => finding[name] })),
        names: NAMES,
      });
    const verdict = `${errors === 0 ? 'CLEAN' : 'DAMAGED'}: ${entries} entries, ${records} records, checkpoint of size ${published}; ${errors} errors, ${findings.length - errors} gaps`;
    if (format === 'table') print(verdict);
    else note(verdict);
    return errors === 0 ? 0 : 1;
  },
};
