// Life of VMs, roots and streams: which hooks run on which ids, in which order, and when none runs any more.
// Facts of README.md: 1 to 3, 12, 13, and 15 to 21.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy } from './envoy.ts';
import { compileGuest } from './guest.ts';
import { Crashed, Refused } from './module.ts';

/** A guest that says each hook and its arguments. Its configuration decides: n configure 0, k done 0. */
const TELL = `
let bootId: i32 = 0;
export function proxy_on_context_create(id: i32, root: i32): void { word('create'); number(id); number(root); say(); }
export function proxy_on_vm_start(id: i32, bytes: i32): i32 {
  word('start'); number(id); number(bytes); number(proxy_get_buffer_bytes(7, 0, 9, OUT, OUT + 4)); say();
  return 1;
}
let keeps: bool = false;
export function proxy_on_configure(id: i32, bytes: i32): i32 {
  word('configure'); number(id); number(bytes); number(proxy_get_buffer_bytes(7, 0, 100, OUT, OUT + 4)); number(load<u32>(OUT + 4));
  const first = bytes > 0 ? <i32>load<u8>(load<u32>(OUT)) : 0;
  number(proxy_get_buffer_bytes(7, 50, 5, OUT, OUT + 4)); number(load<u32>(OUT + 4)); number(bootId++); say();
  keeps = first == 107;
  if (first == 116) proxy_set_tick_period_milliseconds(100);
  return first == 110 ? 0 : 1;
}
export function proxy_on_tick(id: i32): void { word('tick'); number(id); say(); }
export function proxy_on_log(id: i32): void { word('log'); number(id); say(); }
export function proxy_on_done(id: i32): i32 { word('done'); number(id); say(); return keeps ? 0 : 1; }
export function proxy_on_delete(id: i32): void { word('delete'); number(id); say(); }
export function proxy_on_new_connection(id: i32): i32 { word('connection'); number(id); say(); return 0; }
export function proxy_on_downstream_data(id: i32, bytes: i32, end: i32): i32 { word('down'); number(id); number(bytes); say(); return 0; }
export function proxy_on_upstream_data(id: i32, bytes: i32, end: i32): i32 { word('up'); number(id); number(bytes); say(); return 0; }
export function proxy_on_downstream_connection_close(id: i32, by: i32): void { word('down_close'); number(id); number(by); say(); }
export function proxy_on_upstream_connection_close(id: i32, by: i32): void { word('up_close'); number(id); number(by); say(); }
`;

const said = (envoy: Envoy, vm?: string): string[] =>
  envoy.world.logs.splice(0).flatMap(({ vm: from, text }) => (vm === undefined || vm === from ? [text] : []));

test('a plugin starts in a canary, then once on each thread', async () => {
  const envoy = new Envoy({ workers: 1 });
  envoy.load({ code: await compileGuest(TELL), configuration: 'abc', vmConfiguration: 'vm' });
  assert.equal(envoy.vmsCreated, 4);
  const expected = ['create 1 0', 'start 1 2 1', 'configure 1 3 0 3 0 0 0'];
  assert.deepEqual(
    envoy.world.logs.map(({ vm }) => vm),
    ['canary', 'canary', 'canary', 'main', 'main', 'main', 'worker-0', 'worker-0', 'worker-0'],
  );
  assert.deepEqual(said(envoy, 'canary'), expected);
});

test('hooks of an HTTP stream come in order: create, log, done, delete', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL) });
  said(envoy);
  const first = envoy.openHttp(use).begin();
  const second = envoy.openHttp(use).begin();
  second.end({});
  first.end({});
  envoy.exchange(use, {});
  const end = (id: number): string[] => [`log ${id}`, `done ${id}`, `delete ${id}`];
  assert.deepEqual(said(envoy), ['create 2 1', 'create 3 1', ...end(3), ...end(2), 'create 4 1', ...end(4)]);
});

test('hooks of a connection come in order: create, connection, data, closes, done, log, delete', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL) });
  said(envoy);
  const connection = envoy.openConnection(use);
  connection.data('downstream', 5);
  connection.data('upstream', 9, true);
  connection.close(1, {});
  const expected = ['create 2 1', 'connection 2', 'down 2 5', 'up 2 9', 'up_close 2 0', 'down_close 2 1'];
  assert.deepEqual(said(envoy), [...expected, 'done 2', 'log 2', 'delete 2']);
  // An upstream that did not end its stream has no close of its own.
  envoy.openConnection(use).close(2, {});
  assert.deepEqual(said(envoy).slice(2), ['down_close 3 2', 'done 3', 'log 3', 'delete 3']);
});

