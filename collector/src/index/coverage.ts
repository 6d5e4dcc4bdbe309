// What was recorded by whom and over which time, and what is missing: each proxy's life with its streams.

import { timeText } from '../core/codec/text.ts';
import type { Gap } from './flow-index.ts';
import { droppedOf, type Stream, type StreamCondition } from './stream.ts';
import { limited, type Streams } from './streams.ts';

/** Streams that an answer lists. */
export const STREAMS_LISTED_MAX = 10_000;

export interface CoverageQuery {
  readonly sinceNs?: bigint;
  /** Exclusive. */
  readonly untilNs?: bigint;
  /** The time of the answer, Unix ms: until then an end that nobody saw may have come. */
  readonly nowMs: number;
}

/** What a stream without its end can lack at most. */
export interface Lost {
  /** Records that were made and never came. */
  readonly records_max: number;
  /** The time in which it may have recorded nothing, or what never came. */
  readonly seconds_max: number;
  readonly from: string;
  readonly until: string;
}

export interface StreamCoverage {
  readonly stream: string;
  readonly state: StreamCondition;
  /** Absent for a VM that never sent a batch and was named by another one. */
  readonly first?: string;
  readonly last?: string;
  readonly received?: string;
  readonly batches: number;
  readonly records: number;
  readonly interim: number;
  readonly missing: { readonly batches: number; readonly records: number };
  readonly dropped: { readonly buffers_full: number; readonly unreadable: number; readonly no_random: number };
  readonly unwatched: number;
  readonly truncated: number;
  readonly send_failures: number;
  readonly rollbacks_seen: number;
  /** When another VM named it as dead. */
  readonly silent_since?: string;
  readonly lost?: Lost;
}

export interface ProxyCoverage {
  readonly node?: string;
  readonly node_cluster?: string;
  readonly cluster?: string;
  readonly role?: string;
  readonly filter_version?: string;
  /** Absent where it is not known: version 1, or a proxy whose VMs have no shared data. */
  readonly proxy_since?: string;
  readonly alive_interval_ms?: number;
  readonly vms_known?: number;
  readonly vms_alive?: number;
  readonly state: StreamCondition;
  readonly first?: string;
  readonly last?: string;
  readonly received?: string;
  readonly records: number;
  readonly streams: readonly StreamCoverage[];
}

export interface Coverage {
  /** Those with something wrong first, then those heard last. */
  readonly proxies: readonly ProxyCoverage[];
  readonly gaps: readonly Gap[];
}

/** Worst first. */
const CONDITIONS: readonly StreamCondition[] = ['silent', 'ended unknown', 'open', 'ended'];
const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

/** The coverage of a time: every stream that touches it, whole. */
export function coverageOf(streams: Streams, query: CoverageQuery): Coverage {
  const nowNs = BigInt(Math.floor(query.nowMs)) * NS_PER_MS;
  const found = byUrgency([...streams].filter((stream) => touches(stream, query, nowNs)));
  const listed = found.slice(0, STREAMS_LISTED_MAX);
  const gaps: Gap[] = [...limited(listed.flatMap((stream) => gapsOf(stream, nowNs)))];
  if (found.length > listed.length)
    gaps.push({
      kind: 'partial',
      reason: `streams that are not listed: ${found.length - listed.length}; narrow the time`,
    });
  const { forgotten } = streams;
  if (forgotten.streams > 0 && forgotten.lastNs >= (query.sinceNs ?? 0n)) {
    const reason = `streams that are no longer held: ${forgotten.streams}, heard until ${timeText(forgotten.lastNs)}; not ended and complete: ${forgotten.incomplete}`;
    gaps.push(...streams.forgottenGaps(), { kind: 'partial', reason });
  }
  return { proxies: proxiesOf(listed, nowNs), gaps };
}

/** Whether a stream has, or may have, something to do with a time. */
function touches(stream: Stream, { sinceNs, untilNs }: CoverageQuery, nowNs: bigint): boolean {
  const firstNs = stream.firstNs ?? stream.proxy?.sinceNs ?? stream.silence?.wallNs;
  const lastNs = stream.condition === 'ended' ? stream.lastNs : endNs(stream, nowNs);
  return (
    (untilNs === undefined || firstNs === undefined || firstNs < untilNs) &&
    (sinceNs === undefined || lastNs === undefined || lastNs >= sinceNs)
  );
}

/** Until when a stream that did not say that it ends may have lived: until its proxy's next life, else until now. */
function endNs(stream: Stream, nowNs: bigint): bigint {
  const end = stream.proxy?.successor?.sinceNs ?? nowNs;
  const lastNs = stream.lastNs ?? 0n;
  return end > lastNs ? end : lastNs;
}

function lostOf(stream: Stream, nowNs: bigint): Lost | undefined {
  const { condition, proxy, recordsHeldMax, silence } = stream;
  if (condition !== 'silent' && condition !== 'ended unknown') return undefined;
  const end = endNs(stream, nowNs);
  const from = stream.lastNs ?? proxy?.sinceNs ?? silence?.wallNs ?? end;
  return {
    records_max: recordsHeldMax,
    seconds_max: end > from ? Number((end - from + NS_PER_S - 1n) / NS_PER_S) : 0,
    from: timeText(from),
    until: timeText(end),
  };
}

