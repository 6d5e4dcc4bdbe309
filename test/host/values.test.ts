// What a guest reads: properties, header maps, clocks, randomness, metrics. Each line that a guest says is checked.
// Facts of README.md: 7, 8, 11 and 12.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePairs, encodePairs, type Pairs } from './abi.ts';
import type { Facts } from './contexts.ts';
import { Envoy, type EnvoyOptions } from './envoy.ts';
import { compileGuest } from './guest.ts';
import type { Machine } from './machine.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const textHex = (text: string): string => hex(Buffer.from(text));

/** Runs one exchange through a guest and returns what it said on the worker. */
async function saidBy(source: string, facts: Facts = {}, options: EnvoyOptions = {}): Promise<string[]> {
  const envoy = new Envoy(options);
  const use = envoy.load({ code: await compileGuest(source), rootId: 'http' });
  envoy.world.logs.length = 0;
  envoy.exchange(use, facts);
  return envoy.world.logs.map(({ text }) => text);
}

const log = (statements: string): string => `export function proxy_on_log(id: i32): void { ${statements} }`;

test('properties have the bytes that Envoy gives them', async () => {
  const paths = [
    'request.size',
    'request.time',
    'connection.mtls',
    'request.path',
    'request.query',
    'upstream.address',
    'response',
    'metadata.filter_metadata.rbac',
    'metadata.filter_metadata.rbac.policy',
    'filter_state.peer',
    'peer',
    'plugin_root_id',
    'xds.node.id',
    'request.path.deeper',
    'no_such',
    '',
  ]; // prettier-ignore
  const facts: Facts = {
    properties: {
      request: { size: 258n, time: -1n, path: '/ä', query: '', headers: new Map() },
      connection: { mtls: true },
      response: { code: 200n },
      metadata: { filter_metadata: new Map([['rbac', new Map([['policy', 'deny']])]]) },
      filter_state: { 'wasm.peer': 'p' },
    },
  };
  const said = await saidBy(log(paths.map((path) => `readProperty('${path}');`).join('')), facts, {
    properties: { xds: { node: { id: 'n1' } } },
  });
  const rbac = hex(encodePairs([['policy', 'deny']]));
  assert.deepEqual(said, [
    'request.size 0 8 0201000000000000',
    'request.time 0 8 ffffffffffffffff',
    'connection.mtls 0 1 01',
    `request.path 0 3 ${textHex('/ä')}`,
    'request.query 0 0',
    'upstream.address 1',
    'response 3',
    `metadata.filter_metadata.rbac 0 ${rbac.length / 2} ${rbac}`,
    `metadata.filter_metadata.rbac.policy 0 4 ${textHex('deny')}`,
    'filter_state.peer 1',
    `peer 0 1 ${textHex('p')}`,
    `plugin_root_id 0 4 ${textHex('http')}`,
    `xds.node.id 0 2 ${textHex('n1')}`,
    'request.path.deeper 1',
    'no_such 1',
    ' 1',
  ]);
});

const readMaps = `
  for (let map = 0; map < 9; map++) {
    store<u64>(OUT, 0xffffffffffffffff);
    const status = proxy_get_header_map_pairs(map, OUT, OUT + 4);
    number(map); number(status);
    if (status == 0) { number(load<u32>(OUT + 4)); if (load<u32>(OUT + 4) > 0) hex(load<u32>(OUT), load<u32>(OUT + 4)); }
    say();
  }
  word('first'); number(proxy_get_header_map_value(0, TEXT, text('X-A'), OUT, OUT + 4)); hex(load<u32>(OUT), load<u32>(OUT + 4)); say();
  word('none'); number(proxy_get_header_map_value(0, TEXT, text('x-b'), OUT, OUT + 4)); say();
  word('no map'); number(proxy_get_header_map_value(1, TEXT, text('x-a'), OUT, OUT + 4)); say();
`;

test('header maps keep order and duplicates; a missing map is empty, not an error', async () => {
  const requestHeaders: Pairs = [
    [':path', '/'],
    ['x-a', '1'],
    ['x-a', Uint8Array.of(0xff)],
    ['x-empty', ''],
  ];
  const said = await saidBy(log(readMaps), { requestHeaders, responseHeaders: [] });
  const bytes = hex(encodePairs(requestHeaders));
  assert.deepEqual(said, [
    `0 0 ${bytes.length / 2} ${bytes}`,
    ...[1, 2, 3, 4, 5, 6, 7].map((map) => `${map} 0 0`),
    '8 2',
    `first 0 ${textHex('1')}`,
    'none 1',
    'no map 1',
  ]);
  assert.equal(bytes.slice(0, 8), '04000000');
  assert.ok(bytes.endsWith(`${textHex('x-a')}00ff00${textHex('x-empty')}0000`));
});