test('an access logger logs with the id of the root', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL) });
  said(envoy);
  envoy.machine(use).accessLog(envoy.root(use), {});
  assert.deepEqual(said(envoy), ['log 1']);
});

test('plugins of one code share a VM; listeners of one plugin share its root', async () => {
  const envoy = new Envoy();
  const code = await compileGuest(TELL);
  const inbound = envoy.load({ code, rootId: 'in', direction: 'inbound' });
  said(envoy);
  const outbound = envoy.load({ code, rootId: 'out', direction: 'outbound' });
  assert.deepEqual(said(envoy, 'worker-0'), ['create 2 0', 'start 2 0 1', 'configure 2 0 0 0 0 0 1']);
  const again = envoy.load({ code, rootId: 'in', direction: 'inbound' });
  assert.deepEqual(said(envoy), []);
  assert.equal(envoy.root(again), envoy.root(inbound));
  assert.equal(envoy.machine(inbound), envoy.machine(outbound));
  envoy.unload(again);
  assert.deepEqual(said(envoy), [], 'another listener has the plugin still');
  envoy.unload(inbound);
  assert.deepEqual(said(envoy), ['done 1', 'delete 1', 'done 1', 'delete 1'], 'on the worker, then on the main thread');
  const other = envoy.load({ code, vmId: 'other' });
  assert.notEqual(envoy.machine(other), envoy.machine(outbound));
});

test('a new configuration is a new root in the same VM; the old root goes after its last stream', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL), configuration: 'a' });
  const open = envoy.openHttp(use).begin();
  said(envoy);
  const next = envoy.update(use, 'b');
  assert.deepEqual(said(envoy, 'worker-0'), ['create 3 0', 'start 3 0 1', 'configure 3 1 0 1 0 0 1']);
  envoy.exchange(next, {});
  open.end({});
  assert.deepEqual(said(envoy), [
    'create 4 3',
    'log 4',
    'done 4',
    'delete 4',
    'log 2',
    'done 2',
    'delete 2',
    'done 1',
    'delete 1',
  ]); // prettier-ignore
  assert.equal(envoy.machine(next).contexts.size, 1);
});

// README.md, fact 18.
test('other code is another VM; the old one serves its streams, then ends for good, whatever its done returns', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL), configuration: 'keeps' });
  const open = envoy.openHttp(use).begin();
  const old = envoy.machine(use);
  said(envoy);
  const next = envoy.replace(use, { ...use.plugin, code: await compileGuest(`${TELL} word('new'); say();`) });
  assert.deepEqual(said(envoy, 'main').at(-1), 'done 1', 'the old root of the thread without streams');
  assert.notEqual(envoy.machine(next), old);
  envoy.exchange(next, {});
  open.end({});
  assert.deepEqual(said(envoy).slice(-8), [
    ...['create 2 1', 'log 2', 'done 2', 'delete 2'],
    ...['log 2', 'done 2', 'delete 2', 'done 1'],
  ]);
  assert.equal(old.isGone, true);
  assert.equal(envoy.machine(next).isGone, false);
});

// README.md, fact 19.
test('other remote code under the same vm_id is accepted, and the old code keeps running', async () => {
  const envoy = new Envoy();
  const plugin = { code: await compileGuest(TELL), vmId: 'a', isRemote: true };
  const use = envoy.load(plugin);
  const code = await compileGuest(`export function proxy_on_log(id: i32): void { word('other'); say(); }`);
  const next = envoy.replace(use, { ...plugin, code, configuration: 'b' });
  said(envoy);
  envoy.exchange(next, {});
  assert.ok(said(envoy).some((line) => line.startsWith('log ')));
  const other = envoy.replace(next, { ...plugin, code, vmId: 'b' });
  said(envoy);
  envoy.exchange(other, {});
  assert.deepEqual(said(envoy), ['other']);
});

test('a process that is killed says nothing, and its calls are never answered', async () => {
  const envoy = new Envoy({ workers: 2 });
  const use = envoy.load({ code: await compileGuest(TELL), configuration: 't' });
  const open = envoy.openHttp(use).begin();
  said(envoy);
  envoy.kill();
  envoy.advance(1000);
  open.end({});
  assert.deepEqual(said(envoy), []);
});