function gapsOf(stream: Stream, nowNs: bigint): Gap[] {
  const of = { stream: stream.name, ...(stream.node === undefined ? {} : { node: stream.node }) };
  const gaps = stream.gaps();
  const { missingBatches, missingRecords, condition } = stream;
  if (missingBatches > 0 && missingRecords === 0)
    gaps.push({ kind: 'missing', ...of, count: 0, reason: `batches without records: ${missingBatches}` });
  const lost = lostOf(stream, nowNs);
  if (lost === undefined) return gaps;
  const { records_max: count, seconds_max: seconds } = lost;
  const kind = condition === 'silent' ? 'silent' : 'ended unknown';
  return [...gaps, { kind, ...of, count, seconds, reason: `at most ${count} records or ${seconds} s lost` }];
}

/** 0 for what to look at first. */
function urgencyOf({ condition, missingBatches, hasDropped, counters }: Stream): number {
  if (condition === 'silent' || condition === 'ended unknown') return CONDITIONS.indexOf(condition);
  return missingBatches > 0 || hasDropped || counters.rollbacksSeen > 0 ? 2 : 3;
}

/** Streams in the order in which somebody should look at them. */
function byUrgency(streams: readonly Stream[]): Stream[] {
  return streams
    .map((stream) => ({ stream, urgency: urgencyOf(stream), receivedMs: stream.receivedMs ?? 0 }))
    .sort((a, b) => a.urgency - b.urgency || b.receivedMs - a.receivedMs || (a.stream.name < b.stream.name ? -1 : 1))
    .map(({ stream }) => stream);
}

/** Streams of one life of a proxy together, in the order that they have. */
function proxiesOf(streams: readonly Stream[], nowNs: bigint): ProxyCoverage[] {
  const groups = new Map<string, Stream[]>();
  for (const stream of streams) {
    const { node, nodeCluster, meshCluster, proxy } = stream;
    const key = JSON.stringify([node, nodeCluster, meshCluster, String(proxy?.sinceNs ?? '')]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [stream]);
    else group.push(stream);
  }
  return [...groups.values()].map((group) => proxyOf(group, nowNs));
}

function proxyOf(group: readonly Stream[], nowNs: bigint): ProxyCoverage {
  const newest = group.reduce((a, b) => ((b.receivedMs ?? 0) > (a.receivedMs ?? 0) ? b : a));
  const { node, nodeCluster, meshCluster, role, filterVersion, proxy, receivedMs } = newest;
  const firsts = group.flatMap(({ firstNs }) => firstNs ?? []);
  const lasts = group.flatMap(({ lastNs }) => lastNs ?? []);
  return {
    ...(node === undefined ? {} : { node }),
    ...(nodeCluster === undefined ? {} : { node_cluster: nodeCluster }),
    ...(meshCluster === undefined ? {} : { cluster: meshCluster }),
    ...(role === undefined ? {} : { role }),
    ...(filterVersion === undefined ? {} : { filter_version: filterVersion }),
    ...(proxy?.sinceNs === undefined ? {} : { proxy_since: timeText(proxy.sinceNs) }),
    ...(proxy === undefined
      ? {}
      : { alive_interval_ms: proxy.aliveIntervalMs, vms_known: proxy.vmsKnown, vms_alive: proxy.vmsAlive }),
    state: CONDITIONS.find((condition) => group.some((stream) => stream.condition === condition)) ?? 'open',
    ...(firsts.length === 0 ? {} : { first: timeText(firsts.reduce((a, b) => (b < a ? b : a))) }),
    ...(lasts.length === 0 ? {} : { last: timeText(lasts.reduce((a, b) => (b > a ? b : a))) }),
    ...(receivedMs === undefined ? {} : { received: msText(receivedMs) }),
    records: group.reduce((sum, { records }) => sum + records, 0),
    streams: group.map((stream) => streamOf(stream, nowNs)),
  };
}

function streamOf(stream: Stream, nowNs: bigint): StreamCoverage {
  const { name, condition, firstNs, lastNs, receivedMs, counters, silence } = stream;
  const lost = lostOf(stream, nowNs);
  return {
    stream: name,
    state: condition,
    ...(firstNs === undefined ? {} : { first: timeText(firstNs) }),
    ...(lastNs === undefined ? {} : { last: timeText(lastNs) }),
    ...(receivedMs === undefined ? {} : { received: msText(receivedMs) }),
    batches: stream.batches,
    records: stream.records,
    interim: counters.interim,
    missing: { batches: stream.missingBatches, records: stream.missingRecords },
    dropped: droppedOf(counters),
    unwatched: counters.unwatched,
    truncated: counters.truncated,
    send_failures: counters.sendFailures,
    rollbacks_seen: counters.rollbacksSeen,
    ...(silence === undefined ? {} : { silent_since: timeText(silence.wallNs) }),
    ...(lost === undefined ? {} : { lost }),
  };
}

function msText(ms: number): string {
  return timeText(BigInt(ms) * NS_PER_MS);
}
