// A proxy whose recorder dies on command, with live traffic of every kind on it: what does the death do to them?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEnvoy } from '../../../collector/src/demo/envoy.ts';
import {
  type Bootstrap,
  type Json,
  loopback,
  type NamedFilter,
  typed,
} from '../../../collector/src/demo/envoy-parts.ts';
import { freePorts } from '../../../collector/src/demo/ports.ts';
import { COLLECTOR, cluster, FLUSH_MS, pluginOf } from './proxy.ts';
import { startApp } from './traffic.ts';

export const ROLES = ['HTTP filter', 'network filter', 'access logger'] as const;
export type Role = (typeof ROLES)[number];
export const POLICIES = {
  'fail_open: true': { fail_open: true },
  FAIL_OPEN: { failure_policy: 'FAIL_OPEN' },
  FAIL_CLOSED: { failure_policy: 'FAIL_CLOSED' },
  FAIL_RELOAD: { failure_policy: 'FAIL_RELOAD' },
} as const;
export type Policy = keyof typeof POLICIES;

export interface TrapInput {
  readonly binary: string;
  readonly dir: string;
  readonly wasmFile: string;
  readonly role: Role;
  readonly policy: Policy;
  /** What the module is told (filter/trap). */
  readonly command: string;
}

/** What a piece of traffic met: nothing, the end of its connection, or a status. */
export type Fate = 'fine' | 'closed' | `status ${number}` | 'silent';

export interface Outcome {
  /** Requests on connections of their own, while the trap happens. */
  readonly meanwhile: readonly Fate[];
  /** What was open before. */
  readonly keptAlive: Fate;
  readonly webSocket: Fate;
  readonly tcp: Fate;
  /** And what came afterwards. */
  readonly newRequests: readonly Fate[];
  readonly newWebSocket: Fate;
  readonly newTcp: Fate;
  /** Lines of Envoy's log that tell of a trap. */
  readonly traps: number;
  /** How often Envoy loaded the module again. */
  readonly reloads: number;
}

/** Envoy closes a connection up to a second after it gave it up. */
const ANSWER_MS_MAX = 3000;
/** As long as Envoy by default waits before it loads a module again. */
const RELOAD_MS = 1500;
const TRIGGERS = 4;

async function startEcho(t: TestContext): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => socket.write(data));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

function bootstrapOf(input: TrapInput, ports: readonly number[], app: number, echo: number): Json {
  const config = pluginOf('127.0.0.1:1', input, POLICIES[input.policy]);
  const inRole = (role: Role, name: string, type: string): NamedFilter[] =>
    input.role === role ? [{ name, typed_config: typed(`envoy.extensions.${type}.v3.${LAST[role]}`, { config }) }] : [];
  const access = inRole('access logger', 'envoy.access_loggers.wasm', 'access_loggers.wasm') as unknown as Json;
  const network = inRole('network filter', 'envoy.filters.network.wasm', 'filters.network.wasm') as unknown as Json[];
  const manager = typed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'http',
    access_log: access,
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    route_config: {
      virtual_hosts: [
        { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'app', timeout: '0s' } }] },
      ],
    },
    http_filters: [
      ...(inRole('HTTP filter', 'meshtrail', 'filters.http.wasm') as unknown as Json[]),
      { name: 'envoy.filters.http.router', typed_config: typed('envoy.extensions.filters.http.router.v3.Router') },
    ],
  });
  const tcp = typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: 'tcp',
    cluster: 'echo',
    access_log: access,
  });
  const listener = (name: string, port: number, filter: Json): Json => ({
    name,
    address: loopback(port) as unknown as Json,
    filter_chains: [{ filters: [...network, filter] }],
  });
  return {
    node: { id: 'trap', cluster: 'trap.edge' },
    admin: { address: loopback(0) as unknown as Json },
    static_resources: {
      listeners: [
        listener('http', ports[0] as number, {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: manager,
        }),
        listener('tcp', ports[1] as number, { name: 'envoy.filters.network.tcp_proxy', typed_config: tcp }),
      ],
      clusters: [
        cluster('app', `127.0.0.1:${app}`),
        cluster('echo', `127.0.0.1:${echo}`),
        cluster(COLLECTOR, '127.0.0.1:1'),
      ],
    },
  };
}
const LAST: Readonly<Record<Role, string>> = {
  'HTTP filter': 'Wasm',
  'network filter': 'Wasm',
  'access logger': 'WasmAccessLog',
};

/** What a socket says next, or that it is closed; undefined when neither comes in time. */
async function next(socket: Socket): Promise<Buffer | 'closed' | undefined> {
  if (socket.destroyed) return 'closed';
  return await new Promise((resolve) => {
    const timer = setTimeout(() => done(undefined), ANSWER_MS_MAX);
    const done = (what: Buffer | 'closed' | undefined): void => {
      clearTimeout(timer);
      socket.off('data', done).off('close', close);
      resolve(what);
    };
    const close = (): void => done('closed');
    socket.on('data', done).on('close', close);
  });
}

