// What a trap does to traffic and to the recorder, for each failure policy and each hook.
// Facts 25 to 27 of README.md.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FailurePolicy } from './contexts.ts';
import { Envoy, type Use } from './envoy.ts';
import { compileGuest } from './guest.ts';
import { Listener } from './listener.ts';

/** Traps in the third stream or log, where the configuration's first letter says: Create, Request, Log, Tick, every log (A). */
const TRAP = `
let at: i32 = 0;
let seen: i32 = 0;
export function proxy_on_configure(id: i32, bytes: i32): i32 {
  proxy_get_buffer_bytes(7, 0, 1, OUT, OUT + 4);
  at = load<u8>(load<u32>(OUT)); proxy_set_tick_period_milliseconds(100); return 1;
}
export function proxy_on_context_create(id: i32, root: i32): void { if (root != 0 && ++seen == 3 && at == 67) unreachable(); }
export function proxy_on_new_connection(id: i32): i32 { if (seen == 3 && at == 78) unreachable(); return 0; }
export function proxy_on_request_headers(id: i32, count: i32, end: i32): i32 { if (seen == 3 && at == 82) unreachable(); return 0; }
export function proxy_on_tick(id: i32): void { if (at == 84 && seen >= 3) unreachable(); }
let logged: i32 = 0;
export function proxy_on_log(id: i32): void { logged++; word('log'); say(); if ((at == 76 && logged == 3) || at == 65) unreachable(); }
`;
type Hook = 'C' | 'N' | 'R' | 'L' | 'T' | 'A';

async function filter(hook: Hook, failurePolicy: FailurePolicy | undefined): Promise<{ envoy: Envoy; use: Use }> {
  const envoy = new Envoy();
  const policy = failurePolicy === undefined ? {} : { failurePolicy };
  return { envoy, use: envoy.load({ code: await compileGuest(TRAP), configuration: hook, ...policy }) };
}

/** Codes of nine requests, with time for a tick after each. */
async function nine(hook: Hook, policy: FailurePolicy | undefined, pauseMs = 110): Promise<string> {
  const { envoy, use } = await filter(hook, policy);
  let codes = '';
  for (let i = 0; i < 9; i++) {
    const stream = envoy.openHttp(use).begin();
    stream.end({ responseHeaders: [[':status', '200']] });
    codes += stream.isFailed ? '5' : '2';
    envoy.advance(pauseMs);
  }
  return codes;
}

test('FAIL_OPEN: the stream whose headers trap fails, and all that follow pass a VM that stays dead', async () => {
  assert.equal(await nine('L', 'FAIL_OPEN'), '222222222');
  assert.equal(await nine('T', 'FAIL_OPEN'), '222222222');
  assert.equal(await nine('C', 'FAIL_OPEN'), '225222222');
  assert.equal(await nine('R', 'FAIL_OPEN'), '225222222');
  const { envoy, use } = await filter('L', 'FAIL_OPEN');
  for (let i = 0; i < 9; i++) envoy.exchange(use, {});
  assert.equal(envoy.world.logs.filter(({ text }) => text === 'log').length, 3, 'the recorder is dead');
  assert.deepEqual([...envoy.stats], [], 'no counter tells of it');
  assert.equal(envoy.world.logs.filter(({ level }) => level === 'error').length, 1, 'one line does');
});

test('FAIL_CLOSED, also when nothing is said: 503 for ever', async () => {
  for (const policy of ['FAIL_CLOSED', undefined] as const) {
    assert.equal(await nine('L', policy), '222555555');
    assert.equal(await nine('T', policy), '222555555');
    assert.equal(await nine('C', policy), '225555555');
    assert.equal(await nine('R', policy), '225555555');
  }
});

test('FAIL_RELOAD: a new VM for the next request, unless the last one is younger than the back-off', async () => {
  assert.equal(await nine('L', 'FAIL_RELOAD', 400), '222222222');
  assert.equal(await nine('T', 'FAIL_RELOAD', 400), '222222222');
  assert.equal(await nine('R', 'FAIL_RELOAD', 400), '225225225');
  // The second VM dies at once: 503 until a second has passed since it was made.
  assert.equal(await nine('R', 'FAIL_RELOAD', 110), '225225555');
  const { envoy, use } = await filter('A', 'FAIL_RELOAD');
  const passed = [0, 0, 0, 1000].map((pause) => {
    envoy.advance(pause);
    return envoy.exchange(use, {});
  });
  assert.deepEqual(passed, [true, true, false, true]);
  assert.deepEqual(Object.fromEntries(envoy.stats), {
    'wasm.recorder.vm_reload_success': 2,
    'wasm.recorder.vm_reload_backoff': 1,
  });
});