test('header maps are gone once the exchange is logged', async () => {
  const said = await saidBy(
    `export function proxy_on_done(id: i32): i32 { number(proxy_get_header_map_pairs(0, OUT, OUT + 4)); number(load<u32>(OUT + 4)); say(); return 1; }`,
    { requestHeaders: [['x-a', '1']] },
  );
  assert.deepEqual(said, ['0 0']);
});

// README.md, fact 8.
test('headers as a property come in the order of a hash, each name once', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((letter) => `x-${letter}`);
  const requestHeaders: Pairs = [...names.map((name) => [name, '1'] as const), ['X-A', '2']];
  const said = await saidBy(
    log(`readProperty('request.headers'); readProperty('request.headers.x-a'); readProperty('request.headers.x-z');
      readProperty('response.headers'); number(proxy_get_header_map_pairs(0, OUT, OUT + 4)); number(load<u32>(load<u32>(OUT))); say();`),
    { requestHeaders },
  );
  const pairs = decodePairs(Buffer.from(said[0]?.split(' ')[3] ?? '', 'hex')).map(([name]) =>
    Buffer.from(name).toString(),
  );
  assert.deepEqual(pairs.toSorted(), names);
  assert.notDeepEqual(pairs, names);
  const first = ['request.headers.x-a 0 3 312c32', 'request.headers.x-z 1'];
  assert.deepEqual(said.slice(1), [...first, 'response.headers 0 4 00000000', '0 9']);
});

// README.md, fact 8.
test('a property that is a map without entries has 4 bytes, for which the guest is entered again', async () => {
  const envoy = new Envoy();
  const paths = ['metadata.filter_metadata', 'request.headers', 'response.trailers', 'request.headers.x-a'];
  const use = envoy.load({ code: await compileGuest(log(paths.map((path) => `readProperty('${path}');`).join(''))) });
  envoy.exchange(use, { properties: { metadata: { filter_metadata: new Map() } } });
  const empty = paths.slice(0, 3).map((path) => `${path} 0 4 00000000`);
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    [...empty, 'request.headers.x-a 1'],
  );
  assert.equal(envoy.machine(use).entries.allocations, 3);
});

// README.md, fact 11.
test('the node is 61 KB when it is read whole, and cheap by its fields', async () => {
  const envoy = new Envoy({ properties: { xds: { node: { id: 'n1' } } } });
  const source = log(`
    if (flag++ == 0) readProperty('xds.node.id');
    else { number(proxy_get_property(TEXT, text('xds.node', 0), OUT, OUT + 4)); number(load<u32>(OUT + 4)); say(); }`);
  const use = envoy.load({ code: await compileGuest(`let flag: i32 = 0; ${source}`) });
  envoy.exchange(use, {});
  assert.equal(envoy.machine(use).entries.largest, 2);
  envoy.exchange(use, {});
  assert.equal(envoy.machine(use).entries.largest, 61 * 1024);
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    [`xds.node.id 0 2 ${textHex('n1')}`, `0 ${61 * 1024}`],
  );
  assert.equal(envoy.machine(use).violations.length, 1, 'no guest should');
});

test('clock and randomness follow from the seed', async () => {
  const source = log(`
    proxy_get_current_time_nanoseconds(OUT); number(load<i64>(OUT));
    clock_time_get(0, 1, OUT); number(load<i64>(OUT)); clock_time_get(1, 1, OUT); number(load<i64>(OUT));
    number(clock_time_get(2, 1, OUT)); number(random_get(OUT, 8)); hex(OUT, 8); number(random_get(OUT, 65537)); say();`);
  const first = await saidBy(source, {}, { seed: 7 });
  assert.deepEqual(await saidBy(source, {}, { seed: 7 }), first);
  assert.notDeepEqual(await saidBy(source, {}, { seed: 8 }), first);
  assert.match(first[0] ?? '', /^1795521600000000000 1795521600000000000 91000000000 58 0 [0-9a-f]{16} 28$/);
});

const METRICS = `
  for (let kind = 0; kind < 4; kind++) {
    number(proxy_define_metric(kind, TEXT, text('m' + (kind == 0 ? 'c' : kind == 1 ? 'g' : 'h')), OUT));
    const id = load<u32>(OUT);
    number(proxy_increment_metric(id, 3)); number(proxy_increment_metric(id, 0)); number(proxy_increment_metric(id, -1));
    number(proxy_record_metric(id, 5)); number(proxy_get_metric(id, OUT)); number(load<i64>(OUT)); say();
    store<u64>(OUT, 0);
  }
  number(proxy_increment_metric(4000, 1)); number(proxy_record_metric(4000, 1)); number(proxy_get_metric(4000, OUT)); say();`;

