// Goal: the live tail shows every published record once, from history into live, whatever happens on the way; and no reader can
// make the collector hold more for it than a place in the log.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { timeText } from '../../collector/src/core/codec/text.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { random, START_NS, StreamMaker } from '../support/facts.ts';
import { admitted } from '../support/logs.ts';
import { type Api, type Event, openApi, type Reader, read } from './sse.ts';

type Flow = { readonly asOf: { readonly size: number }; readonly flow: FlowRecord };

async function add({ log }: Api, wire: Uint8Array): Promise<FlowRecord[]> {
  const { index } = await log.append(admitted(wire));
  const batch = decodeBatch(wire);
  return Array.from({ length: batch.rowCount }, (_, row) => recordOf(sourceOf(batch, index, row)));
}

/** The next events of a name, others passed over. */
async function take(reader: Reader, name: string, count: number): Promise<Event[]> {
  const events: Event[] = [];
  while (events.length < count) {
    const event = await reader.next();
    assert.ok(event !== undefined, `the answer ended after ${events.length} of ${count} ${name} events`);
    if (event.event === name) events.push(event);
  }
  return events;
}

function flowOf(event: Event | undefined): FlowRecord {
  assert.ok(event !== undefined);
  return (event.data as unknown as Flow).flow;
}

test('from history into live without a hole or a double, under load, with readers that are killed and come back', async (t) => {
  const api = await openApi(t);
  const makers = [1, 2, 3].map((seed) => new StreamMaker(seed, `p${seed}`));
  const next = random(7);
  const all: FlowRecord[] = [];
  let isLoading = true;
  const load = async (batches: number): Promise<void> => {
    for (let i = 0; i < batches; i++) {
      const maker = makers[i % 3] as StreamMaker;
      all.push(
        ...(await add(
          api,
          maker.batch(1 + Math.floor(next() * 60), {}, () => next() * 50e9),
        )),
      );
      if (i % 4 === 0) await sleep(2);
    }
  };
  await load(60);
  await api.log.publishNow();
  const loading = load(600).then(() => {
    isLoading = false;
  });

  const since = START_NS + 20_000_000_000n;
  // Relative, as a person gives it: the ids carry what it meant at first.
  const query = `since=-40s&filter=${encodeURIComponent('verdict != "denied"')}`;
  const got: FlowRecord[] = [];
  let [last, connections]: [string | undefined, number] = [undefined, 0];
  const wanted = (): FlowRecord[] => all.filter((r) => r.verdict !== 'denied' && r.time >= timeText(since));
  let missing = 1;
  while (isLoading || missing > 0) {
    const reader = await read(`${api.url}/v1/tail?${query}`, last === undefined ? {} : { 'last-event-id': last });
    assert.equal(reader.status, 200);
    connections++;
    const events = Math.floor(next() * 900);
    const end = isLoading ? events : Math.min(events, wanted().length - got.length);
    for (let flows = 0; flows < end; ) {
      const event = await reader.next();
      assert.ok(event !== undefined && event.event !== 'missed', 'whoever reads misses nothing');
      last = event.id ?? last;
      if (event.event !== 'flow') continue;
      const { asOf, flow } = event.data as unknown as Flow;
      assert.ok(Number(flow.id.split('.')[0]) < asOf.size && asOf.size <= api.log.published().size, 'it is signed');
      got.push(flow);
      flows++;
    }
    reader.close();
    missing = isLoading ? 1 : wanted().length - got.length;
  }
  await loading;
  assert.deepEqual(
    got.map(({ id }) => id),
    wanted().map(({ id }) => id),
  );
  assert.deepEqual(got[0], wanted()[0]);
  assert.ok(connections > 5, `${connections} connections`);
});

