// http_call: what is refused at once, what ends in a callback, and what never hears anything. Facts 20 and 22 to 24 of README.md.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy, type Use } from './envoy.ts';
import { compileGuest } from './guest.ts';

/** A guest that calls from on_log, on_tick and a root's on_done, and says what came of it. */
const CALLER = `
function pairs(whole: bool): usize {
  const names = [':method', ':path', ':authority'];
  const count = whole ? 3 : 2;
  let at: usize = HEADERS + 4 + 8 * count;
  store<u32>(HEADERS, count);
  for (let i = 0; i < count; i++) {
    store<u32>(HEADERS + 4 + 8 * i, names[i].length); store<u32>(HEADERS + 8 + 8 * i, 1);
    for (let j = 0; j < names[i].length; j++) store<u8>(at++, <u8>names[i].charCodeAt(j));
    store<u8>(at++, 0); store<u8>(at++, 120); store<u8>(at++, 0);
  }
  return at - HEADERS;
}
const HEADERS: usize = memory.data(256, 8);
const BODY: usize = memory.data<u8>([1, 2, 3]);
function call(cluster: string, whole: bool = true): void {
  store<u32>(OUT, 0xffff);
  const bytes = pairs(whole);
  word(cluster); number(proxy_http_call(TEXT, text(cluster), HEADERS, bytes, BODY, 3, 0, 0, 2000, OUT)); number(load<u32>(OUT)); say();
}
let mode: i32 = 0;
export function proxy_on_configure(id: i32, bytes: i32): i32 { mode = bytes; proxy_set_tick_period_milliseconds(1500); return 1; }
export function proxy_on_log(id: i32): void {
  if (mode == 0) { call('collector'); call('nobody'); call('sick'); call('collector', false); }
  else call(mode == 1 ? 'collector' : 'closed');
}
export function proxy_on_done(id: i32): i32 { if (id == 1) call('collector'); return 1; }
export function proxy_on_http_call_response(id: i32, token: i32, headers: i32, body: i32, trailers: i32): void {
  word('response'); number(id); number(token); number(headers); number(body); number(trailers);
  if (proxy_get_header_map_value(6, TEXT, text(':status'), OUT, OUT + 4) == 0) hex(load<u32>(OUT), load<u32>(OUT + 4));
  number(proxy_get_buffer_bytes(4, 0, 1000, OUT, OUT + 4)); number(load<u32>(OUT + 4)); say();
}
export function proxy_on_tick(id: i32): void { number(proxy_get_buffer_bytes(4, 0, 10, OUT, OUT + 4)); number(proxy_get_header_map_pairs(6, OUT, OUT + 4)); number(load<u32>(OUT + 4)); say(); }
`;

interface Caller {
  readonly envoy: Envoy;
  readonly use: Use;
  readonly said: () => string[];
}

/** The length of the configuration is the guest's mode. */
async function caller(configuration: string): Promise<Caller> {
  const envoy = new Envoy({ workers: 1 });
  envoy.upstreams.clusters.set('collector', 'held').set('sick', 'inline_failure').set('closed', 'refused');
  const use = envoy.load({ code: await compileGuest(CALLER), configuration });
  const said = (): string[] => envoy.world.logs.splice(0).flatMap(({ vm, text }) => (vm === 'worker-0' ? [text] : []));
  return { envoy, use, said };
}

const ALL = '';
const ONE = '1';
const CLOSED = '22';
const OK = '323030';

test('unknown cluster, inline failure and missing headers are told at once, with token 0 and no callback', async () => {
  const { envoy, use, said } = await caller(ALL);
  envoy.exchange(use, {});
  assert.deepEqual(said(), ['collector 0 1', 'nobody 2 0', 'sick 10 0', 'collector 2 0']);
  assert.equal(envoy.upstreams.calls.length, 1);
  envoy.advance(500);
  assert.deepEqual(said(), []);
});

test('an answer comes on the root, with headers, body and trailers that are gone afterwards', async () => {
  const { envoy, use, said } = await caller(ONE);
  envoy.exchange(use, {});
  const [call] = envoy.upstreams.pending();
  assert.ok(call !== undefined);
  assert.deepEqual([...call.body], [1, 2, 3]);
  assert.deepEqual(
    call.headers.map(([name, value]) => `${Buffer.from(name)}=${Buffer.from(value)}`),
    [':method=x', ':path=x', ':authority=x'],
  );
  const body = new Uint8Array(80);
  assert.equal(envoy.upstreams.answer(call, { status: 200, headers: [['a', 'b']], body, trailers: [['t', '']] }), true);
  assert.deepEqual(said(), ['collector 0 1', `response 1 1 2 80 1 ${OK} 0 80`]);
  assert.equal(envoy.upstreams.answer(call, { status: 200 }), false, 'one call has one callback');
  envoy.advance(1500);
  assert.deepEqual(said(), ['1 0 0']);
});

