// Goal: every option comes from where it should, and a wrong one is named with its value and what it must be.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressOf, flagOf, loadConfig, OPTIONS, type OptionName, variableOf } from '../../collector/src/config.ts';
import { optionRow } from './docs.ts';
import { meshtrail, scratch, serve } from './harness.ts';

test('options: file, environment, flags, in this order; shown with their source, secrets hidden', {
  timeout: 60_000,
}, async (t) => {
  const dir = scratch(t);
  const config = join(dir, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({ origin: 'file/log', publish_interval_ms: 70, query_rows_max: 5000, dir: 'x' }),
  );
  const env = {
    MESHTRAIL_ORIGIN: 'env/log',
    MESHTRAIL_KEY: 'PRIVATE+KEY+secret',
    MESHTRAIL_PUBLISH_INTERVAL_MS: '80',
    MESHTRAIL_CONFIG: config,
  };
  const { code, stdout } = await meshtrail(['serve', '--print-config', '--publish-interval-ms=90'], { env });
  assert.equal(code, 0);
  const rows = Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => [line.split(/ +/)[0], line.replace(/ +/g, ' ')]),
  );
  assert.deepEqual(Object.keys(rows), Object.keys(OPTIONS));
  assert.deepEqual(
    ['origin', 'publish_interval_ms', 'query_rows_max', 'key', 'heartbeat_interval_ms'].map((name) => rows[name]),
    [
      'origin env/log environment',
      'publish_interval_ms 90 flag',
      'query_rows_max 5000 file',
      'key (set) environment',
      'heartbeat_interval_ms 60000 default',
    ],
  );
  assert.doesNotMatch(stdout, /secret/);
});

test('limits: at the limit and one beyond', () => {
  for (const [name, option] of Object.entries(OPTIONS) as [OptionName, (typeof OPTIONS)[OptionName]][]) {
    if (option.type !== 'integer') continue;
    const value = (text: string): unknown => loadConfig({ flags: { [name]: text } }).values[name];
    assert.equal(value(String(option.min)), option.min);
    assert.equal(value(String(option.max)), option.max);
    for (const wrong of [option.min - 1, option.max + 1, '1e3', '-1', '1.5', '', ' 70', '0x50', 'many'])
      assert.throws(() => value(String(wrong)), {
        code: 'CONFIG_INVALID',
        message: `--${flagOf(name)} is ${JSON.stringify(String(wrong))}; it must be a whole number from ${option.min} to ${option.max}.`,
      });
  }
});

test('addresses', () => {
  for (const [text, host, port] of [
    ['127.0.0.1:4600', '127.0.0.1', 4600],
    ['[::1]:0', '::1', 0],
    ['localhost:65535', 'localhost', 65535],
    ['http://127.0.0.1:4600/', '127.0.0.1', 4600],
  ] as const)
    assert.deepEqual(addressOf('api', text), { host, port });
  for (const text of [
    '',
    '4600',
    ':4600',
    '127.0.0.1',
    '127.0.0.1:65536',
    '::1:4600',
    '[::1]',
    'a b:1',
    'https://a:1',
    'a:1/x',
  ])
    assert.throws(() => addressOf('api', text), { code: 'CONFIG_INVALID' }, text);
});

test('names, levels and files', (t) => {
  const dir = scratch(t);
  let files = 0;
  const file = (text: string): string => {
    const path = join(dir, `${files++}.json`);
    writeFileSync(path, text);
    return path;
  };
  for (const [input, want] of [
    [{ flags: { log_level: 'loud' } }, /one of trace, debug/],
    [{ flags: { origin: 'a b' } }, /without "\+"/],
    [{ flags: { origin: 'a+b' } }, /without "\+"/],
    [{ flags: { origin: '' } }, /1 to 255/],
    [{ env: { MESHTRAIL_QUEUE_BYTES_MAX: 'many' } }, /^MESHTRAIL_QUEUE_BYTES_MAX is "many"/],
    [{ file: join(dir, 'nowhere.json') }, /cannot be read/],
    [{ file: file('{') }, /cannot be read/],
    [{ file: file(`"${'x'.repeat(1_048_577)}"`) }, /longer than 1048576/],
    [{ file: file('[]') }, /a JSON object/],
    [{ file: file('{"pulish_interval_ms":1}') }, /unknown key "pulish_interval_ms"; known keys: dir, /],
    [{ file: file('{"publish_interval_ms":"1 s"}') }, /^publish_interval_ms is "1 s"/],
    [{ file: file('{"origin":7}') }, /^origin is 7/],
  ] as const)
    assert.throws(() => loadConfig(input), { code: 'CONFIG_INVALID', message: want });
  assert.equal(variableOf('publish_interval_ms'), 'MESHTRAIL_PUBLISH_INTERVAL_MS');
  assert.ok(Object.isFrozen(loadConfig({}).values));
});

test('options that are wrong are named with what they must be', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const taken = await serve(t, dir);
  const at = ['--dir', join(dir, 'other'), '--ingest', '127.0.0.1:0', '--log-level', 'silent'];
  for (const [args, want] of [
    [[], /^meshtrail: dir is not set/m],
    [[...at, '--api', '4600'], /^meshtrail: --api .*HOST:PORT/m],
    [[...at, '--api', '127.0.0.1:0', '--key', 'nonsense'], /^meshtrail: The private key is invalid/m],
    [
      [...at, '--api', '127.0.0.1:0', '--ready-file', join(dir, 'no', 'where')],
      /^meshtrail: --ready-file .* cannot be written/m,
    ],
    [[...at, '--api', taken.ingest], /^meshtrail: --api .* something else listens there/m],
    [['extra'], /^meshtrail: meshtrail serve takes no arguments/m],
  ] as const) {
    const { code, stderr } = await meshtrail(['serve', ...args]);
    assert.match(stderr, want);
    assert.equal(code, 2, stderr);
    assert.doesNotMatch(stderr, /nonsense/);
  }
});

test('MESHTRAIL_API serves clients and collector alike', { timeout: 60_000 }, async (t) => {
  const dir = scratch(t);
  const first = await serve(t, dir);
  const { host } = new URL(first.api);
  for (const api of [first.api, `${first.api}/`, host])
    assert.equal((await meshtrail(['flows'], { env: { MESHTRAIL_API: api } })).code, 0, api);
  const { stdout } = await meshtrail(['serve', '--print-config'], { env: { MESHTRAIL_API: 'http://127.0.0.1:4600' } });
  assert.match(stdout, /^api +http:\/\/127\.0\.0\.1:4600 +environment$/m);
});

test('docs/operations.md has every option and every metric there is', () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  const page = read('docs/operations.md');
  assert.deepEqual(
    page.split('\n').filter((line) => line.startsWith('| `--')),
    (Object.keys(OPTIONS) as OptionName[]).map((name) => optionRow(name, OPTIONS[name])),
  );
  const metrics = [...read('collector/src/events.ts').matchAll(/create\w+\('(meshtrail_\w+)'/g)].map(
    ([, name]) => name,
  );
  const told = [...page.matchAll(/^\| `(meshtrail_\w+)` \|/gm)].map(([, name]) => name);
  assert.ok(metrics.length > 10);
  assert.deepEqual(told.toSorted(), metrics.toSorted());
});