test('without since only what comes; what no checkpoint covers is not shown', async (t) => {
  const api = await openApi(t, {}, 600_000);
  const maker = new StreamMaker(4);
  await add(api, maker.batch(5));
  await api.log.publishNow();
  const reader = await read(`${api.url}/v1/tail`);
  assert.equal(reader.headers.get('content-type'), 'text/event-stream');
  assert.equal(reader.headers.get('cache-control'), 'no-store');
  const hello = await reader.next();
  assert.deepEqual([hello?.event, hello?.id], ['hello', '1']);
  const level = await reader.next();
  assert.ok(level?.event === 'level');
  assert.equal((level.data as unknown as { asOf: { size: number } }).asOf.size, 1);
  const [first] = await add(api, maker.batch(3));
  // Nobody publishes: the log does so sooner than configured because somebody watches.
  const started = performance.now();
  const [flow] = await take(reader, 'flow', 1);
  assert.ok(performance.now() - started < 5000);
  assert.deepEqual([flow?.id, flowOf(flow)], ['1.0', first]);
  reader.close();
});

test('idle, it says where it stands, and that it lives', async (t) => {
  const api = await openApi(t, { heartbeatMs: 30 });
  const reader = await read(`${api.url}/v1/tail?filter=${encodeURIComponent('policy == "none such"')}`);
  const maker = new StreamMaker(5);
  await take(reader, 'level', 1);
  await add(api, maker.batch(5));
  const [level] = await take(reader, 'level', 1);
  assert.equal(level?.id, '1', 'what did not match need not be looked at again');
  void reader.next();
  await sleep(200);
  assert.ok(reader.comments() >= 2, `${reader.comments()} heartbeats`);
  reader.close();
});

test('a reader that falls behind is told what it missed, costs no memory, and goes on', async (t) => {
  const api = await openApi(t, { lagMsMax: 150, stallMs: 30_000 });
  let waiting = 0;
  api.app.server.on('request', (_request, response) => {
    const watch = setInterval(() => (waiting = Math.max(waiting, response.writableLength)), 5);
    response.once('close', () => clearInterval(watch));
  });
  const filter = 'request.path.startsWith("/api")';
  const request = get(`${api.url}/v1/tail?filter=${encodeURIComponent(filter)}`);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.setEncoding('utf8').pause();
  const maker = new StreamMaker(6);
  const all: FlowRecord[] = [];
  for (let i = 0; i < 60; i++) {
    all.push(...(await add(api, maker.batch(300))));
    await sleep(10);
  }
  await api.log.publishNow();
  let text = '';
  response.on('data', (part: string) => (text += part)).resume();
  for (const deadline = performance.now() + 8000; !text.includes('event: missed'); await sleep(20))
    assert.ok(performance.now() < deadline, 'it is told');
  // On a busy machine it may fall behind once more.
  const goesOn = async (): Promise<boolean> => {
    const [last] = await add(api, maker.batch(1));
    assert.ok(last !== undefined);
    all.push(last);
    for (const deadline = performance.now() + 1000; performance.now() < deadline; await sleep(20))
      if (text.slice(-100_000).includes(`"id":"${last.id}"`)) return true;
    return false;
  };
  for (const deadline = performance.now() + 10_000; !(await goesOn()); )
    assert.ok(performance.now() < deadline, 'it goes on');
  request.destroy();
  assert.ok(waiting > 0 && waiting < 200_000, `${waiting} bytes waited`);

  const blocks = text.split('\n\n').filter((block) => block.startsWith('id: ') && !block.includes('event: level'));
  const seen: string[] = [];
  let missedRecords = 0;
  for (const block of blocks.slice(1)) {
    const data = JSON.parse(block.slice(block.indexOf('data: ') + 6)) as Flow & {
      readonly records: number;
      readonly after: string;
      readonly flows: string;
    };
    if (!block.includes('event: missed')) {
      seen.push(data.flow.id);
      continue;
    }
    missedRecords += data.records;
    // What was missed is found where the event says, and behind the place that it names.
    const answer = await fetch(`${api.url}${data.flows}&limit=1000`);
    assert.equal(answer.status, 200);
    const again = await read(`${api.url}/v1/tail?after=${data.after}`);
    const [first] = await take(again, 'flow', 1);
    again.close();
    assert.equal(flowOf(first).id, all[seen.length + missedRecords - data.records]?.id);
  }
  assert.equal(seen.length + missedRecords, all.length, 'each record is seen or counted as missed');
  assert.ok(missedRecords > 0);
});