test('the older fail_open: true harms nothing', async () => {
  for (const hook of ['L', 'T', 'C', 'R'] as const) assert.equal(await nine(hook, 'fail_open: true'), '222222222');
});

test('open connections and WebSockets of a dead VM are closed at the next byte, but for the older fail_open: true', async () => {
  const outcomes: [FailurePolicy | undefined, string][] = [
    ['FAIL_OPEN', 'closed closed new passes'],
    ['FAIL_RELOAD', 'closed closed new passes'],
    ['FAIL_CLOSED', 'closed closed new refused'],
    [undefined, 'closed closed new refused'],
    ['fail_open: true', 'open open new passes'],
  ];
  for (const [policy, expected] of outcomes) {
    const { envoy, use } = await filter('A', policy);
    const listener = new Listener(envoy, { network: [use], http: [use] });
    const tcp = listener.connect();
    const webSocket = listener.connect();
    const upgrade = webSocket.request();
    upgrade.data('request', 5);
    tcp.data('downstream', 5);
    const codec = listener.connect();
    codec.codecError({});
    assert.notEqual(envoy.machine(use).failure, undefined);
    assert.deepEqual([tcp.isFailed, upgrade.isFailed], [false, false], 'nothing moves yet');
    upgrade.data('request', 5);
    tcp.data('downstream', 5);
    const state = (isFailed: boolean): string => (isFailed ? 'closed' : 'open');
    const next = listener.connect();
    const said = `${state(tcp.isFailed)} ${state(upgrade.isFailed)} new ${next.isFailed ? 'refused' : 'passes'}`;
    assert.equal(said, expected, String(policy));
    for (const connection of [tcp, webSocket, codec, next]) connection.close(2, {});
  }
});

test('a trap at the opening of a connection closes it; later ones pass under FAIL_OPEN', async () => {
  const { envoy, use } = await filter('N', 'FAIL_OPEN');
  const listener = new Listener(envoy, { network: [use] });
  const failed = [1, 2, 3, 4, 5].map(() => {
    const connection = listener.connect();
    connection.close(2, {});
    return connection.isFailed;
  });
  assert.deepEqual(failed, [false, false, true, false, false]);
});

test('as an access logger a dead VM harms no traffic; only FAIL_RELOAD brings it back, and each logger in a VM of its own', async () => {
  const policies = ['FAIL_OPEN', 'FAIL_CLOSED', 'fail_open: true', 'FAIL_RELOAD'] as const;
  for (const failurePolicy of policies) {
    const envoy = new Envoy();
    const plugin = { code: await compileGuest(TRAP), configuration: 'L', failurePolicy } as const;
    const httpLogger = envoy.load({ ...plugin, rootId: 'a' });
    const listenerLogger = envoy.load({ ...plugin, rootId: 'l' });
    assert.equal(envoy.machine(httpLogger), envoy.machine(listenerLogger));
    const listener = new Listener(envoy, { httpLoggers: [httpLogger], listenerLoggers: [listenerLogger] });
    for (let i = 0; i < 4; i++) {
      const connection = listener.connect();
      const exchange = connection.request();
      exchange.end({});
      connection.close(2, {});
      assert.deepEqual([connection.isFailed, exchange.isFailed], [false, false]);
    }
    const logged = envoy.world.logs.filter(({ text }) => text === 'log').length;
    assert.equal(logged, failurePolicy === 'FAIL_RELOAD' ? 3 + 5 : 3);
    assert.equal(envoy.machine(httpLogger) === envoy.machine(listenerLogger), failurePolicy !== 'FAIL_RELOAD');
    assert.equal(envoy.stats.get('wasm.recorder.vm_reload_success'), failurePolicy === 'FAIL_RELOAD' ? 2 : undefined);
  }
});

test('a VM that came back ticks, and ends with its process', async () => {
  const source = `${TRAP} export function proxy_on_done(id: i32): i32 { word('done'); say(); return 1; }`;
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(source), configuration: 'A', failurePolicy: 'FAIL_RELOAD' });
  envoy.exchange(use, {});
  const stream = envoy.openHttp(use).begin();
  assert.equal(envoy.machine(use).failure, undefined);
  const before = envoy.machine(use).entries.hooks;
  envoy.advance(300);
  assert.equal(envoy.machine(use).entries.hooks - before, 3);
  envoy.world.logs.length = 0;
  envoy.shutDown();
  assert.deepEqual(
    envoy.world.logs.map(({ vm, text }) => `${vm} ${text}`),
    ['worker-0 done', 'main done'],
  );
  assert.equal(stream.isFailed, false);
});
