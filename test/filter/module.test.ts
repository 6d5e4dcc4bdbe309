// The release module as a file: what it can never do, whatever comes from outside.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { instantiate } from '@assemblyscript/loader';
import binaryen from 'assemblyscript/binaryen';

const file = new URL('../../build/filter.wasm', import.meta.url);
const bytes = readFileSync(file);
const text = textOf(bytes);

const BYTES_MAX = 24 * 1024;
const PAGES = 64;
const IMPORTS = [
  'env.proxy_define_metric',
  'env.proxy_get_buffer_bytes',
  'env.proxy_get_current_time_nanoseconds',
  'env.proxy_get_header_map_pairs',
  'env.proxy_get_header_map_value',
  'env.proxy_get_property',
  'env.proxy_http_call',
  'env.proxy_increment_metric',
  'env.proxy_log',
  'env.proxy_set_tick_period_milliseconds',
  'wasi_snapshot_preview1.clock_time_get',
  'wasi_snapshot_preview1.random_get',
];
const EXPORTS = [
  '_initialize',
  'memory',
  'proxy_abi_version_0_2_1',
  'proxy_on_configure',
  'proxy_on_done',
  'proxy_on_http_call_response',
  'proxy_on_log',
  'proxy_on_memory_allocate',
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

test('it asks the host for the written list of functions, and answers the written list of hooks', () => {
  const imports = [...text.matchAll(/\(import "([^"]+)" "([^"]+)"/g)].map(([, module, name]) => `${module}.${name}`);
  assert.deepEqual(imports.toSorted(), IMPORTS);
  assert.deepEqual([...text.matchAll(/\(export "([^"]+)"/g)].map(([, name]) => name).toSorted(), EXPORTS);
});

test('its memory is fixed, and itself small', () => {
  assert.match(text, new RegExp(`\\(memory \\$\\d+ ${PAGES} ${PAGES}\\)`));
  assert.ok(bytes.length <= BYTES_MAX, `${bytes.length} bytes, more than ${BYTES_MAX}`);
});

test('the digest beside it is its own', () => {
  const digest = createHash('sha256').update(bytes).digest('hex');
  assert.equal(readFileSync(new URL(`${file.href}.sha256`), 'utf8'), `${digest}  filter.wasm\n`);
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
