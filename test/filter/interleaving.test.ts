// Random lives: thousands of exchanges and connections in every role on several workers, with collectors that come and go and
// configurations that change. In the end each is recorded once, however many roles saw it, or counted as dropped.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Facts } from '../host/contexts.ts';
import type { Connection, Exchange as OpenExchange } from '../host/listener.ts';
import type { Cluster } from '../host/upstreams.ts';
import { type Exchange, factsOf, newConnectionId, ordinary, withHeaders } from './exchange.ts';
import { type Flat, flatten } from './flat.ts';
import { Mesh, PLACES } from './mesh.ts';
import { acknowledge, assertWhole, batchesOf, CLUSTER, CONFIGURATION } from './recorder.ts';

const WORKERS = 2;
/** Few buffers, so that some are dropped; and what lives is told of soon. */
const HARD = { ...CONFIGURATION, buffers_max: 4, open_after_ms: 500, interval_ms: 2000 };
let calls = 0;
const CLUSTERS: readonly (Cluster | undefined)[] = [
  acknowledge,
  'held',
  'refused',
  'inline_failure',
  undefined,
  (call) => (calls++ % 2 === 0 ? acknowledge(call) : { status: 503 }),
  (call) => ({ ...acknowledge(call), status: 500 }),
  () => ({ status: 200, body: new Uint8Array(80) }),
  () => ({}),
];

type Step =
  | {
      readonly kind: 'record';
      readonly count: number;
      readonly bytes: number;
      readonly thread: number;
      readonly isDenied: boolean;
    }
  | { readonly kind: 'connect'; readonly thread: number; readonly isHttp: boolean }
  | { readonly kind: 'request' | 'end' | 'close' | 'configure'; readonly which: number }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'collector'; readonly which: number }
  | { readonly kind: 'allocator'; readonly isBroken: boolean };

const thread = fc.integer({ min: 1, max: WORKERS });
const which = fc.nat(1000);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('record' as const),
      count: fc.integer({ min: 1, max: 90 }),
      bytes: fc.nat(1000),
      thread,
      isDenied: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('connect' as const), thread, isHttp: fc.boolean() }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('request' as const, 'end' as const, 'close' as const), which }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('configure' as const), which }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(1, 300, 1000, 7000, 40_000) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('collector' as const), which: fc.nat(CLUSTERS.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('allocator' as const), isBroken: fc.boolean() }) },
);