test('a refused connection and a time-out end in a callback with three headers, a reset in one with none', async () => {
  const { envoy, use, said } = await caller(CLOSED);
  envoy.exchange(use, {});
  assert.deepEqual(said(), ['closed 0 1'], 'not before the hook has ended');
  envoy.advance(0);
  assert.match(said()[0] ?? '', /^response 1 1 3 \d+ 0 353033 0 \d+$/);
  const held = await caller(ONE);
  held.envoy.exchange(held.use, {});
  held.envoy.advance(1499);
  held.said();
  held.envoy.advance(501);
  assert.match(held.said().at(-1) ?? '', /^response 1 1 3 24 0 353034 0 24$/);
  held.envoy.exchange(held.use, {});
  const [call] = held.envoy.upstreams.pending();
  assert.ok(call !== undefined);
  held.envoy.upstreams.answer(call, {});
  assert.deepEqual(held.said(), ['collector 0 2', 'response 1 2 0 0 0 0 0']);
});

test('a cluster can answer by itself, at the next turn of the event loop', async () => {
  const { envoy, use, said } = await caller(ONE);
  envoy.upstreams.clusters.set('collector', ({ body }) => ({ status: 200, body }));
  envoy.exchange(use, {});
  envoy.advance(0);
  assert.deepEqual(said(), ['collector 0 1', `response 1 1 1 3 0 ${OK} 0 3`]);
});

test('a call made in the root’s done goes out, and nobody hears of its answer', async () => {
  const { envoy, said } = await caller(ONE);
  envoy.shutDown();
  assert.deepEqual(said(), ['collector 0 1']);
  const [call] = envoy.upstreams.calls;
  assert.ok(call !== undefined);
  assert.equal(call.state, 'cancelled');
  assert.equal(envoy.upstreams.answer(call, { status: 200 }), false);
});

test('a root that goes takes its calls with it; those of another root are answered', async () => {
  const { envoy, use, said } = await caller(ONE);
  envoy.exchange(use, {});
  const other = envoy.load({ ...use.plugin, rootId: 'other' });
  envoy.exchange(other, {});
  envoy.unload(use);
  const [first, second] = envoy.upstreams.calls;
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(envoy.upstreams.answer(first, { status: 200 }), false);
  said();
  assert.equal(envoy.upstreams.answer(second, { status: 200 }), true);
  assert.deepEqual(said(), [`response ${second.rootId} 2 1 0 0 ${OK} 0 0`]);
});

test('an answer that comes after the time-out reaches nobody; a hostile host can answer twice, or a call that nobody made', async () => {
  const { envoy, use, said } = await caller(ONE);
  envoy.exchange(use, {});
  const [call] = envoy.upstreams.pending();
  assert.ok(call !== undefined);
  envoy.advance(2000);
  assert.equal(call.state, 'answered');
  said();
  assert.equal(envoy.upstreams.answer(call, { status: 200 }), false);
  assert.deepEqual(said(), []);
  const root = envoy.root(use);
  envoy.machine(use).callBack(root, call.token, { status: 200, body: Uint8Array.of(9) });
  envoy.machine(use).callBack(root, 77, { status: 200 });
  assert.deepEqual(said(), [`response 1 1 1 1 0 ${OK} 0 1`, `response 1 77 1 0 0 ${OK} 0 0`]);
});

/** Calls as often as the configuration is long, when its root is done. */
const AT_EXIT = CALLER.replace(
  /if \(id == 1\) call\('collector'\)/,
  `for (let i = 0; i < mode; i++) call('collector')`,
);

async function exit(idleConnections: number, others: 'lost' | 'truncated'): Promise<(number | undefined)[]> {
  const envoy = new Envoy({ workers: 2 });
  envoy.upstreams.clusters.set('collector', 'held');
  envoy.upstreams.exit = { idleConnections, others };
  envoy.load({ code: await compileGuest(AT_EXIT), configuration: '123' });
  envoy.shutDown();
  assert.deepEqual(
    envoy.upstreams.calls.map(({ machine, body }) => `${machine.name} ${body.length}`),
    ['worker-0', 'worker-1', 'main'].flatMap((name) => [`${name} 3`, `${name} 3`, `${name} 3`]),
    'the guest is told that all went well',
  );
  return envoy.upstreams.calls.map(({ arrived }) => arrived?.length);
}

// README.md, fact 24.
test('at the end one call goes out on each idle connection; HTTP/1.1 loses the others, HTTP/2 cuts their bodies', async () => {
  const one = [3, undefined, undefined];
  assert.deepEqual(await exit(1, 'lost'), [...one, ...one, ...one]);
  const cut = [3, 0, 1];
  assert.deepEqual(await exit(1, 'truncated'), [...cut, ...cut, ...cut]);
  assert.deepEqual(await exit(0, 'lost'), new Array(9).fill(undefined), 'no warm connection');
});

test('what a cluster refuses, or what does not leave, never arrives; the rest is shown to a cluster that answers', async () => {
  const { envoy, use } = await caller(CLOSED);
  envoy.exchange(use, {});
  assert.equal(envoy.upstreams.calls[0]?.arrived, undefined);
  const seen: number[] = [];
  const ending = new Envoy();
  ending.upstreams.clusters.set('collector', ({ body }) => {
    seen.push(body.length);
    return { status: 200 };
  });
  ending.upstreams.exit = { idleConnections: 1, others: 'truncated' };
  ending.load({ code: await compileGuest(AT_EXIT), configuration: '12' });
  ending.shutDown();
  assert.deepEqual(seen, [3, 3], 'whole bodies only: one of the worker, one of the main thread');
});
