// Goal: a replay shows what happened in the order in which it happened, whole from whatever place one comes in, at its speed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { timeText } from '../../collector/src/core/codec/text.ts';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { random, START_NS, StreamMaker } from '../support/facts.ts';
import { admitted } from '../support/logs.ts';
import { type Api, type Event, openApi, read } from './sse.ts';

const S = 1_000_000_000n;
const SINCE = timeText(START_NS);
const UNTIL = timeText(START_NS + 60n * S);
const WINDOW = `since=${SINCE}&until=${UNTIL}`;

interface Placed {
  readonly at: string;
  readonly flow: FlowRecord;
}

/** A batch that holds records made between two seconds, by a clock that is ahead. */
async function add(
  api: Api,
  maker: StreamMaker,
  rows: number,
  from: number,
  to: number,
  aheadS = 0,
): Promise<Placed[]> {
  const next = random(rows * 1000 + from);
  const [fromNs, toNs] = [from, to].map((s) => START_NS + BigInt(Math.floor((s + aheadS) * 1e9)));
  assert.ok(fromNs !== undefined && toNs !== undefined);
  const clock: [bigint, bigint, bigint, bigint] = [fromNs, toNs, 1n, 2n];
  const at = (): number => (from + aheadS) * 1e9 + next() * (to - from) * 1e9;
  const wire = maker.batch(rows, { clock }, at);
  const { index } = await api.log.append(admitted(wire));
  const batch = decodeBatch(wire);
  const ahead = BigInt(aheadS) * S;
  let last = fromNs;
  return Array.from({ length: rows }, (_, row) => {
    const flow = recordOf(sourceOf(batch, index, row));
    const took = BigInt(Math.round(Number.parseFloat(flow.duration ?? '0') * 1e6)) * 1000n;
    const end = BigInt(Date.parse(flow.time)) * 1_000_000n + BigInt(flow.time.slice(23, 29)) + took;
    const within = end < toNs ? end : toNs;
    last = within > last ? within : last;
    return { at: timeText(last - ahead), flow };
  });
}

async function all(url: string, headers: Record<string, string> = {}): Promise<Event[]> {
  const reader = await read(url, headers);
  assert.equal(reader.status, 200);
  const events: Event[] = [];
  for (let event = await reader.next(); event !== undefined; event = await reader.next()) events.push(event);
  return events;
}

const flowsOf = (events: readonly Event[]): Placed[] =>
  events.filter(({ event }) => event === 'flow').map(({ data }) => data as unknown as Placed);

interface EdgesFrame {
  readonly width: string;
  readonly since: string;
  readonly until: string;
  readonly records: number;
  readonly edges: readonly { readonly exchanges: number; readonly denied: number; readonly reporter: string }[];
}

const framesOf = (events: readonly Event[], width: string): EdgesFrame[] =>
  events
    .filter(({ event }) => event === 'edges')
    .map(({ data }) => data as unknown as EdgesFrame)
    .filter((frame) => frame.width === width);

/** A minute of three proxies, batches of which arrive in another order than they were made. */
async function minute(t: Parameters<typeof openApi>[0]): Promise<{ readonly api: Api; readonly placed: Placed[] }> {
  const api = await openApi(t);
  const makers = [1, 2, 3].map((seed) => new StreamMaker(seed, `p${seed}`));
  const placed: Placed[] = [];
  for (let i = 0; i < 12; i++)
    for (const maker of i % 2 === 0 ? makers : [...makers].reverse())
      placed.push(...(await add(api, maker, 20 + i, i * 5, i * 5 + 5)));
  await api.log.publishNow();
  const place = ({ flow }: Placed): number[] => flow.id.split('.').map(Number);
  placed.sort((a, b) => {
    const [[i = 0, r = 0], [j = 0, q = 0]] = [place(a), place(b)];
    return a.at < b.at ? -1 : a.at > b.at ? 1 : i - j || r - q;
  });
  return { api, placed: placed.filter(({ at }) => at < UNTIL) };
}

test('in the order in which it happened, with frames that add up', async (t) => {
  const { api, placed } = await minute(t);
  const events = await all(`${api.url}/v1/replay?${WINDOW}&speed=1000`);
  const flows = flowsOf(events);
  assert.deepEqual(
    flows.map(({ at, flow }) => [at, flow.id]),
    placed.map(({ at, flow }) => [at, flow.id]),
  );
  const numbers = new Map<string, number>();
  for (const { flow } of flows) {
    assert.ok(flow.record.number > (numbers.get(flow.record.stream) ?? -1), 'within a proxy by number');
    numbers.set(flow.record.stream, flow.record.number);
  }
  const [ones, tens] = [framesOf(events, '1s'), framesOf(events, '10s')];
  assert.deepEqual(
    tens.map(({ since }) => since),
    [0n, 10n, 20n, 30n, 40n, 50n].map((s) => timeText(START_NS + s * S)),
  );
  for (const frames of [ones, tens]) {
    for (const { since, until, records, edges } of frames) {
      const inside = placed.filter(({ at }) => at >= since && at < until);
      assert.equal(records, inside.length);
      assert.equal(
        edges.reduce((sum, { exchanges }) => sum + exchanges, 0),
        inside.length,
      );
      assert.equal(
        edges.reduce((sum, { denied }) => sum + denied, 0),
        inside.filter(({ flow }) => flow.verdict === 'denied').length,
      );
    }
  }
  const end = events.at(-1);
  assert.ok(end?.event === 'end');
  assert.equal((end.data as unknown as { reason: string }).reason, 'done');
});

