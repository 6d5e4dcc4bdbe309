// The examples under envoy-configs are what the demo's code makes today, and Envoy reads them.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeAuthority } from '../../collector/src/demo/certificates.ts';
import { withEnvoy } from '../e2e/support.ts';
import { EXAMPLES_DIR, examples, yaml } from './envoy-examples.ts';

const envoy = withEnvoy();

test('the checked-in examples are current: `node collector/bin/node24.js test/demo/envoy-examples.ts` makes them', () => {
  const made = examples();
  assert.deepEqual(readdirSync(EXAMPLES_DIR).toSorted(), [...made.keys()].toSorted());
  for (const [name, text] of made) assert.equal(readFileSync(join(EXAMPLES_DIR, name), 'utf8'), text, name);
});

test('text that YAML would take for something else is quoted', () => {
  assert.equal(
    yaml({ a: 'true', b: 'x: y', c: "it's", d: '15s', e: '', '@type': 'x', f: [], g: {}, h: [{ i: 1, j: ['k'] }] }),
    [
      "a: 'true'",
      "b: 'x: y'",
      "c: 'it''s'",
      "d: '15s'",
      "e: ''",
      "'@type': x",
      'f: []',
      'g: {}',
      'h:',
      '  - i: 1',
      '    j:',
      '      - k',
      '',
    ].join('\n'),
  );
});

test('Envoy accepts every example, with files that exist', envoy.options, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail examples '));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const authority = await makeAuthority(dir, 'demo.mesh');
  const { certificateFile, keyFile } = await authority.issue('shop', 'orders');
  for (const [name, text] of examples()) {
    const file = join(dir, name);
    const local = text
      .replaceAll('/etc/meshtrail/tls/ca.crt', authority.caFile)
      .replaceAll('/etc/meshtrail/tls/tls.crt', certificateFile)
      .replaceAll('/etc/meshtrail/tls/tls.key', keyFile)
      .replaceAll('/etc/meshtrail/filter.wasm', envoy.filter);
    writeFileSync(file, local);
    const { status, stderr } = spawnSync(envoy.binary, ['--mode', 'validate', '-c', file, '-l', 'error'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, `${name}: ${stderr}`);
  }
});