/** Sends something on a stream, and waits for its echo. */
async function echoed(socket: Socket): Promise<Fate> {
  socket.write('ping');
  const what = await next(socket);
  return what === undefined ? 'silent' : String(what) === 'ping' ? 'fine' : 'closed';
}

function opened(t: TestContext, port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => socket.destroy());
  t.after(() => socket.destroy());
  return socket;
}

async function openWebSocket(t: TestContext, port: number): Promise<{ readonly socket: Socket; readonly fate: Fate }> {
  const socket = opened(t, port);
  const lines = ['host: a', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-key: AA'];
  socket.write(`GET /socket HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
  const status = /^HTTP\/1.1 (\d+)/.exec(String(await next(socket)))?.[1];
  if (status === undefined) return { socket, fate: 'closed' };
  return { socket, fate: status === '101' ? await echoed(socket) : `status ${Number(status)}` };
}

async function asked(port: number, agent: Agent | false): Promise<Fate> {
  const request = httpRequest({ port, host: '127.0.0.1', path: '/ok', agent });
  request.on('error', () => undefined);
  try {
    const [answer] = (await once(request.end(), 'response')) as [IncomingMessage];
    await once(answer.resume(), 'end');
    return answer.statusCode === 200 ? 'fine' : `status ${answer.statusCode ?? 0}`;
  } catch {
    return 'closed';
  }
}

/** Starts a proxy, opens traffic, lets the recorder trap, and looks at everything. */
export async function playTrap(t: TestContext, input: TrapInput): Promise<Outcome> {
  mkdirSync(input.dir, { recursive: true });
  const [http, tcp] = (await freePorts(2)) as [number, number];
  const bootstrap = bootstrapOf(input, [http, tcp], await startApp(t), await startEcho(t)) as unknown as Bootstrap;
  const envoy = await startEnvoy(input.binary, 'trap', input.dir, bootstrap);
  t.after(() => envoy.stop());
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const { socket, fate } = await openWebSocket(t, http);
  const stream = opened(t, tcp);
  assert.deepEqual([await asked(http, agent), fate, await echoed(stream)], ['fine', 'fine', 'fine'], 'before the trap');

  const meanwhile: Fate[] = [];
  for (let i = 0; i < TRIGGERS; i++) meanwhile.push(await asked(http, false));
  await sleep(3 * FLUSH_MS);
  const [keptAlive, webSocket, tcpFate] = [await asked(http, agent), await echoed(socket), await echoed(stream)];
  await sleep(RELOAD_MS);
  const newRequests: Fate[] = [];
  for (let i = 0; i < 2; i++) newRequests.push(await asked(http, false));
  const { fate: newWebSocket } = await openWebSocket(t, http);
  const newTcp = await echoed(opened(t, tcp));
  assert.equal(envoy.ended(), undefined, 'the proxy itself goes on');
  const stats = await (await fetch(`${envoy.adminUrl}/stats?filter=vm_reload_success`)).text();
  const reloads = Number(/vm_reload_success: (\d+)/.exec(stats)?.[1] ?? 0);
  await envoy.stop();
  const log = readFileSync(join(input.dir, 'envoy.log'), 'utf8');
  const traps = log.match(/Uncaught RuntimeError/g)?.length ?? 0;
  return { meanwhile, keptAlive, webSocket, tcp: tcpFate, newRequests, newWebSocket, newTcp, traps, reloads };
}

/** An outcome as a cell of the table in docs/filter.md. */
export function told(outcome: Outcome): string {
  const { meanwhile, keptAlive, webSocket, tcp, newRequests, newWebSocket, newTcp, reloads } = outcome;
  const open = { 'kept-alive': keptAlive, WebSocket: webSocket, TCP: tcp };
  const closed = Object.entries(open).flatMap(([name, fate]) => (fate === 'closed' || fate === 'silent' ? [name] : []));
  const late = [...newRequests, newWebSocket, newTcp];
  const refuses = late.some((fate) => fate !== 'fine')
    ? ['refuses what is new, for ever']
    : [...meanwhile, keptAlive].some((fate) => fate !== 'fine' && fate !== 'closed')
      ? ['refuses requests for a while']
      : [];
  const harm = [...(closed.length > 0 ? [`closes ${closed.join(', ')}`] : []), ...refuses];
  const end = outcome.traps === 0 ? [] : [reloads > 0 ? 'loaded again' : 'dead'];
  return [...(harm.length > 0 ? harm : ['no harm']), ...end].join('; ');
}
