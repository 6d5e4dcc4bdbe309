// What lives long does not stay invisible until it ends: open, interval and end records of streams and connections, on a real Envoy.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import { withEnvoy } from '../support.ts';
import { type Caller, closed, over } from './caller.ts';
import { assertConnection, assertExchange, msOf } from './compare.ts';
import { answered, connection, ended, http, type RoleEvent, TCP } from './event.ts';
import { assertCounters } from './judge.ts';
import type { Recorder } from './places.ts';
import { type Observed, runEvents } from './stage.ts';

const envoy = withEnvoy();
const OPEN_AFTER_MS = 300;
const INTERVAL_MS = 1000;
/** Long enough for an open record and two interval records. */
const LIFE_MS = 3000;
const PIECE_MS = 100;

interface Writable {
  write(bytes: string): unknown;
}

async function talk(to: Writable): Promise<void> {
  for (let ms = 0; ms < LIFE_MS; ms += PIECE_MS) {
    to.write('a piece of it');
    await sleep(PIECE_MS);
  }
}

async function webSocket(caller: Caller): Promise<void> {
  const socket = await caller.open('web');
  socket.write('GET /app/upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  await once(socket, 'data');
  socket.resume();
  await talk(socket);
  socket.end();
  await closed(socket);
}

async function streamed(caller: Caller): Promise<void> {
  const socket = await caller.secure('secure', { servername: 'web.test', ALPNProtocols: ['h2'] });
  await caller.http2(async (session) => {
    const stream = session.request({ ':path': '/app/stream' });
    stream.on('error', () => undefined).resume();
    await sleep(LIFE_MS);
    stream.close(8);
    await over(stream);
  }, socket);
}

async function overTcp(caller: Caller, isTls: boolean): Promise<void> {
  const socket = isTls ? await caller.secure('terminated', { servername: 'a.test' }) : await caller.open('tcp');
  socket.resume();
  await talk(socket);
  socket.end();
  await closed(socket);
}

const EVENTS: readonly RoleEvent[] = [
  http('WebSocket', webSocket, ended('allowed', 101, 'DC', 'downstream_remote_disconnect')),
  http('a streaming answer over mTLS', streamed, ended('reset', 200, 'DR', 'http2.remote_reset')),
  connection('TCP', (caller) => overTcp(caller, false), { verdict: 'allowed' }, TCP),
  connection('mTLS to TCP', (caller) => overTcp(caller, true), { verdict: 'allowed' }, TCP),
  http('a short exchange', (caller) => caller.ask('/app/ok'), answered()),
];

const durationMs = ({ duration }: FlowRecord): number => Number.parseFloat(duration ?? '') * 1000;

/** Asserts open, interval and end records of one life; `grows`: which counters must. */
function assertLife(records: readonly FlowRecord[], what: string): FlowRecord {
  const ordered = records.toSorted((a, b) => a.record.number - b.record.number);
  const phases = ordered.map(({ record }) => record.phase);
  assert.match(phases.join(' '), /^open (?:interval ){1,3}end$/, what);
  const end = ordered.at(-1) as FlowRecord;
  for (const [i, one] of ordered.entries()) {
    const before = ordered[i - 1];
    const isEnd = one === end;
    assert.equal(one.connection.id, end.connection.id, what);
    assert.ok(Math.abs(msOf(one.time) - msOf(end.time)) <= 1, `${what}: ${one.time} and ${end.time} are one start`);
    if (!isEnd) {
      assert.deepEqual([one.verdict, one.record.repeat], ['unknown', true], what);
      // A TLS fact that is read before the end is wrong, and stays so in Envoy's own log.
      assert.deepEqual([one.source.principal, one.connection.tls_version], [undefined, undefined], what);
    }
    if (before === undefined) {
      assert.ok(durationMs(one) >= OPEN_AFTER_MS, `${what}: opened after ${one.duration}`);
      continue;
    }
    const grown = Number(one.response.total_size) - Number(before.response.total_size);
    assert.ok(
      isEnd ? grown >= 0 : grown > 0,
      `${what}: ${before.response.total_size} to ${one.response.total_size} bytes`,
    );
    assert.ok(Number(one.request.total_size) >= Number(before.request.total_size), what);
    const sinceMs = durationMs(one) - durationMs(before);
    assert.ok(
      isEnd ? sinceMs >= 0 : Math.abs(sinceMs - INTERVAL_MS) <= 250,
      `${what}: ${sinceMs} ms between two records`,
    );
  }
  return end;
}

function assertEvent({ event, lines, records }: Observed, filters: Recorder, loggers: Recorder): void {
  const all = records.get(filters.id) ?? [];
  const of = (sensor: string): readonly FlowRecord[] => all.filter(({ record }) => record.sensor === sensor);
  const [exchange, carried] = [of('http_filter'), of('network_filter')];
  assert.equal(exchange.length + carried.length, all.length, event.name);
  const isShort = event.name === 'a short exchange';
  const [managerLine, listenerLine] = [lines.manager[0], lines.listener[0]];
  assert.ok(listenerLine !== undefined, event.name);
  if (managerLine !== undefined) {
    const end = isShort ? (exchange[0] as FlowRecord) : assertLife(exchange, `${event.name}, HTTP filter`);
    if (isShort)
      assert.deepEqual(
        exchange.map(({ record }) => record.phase),
        ['end'],
        event.name,
      );
    assertExchange(end, managerLine, { isFull: false }, event.name);
  }
  const end = isShort ? (carried[0] as FlowRecord) : assertLife(carried, `${event.name}, network filter`);
  assertConnection(end, listenerLine, { hasOwnClock: true }, event.name);
  // Reading TLS facts before the end would have changed this line.
  if (event.name.includes('mTLS'))
    assert.deepEqual([listenerLine['tls'], end.connection.tls_version], ['TLSv1.3', 'TLSv1.3']);
  const counted = all.filter(({ record }) => record.repeat !== true);
  assert.equal(counted.length, 1, `${event.name} is counted once`);
  // A Wasm access logger is called at the end only.
  const logged = records.get(loggers.id) ?? [];
  assert.ok(logged.length > 0 && logged.every(({ record }) => record.phase === 'end'), event.name);
}

test(
  'streams and connections that live long are recorded while they live, and counted once',
  envoy.options,
  async (t) => {
    const settings = { open_after_ms: OPEN_AFTER_MS, interval_ms: INTERVAL_MS };
    const filters: Recorder = { id: 'filters', places: ['http_filter', 'network_filter'], settings };
    const loggers: Recorder = { id: 'loggers', places: ['manager_logger', 'listener_logger'], settings };
    const run = await runEvents(t, envoy, [filters, loggers], EVENTS);
    for (const observed of run.observed) assertEvent(observed, filters, loggers);
    assertCounters(run);
  },
);
