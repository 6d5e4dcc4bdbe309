// Filters and access loggers in one VM: who hears of what, in which order, and what each can read.
// Facts of README.md: 3 to 6, 9, 10 and 13.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Facts } from './contexts.ts';
import { Envoy, type Use } from './envoy.ts';
import { compileGuest } from './guest.ts';
import { type Connection, type Exchange, Listener } from './listener.ts';
import type { Machine } from './machine.ts';

/** Says its hooks; in each log what it reads, and in a tick what it reads of the contexts that live. */
const TELL = `
export function proxy_on_context_create(id: i32, root: i32): void { word('create'); number(id); number(root); say(); }
export function proxy_on_new_connection(id: i32): i32 { word('connection'); number(id); say(); return 0; }
export function proxy_on_downstream_connection_close(id: i32, by: i32): void { word('down_close'); number(id); number(by); say(); }
export function proxy_on_log(id: i32): void { word('log'); number(id); say(); }
export function proxy_on_done(id: i32): i32 { word('done'); number(id); say(); return 1; }
export function proxy_on_delete(id: i32): void { word('delete'); number(id); say(); }
`;

interface Mesh {
  readonly envoy: Envoy;
  readonly listener: Listener;
  readonly said: () => string[];
  readonly machine: () => Machine;
}

/** Roots by id: 1 listener logger, 2 network filter, 3 logger of the connection manager, 4 HTTP filter, 5 logger of tcp_proxy. */
async function mesh(source: string, isTcp = false): Promise<Mesh> {
  const envoy = new Envoy();
  const code = await compileGuest(source);
  const load = (rootId: string): readonly Use[] => [envoy.load({ code, rootId, vmId: 'one' })];
  const listenerLoggers = load('lal');
  const network = load('n');
  const httpLoggers = load('a');
  const http = load('h');
  const tcpLoggers = load('t');
  const chain = isTcp ? { listenerLoggers, network, tcpLoggers } : { listenerLoggers, network, httpLoggers, http };
  const said = (): string[] => envoy.world.logs.splice(0).flatMap(({ vm, text }) => (vm === 'worker-0' ? [text] : []));
  said();
  return { envoy, listener: new Listener(envoy, chain), said, machine: () => envoy.machine(network[0] as Use) };
}

const OPENED = ['create 6 2', 'connection 6'];
const CLOSED = ['down_close 6 2', 'done 6', 'log 6', 'delete 6'];

test('plugins of one vm_id and code are one VM with a root each: an exchange is logged by its filter, then by the logger, before it is done', async () => {
  const { envoy, listener, said } = await mesh(TELL);
  assert.equal(envoy.vmsCreated, 1 + 5 + 2, 'base, a canary for each root, main thread and worker');
  const connection = listener.connect();
  assert.deepEqual(said(), OPENED);
  const exchange = connection.request();
  assert.deepEqual([connection.contextIds, exchange.contextIds], [[6], [7]], 'ids ascend in one sequence');
  exchange.end({});
  assert.deepEqual(said(), ['create 7 4', 'log 7', 'log 3', 'done 7', 'delete 7']);
  connection.codecError({});
  assert.deepEqual(said(), ['create 8 4', 'log 8', 'log 3', 'done 8', 'delete 8']);
  connection.close(2, {});
  assert.deepEqual(said(), [...CLOSED, 'log 1']);
  assert.deepEqual(connection.contextIds, [undefined]);
});

test('on a reset by the client the network filter ends before the exchange logs; the listener logs last', async () => {
  const { listener, said } = await mesh(TELL);
  const connection = listener.connect();
  connection.request();
  said();
  connection.close(2, {});
  assert.deepEqual(said(), [...CLOSED, 'log 7', 'log 3', 'done 7', 'delete 7', 'log 1']);
});

test('a half request is known to the connection manager’s logger alone, no filter chain to the listener’s', async () => {
  const { listener, said } = await mesh(TELL);
  listener.connect().close(2, {}, { unfinished: {} });
  assert.deepEqual(said(), [...OPENED, ...CLOSED, 'log 3', 'log 1']);
  listener.matchNothing({});
  assert.deepEqual(said(), ['log 1']);
});

test('the logger of tcp_proxy follows that of the listener', async () => {
  const { listener, said } = await mesh(TELL, true);
  listener.connect().close(2, {});
  assert.deepEqual(said(), [...OPENED, ...CLOSED, 'log 1', 'log 5']);
});

