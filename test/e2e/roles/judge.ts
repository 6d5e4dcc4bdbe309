// Holds what was observed of each event against the event table: Envoy's lines, every place's records, and how often it counts.

import assert from 'node:assert/strict';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import type { Line, Log } from './access-logs.ts';
import { assertConnection, assertExchange, distanceMs } from './compare.ts';
import type { RoleEvent, Seen, Sight, Sights } from './event.ts';
import { PLACES, type Place, type Recorder } from './places.ts';
import type { Observed, Run } from './stage.ts';

/** The log beside each place. */
const LOG_OF: Readonly<Record<Place, Log>> = {
  http_filter: 'manager',
  network_filter: 'listener',
  manager_logger: 'manager',
  listener_logger: 'listener',
  tcp_proxy_logger: 'tcp_proxy',
};
const SENSORS: Readonly<Record<Place, string>> = {
  http_filter: 'http_filter',
  network_filter: 'network_filter',
  manager_logger: 'http_logger',
  listener_logger: 'connection_logger',
  tcp_proxy_logger: 'connection_logger',
};

function assertLine(line: Line, seen: Seen, what: string): void {
  for (const [name, wanted] of Object.entries(seen.line ?? {})) {
    const value = line[name];
    if (wanted instanceof RegExp) assert.match(String(value), wanted, `${what}: ${name} in Envoy's log`);
    else assert.equal(value, wanted, `${what}: ${name} in Envoy's log`);
  }
}

/** Asserts that the event happened as it was meant to, by what Envoy itself says. */
export function assertHappened({ event, lines }: Observed): void {
  assert.equal(lines.manager.length, event.exchanges.length, `${event.name}: exchanges in Envoy's log`);
  assert.ok(lines.listener.length > 0, `${event.name}: no connection in Envoy's log`);
  for (const [i, line] of byStart(lines.manager).entries()) assertLine(line, event.exchanges[i] as Seen, event.name);
  for (const line of lines.listener) assertLine(line, event.connection, `${event.name}, connection`);
}

const byStart = (lines: readonly Line[]): readonly Line[] =>
  lines.toSorted((a, b) => Number(a['start']) - Number(b['start']));

/** The line that a record is about: of the same connection, and of streams at once that of the same path. */
function lineOf(record: FlowRecord, lines: readonly Line[], what: string): Line {
  const same = lines.filter(
    (line) =>
      (line['connection_id'] || undefined) === record.connection.id &&
      (line['path'] ?? undefined) === record.request.path,
  );
  const [nearest] = same.toSorted((a, b) => distanceMs(record, a) - distanceMs(record, b));
  assert.ok(nearest !== undefined, `${what}: a record of which Envoy's log has no line: ${JSON.stringify(record)}`);
  return nearest;
}

/** Asserts that records tell of the same lines, one each, and the same of each. */
function assertRecords(
  { event, lines }: Observed,
  records: readonly FlowRecord[],
  place: Place,
  { places, settings }: Recorder,
): void {
  const what = `${event.name}, ${place}`;
  const isFull = settings?.['detail'] === 'full';
  const reporter = settings?.['role'] === 'gateway' ? 'gateway' : 'destination';
  const hasExchange = places.some((other) => LOG_OF[other] === 'manager' && event.sights[other] === 'recorded');
  const protocol = (hasExchange && lines.manager[0]?.['protocol']) || null;
  const log = byStart(lines[LOG_OF[place]]);
  const told = new Set<Line>();
  for (const record of records) {
    assert.equal(record.record.sensor, SENSORS[place], what);
    assert.equal(record.record.phase, 'end', what);
    const line = lineOf(record, log, what);
    assert.ok(!told.has(line), `${what}: two records of one line`);
    told.add(line);
    const isHttp = LOG_OF[place] === 'manager';
    const seen = isHttp ? (event.exchanges[log.indexOf(line)] as Seen) : event.connection;
    assert.equal(record.record.kind, isHttp ? 'http' : 'connection', what);
    if (isHttp) assertExchange(record, line, { isFull, reporter }, what);
    else assertConnection(record, line, { hasOwnClock: place === 'network_filter', reporter, protocol }, what);
    assert.equal(record.verdict, seen.verdict, `${what}: verdict`);
    seen.record?.(record, line);
  }
  assert.equal(told.size, records.length === 0 ? 0 : log.length, `${what}: records, and lines of Envoy's log`);
}

/** What a place that stands alone made of an event. */
function sightOf(event: RoleEvent, place: Place, records: readonly FlowRecord[]): Sight {
  if (records.length === 0) return event.sights[place] === 'elsewhere' ? 'elsewhere' : 'not visible';
  return records.every(({ record }) => record.repeat === true) ? 'repeat' : 'recorded';
}

/** Asserts an event as one recorder in a single place saw it. Returns what it made of it. */
export function judgeAlone(observed: Observed, recorder: Recorder, place: Place): Sight {
  const records = observed.records.get(recorder.id) ?? [];
  assertRecords(observed, records, place, recorder);
  const sight = sightOf(observed.event, place, records);
  assert.equal(sight, observed.event.sights[place], `${observed.event.name}, ${place}`);
  return sight;
}

