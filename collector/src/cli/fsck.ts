// `meshtrail fsck --dir DIR`: everything in a collector's directory, re-read and re-hashed.

import { existsSync, readFileSync } from 'node:fs';
import { fsckDirectory } from '../compose.ts';
import { MeshtrailError } from '../core/error.ts';
import { textOption, type Verb } from './args.ts';
import { note, print, table } from './output.ts';

const PROGRESS_MS = 1000;

export const fsck: Verb = {
  summary:
    "Re-reads and re-hashes everything in a collector's directory, and names the place of what does not fit. The collector must not run.",
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    dir: { type: 'string', value: 'DIR', help: 'Directory of the log.' },
    'last-signed-dir': {
      type: 'string',
      value: 'DIR',
      help: 'Where the last-signed record lives, if not in DIR/last-signed.',
    },
    vkey: {
      type: 'string',
      value: 'KEY|FILE',
      help: 'Verifier key of the log, from somebody you trust.',
      default: 'DIR/keys/log.vkey',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'FORMAT',
      help: 'table or json.',
      default: 'table',
      choices: ['table', 'json'],
    },
  },
  examples: ['meshtrail fsck --dir /var/lib/meshtrail', 'meshtrail fsck --dir ./copy --vkey log.vkey -o json'],
  async run(input) {
    const dir = textOption(input, 'dir') ?? process.env['MESHTRAIL_DIR'];
    if (dir === undefined) throw new MeshtrailError('USAGE', 'fsck needs --dir DIR: the directory of a collector.');
    const given = textOption(input, 'vkey');
    const vkey = given === undefined ? undefined : existsSync(given) ? readFileSync(given, 'utf8').trim() : given;
    let toldAt = performance.now();
    const report = await fsckDirectory(dir, textOption(input, 'last-signed-dir') ?? '', vkey, (done, all) => {
      if (performance.now() - toldAt < PROGRESS_MS) return;
      toldAt = performance.now();
      note(`${done} of ${all} entries checked`);
    });
    const errors = report.findings.filter(({ severity }) => severity === 'error');
    if (textOption(input, 'output') === 'json')
      print(JSON.stringify({ clean: errors.length === 0, ...report }, null, 2));
    else {
      if (report.findings.length > 0)
        print(
          table(
            [
              { title: 'SEVERITY', of: (f) => f.severity },
              { title: 'CODE', of: (f) => f.code },
              { title: 'PLACE', of: (f) => f.place },
              { title: 'FINDING', of: (f) => f.message },
            ],
            report.findings,
          ),
        );
      print(
        `${errors.length === 0 ? 'CLEAN' : 'DAMAGED'}: ${report.entries} entries, ${report.records} records, checkpoint of size ${report.published}; ${errors.length} errors, ${report.findings.length - errors.length} gaps`,
      );
    }
    return errors.length === 0 ? 0 : 1;
  },
};