const CONNECTION: Facts = {
  properties: {
    connection_id: 7n,
    connection: { id: 7n, mtls: true, tls_version: 'TLSv1.3', subject_peer_certificate: 'CN=a' },
    request: { time: 5n, duration: 9n, total_size: 423n, protocol: 'HTTP/1.1', path: '/', method: 'GET' },
    response: { code: 200n, total_size: 2799n, flags: 0n },
  },
  requestHeaders: [['x-a', '1']],
};
const READ = [
  'connection_id',
  'connection.id',
  'request.time',
  'request.duration',
  'request.path',
  'request.headers.x-a',
  'response.code',
  'response.total_size',
]; // prettier-ignore
const reading = (hook: string): string =>
  `export function ${hook} { number(id); say(); ${READ.map((path) => `readProperty('${path}');`).join('')} }`;

/** Names of the properties that were there, by the id that asked. */
function present(lines: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  let id = '';
  for (const line of lines) {
    const [name = '', status] = line.split(' ');
    if (status === undefined) id = name;
    else if (status === '0') found[id] = [...(found[id] ?? []), name];
  }
  return found;
}

test('each role reads what Envoy shows it of the same facts', async () => {
  const source = reading('proxy_on_log(id: i32): void');
  const { listener, said } = await mesh(source);
  const connection = listener.connect(CONNECTION);
  connection.request(CONNECTION).end(CONNECTION);
  connection.close(2, CONNECTION);
  const ofConnection = ['connection.id', 'request.time'];
  const http = [
    'connection.id',
    'request.time',
    'request.duration',
    'request.path',
    'request.headers.x-a',
    'response.code',
    'response.total_size',
  ]; // prettier-ignore
  assert.deepEqual(present(said()), {
    7: ['connection_id', ...http],
    3: http,
    6: ['connection_id', ...ofConnection, 'response.total_size'],
    1: [...ofConnection, 'request.duration', 'response.total_size'],
  });
  const tcp = await mesh(source, true);
  tcp.listener.connect(CONNECTION).close(2, CONNECTION);
  const logged = present(tcp.said())[5] ?? [];
  assert.ok(logged.includes('connection.id') && !logged.includes('connection_id'));
});

const WATCH = `
export function proxy_on_configure(id: i32, bytes: i32): i32 { if (id == 1) proxy_set_tick_period_milliseconds(100); return 1; }
export function proxy_on_tick(id: i32): void {
  for (let other = 5; other < 9; other++) {
    word('effective'); number(other); number(proxy_set_effective_context(other));
    number(proxy_get_header_map_pairs(0, OUT, OUT + 4)); number(load<u32>(OUT + 4)); say();
    if (other == 6 || other == 7) { readProperty('request.total_size'); readProperty('request.path'); readProperty('request.duration'); }
  }
  word('back'); number(proxy_set_effective_context(id)); say();
  readProperty('request.total_size');
}`;

test('a tick reads live streams under their effective context: stream info, no headers, no duration', async () => {
  const { envoy, listener, said } = await mesh(WATCH);
  const connection = listener.connect(CONNECTION);
  const exchange = connection.request(CONNECTION);
  envoy.advance(100);
  const size = (bytes: number): string =>
    `request.total_size 0 8 ${bytes
      .toString(16)
      .padStart(4, '0')
      .replace(/(..)(..)/, '$2$1')}000000000000`; // prettier-ignore
  const live = (bytes: number): string[] => [size(bytes), 'request.path 1', 'request.duration 1'];
  // Root 5 exists too; 8 has not been given out.
  const ends = ['effective 8 2 0 0', 'back 0', 'request.total_size 1'];
  assert.deepEqual(said(), [
    'effective 5 0 0 0',
    'effective 6 0 0 0',
    ...live(423),
    'effective 7 0 0 0',
    ...live(423),
    ...ends,
  ]);
  exchange.update({ properties: { request: { total_size: 424n } } });
  connection.update({ properties: { request: { total_size: 425n } } });
  envoy.advance(100);
  const now = said();
  assert.deepEqual([now[2], now[6]], [size(425), size(424)]);
  exchange.end({});
  envoy.advance(100);
  assert.ok(said().includes('effective 7 2 0 0'), 'what has ended cannot be chosen');
});

test('the effective context is forgotten when the hook ends', async () => {
  const { envoy, listener, said } = await mesh(`
    export function proxy_on_configure(id: i32, bytes: i32): i32 { if (id == 1) proxy_set_tick_period_milliseconds(100); return 1; }
    export function proxy_on_tick(id: i32): void { readProperty('connection.id'); proxy_set_effective_context(6); readProperty('connection.id'); }`);
  listener.connect(CONNECTION);
  envoy.advance(200);
  const found = 'connection.id 0 8 0700000000000000';
  assert.deepEqual(said(), ['connection.id 1', found, 'connection.id 1', found]);
});

