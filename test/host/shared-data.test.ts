// Shared data: every VM of a process with the same vm_id sees it, and compare-and-swap keeps two writers apart.
// README.md, fact 14: what the host's source says; no run on real Envoy measured it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy } from './envoy.ts';
import { compileGuest } from './guest.ts';

/** Reads `k` and writes one byte more than it found, with the number that it read; the configuration `x` writes with a stale one. */
const COUNT = `
const CAS: usize = memory.data(8, 8);
const VALUE: usize = memory.data(64, 8);
let isStale: bool = false;
let ticks: i32 = 0;
function turn(): void {
  store<u64>(OUT, 0); store<u32>(CAS, 0);
  const status = proxy_get_shared_data(TEXT, text('k'), OUT, OUT + 4, CAS);
  number(status); number(load<u32>(OUT + 4)); number(load<u32>(CAS));
  const bytes = load<u32>(OUT + 4) + 1;
  number(proxy_set_shared_data(TEXT, text('k'), VALUE, bytes, load<u32>(CAS) + (isStale ? 1000 : 0))); say();
}
export function proxy_on_configure(id: i32, bytes: i32): i32 { isStale = bytes == 1; turn(); return 1; }
export function proxy_on_log(id: i32): void { turn(); }
`;

test('canary, main thread and workers see one value; each write has a new number', async () => {
  const envoy = new Envoy({ workers: 2 });
  const use = envoy.load({ code: await compileGuest(COUNT), vmId: 'a' });
  envoy.exchange(use, {}, 2);
  envoy.exchange(use, {}, 1);
  assert.deepEqual(
    envoy.world.logs.map(({ vm, text }) => `${vm}: ${text}`),
    [
      'canary: 1 0 0 0',
      'main: 0 1 1 0',
      'worker-0: 0 2 2 0',
      'worker-1: 0 3 3 0',
      'worker-1: 0 4 4 0',
      'worker-0: 0 5 5 0',
    ],
  );
});

test('a stale number is told as a mismatch, and nothing is written', async () => {
  const envoy = new Envoy({ workers: 0 });
  const code = await compileGuest(COUNT);
  envoy.load({ code, vmId: 'a' });
  envoy.world.logs.length = 0;
  envoy.load({ code, vmId: 'a', configuration: 'x' });
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    ['0 2 2 8', '0 2 2 8'],
  );
});

test('other code with the same vm_id shares it, another vm_id does not; it goes with the last VM of its id', async () => {
  const envoy = new Envoy({ workers: 0 });
  const code = await compileGuest(COUNT);
  const first = envoy.load({ code, vmId: 'a' });
  const other = envoy.load({ code: await compileGuest(`${COUNT} export function more(): void {}`), vmId: 'a' });
  const values = (): (number | undefined)[] =>
    ['a', 'b'].map((vmId) => envoy.world.sharedData.get(vmId, 'k')?.value.length);
  assert.deepEqual(values(), [4, undefined]);
  envoy.load({ code, vmId: 'b' });
  assert.deepEqual(values(), [4, 2]);
  envoy.unload(first);
  assert.deepEqual(values(), [4, 2]);
  envoy.unload(other);
  assert.deepEqual(values(), [undefined, 2]);
});

test('no room, and addresses from nowhere', async () => {
  const source = `export function proxy_on_log(id: i32): void {
    number(proxy_set_shared_data(TEXT, text('k'), TEXT, 1, 0)); number(proxy_set_shared_data(TEXT, 1, 0xfffffff0, 1, 0));
    number(proxy_get_shared_data(0xfffffff0, 1, OUT, OUT + 4, OUT + 8)); number(proxy_get_shared_data(TEXT, 1, OUT, OUT + 4, 0xfffffff0));
    number(proxy_get_shared_data(TEXT, 1, OUT, OUT + 4, OUT + 8)); say(); }`;
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(source) });
  envoy.exchange(use, {});
  envoy.machine(use).isAllocatorBroken = true;
  envoy.exchange(use, {});
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    ['0 6 6 6 0', '0 6 6 6 6'],
  );
});