test('a reader that takes nothing at all is cut off', async (t) => {
  const api = await openApi(t, { stallMs: 200, lagMsMax: 3_600_000 });
  const request = get(`${api.url}/v1/tail?since=-10m`);
  request.on('error', () => undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => undefined).pause();
  const maker = new StreamMaker(8);
  for (let i = 0; i < 60; i++) await add(api, maker.batch(300));
  for (const deadline = performance.now() + 10_000; !(await isAlone(api)); await sleep(50))
    assert.ok(performance.now() < deadline, 'it lets go');
  request.destroy();
});

const isAlone = async ({ app }: Api): Promise<boolean> =>
  await new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count === 0)));

test('there is a limit of readers, and a place that is left is free', async (t) => {
  const { url } = await openApi(t, { followersMax: 2 });
  const [one, two] = [await read(`${url}/v1/tail`), await read(`${url}/v1/tail?since=now`)];
  const refused = await fetch(`${url}/v1/tail`);
  const problem = (await refused.json()) as { code: string };
  assert.deepEqual([refused.status, problem.code, refused.headers.get('retry-after')], [503, 'TAIL_OVERLOADED', '1']);
  one.close();
  for (const deadline = performance.now() + 5000; ; await sleep(10)) {
    const three = await read(`${url}/v1/tail`);
    three.close();
    if (three.status === 200) break;
    assert.ok(performance.now() < deadline);
  }
  two.close();
});

test('the listener closes at once, and tells its readers', async (t) => {
  const api = await openApi(t);
  const reader = await read(`${api.url}/v1/tail`);
  await take(reader, 'level', 1);
  const started = performance.now();
  const closed = api.app.close();
  const [end] = await take(reader, 'end', 1);
  assert.match(JSON.stringify(end?.data), /stops/);
  assert.equal(await reader.next(), undefined);
  await closed;
  assert.ok(performance.now() - started < 2000);
});

test('what is wrong is refused before anything is sent', async (t) => {
  const api = await openApi(t);
  await add(api, new StreamMaker(9).batch(2));
  await api.log.publishNow();
  for (const [query, code, lastEventId] of [
    ['filter=source.principle%20%3D%3D%20%22x%22', 'FILTER_INVALID'],
    ['since=yesterday', 'TIME_INVALID'],
    ['after=2', 'CURSOR_INVALID'],
    ['after=1.0', 'CURSOR_INVALID'],
    ['after=0.0@x', 'CURSOR_INVALID'],
    ['after=99999999999999999999', 'CURSOR_INVALID'],
    [`after=${'1'.repeat(500)}`, 'CURSOR_INVALID'],
    ['', 'CURSOR_INVALID', '0.0.0'],
    ['after=0', 'CURSOR_INVALID', '7'],
    ['limit=5', 'PARAMETER_INVALID'],
    ['since=-1m&since=-2m', 'PARAMETER_INVALID'],
  ] as const) {
    const response = await fetch(`${api.url}/v1/tail?${query}`, {
      headers: lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
    });
    assert.equal(((await response.json()) as { code: string }).code, code, query);
  }
  assert.equal((await fetch(`${api.url}/v1/tail`, { method: 'HEAD' })).status, 404);
});

test('a batch that cannot be read is told of, and hides no other', async (t) => {
  const api = await openApi(t);
  const maker = new StreamMaker(10);
  for (let i = 0; i < 3; i++) await add(api, maker.batch(2));
  await api.log.publishNow();
  assert.equal((await fetch(`${api.url}/v1/flows`)).status, 200, 'indexed');
  const stored = api.disk.entries[1];
  assert.ok(stored?.body !== undefined);
  stored.body[20] = (stored.body[20] as number) ^ 1;
  const reader = await read(`${api.url}/v1/tail?since=-1h`);
  const events: string[] = [];
  while (events.at(-1) !== 'level') {
    const event = await reader.next();
    events.push(event?.event === 'flow' ? flowOf(event).id : (event?.event ?? ''));
  }
  assert.deepEqual(events, ['hello', '0.0', '0.1', 'damaged', '2.0', '2.1', 'level']);
  reader.close();
});