test('a refused configuration changes nothing', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(TELL), configuration: 'a' });
  said(envoy);
  assert.throws(() => envoy.update(use, 'no'), { name: 'Refused', message: /on_configure returned 0/ });
  assert.deepEqual(said(envoy), ['create 1 0', 'start 1 0 1', 'configure 1 2 0 2 0 0 0'], 'only the canary ran');
  envoy.exchange(use, {});
  assert.deepEqual(said(envoy), ['create 2 1', 'log 2', 'done 2', 'delete 2']);
});

test('each root ticks at its own period, in the main thread too', async () => {
  const envoy = new Envoy();
  const code = await compileGuest(TELL);
  envoy.load({ code, configuration: 't', rootId: 'one' });
  envoy.advance(50);
  envoy.load({ code, configuration: 't', rootId: 'two' });
  envoy.load({ code, configuration: 'x', rootId: 'silent' });
  said(envoy);
  envoy.advance(49);
  assert.deepEqual(said(envoy), []);
  envoy.advance(201);
  assert.deepEqual(said(envoy, 'worker-0'), ['tick 1', 'tick 2', 'tick 1', 'tick 2', 'tick 1']);
  assert.equal(envoy.world.nowMs, 300);
  envoy.advance(100);
  assert.deepEqual(said(envoy, 'main').sort(), ['tick 1', 'tick 2']);
});

test('at the end each root gets done and delete, workers first; 0 from done keeps nothing alive', async () => {
  const envoy = new Envoy({ workers: 2 });
  const use = envoy.load({ code: await compileGuest(TELL), rootId: 'a' });
  envoy.load({ code: use.plugin.code, rootId: 'b', configuration: 'keeps' });
  said(envoy);
  envoy.shutDown();
  const vms = envoy.world.logs.map(({ vm }) => vm);
  assert.deepEqual([...new Set(vms)], ['worker-0', 'worker-1', 'main']);
  assert.deepEqual(said(envoy, 'main'), ['done 2', 'done 1'], 'the newest root first');
});

test('a root whose done returned 0 lives until it says proxy_done', async () => {
  const source = `
    export function proxy_on_done(id: i32): i32 { word('done'); number(id); number(proxy_done()); say(); return 0; }
    export function proxy_on_delete(id: i32): void { word('delete'); number(id); say(); }
    export function proxy_on_configure(id: i32, bytes: i32): i32 { proxy_set_tick_period_milliseconds(100); return 1; }
    export function proxy_on_tick(id: i32): void { word('tick'); number(id); if (id == 1) number(proxy_done()); say(); }`;
  const envoy = new Envoy({ workers: 0 });
  const use = envoy.load({ code: await compileGuest(source), configuration: 'a' });
  envoy.update(use, 'b');
  envoy.advance(200);
  assert.deepEqual(said(envoy), ['done 1 1', 'tick 1 0', 'delete 1', 'tick 2', 'tick 2']);
});

test('effective context: another context answers, until the hook ends', async () => {
  const source = `
    export function proxy_on_configure(id: i32, bytes: i32): i32 { proxy_set_tick_period_milliseconds(100); return 1; }
    export function proxy_on_tick(id: i32): void {
      readProperty('source.address'); number(proxy_set_effective_context(2)); say(); readProperty('source.address');
      number(proxy_set_effective_context(99)); say(); readProperty('source.address');
    }`;
  const envoy = new Envoy({ workers: 1 });
  const use = envoy.load({ code: await compileGuest(source) });
  const stream = envoy.openHttp(use).begin({ properties: { source: { address: 'a' } } });
  envoy.advance(100);
  const expected = ['source.address 1', '0', 'source.address 0 1 61', '2', 'source.address 0 1 61'];
  assert.deepEqual(said(envoy, 'worker-0'), expected);
  stream.end({});
  envoy.advance(100);
  assert.equal(said(envoy, 'worker-0')[1], '2', 'a context that is gone cannot be chosen');
});