test('going on behind any event gives the rest, frames whole', async (t) => {
  const { api } = await minute(t);
  const url = `${api.url}/v1/replay?${WINDOW}&speed=1000&filter=${encodeURIComponent('verdict != "denied"')}`;
  const events = await all(url);
  const next = random(3);
  for (let i = 0; i < 25; i++) {
    const at = Math.floor(next() * (events.length - 1));
    const rest = await all(url, { 'last-event-id': events[at]?.id ?? '' });
    assert.equal(rest[0]?.event, 'hello');
    assert.deepEqual(rest.slice(1), events.slice(at + 1), `behind event ${at}, ${events[at]?.id}`);
  }
  const from = timeText(START_NS + 33n * S);
  const sought = await all(`${url}&from=${from}`);
  assert.deepEqual(
    flowsOf(sought),
    flowsOf(events).filter(({ at }) => at >= from),
  );
  assert.deepEqual(framesOf(sought, '10s'), framesOf(events, '10s').slice(3), 'the first one is whole');
});

test('step by step it is the same, without waiting', async (t) => {
  const { api } = await minute(t);
  const events = await all(`${api.url}/v1/replay?${WINDOW}&speed=1000`);
  for (const step of ['10s', '1s'] as const) {
    const started = performance.now();
    const got: Event[] = [];
    for (let after = ''; ; ) {
      const part = await all(`${api.url}/v1/replay?${WINDOW}&step=${step}&from=${encodeURIComponent(after || SINCE)}`);
      const end = part.at(-1);
      assert.equal(end?.event, 'end');
      got.push(...part.slice(1, -1));
      if ((end.data as unknown as { reason: string }).reason === 'done') break;
      after = end.id ?? '';
    }
    assert.deepEqual(flowsOf(got), flowsOf(events));
    assert.deepEqual(framesOf(got, step), framesOf(events, step));
    assert.ok(performance.now() - started < 15_000);
  }
  const one = await all(`${api.url}/v1/replay?${WINDOW}&step=exchange&frames=exchange`);
  assert.deepEqual(
    one.map(({ event }) => event),
    ['hello', 'flow', 'end'],
  );
});

test('batches of one stream that came in another order keep theirs, and none of their records is lost by going on', async (t) => {
  const api = await openApi(t);
  const maker = new StreamMaker(1);
  const instant = START_NS + 5n * S;
  const batches = [0, 1, 2].map(() => maker.batch(4, { clock: [instant, instant, 1n, 2n] }, () => 1e9));
  for (const wire of batches.reverse()) await api.log.append(admitted(wire));
  await api.log.publishNow();
  const url = `${api.url}/v1/replay?${WINDOW}&speed=1000&frames=exchange`;
  const events = await all(url);
  assert.deepEqual(
    flowsOf(events).map(({ flow }) => flow.record.number),
    Array.from({ length: 12 }, (_, number) => number),
  );
  for (const [at, { id = '' }] of events.slice(0, -1).entries())
    assert.deepEqual(flowsOf(await all(url, { 'last-event-id': id })), flowsOf(events.slice(at + 1)));
});

test('at its speed', async (t) => {
  const { api } = await minute(t);
  const started = performance.now();
  const events = await all(`${api.url}/v1/replay?since=${SINCE}&until=${timeText(START_NS + 10n * S)}&speed=20`);
  const took = performance.now() - started;
  assert.ok(took >= 490, `10 s at 20 times take half a second, not ${took} ms`);
  assert.ok(flowsOf(events).length > 10);
});

test('a clock that is ahead is set right, and what came late is marked', async (t) => {
  const api = await openApi(t);
  const [right, ahead] = [new StreamMaker(1, 'right'), new StreamMaker(2, 'ahead')];
  // It is a minute after START_NS at the collector: what this one says of minute 3 cannot be.
  const late = await add(api, right, 5, 10, 20);
  const fast = await add(api, ahead, 5, 55, 60, 120);
  await api.log.publishNow();
  const flows = flowsOf(await all(`${api.url}/v1/replay?${WINDOW}&speed=1000`)) as (Placed & { late?: boolean })[];
  const off = (placed: Placed): number => Date.parse(placed.at) - Date.parse(SINCE);
  const shown = flows.filter(({ flow }) => flow.node.id?.includes('ahead'));
  assert.deepEqual(
    shown.map(({ flow }) => flow.id),
    fast.slice(0, shown.length).map(({ flow }) => flow.id),
  );
  assert.ok(shown.length > 0 && shown.every((one) => off(one) >= 54_000 && off(one) < 60_000));
  assert.deepEqual(
    flows.filter((one) => one.late === true).map(({ flow }) => flow.id),
    late.map(({ flow }) => flow.id),
  );
});

test('what is wrong is refused before anything is sent', async (t) => {
  const { api } = await minute(t);
  for (const [query, code] of [
    ['', 'PARAMETER_INVALID'],
    ['since=never', 'TIME_INVALID'],
    [`since=${UNTIL}&until=${SINCE}`, 'TIME_INVALID'],
    [`${WINDOW}&speed=0`, 'PARAMETER_INVALID'],
    [`${WINDOW}&speed=1001`, 'PARAMETER_INVALID'],
    [`${WINDOW}&step=2s`, 'PARAMETER_INVALID'],
    [`${WINDOW}&frames=1s,1m`, 'PARAMETER_INVALID'],
    [`${WINDOW}&filter=x`, 'FILTER_INVALID'],
    [`${WINDOW}&from=17.1s@99999`, 'CURSOR_INVALID'],
    [`${WINDOW}&from=17.1s`, 'TIME_INVALID'],
  ] as const) {
    const response = await fetch(`${api.url}/v1/replay?${query}`);
    assert.equal(((await response.json()) as { code: string }).code, code, query);
  }
});
