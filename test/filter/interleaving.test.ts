// Random lives: thousands of exchanges on several workers and roots, with collectors that come and go and configurations that change.
// In the end each exchange is recorded once, or counted as dropped.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Use } from '../host/envoy.ts';
import type { Cluster } from '../host/upstreams.ts';
import { factsOf, ordinary, withHeaders } from './exchange.ts';
import { flatten } from './flat.ts';
import { acknowledge, assertWhole, batchesOf, CLUSTER, CONFIGURATION, Recorder } from './recorder.ts';

const WORKERS = 2;
/** So that some are dropped. */
const FEW_BUFFERS = { ...CONFIGURATION, buffers_max: 4 };
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
  | { readonly kind: 'open' }
  | { readonly kind: 'close' }
  | { readonly kind: 'configure' }
  | { readonly kind: 'second_root' }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'collector'; readonly which: number }
  | { readonly kind: 'allocator'; readonly isBroken: boolean };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('record' as const),
      count: fc.integer({ min: 1, max: 150 }),
      bytes: fc.nat(1000),
      thread: fc.integer({ min: 1, max: WORKERS }),
      isDenied: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: 'open' }, { kind: 'close' }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: 'configure' }, { kind: 'second_root' }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(1, 300, 1000, 7000, 40_000) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('collector' as const), which: fc.nat(CLUSTERS.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('allocator' as const), isBroken: fc.boolean() }) },
); // prettier-ignore

/** One life, step by step; knows what it told. */
class Life {
  readonly recorder = new Recorder({ workers: WORKERS, configuration: FEW_BUFFERS, plugin: { rootId: 'inbound' } });
  readonly told = new Array<number>(WORKERS + 1).fill(0);
  readonly #open: { readonly end: () => void; readonly thread: number }[] = [];
  #other: Use | undefined;
  #configurations = 0;
  #next = 0;

  #exchange(bytes: number, isDenied: boolean): ReturnType<typeof ordinary> {
    const denial = { code: 403n, codeDetails: 'rbac_access_denied_matched_policy[p]', upstreamAddress: undefined };
    const base = isDenied ? ordinary(denial) : ordinary();
    return withHeaders(base, { ':path': `/${this.#next++}/${'x'.repeat(bytes)}` });
  }

  run(step: Step): void {
    const { envoy } = this.recorder;
    if (step.kind === 'record') {
      for (let i = 0; i < step.count; i++) {
        const use = i % 3 === 0 ? (this.#other ?? this.recorder.use) : this.recorder.use;
        envoy.exchange(use, factsOf(this.#exchange(step.bytes, step.isDenied)), step.thread);
      }
      this.told[step.thread] = (this.told[step.thread] ?? 0) + step.count;
    } else if (step.kind === 'open') {
      const thread = 1 + (this.#open.length % WORKERS);
      const stream = envoy.openHttp(this.recorder.use, thread).begin();
      this.#open.push({ thread, end: () => stream.end(factsOf(this.#exchange(10, false))) });
    } else if (step.kind === 'close') this.#close();
    else if (step.kind === 'configure') {
      this.recorder.machine.isAllocatorBroken = false;
      const flush = 500 + this.#configurations++;
      this.recorder.use = envoy.update(this.recorder.use, JSON.stringify({ ...FEW_BUFFERS, flush_interval_ms: flush }));
    } else if (step.kind === 'second_root') {
      this.recorder.machine.isAllocatorBroken = false;
      if (this.#other === undefined) this.#other = envoy.load({ ...this.recorder.use.plugin, rootId: 'outbound' });
      else {
        envoy.unload(this.#other);
        this.#other = undefined;
      }
    } else if (step.kind === 'advance') envoy.advance(step.ms);
    else if (step.kind === 'allocator') this.recorder.machine.isAllocatorBroken = step.isBroken;
    else this.collector(CLUSTERS[step.which]);
    assert.ok(envoy.upstreams.pending().length <= 2 * WORKERS + 2, 'at most two in flight for each VM');
  }

  #close(): void {
    const stream = this.#open.shift();
    if (stream === undefined) return;
    stream.end();
    this.told[stream.thread] = (this.told[stream.thread] ?? 0) + 1;
  }

  collector(cluster: Cluster | undefined): void {
    if (cluster === undefined) this.recorder.envoy.upstreams.clusters.delete(CLUSTER);
    else this.recorder.envoy.upstreams.clusters.set(CLUSTER, cluster);
  }

  /** The collector is well again, with time for the rest or without; then everything ends, and the books must agree. */
  finish(hasTime: boolean): number {
    this.recorder.machine.isAllocatorBroken = false;
    this.collector(acknowledge);
    while (this.#open.length > 0) this.#close();
    if (hasTime) this.recorder.settle();
    this.recorder.envoy.shutDown();
    let dropped = 0;
    for (let worker = 0; worker < WORKERS; worker++)
      dropped += this.#audit(`worker-${worker}`, this.told[worker + 1] ?? 0, hasTime);
    assert.ok(
      this.recorder.sent.every(({ machine }) => machine.failure === undefined && machine.violations.length === 0),
    );
    return dropped;
  }

  #audit(worker: string, told: number, hasTime: boolean): number {
    const batches = batchesOf(this.recorder.sent.filter(({ machine }) => machine.name === worker));
    if (told === 0) {
      assert.equal(batches.length, 0, 'a VM without traffic says nothing');
      return 0;
    }
    const last = batches.at(-1);
    // With every buffer full at a sudden end there is no room for a fin: the stream ends unknown, which the collector shows.
    const isFin = last?.isFin === true;
    assert.ok(isFin || !hasTime, 'a calm end says fin');
    assertWhole(batches, isFin ? told : (last?.counters.seen ?? 0));
    assert.ok(
      batches.slice(0, -1).every((batch) => !batch.isFin),
      'only the last batch says fin',
    );
    const paths = batches.flatMap((batch) =>
      Array.from({ length: batch.rowCount }, (_, i) => flatten(batch, i)['path']).filter((path) => path !== undefined),
    );
    assert.equal(new Set(paths).size, paths.length, 'nothing is recorded twice');
    return (last?.counters.droppedBuffersFull ?? 0) + (last?.counters.droppedUnreadable ?? 0);
  }
}

test('each exchange is recorded once, or counted as dropped', () => {
  let told = 0;
  let dropped = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }), fc.boolean(), (steps, hasTime) => {
      const life = new Life();
      for (const one of steps) life.run(one);
      dropped += life.finish(hasTime);
      told += life.told.reduce((sum, count) => sum + count, 0);
    }),
    { numRuns: 60, seed: 4, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
  );
  assert.ok(told > 40_000, `${told} exchanges`);
  assert.ok(dropped > 0, 'some lives were hard enough to drop something');
});
