// Goal: the reading verbs, as people and programs use them: formats, exit codes, closed pipes, terminals, and answers that lie.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FLOW_COLUMNS } from '../../collector/src/cli/flow-table.ts';
import { table } from '../../collector/src/cli/output.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { encodeBatch, type RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { START_NS, StreamMaker } from '../support/facts.ts';
import {
  forFile,
  meshtrail,
  post,
  published,
  type Ran,
  type RunOptions,
  type Serving,
  scratch,
  serve,
} from './harness.ts';

const HOSTILE_PATH = '/\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt.exe\r\n"quoted",x';
const COMMAND = fileURLToPath(new URL('../../collector/bin/meshtrail.js', import.meta.url));

const file = forFile();
let dir = '';
let serving: Serving;

before(async () => {
  dir = scratch(file);
  serving = await serve(file, dir, ['--publish-interval-ms', '50', '--origin', 'verbs.mesh/log']);
  const maker = new StreamMaker(1);
  for (let i = 0; i < 10; i++) await post(serving.ingest, maker.batch(30));
  const hostile = encodeBatch({
    stream: new Uint8Array(16).fill(7),
    batchNumber: 0,
    firstRecord: 0,
    rows: [
      {
        verdict: 'denied',
        startNs: START_NS + 3_600_000_000_000n,
        path: HOSTILE_PATH,
        connection: { id: 1 },
        outcome: { code: 403, policy: 'deny-all' },
      },
    ],
  });
  await post(serving.ingest, hostile);
  await published(serving.api, 11);
});
after(() => file.end());

const run = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  meshtrail(args, { cwd: dir, ...options, env: { MESHTRAIL_API: serving.api, ...options.env } });

test('flows in every format, notes on stderr alone', async () => {
  const table = await run(['flows', '--limit', '3']);
  assert.deepEqual([table.code, table.stdout.trim().split('\n').length], [0, 4]);
  assert.match(table.stdout, /^ID +TIME \(UTC\) +VERDICT +REPORTER +SOURCE +DESTINATION/);
  assert.match(
    table.stderr,
    /^3 records, as of verbs\.mesh\/log size 11\nmore: --all for every page, or the next one with --cursor \S+\n$/,
  );
  const [cursor = ''] = /\S+$/.exec(table.stderr.trim()) ?? [];
  assert.equal((await run(['flows', '--limit', '3', '--cursor', cursor])).code, 0, 'as it is selected in a terminal');
  for (const args of [['--json'], ['-o', 'json'], ['--output=json'], ['--json', '-o', 'json']]) {
    const { stdout } = await run(['flows', '--limit', '3', ...args]);
    const answer = JSON.parse(stdout) as { flows: FlowRecord[]; complete: boolean };
    assert.deepEqual([answer.flows.length, answer.complete], [3, true]);
  }
  const lines = (await run(['flows', '--limit', '3', '-o', 'ndjson'])).stdout.trim().split('\n');
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as FlowRecord).id),
    ['10.0', ...lines.slice(1).map((line) => JSON.parse(line).id)],
  );
  const csv = (await run(['flows', '--limit', '3', '-o', 'csv', '-f', 'verdict != "denied"'])).stdout
    .trim()
    .split('\r\n');
  assert.equal(csv.length, 4);
  assert.match(csv[0] ?? '', /^id,time,duration,verdict,/);
  const none = await run(['flows', '-f', 'policy == "nothing"', '-o', 'csv']);
  assert.deepEqual([none.code, none.stdout.trim()], [0, csv[0]], 'the same columns, whatever is found');
  assert.deepEqual(await run(['flows', '-f', 'policy == "nothing"', '-o', 'ndjson']), {
    code: 0,
    stdout: '',
    stderr: '0 records, as of verbs.mesh/log size 11\n',
  });
});