/** How often an event counts where one recorder stands in some places: by its exchanges, else by its connections. */
function countOf({ event, lines }: Observed, places: readonly Place[]): number {
  const isHttp = (place: Place): boolean => LOG_OF[place] === 'manager';
  const seen = places.filter((place) => ['recorded', 'repeat'].includes(event.sights[place]));
  if (seen.some(isHttp)) return event.exchanges.length;
  // A connection with the protocol of HTTP leaves the counting to its exchanges, unless these are recorded and it had none.
  const counts = seen.filter((place) => event.sights[place] === 'recorded' || places.some(isHttp));
  return counts.length === 0 ? 0 : lines.listener.length;
}

const LOGGERS: readonly Place[] = ['listener_logger', 'tcp_proxy_logger'];

/** The loggers of listener and `tcp_proxy` are one sensor; where both stand, the listener's record of a connection comes first. */
function ofLogger(sensed: readonly FlowRecord[], place: Place, { places }: Recorder): readonly FlowRecord[] {
  if (!LOGGERS.every((logger) => places.includes(logger))) return sensed;
  const byNumber = sensed.toSorted((a, b) => a.record.number - b.record.number);
  const isFirst = (one: FlowRecord): boolean =>
    byNumber.find(({ connection }) => connection.id === one.connection.id) === one;
  return byNumber.filter((one) => isFirst(one) === (place === 'listener_logger'));
}

/** Asserts an event as one recorder in several places saw it. Returns the sensor whose records count, if any do. */
export function judgeTogether(observed: Observed, recorder: Recorder): string | undefined {
  const { event } = observed;
  const records = observed.records.get(recorder.id) ?? [];
  for (const place of PLACES) {
    if (!recorder.places.includes(place)) continue;
    const sensed = records.filter(({ record }) => record.sensor === SENSORS[place]);
    assertRecords(observed, LOGGERS.includes(place) ? ofLogger(sensed, place, recorder) : sensed, place, recorder);
  }
  const counted = records.filter(({ record }) => record.repeat !== true);
  const told = records
    .toSorted((a, b) => a.record.number - b.record.number)
    .map(({ record }) => `${record.number} ${record.sensor}${record.repeat === true ? ' (repeat)' : ''}`)
    .join(', ');
  const what = `${event.name}, ${recorder.id}: ${told}`;
  assert.equal(counted.length, countOf(observed, recorder.places), `${what}; counted so often`);
  const sensors = new Set(counted.map(({ record }) => record.sensor));
  assert.ok(sensors.size <= 1, what);
  return [...sensors][0];
}

export interface Judged {
  readonly event: RoleEvent;
  readonly alone: Sights;
  /** The sensor whose records count where all stand together. */
  readonly counts: string | undefined;
}

/** Asserts all that was observed: `alone` one recorder for each place, `together` one in all of them. */
export function judge(run: Run, alone: Readonly<Record<Place, Recorder>>, together: Recorder): readonly Judged[] {
  return run.observed.map((observed) => {
    assertHappened(observed);
    const sights = PLACES.map((place) => [place, judgeAlone(observed, alone[place], place)] as const);
    return {
      event: observed.event,
      alone: Object.fromEntries(sights) as Sights,
      counts: judgeTogether(observed, together),
    };
  });
}

/** Asserts that what counts adds up to what Envoy's own counters say: requests, and connections without any. */
export function assertCounted(
  run: Run,
  recorder: Recorder,
  managers: readonly string[],
  listeners: readonly string[],
): void {
  const sum = (names: readonly string[]): number => names.reduce((all, name) => all + (run.stats.get(name) ?? 0), 0);
  const requests = sum(managers.map((name) => `http.${name}.downstream_rq_total`));
  // Envoy counts as a connection what got a filter chain.
  const kinds = ['downstream_cx_total', 'no_filter_chain_match', 'downstream_listener_filter_remote_close'];
  const connections = sum(listeners.flatMap((name) => kinds.map((kind) => `listener.${name}.${kind}`)));
  assert.equal(run.lines.manager.length, requests);
  assert.equal(run.lines.listener.length, connections);
  const withRequests = new Set(run.lines.manager.map((line) => line['connection_id'])).size;
  const counted = run.records.filter(({ cluster, record }) => cluster === recorder.id && record.repeat !== true);
  assert.equal(counted.length, requests + connections - withRequests, 'records that count, and what Envoy counted');
}

/** Asserts that half of the exchanges have the start that Envoy's log has, to a millisecond; the others came late to the recorder. */
export function assertStarts({ observed }: Run, recorder: Recorder): void {
  const distances = observed.flatMap(({ lines, records }) =>
    (records.get(recorder.id) ?? [])
      .filter(({ record }) => record.kind === 'http')
      .map((record) => distanceMs(record, lineOf(record, lines.manager, 'start'))),
  );
  const median = distances.toSorted((a, b) => a - b)[distances.length >> 1];
  assert.ok(median !== undefined && median <= 1, `half of the starts are off by ${median} ms and more`);
}

/** Asserts that the counters in the batch headers are those of the records, and that nothing was given up. */
export function assertCounters({ records, streams }: Run): void {
  for (const { id, counters, isWhole } of streams) {
    const own = records.filter(({ record }) => record.stream === id);
    const interim = own.filter(({ record }) => record.phase !== 'end').length;
    assert.ok(isWhole, `stream ${id} has a hole`);
    assert.deepEqual(
      [counters.seen, counters.recorded, counters.interim, counters.unwatched],
      [own.length, own.length, interim, 0],
      `seen, recorded, interim and unwatched of stream ${id}`,
    );
  }
}