test('a trap ends the VM of its thread: no hook runs in it any more', async () => {
  const source = `${TELL}
    export function proxy_on_request_headers(id: i32, count: i32, end: i32): i32 { if (id == 3) unreachable(); return 0; }`;
  const envoy = new Envoy({ workers: 2 });
  const use = envoy.load({ code: await compileGuest(source), configuration: 't' });
  const before = envoy.openHttp(use).begin();
  said(envoy);
  envoy.openHttp(use).begin().end({});
  assert.deepEqual(said(envoy), [
    'create 3 1',
    'Function: proxy_on_request_headers failed: Uncaught RuntimeError: unreachable',
  ]);
  assert.match(envoy.machine(use).failure ?? '', /unreachable/);
  before.end({});
  envoy.exchange(use, {});
  envoy.advance(100);
  assert.deepEqual(said(envoy, 'worker-0'), []);
  envoy.exchange(use, {}, 2);
  assert.equal(said(envoy, 'worker-1').length, 4, 'the other worker has a VM of its own');
  const next = envoy.update(use, 'u');
  envoy.exchange(next, {});
  assert.equal(said(envoy, 'worker-0').length, 3 + 4, 'a new configuration makes a new VM');
});

test('an endless recursion and an access outside the memory are traps too', async () => {
  for (const body of ['proxy_on_log(id); say();', 'store<u8>(0x7fffffff, 1);']) {
    const envoy = new Envoy();
    const use = envoy.load({ code: await compileGuest(`export function proxy_on_log(id: i32): void { ${body} }`) });
    envoy.exchange(use, {});
    assert.match(envoy.machine(use).failure ?? '', /^Function: proxy_on_log failed: Uncaught RuntimeError/);
  }
});

test('initialisation may log, read WASI clocks and randomness, and nothing else', async () => {
  const allowed = await compileGuest(`random_get(OUT, 8); clock_time_get(1, 1, OUT); word('ok'); say();`);
  const envoy = new Envoy();
  envoy.load({ code: allowed });
  assert.deepEqual(said(envoy, 'worker-0'), ['ok']);
  for (const call of ['proxy_get_current_time_nanoseconds(OUT)', `proxy_define_metric(0, TEXT, text('m'), OUT)`]) {
    const code = await compileGuest(`${call};`);
    assert.throws(() => new Envoy().load({ code }), {
      name: 'Refused',
      message: /_initialize failed.*restricted_callback/,
    });
  }
});

test('the allocator may not call the host; its trap ends the VM after the hook that asked', async () => {
  const source = `
    export function proxy_on_memory_allocate(bytes: i32): usize { proxy_get_current_time_nanoseconds(OUT); return ARENA; }
    export function proxy_on_log(id: i32): void { readProperty('request.path'); word('on'); say(); }`;
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(source, { hasAllocator: false }) });
  envoy.exchange(use, { properties: { request: { path: '/' } } });
  const expected = ['restricted_callback: env.proxy_get_current_time_nanoseconds', 'request.path 6', 'on'];
  assert.deepEqual(
    said(envoy).map((line) => line.replace(/^Function.*RuntimeError: /, '')),
    expected,
  );
  envoy.exchange(use, {});
  assert.deepEqual(said(envoy), []);
});

test('an allocator that hands out what is outside the memory gets nothing', async () => {
  const source = `
    export function malloc(bytes: i32): usize { return 0x40000 - 4; }
    export function proxy_on_log(id: i32): void { readProperty('request.path'); }`;
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(source, { hasAllocator: false }) });
  envoy.exchange(use, { properties: { request: { path: '/12345' } } });
  envoy.exchange(use, { properties: { request: { path: '/123' } } });
  assert.deepEqual(said(envoy), ['request.path 6', 'request.path 0 4 2f313233']);
});

test('modules that Envoy would not load are refused by name', async () => {
  const refused: [source: string, message: RegExp, hasAllocator: boolean][] = [
    ['export function proxy_on_tick(id: i32): void { hostAbort(); }', /missing import: env\.abort/, true],
    [
      'export function proxy_on_tick(id: i32): void { proxy_call_foreign_function(); }',
      /emulator has no env\.proxy_call/,
      true,
    ],
    ['', /missing malloc/, false],
  ]; // prettier-ignore
  for (const [source, message, hasAllocator] of refused) {
    const code = await compileGuest(source, { hasAllocator });
    assert.throws(() => new Envoy().load({ code }), { name: 'Refused', message });
  }
  assert.throws(() => new Envoy().load({ code: Uint8Array.of(0, 97, 115, 109) }), Refused);
  const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
  assert.throws(() => new Envoy().load({ code: empty }), { name: 'Refused', message: /ABI version/ });
});

test('a host call in a start section would crash Envoy', async () => {
  const code = await compileGuest(`word('x'); say();`, { hasStartSection: true });
  assert.throws(() => new Envoy().load({ code }), Crashed);
});