test('TLS read before the handshake is over is wrong, and the version stays wrong for every role', async () => {
  const version = (text: string): string => `connection.tls_version 0 7 ${Buffer.from(text).toString('hex')}`;
  const read = `readProperty('connection.tls_version'); readProperty('connection.mtls'); readProperty('connection.subject_peer_certificate');`;
  const log = `export function proxy_on_log(id: i32): void { ${read} }`;
  const peer = [
    'connection.mtls 0 1 01',
    `connection.subject_peer_certificate 0 4 ${Buffer.from('CN=a').toString('hex')}`,
  ];
  const early = await mesh(`${log} export function proxy_on_new_connection(id: i32): i32 { ${read} return 0; }`);
  const connection = early.listener.connect(CONNECTION);
  const before = [version('TLSv1.2'), 'connection.mtls 0 1 00', 'connection.subject_peer_certificate 0 0'];
  assert.deepEqual(early.said(), before);
  connection.close(2, CONNECTION);
  assert.deepEqual(early.said(), [version('TLSv1.2'), ...peer, version('TLSv1.2'), ...peer]);
  assert.equal(connection.tls.version, 'TLSv1.2', 'Envoy’s own access log says so too');
  assert.deepEqual(early.machine().violations, [
    'connection.tls_version before the handshake spoils the access logs of Envoy',
  ]);
  const late = await mesh(log);
  late.listener.connect(CONNECTION, 1, false).close(2, CONNECTION);
  assert.deepEqual(late.said(), [version('TLSv1.3'), ...peer, version('TLSv1.3'), ...peer]);
  assert.deepEqual(late.machine().violations, []);
});

test('ids wrap at 32 bits and leave out 0 and what lives', async () => {
  const { listener, machine } = await mesh(TELL);
  machine().nextContextId = 0xffffffff;
  const long = listener.connect();
  const next = listener.connect();
  // 1 to 5 are the roots.
  assert.deepEqual([long.contextIds, next.contextIds], [[0xffffffff], [6]]);
});

type Step = 'connect' | 'request' | 'end' | 'codec' | 'close' | 'half';
const STEPS: readonly Step[] = ['connect', 'request', 'request', 'end', 'codec', 'close', 'half'];

test('in any interleaving each context is created, logged, done and deleted once, and each logger logs once for what it sees', async () => {
  const { listener, said, machine } = await mesh(TELL);
  let connections = 0;
  let exchanges = 0;
  let halves = 0;
  const run = (steps: readonly (readonly [Step, number])[]): void => {
    const open: { readonly connection: Connection; readonly exchanges: Exchange[] }[] = [];
    for (const [step, which] of [...steps, ...steps.map(() => ['close', 0] as const)]) {
      const at = open[which % Math.max(open.length, 1)];
      if (step === 'connect' || at === undefined) {
        if (step !== 'connect') continue;
        connections++;
        open.push({ connection: listener.connect(), exchanges: [] });
      } else if (step === 'request') {
        exchanges++;
        at.exchanges.push(at.connection.request());
      } else if (step === 'end') at.exchanges.shift()?.end({});
      else if (step === 'codec') {
        exchanges++;
        at.connection.codecError({});
      } else {
        open.splice(open.indexOf(at), 1);
        if (step === 'half') halves++;
        at.connection.close(2, {}, step === 'half' ? { unfinished: {} } : {});
      }
    }
  };
  const step = fc.tuple(fc.constantFrom(...STEPS), fc.nat(9));
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), run), { numRuns: 100, seed: 3 });
  const hooks = new Map<string, string[]>();
  for (const line of said()) {
    const [hook = '', id = ''] = line.split(' ');
    hooks.set(id, [...(hooks.get(id) ?? []), hook]);
  }
  const count = (id: number): number => hooks.get(String(id))?.length ?? 0;
  assert.deepEqual([count(1), count(3)], [connections, exchanges + halves]);
  const orders = [...hooks].filter(([id]) => Number(id) > 5).map(([, order]) => order.join(' '));
  const ofConnection = 'create connection down_close done log delete';
  assert.equal(orders.filter((order) => order === ofConnection).length, connections);
  assert.equal(orders.filter((order) => order === 'create log done delete').length, exchanges);
  assert.equal(orders.length, connections + exchanges);
  assert.equal(machine().contexts.size, 5, 'only the roots are left');
});