test('the table keeps apart what was observed of a destination and what was claimed', () => {
  const shown = (destination: FlowRecord['destination'], host?: string, reporter = 'source'): string | undefined => {
    const record = {
      id: '1.0',
      time: '',
      source: { address: '127.0.0.1:5' },
      destination,
      request: { host },
      reporter,
    };
    const about = {
      node: { cluster: 'orders.shop' },
      response: {},
      upstream: { cluster: 'outbound' },
      connection: {},
      verdict: 'allowed',
    };
    return cellsOf({ ...record, ...about, record: { phase: 'end', kind: 'http' } })['DESTINATION'];
  };
  const address = '127.0.0.1:33253';
  assert.equal(shown({ address }, 'files.example'), '"files.example"', 'on the way out');
  assert.equal(shown({ address }, 'inventory.backend'), '"inventory.backend"', 'no claim looks like an identity');
  assert.equal(shown({ address }), address);
  assert.equal(shown({}), 'outbound');
  assert.equal(shown({ address, workload: 'orders' }, 'files.example', 'destination'), 'orders.shop', 'as in edges');
  assert.equal(shown({ address, workload: 'orders' }, 'files.example'), '"orders"', 'of the other side it is a claim');
  assert.equal(shown({ address, principal: 'spiffe://m/x' }, 'files.example'), 'spiffe://m/x');
  assert.equal(shown({ principal: 'p', service_account: 'a', namespace: 'n' }, 'files.example'), 'a.n');
});

test('the table shows connections with their bytes, what lives by its phase, and marks repeats', () => {
  const of = (row: Partial<RowFacts>): Record<string, string> => {
    const rows: RowFacts[] = [{ verdict: 'allowed', startNs: START_NS, connection: {}, outcome: {}, ...row }];
    const batch = decodeBatch(encodeBatch({ stream: new Uint8Array(16), batchNumber: 0, firstRecord: 0, rows }));
    return cellsOf(recordOf(sourceOf(batch, 1, 0)));
  };
  const tcp = of({ kind: 'connection', requestBytes: 12, responseBytes: 345 });
  assert.deepEqual(
    [tcp['VERDICT'], tcp['METHOD'], tcp['PATH'], tcp['CODE']],
    ['allowed', 'TCP', '12 B in, 345 B out', '-'],
  );
  const tls = of({
    kind: 'connection',
    verdict: 'denied',
    flags: BIT.repeat,
    connection: { requestedServerName: 'db' },
  });
  assert.deepEqual([tls['VERDICT'], tls['METHOD'], tls['PATH']], ['denied (repeat)', 'TLS', '-']);
  assert.equal(tls['DESTINATION'], '"db"', 'a name that the caller sent');
  const lives = of({ kind: 'connection', phase: 'interval', verdict: 'unknown', requestBytes: 1, responseBytes: 0 });
  assert.deepEqual([lives['VERDICT'], lives['PATH']], ['interval', '1 B in, 0 B out']);
  assert.equal(of({ phase: 'open', verdict: 'unknown' })['VERDICT'], 'open');
  const connection = {
    mtls: true,
    peerPrincipal: 'spiffe://m/ns/n/sa/a',
    peerWorkload: 'w',
    sourceAddress: '1.2.3.4:5',
  };
  assert.equal(of({ connection })['SOURCE'], 'a.n');
  assert.equal(of({ connection: { ...connection, mtls: false } })['SOURCE'], '"w"');
  assert.equal(of({ connection: { ...connection, transportFailure: 'refused' } })['SOURCE'], '1.2.3.4:5');
});

/** The only line of a table by its titles. */
function cellsOf(record: object): Record<string, string> {
  const [head = '', line = ''] = table(FLOW_COLUMNS, [record as FlowRecord], 400).split('\n');
  const starts = FLOW_COLUMNS.map(({ title }) => head.indexOf(title));
  return Object.fromEntries(FLOW_COLUMNS.map(({ title }, i) => [title, line.slice(starts[i], starts[i + 1]).trim()]));
}

test('--all walks every page, in every format the same records', async () => {
  const ids = async (format: string): Promise<string[]> => {
    const { code, stdout, stderr } = await run(['flows', '--all', '--limit', '50', '-o', format, '--order', 'asc']);
    assert.equal(code, 0);
    assert.match(stderr, /^301 records, as of verbs\.mesh\/log size 11\n$/);
    if (format === 'json') return (JSON.parse(stdout) as { flows: FlowRecord[] }).flows.map(({ id }) => id);
    if (format === 'ndjson')
      return stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as FlowRecord).id);
    // The last record has a line break in its path, inside quotes.
    return stdout
      .replaceAll(/"[^"]*"/g, '')
      .trim()
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(',')[0] ?? '');
  };
  const want = await ids('json');
  assert.equal(new Set(want).size, 301);
  assert.deepEqual(await ids('ndjson'), want);
  assert.deepEqual(await ids('csv'), want);
});

