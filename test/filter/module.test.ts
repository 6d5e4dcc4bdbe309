// The release module as a file: what it can never do, whatever comes from outside.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { instantiate } from '@assemblyscript/loader';
import binaryen from 'assemblyscript/binaryen';
import { compilerArguments } from '../../tools/set-up/filter.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const file = new URL('../../build/filter.wasm', import.meta.url);
const bytes = readFileSync(file);
const text = textOf(bytes);
const folder = mkdtempSync(join(tmpdir(), 'meshtrail-module-'));
after(() => rmSync(folder, { recursive: true }));

const BYTES_MAX = 24 * 1024;
const PAGES_MAX = 128;
/** Everything that the recorder may ask of a proxy. */
const IMPORTS = [
  'env.proxy_define_metric',
  'env.proxy_get_buffer_bytes',
  'env.proxy_get_current_time_nanoseconds',
  'env.proxy_get_header_map_pairs',
  'env.proxy_get_header_map_value',
  'env.proxy_get_property',
  'env.proxy_get_shared_data',
  'env.proxy_http_call',
  'env.proxy_increment_metric',
  'env.proxy_log',
  'env.proxy_set_effective_context',
  'env.proxy_set_shared_data',
  'env.proxy_set_tick_period_milliseconds',
  'wasi_snapshot_preview1.clock_time_get',
  'wasi_snapshot_preview1.random_get',
];
/** Everything that a proxy may call: no hook for headers, bodies or data, so that no traffic waits for the recorder. */
const EXPORTS = [
  '_initialize',
  'memory',
  'proxy_abi_version_0_2_1',
  'proxy_on_configure',
  'proxy_on_done',
  'proxy_on_http_call_response',
  'proxy_on_log',
  'proxy_on_memory_allocate',
  'proxy_on_new_connection',
  'proxy_on_tick',
  'proxy_on_vm_start',
];
/** What would end the VM, take memory, or run before the host is ready. */
const FORBIDDEN = ['unreachable', 'memory.grow', 'call_indirect', '(start', '(table'];

/** The module in WebAssembly's text form, strings of data segments left out. */
function textOf(module: Uint8Array): string {
  const parsed = binaryen.readBinary(new Uint8Array(module));
  try {
    return parsed.emitText().replaceAll(/^ *\(data .*$/gm, '');
  } finally {
    parsed.dispose();
  }
}

test('nothing in it traps on purpose, grows memory, or runs before the host is ready', () => {
  for (const word of FORBIDDEN) assert.ok(!text.includes(word), `the module has ${word}`);
});

test('the check finds what it looks for', () => {
  const parsed = binaryen.parseText(
    '(module (memory 1) (table 1 funcref) (start $s) (func $s (drop (memory.grow (i32.const 1))) (unreachable)))',
  );
  const found = textOf(parsed.emitBinary());
  parsed.dispose();
  for (const word of FORBIDDEN.filter((one) => one !== 'call_indirect')) assert.ok(found.includes(word), word);
});

test('it asks the host for nothing, and answers nothing, beyond the written lists', () => {
  const imports = [...text.matchAll(/\(import "([^"]+)" "([^"]+)"/g)].map(([, module, name]) => `${module}.${name}`);
  const exports = [...text.matchAll(/\(export "([^"]+)"/g)].map(([, name]) => `${name}`);
  assert.ok(imports.length > 0 && exports.length > 0);
  assert.deepEqual(
    imports.filter((name) => !IMPORTS.includes(name)),
    [],
  );
  assert.deepEqual(
    exports.filter((name) => !EXPORTS.includes(name)),
    [],
  );
});

test('its memory is fixed, and itself small', () => {
  const [, least, most] = /\(memory \$\d+ (\d+) (\d+)\)/.exec(text) ?? [];
  assert.equal(least, most);
  assert.ok(Number(most) <= PAGES_MAX, `${most} pages, more than ${PAGES_MAX}`);
  assert.ok(bytes.length <= BYTES_MAX, `${bytes.length} bytes, more than ${BYTES_MAX}`);
});

test('its start makes nothing: texts and tables are data', () => {
  const [, name = ''] = /\(export "_initialize" \(func (\$\d+)\)\)/.exec(text) ?? [];
  const start = text.split(/^ (?=\(func )/m).find((one) => one.startsWith(`(func ${name}\n`));
  assert.ok(start !== undefined);
  assert.doesNotMatch(start, /store|call|memory|loop/);
});

const digestOf = (module: Uint8Array): string => createHash('sha256').update(module).digest('hex');
const readDigest = (path: string): string => readFileSync(join(root, path), 'utf8');

test('the digest beside it is its own', () => {
  assert.equal(readDigest('build/filter.wasm.sha256'), `${digestOf(bytes)}  filter.wasm\n`);
});

test('compiled anew, it has the digest that is checked in, to the byte', async () => {
  const other = join(folder, 'filter.wasm');
  await promisify(execFile)(process.execPath, compilerArguments(root, 'release', other), { cwd: root });
  const want = `${digestOf(readFileSync(other))}  filter.wasm\n`;
  assert.equal(readDigest('filter/filter.wasm.sha256'), want, 'after a change of the filter: npm run build:accept');
});

test('it loads through the loader of its compiler', async () => {
  const nothing = new Proxy({}, { get: () => () => 0, has: () => true });
  const { exports } = await instantiate(bytes, { env: nothing, wasi_snapshot_preview1: nothing } as never);
  const { _initialize: initialize, proxy_on_memory_allocate: allocate } = exports as unknown as {
    readonly _initialize: () => void;
    readonly proxy_on_memory_allocate: (bytes: number) => number;
  };
  initialize();
  assert.ok(allocate(16) > 0);
  assert.equal(allocate(0x7fff_ffff), 0);
});