test('metrics: counters only grow, gauges move, ids must be known, a name is shared by all VMs', async () => {
  const envoy = new Envoy({ workers: 2 });
  const use = envoy.load({ code: await compileGuest(log(METRICS)) });
  envoy.exchange(use, {}, 1);
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    [
      '0 0 2 2 0 0 8', // counter: 3, and record adds
      '0 0 0 0 0 0 5', // gauge: record sets
      '0 2 2 2 0 2 14', // histogram: no value; the id stands in the place of the answer
      '2 1 1 1 1 1 0',
      '1 1 1',
    ],
  );
  envoy.exchange(use, {}, 2);
  assert.equal(envoy.world.metrics.value('mc'), 16n);
  assert.equal(envoy.world.metrics.value('mg'), 5n);
  assert.equal(envoy.world.metrics.value('nobody'), undefined);
});

test('an allocator that is out of room gives InvalidMemoryAccess and no trap', async () => {
  const source = log(`readProperty('request.path'); readProperty('request.query');`);
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(source) });
  const facts: Facts = { properties: { request: { path: '/', query: '' } } };
  envoy.machine(use).isAllocatorBroken = true;
  envoy.exchange(use, facts);
  envoy.machine(use).isAllocatorBroken = false;
  envoy.exchange(use, facts);
  assert.deepEqual(
    envoy.world.logs.map(({ text }) => text),
    ['request.path 6', 'request.query 0 0', 'request.path 0 1 2f', 'request.query 0 0'],
  );
});

const violationsOf = async (statements: string): Promise<{ machine: Machine; said: string[] }> => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(log(statements)) });
  envoy.exchange(use, { properties: { request: { path: '/' } } });
  return { machine: envoy.machine(use), said: envoy.world.logs.map(({ text }) => text) };
};

test('addresses outside the memory are refused and remembered', async () => {
  const { machine, said } = await violationsOf(`
    number(proxy_log(2, 0xfffffff0, 8)); number(proxy_get_property(262140, 8, OUT, OUT + 4));
    number(proxy_get_property(TEXT, text('request.path', 0), 0xffffffff, OUT)); number(random_get(262143, 8)); say();`);
  assert.deepEqual(said, ['6 6 6 21']);
  assert.equal(machine.violations.length, 4);
  assert.match(machine.violations[1] ?? '', /^bytes 262140 to 262148 of 262144$/);
  assert.equal(machine.failure, undefined);
});

test('host calls and entries into the guest are counted', async () => {
  const { machine } = await violationsOf(
    `readProperty('request.path'); readProperty('no'); readProperty('request.path');`,
  );
  assert.equal(machine.hostCalls.get('env.proxy_get_property'), 3);
  assert.equal(machine.entries.allocations, 2);
  assert.equal(machine.entries.hooks, 1);
});

test('each host call can be watched: what it asked for, and whether bytes were handed over', async () => {
  const envoy = new Envoy();
  const source = log(`
    readProperty('request.path'); readProperty('no.such'); proxy_get_header_map_pairs(0, OUT, OUT + 4); proxy_get_header_map_pairs(2, OUT, OUT + 4);
    proxy_get_header_map_value(0, TEXT, text('x-a'), OUT, OUT + 4); proxy_get_shared_data(TEXT, text('key'), OUT, OUT + 4, OUT + 8);`);
  const use = envoy.load({ code: await compileGuest(source) });
  const machine = envoy.machine(use);
  machine.trace = [];
  envoy.exchange(use, { properties: { request: { path: '/' } }, requestHeaders: [['x-a', '1']] });
  const watched = machine.trace.filter(({ name }) => name !== 'proxy_log');
  assert.deepEqual(
    watched.map(({ what, status, isCostly }) => [what, status, isCostly]),
    [
      ['request.path', 0, true],
      ['no.such', 1, false],
      ['map 0', 0, true],
      ['map 2', 0, false],
      ['map 0 x-a', 0, true],
      ['key', 1, false],
    ],
  );
});

test('a test can answer in the place of the host', async () => {
  const envoy = new Envoy();
  const use = envoy.load({ code: await compileGuest(log(`readProperty('request.path');`)) });
  envoy.machine(use).tamper = ({ name }, proceed) => (name === 'proxy_get_property' ? 10 : proceed());
  envoy.exchange(use, {});
  assert.deepEqual(envoy.world.logs.at(-1)?.text, 'request.path 10');
});