const DENIAL = { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[p]', upstreamAddress: undefined };

/** A connection that lives, and its exchanges that do. */
interface Live {
  readonly connection: Connection;
  readonly id: bigint;
  readonly startNs: bigint;
  readonly isHttp: boolean;
  readonly exchanges: { readonly exchange: OpenExchange; readonly path: string; readonly startNs: bigint }[];
}

/** One life, step by step; knows what it told. */
class Life {
  readonly mesh = new Mesh(PLACES, { workers: WORKERS, configuration: HARD });
  readonly told = new Array<number>(WORKERS + 1).fill(0);
  /** Paths of exchanges, and ids of connections, that ended. */
  readonly ended = { paths: new Set<string>(), connections: new Set<bigint>() };
  #live: Live[] = [];
  #configurations = 0;
  #next = 0;

  #tell(on: number, reports: number): void {
    this.told[on] = (this.told[on] ?? 0) + reports;
  }

  /** What Envoy shows: counters grow with the time. */
  #facts({ id, startNs, isHttp }: Pick<Live, 'id' | 'startNs' | 'isHttp'>, more: Exchange = {}, path = ''): Facts {
    const bytes = BigInt(this.mesh.recorder.envoy.world.nowMs + 1);
    const maps = path === '' ? { requestHeaders: undefined, responseHeaders: undefined } : {};
    const kind: Exchange = isHttp ? maps : { ...maps, protocol: undefined };
    const exchange = {
      ...ordinary({ connectionId: id, startNs, ...kind, ...more }),
      requestBytes: bytes,
      responseBytes: bytes,
    };
    return factsOf(path === '' ? exchange : withHeaders(exchange, { ':path': path }));
  }

  #path(bytes: number): string {
    return `/${this.#next++}/${'x'.repeat(bytes)}`;
  }

  run(step: Step): void {
    const { envoy, machine } = this.mesh.recorder;
    if (step.kind === 'record') this.#record(step);
    else if (step.kind === 'connect') this.#connect(step.thread, step.isHttp);
    else if (step.kind === 'request') this.#request(step.which);
    else if (step.kind === 'end') this.#end(step.which);
    else if (step.kind === 'close') this.#close(step.which);
    else if (step.kind === 'configure') this.#configure(step.which);
    else if (step.kind === 'advance') this.#advance(step.ms);
    else if (step.kind === 'allocator') machine.isAllocatorBroken = step.isBroken;
    else this.collector(CLUSTERS[step.which]);
    assert.ok(envoy.upstreams.pending().length <= 2 * WORKERS + 2, 'at most two in flight for each VM');
  }

  /** Short exchanges on one connection, with which it ends. */
  #record({ count, bytes, thread, isDenied }: Extract<Step, { kind: 'record' }>): void {
    const live = this.#connect(thread, true);
    for (let i = 0; i < count; i++) {
      const path = this.#path(bytes);
      const facts = this.#facts({ ...live, startNs: 0n }, isDenied ? DENIAL : {}, path);
      live.connection.request(facts).end(facts);
      this.ended.paths.add(path);
    }
    this.#tell(thread, 2 * count);
    this.#close(this.#live.length - 1);
  }

  #connect(on: number, isHttp: boolean): Live {
    const startNs = this.mesh.recorder.envoy.world.wallNs();
    const seed = { id: newConnectionId(), startNs, isHttp };
    const live = { ...seed, connection: this.mesh.listener.connect(this.#facts(seed), on), exchanges: [] };
    this.#live.push(live);
    return live;
  }

  #request(which: number): void {
    const live = this.#live[which % (this.#live.length || 1)];
    if (live === undefined || !live.isHttp) return;
    const startNs = this.mesh.recorder.envoy.world.wallNs();
    const path = this.#path(10);
    live.exchanges.push({ exchange: live.connection.request(this.#facts({ ...live, startNs })), path, startNs });
  }

  #end(which: number): void {
    const live = this.#live[which % (this.#live.length || 1)];
    const open = live?.exchanges.shift();
    if (live === undefined || open === undefined) return;
    const durationNs = this.mesh.recorder.envoy.world.wallNs() - open.startNs;
    open.exchange.end(this.#facts({ ...live, startNs: open.startNs }, { durationNs }, open.path));
    this.ended.paths.add(open.path);
    this.#tell(live.connection.thread, 2);
  }

  #close(which: number): void {
    const place = which % (this.#live.length || 1);
    const live = this.#live[place];
    if (live === undefined) return;
    while (live.exchanges.length > 0) this.#end(place);
    live.connection.close(2, this.#facts(live));
    this.ended.connections.add(live.id);
    this.#tell(live.connection.thread, 3);
    this.#live.splice(place, 1);
  }

  #configure(which: number): void {
    const { recorder, listener, uses } = this.mesh;
    recorder.machine.isAllocatorBroken = false;
    // What lives keeps its access loggers, which no context of theirs would.
    const places = this.#live.length > 0 ? (['network', 'http'] as const) : PLACES;
    const place = places[which % places.length] ?? 'http';
    const [use = uses[place]] = listener.chain[place] ?? [];
    assert.ok(use !== undefined);
    const layer = place === 'tcpLoggers' || place === 'listenerLoggers' ? 'connection' : 'http';
    const flush = 500 + this.#configurations++;
    const next = recorder.envoy.update(use, JSON.stringify({ ...HARD, layer, flush_interval_ms: flush }));
    listener.chain = { ...listener.chain, [place]: [next] };
    if (recorder.use === use) recorder.use = next;
  }

  #advance(ms: number): void {
    this.mesh.recorder.envoy.advance(ms);
    for (const live of this.#live) {
      live.connection.update(this.#facts(live));
      for (const { exchange, startNs } of live.exchanges) exchange.update(this.#facts({ ...live, startNs }));
    }
  }

  collector(cluster: Cluster | undefined): void {
    const { clusters } = this.mesh.recorder.envoy.upstreams;
    if (cluster === undefined) clusters.delete(CLUSTER);
    else clusters.set(CLUSTER, cluster);
  }

  /** The collector is well again, with time for the rest or without; then everything ends, and the books must agree. */
  finish(hasTime: boolean): { readonly dropped: number; readonly interim: number } {
    const { recorder } = this.mesh;
    recorder.machine.isAllocatorBroken = false;
    this.collector(acknowledge);
    while (this.#live.length > 0) this.#close(0);
    if (hasTime) recorder.settle();
    recorder.envoy.shutDown();
    const all: Flat[] = [];
    let dropped = 0;
    for (let worker = 0; worker < WORKERS; worker++)
      dropped += this.#audit(`worker-${worker}`, this.told[worker + 1] ?? 0, all);
    assert.ok(recorder.sent.every(({ machine }) => machine.failure === undefined && machine.violations.length === 0));
    auditRecords(all, this.ended);
    return { dropped, interim: all.filter(({ phase }) => phase !== undefined).length };
  }

  #audit(worker: string, told: number, all: Flat[]): number {
    const batches = batchesOf(this.mesh.recorder.sent.filter(({ machine }) => machine.name === worker));
    if (told === 0) return 0;
    const last = batches.at(-1);
    assert.equal(last?.isFin, true, 'there is always room for a fin');
    assertWhole(batches, told);
    assert.ok(
      batches.slice(0, -1).every((batch) => !batch.isFin),
      'only the last batch says fin',
    );
    for (const batch of batches) for (let i = 0; i < batch.rowCount; i++) all.push(flatten(batch, i));
    return (last?.counters.droppedBuffersFull ?? 0) + (last?.counters.droppedUnreadable ?? 0);
  }
}

/** Whatever several roles saw counts once; what lives is told of as open, then in intervals, and its counters never shrink. */
function auditRecords(all: readonly Flat[], ended: Life['ended']): void {
  const counted = new Map<string, number>();
  const lives = new Map<string, Flat>();
  const exchanged = new Set(
    all.flatMap(({ kind, repeat, connection_id: id }) => (kind === undefined && repeat === undefined ? [id] : [])),
  );
  for (const record of all) {
    const { phase, path, kind, connection_id: id, start_ns: startNs, repeat } = record;
    if (phase === undefined && repeat === undefined) {
      const sign = kind === 'connection' ? `connection ${id}` : `exchange ${path}`;
      counted.set(sign, (counted.get(sign) ?? 0) + 1);
    }
    if (phase === undefined || id === undefined) continue;
    const sign = kind === 'connection' ? `connection ${id}` : `exchange of ${id} since ${startNs}`;
    const before = lives.get(sign);
    assert.ok(phase === 'open' || before !== undefined, `${sign}: an open record comes first`);
    assert.ok(Number(record['request_bytes'] ?? 0) >= Number(before?.['request_bytes'] ?? 0), `${sign}: counters grow`);
    lives.set(sign, record);
  }
  for (const [sign, count] of counted) {
    if (/ undefined$/.test(sign)) continue;
    assert.equal(count, 1, `${sign.slice(0, 60)} counts once`);
    const [what, name = ''] = sign.split(' ');
    assert.ok(what === 'exchange' ? ended.paths.has(name) : ended.connections.has(BigInt(name)), `${sign} was told`);
    assert.ok(what === 'exchange' || !exchanged.has(BigInt(name)), `${sign} counts beside its exchanges`);
  }
}

test('each exchange and each connection is recorded once, or counted as dropped', () => {
  let told = 0;
  let dropped = 0;
  let interim = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }), fc.boolean(), (steps, hasTime) => {
      const life = new Life();
      for (const one of steps) life.run(one);
      const result = life.finish(hasTime);
      dropped += result.dropped;
      interim += result.interim;
      told += life.told.reduce((sum, count) => sum + count, 0);
    }),
    { numRuns: 60, seed: 4, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
  );
  assert.ok(told > 40_000, `${told} reports`);
  assert.ok(interim > 500, `${interim} open and interval records`);
  assert.ok(dropped > 0, 'some lives were hard enough to drop something');
});
