// `meshtrail fsck --dir DIR`: everything in a collector's directory, re-read and re-hashed.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fsckDirectory } from '../compose.ts';
import { MeshtrailError } from '../core/error.ts';
import { OUTPUT_OPTION, textOption, type Verb } from './args.ts';
import { vkeyTextOf } from './files.ts';
import { type Format, note, print, printRows, visible } from './output.ts';

const PROGRESS_MS = 1000;
const NONE = 'none';
const NAMES = ['severity', 'code', 'place', 'message'] as const;
type Report = Awaited<ReturnType<typeof fsckDirectory>>;
type Finding = Report['findings'][number];

const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;

/** The last line: what was found, and how much of the directory was looked at. */
function verdictOf({ findings, checked, entries, records, published }: Report, errors: number): string {
  if (checked === 'files-only')
    return `DAMAGED: ${counted(errors, 'error')} in the files named above; nothing was opened, and neither entries, records nor the checkpoint could be checked`;
  const stored = `${entries} ${entries === 1 ? 'entry' : 'entries'}, ${counted(records, 'record')}, checkpoint of size ${published}`;
  const rest =
    checked === 'everything' ? '' : '; nothing was compared with the last-signed record, so an old copy looks the same';
  return `${errors === 0 ? 'CLEAN' : 'DAMAGED'}: ${stored}; ${counted(errors, 'error')}, ${counted(findings.length - errors, 'gap')}${rest}`;
}

/** Says that the directory names another key: the log is checked against the given one, and somebody may take the other. */
function noteOtherKey(dir: string, vkey: string): void {
  const file = join(dir, 'keys', 'log.vkey');
  const own = existsSync(file) ? readFileSync(file, 'utf8').trim() : vkey;
  if (own !== vkey.trim())
    note(
      `${visible(file)} holds another key than the one given, which counts: give nobody that file before you know why`,
    );
}

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
      help: 'Where the last-signed record lives, if not in DIR/last-signed; also MESHTRAIL_LAST_SIGNED_DIR. "none": check a backup, which has none.',
    },
    vkey: {
      type: 'string',
      value: 'KEY|FILE',
      help: 'Verifier key of the log, from somebody you trust.',
      default: 'DIR/keys/log.vkey',
    },
    output: OUTPUT_OPTION,
  },
  examples: [
    'meshtrail fsck --dir /var/lib/meshtrail',
    'meshtrail fsck --dir ./backup --last-signed-dir none --vkey log.vkey',
    'meshtrail fsck --dir ./copy --vkey log.vkey -o json',
  ],
  async run(input) {
    const dir = textOption(input, 'dir') ?? process.env['MESHTRAIL_DIR'];
    if (dir === undefined || dir === '')
      throw new MeshtrailError('USAGE', 'fsck needs --dir DIR: the directory of a collector.');
    const given = textOption(input, 'vkey');
    const chosen = textOption(input, 'last-signed-dir');
    const lastSignedDir = chosen === NONE ? undefined : (chosen ?? process.env['MESHTRAIL_LAST_SIGNED_DIR'] ?? '');
    const vkey = given === undefined ? undefined : vkeyTextOf(given);
    if (vkey !== undefined) noteOtherKey(dir, vkey);
    let toldAt = performance.now();
    const report = await fsckDirectory(dir, lastSignedDir, vkey, (done, all) => {
      if (performance.now() - toldAt < PROGRESS_MS) return;
      toldAt = performance.now();
      note(`${done} of ${all} entries checked`);
    });
    const { findings, checked } = report;
    if (vkey === undefined && checked !== 'files-only')
      note(
        "checked against the directory's own key: who changed the log may have changed that too; --vkey names another",
      );
    const errors = findings.filter(({ severity }) => severity === 'error').length;
    const format = (textOption(input, 'output') ?? 'table') as Format;
    if (format !== 'table' || findings.length > 0)
      printRows<Finding>(format, {
        whole: { clean: errors === 0, ...report },
        rows: findings,
        columns: NAMES.map((name) => ({ title: name.toUpperCase(), of: (finding) => finding[name] })),
        names: NAMES,
      });
    const verdict = verdictOf(report, errors);
    if (format === 'table') print(verdict);
    else note(verdict);
    return errors === 0 ? 0 : 1;
  },
};