test('nothing recorded reaches a terminal as more than text', async () => {
  for (const args of [
    ['flows', '--limit', '1'],
    ['show', '10.0'],
    ['flows', '--limit', '1', '--json'],
    ['show', '10.0', '-o', 'ndjson'],
  ]) {
    const { stdout } = await run(args);
    const odd = [...stdout].filter((c) => (c < ' ' && c !== '\n') || (c >= '\x7f' && c <= '\x9f') || c === '\u202e');
    assert.deepEqual(odd, [], args.join(' '));
    assert.match(stdout, /(?:\\x1b|\\u001b)\[31mred/);
  }
  assert.equal((JSON.parse((await run(['show', '10.0', '--json'])).stdout) as FlowRecord).request.path, HOSTILE_PATH);
  const { stderr } = await run(['flows', '-f', '"\x1b[31m" == 5']);
  assert.ok(!stderr.includes('\x1b'));
});

test('colours only where they are wanted', async () => {
  const isColoured = async (env: Record<string, string>): Promise<boolean> =>
    (await run(['flows', '--limit', '2'], { env })).stdout.includes('\x1b[');
  assert.equal(await isColoured({}), false, 'a pipe');
  assert.equal(await isColoured({ FORCE_COLOR: '1' }), true);
  assert.equal(await isColoured({ NO_COLOR: '1' }), false);
});

test('show, prove and verify, with and without a file between them', async (t) => {
  const at = scratch(t);
  const vkey = join(at, 'log.vkey');
  writeFileSync(vkey, `${serving.vkey}\n`);
  assert.match((await run(['show', '3.4'])).stdout, /^FIELD +VALUE\nid +3\.4\ntime +2026-11-24T12:00:00/);
  assert.equal((await run(['show', 'verbs.mesh/log/3.4', '-o', 'csv'])).stdout.trim().split('\r\n').length, 2);
  const proved = await run(['prove', '3.4'], { cwd: at });
  assert.deepEqual([proved.code, proved.stdout], [0, '']);
  const pasted = /check it with: (npx meshtrail verify [^\n]+)\n$/.exec(proved.stderr)?.[1];
  assert.equal(pasted, 'npx meshtrail verify 3.4.proof.json --vkey log.vkey');
  const spaced = await run(['prove', '3.4', '--out', join(at, "an auditor's proof")]);
  assert.match(
    spaced.stderr,
    /^wrote \/[^\n]+; check it with: npx meshtrail verify '\/[^\n]+\/an auditor'\\''s proof' --vkey/,
  );
  assert.match(
    spaced.stderr,
    /\nlog\.vkey is the verifier key of verbs\.mesh\/log, DIR\/keys\/log\.vkey: from somebody/,
  );
  const words = /npx meshtrail (.+) --vkey/.exec(spaced.stderr)?.[1] ?? '';
  const pastes = spawn('sh', ['-c', `exec "$0" "$1" ${words} --vkey "$2"`, process.execPath, COMMAND, vkey]);
  assert.deepEqual(await once(pastes, 'close'), [0, null], 'what is printed works when it is pasted');
  assert.equal((await run(['prove', '3.4'], { cwd: at })).code, 2, 'nothing is written over');
  assert.equal((await run(['prove', '3.4', '--out', join(at, 'no', 'where')], { cwd: at })).code, 3);
  // Offline: no API is needed or asked.
  const offline = { cwd: at, env: { MESHTRAIL_API: 'http://127.0.0.1:1' } };
  const verified = await run(['verify', '3.4.proof.json', '--vkey', vkey], offline);
  assert.equal(verified.code, 0);
  assert.match(verified.stdout, /VERIFIED\. This proof shows:\n {2}Record 3\.4 is, byte for byte,/);
  assert.match(verified.stdout, /It does not show:\n/);
  const json = JSON.parse(
    (await run(['verify', '3.4.proof.json', '--vkey', serving.vkey, '--json'], offline)).stdout,
  ) as { verified: boolean; record: FlowRecord };
  assert.deepEqual([json.verified, json.record.id], [true, '3.4']);
  const { stdout: piped } = await run(['prove', '3.4', '--out', '-']);
  assert.equal(piped.trim(), readFileSync(join(at, '3.4.proof.json'), 'utf8').trim());
  assert.equal((await run(['verify', '-', '--vkey', vkey], { ...offline, input: piped })).code, 0);
  const bent = piped.replace(/"row":"(.)/, (_, c: string) => `"row":"${c === 'A' ? 'B' : 'A'}`);
  assert.notEqual(bent, piped);
  const refuted = await run(['verify', '-', '--vkey', vkey], { ...offline, input: bent });
  assert.deepEqual([refuted.code, refuted.stdout], [1, '']);
  assert.match(refuted.stderr, /the record's row is not row 4 of the batch.* \[PROOF_NOT_VERIFIED\]\n$/);
});

test('a reader that leaves early costs no noise, and hides no exit code', async () => {
  const early = async (args: readonly string[]): Promise<{ readonly code: number; readonly stderr: string }> => {
    const child = spawn(process.execPath, [COMMAND, ...args], {
      env: { ...process.env, MESHTRAIL_API: serving.api },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.destroy();
    const [code] = (await once(child, 'close')) as [number];
    return { code, stderr };
  };
  const { code, stderr } = await early(['flows', '--all', '--limit', '5', '-o', 'ndjson']);
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /EPIPE|Error/);
  assert.equal((await early(['flows', '-f', 'nonsense'])).code, 2);
});

test('keys: made once, shown, and fit for a collector', async (t) => {
  const at = scratch(t);
  const made = await run(['keys', 'new', '--origin', 'k.mesh/log', '--out', join(at, 'sub', 'log.key')]);
  assert.equal(made.code, 0);
  assert.match(made.stdout, /^k\.mesh\/log\+[0-9a-f]{8}\+A\S+\n$/);
  assert.doesNotMatch(made.stdout + made.stderr, /PRIVATE/);
  assert.equal((await run(['keys', 'show', '--key-file', join(at, 'sub', 'log.key')])).stdout, made.stdout);
  const other = await serve(t, at, ['--origin', 'k.mesh/log', '--key-file', join(at, 'sub', 'log.key')]);
  assert.equal(other.vkey, made.stdout.trim());
});

test('fsck: clean, damaged, and in every format', async (t) => {
  const at = scratch(t);
  const own = await serve(t, at, ['--publish-interval-ms', '50']);
  const maker = new StreamMaker(8);
  await post(own.ingest, maker.batch(5));
  maker.batch(2);
  await post(own.ingest, maker.batch(5));
  await published(own.api, 2);
  assert.equal((await run(['flows', '--api', own.api])).code, 1, 'a hole in a stream makes the answer incomplete');
  assert.equal(await own.stop(), 0);
  const log = join(at, 'log');
  const clean1 = await run(['fsck', '--dir', log, '--vkey', own.vkey]);
  assert.deepEqual([clean1.code, clean1.stderr], [0, '']);
  assert.match(clean1.stdout, /^SEVERITY +CODE +PLACE +MESSAGE\ngap +STREAM_GAP[^\n]*\nCLEAN: 2 entries, 10 records/);
  const { stdout, stderr } = await run(['fsck', '--json'], { env: { MESHTRAIL_DIR: log } });
  assert.deepEqual((JSON.parse(stdout) as { clean: boolean; entries: number }).clean, true);
  assert.match(stderr, /checked against the directory's own key/);
  assert.equal((await run(['fsck', '--dir', log, '--vkey', serving.vkey])).code, 1, 'the key of another log');
  writeFileSync(
    join(log, 'meshtrail.json'),
    readFileSync(join(log, 'meshtrail.json'), 'utf8').replace('local', 'locam'),
  );
  const refused = await run(['fsck', '--dir', log]);
  assert.deepEqual([refused.code, /\[STORE_FOREIGN\]/.test(refused.stderr)], [1, true]);
  assert.doesNotMatch(refused.stderr, /checked against/, 'nothing was');
});
