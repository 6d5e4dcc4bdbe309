// The real module in the emulated Envoy, with a collector that a test can make misbehave.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { encodeAck } from '../../collector/src/core/codec/ack.ts';
import { type Batch, decodeBatch } from '../../collector/src/core/codec/batch.ts';
import type { Message } from '../host/abi.ts';
import type { Plugin } from '../host/contexts.ts';
import { Envoy, type Use } from '../host/envoy.ts';
import type { Answer, OutgoingCall } from '../host/upstreams.ts';
import { type Exchange, factsOf } from './exchange.ts';
import { type Flat, flatten } from './flat.ts';

const MODULE = new URL('../../build/filter.wasm', import.meta.url);
assert.ok(existsSync(MODULE), 'build/filter.wasm is missing: run `npm run build`');
/** The release module, as it is shipped. */
export const FILTER: Uint8Array = readFileSync(MODULE);

export const CLUSTER = 'meshtrail';
export const FLUSH_MS = 1000;
export const CONFIGURATION = {
  collector_cluster: CLUSTER,
  collector_authority: 'collector.meshtrail',
  flush_interval_ms: FLUSH_MS,
  role: 'sidecar',
  // Signs of life have tests of their own; elsewhere a batch is sent because something happened.
  alive_interval_ms: 600_000,
};
const NODE: Message = { id: 'sidecar~10.0.0.7~orders-0.shop~shop.svc.cluster.local', cluster: 'orders.shop' };

export interface RecorderOptions {
  readonly seed?: number;
  readonly configuration?: Readonly<Record<string, unknown>>;
  readonly plugin?: Partial<Plugin>;
  readonly workers?: number;
}

/** What a collector that has stored everything would answer. */
export interface Checkpoint {
  readonly size: number;
  readonly root: Uint8Array;
}
export const CHECKPOINT: Checkpoint = { size: 1, root: new Uint8Array(32).fill(7) };

/** The acknowledgement of a batch. */
export function ackOf(
  batch: Pick<Batch, 'stream' | 'batchNumber'>,
  { size, root }: Checkpoint = CHECKPOINT,
): Uint8Array {
  return encodeAck({
    stream: batch.stream,
    batchNumber: batch.batchNumber,
    index: batch.batchNumber,
    checkpointSize: size,
    checkpointRoot: root,
  });
}

/** Answers as a collector that stores what it is sent. */
export function acknowledge(call: OutgoingCall, checkpoint?: Checkpoint): Answer {
  return { status: 200, body: ackOf(decodeBatch(call.body), checkpoint) };
}

export class Recorder {
  readonly envoy: Envoy;
  use: Use;

  constructor({ seed = 1, configuration = CONFIGURATION, plugin = {}, workers = 1 }: RecorderOptions = {}) {
    this.envoy = new Envoy({ seed, workers, properties: { xds: { node: NODE } } });
    this.envoy.upstreams.clusters.set(CLUSTER, acknowledge);
    this.use = this.envoy.load({ code: FILTER, configuration: JSON.stringify(configuration), ...plugin });
  }

  get machine(): ReturnType<Envoy['machine']> {
    return this.envoy.machine(this.use);
  }

  record(exchange: Exchange): void {
    this.envoy.exchange(this.use, factsOf(exchange));
  }

  /** Lets a flush interval pass. */
  flush(): void {
    this.envoy.advance(FLUSH_MS);
  }

  /** Lets time pass until everything is delivered. */
  settle(): void {
    this.envoy.advance(5 * 60_000);
  }

  /** Bodies sent so far, in order, with those that were sent again. */
  get sent(): OutgoingCall[] {
    return this.envoy.upstreams.calls;
  }

  /** The batches of one worker by number, each once. Every body must be a whole batch that the collector accepts. */
  batches(worker = 'worker-0'): Batch[] {
    return batchesOf(this.sent.filter(({ machine }) => machine.name === worker));
  }

  /** All records of the batches so far. */
  flat(worker = 'worker-0'): Flat[] {
    return this.batches(worker).flatMap((batch) => Array.from({ length: batch.rowCount }, (_, i) => flatten(batch, i)));
  }

  /** No trap happened, and the guest touched only what is its own. */
  assertHealthy(): void {
    assert.equal(this.machine.failure, undefined);
    assert.deepEqual(this.machine.violations, []);
  }
}

/** Decodes bodies; one batch number must always have the same bytes. */
export function batchesOf(calls: readonly OutgoingCall[]): Batch[] {
  const byNumber = new Map<number, Batch>();
  for (const { body } of calls) {
    const batch = decodeBatch(body);
    const known = byNumber.get(batch.batchNumber);
    if (known === undefined) byNumber.set(batch.batchNumber, batch);
    else
      assert.deepEqual(
        Buffer.from(body),
        Buffer.from(known.wire),
        `batch ${batch.batchNumber} was sent with other bytes`,
      );
  }
  return [...byNumber.values()].sort((a, b) => a.batchNumber - b.batchNumber);
}

/** Numbers are dense, batches chained, and the newest counters tell what became of everything that ended: `told` reports. */
export function assertWhole(batches: readonly Batch[], told: number): void {
  let first = 0;
  batches.forEach((batch, i) => {
    assert.equal(batch.batchNumber, i, 'batch numbers are dense');
    assert.equal(batch.firstRecord, first, 'record numbers are dense');
    const previous = batches[i - 1];
    assert.deepEqual(batch.previous && Buffer.from(batch.previous), previous && Buffer.from(previous.hash), 'chained');
    first += batch.rowCount;
  });
  const counters = batches.at(-1)?.counters;
  assert.ok(counters !== undefined, 'there is a batch');
  assert.equal(counters.seen - counters.interim, told, 'everything that ended was seen');
  assert.equal(counters.recorded, first, 'everything that was recorded has its row');
  assert.equal(
    counters.seen,
    counters.recorded + counters.droppedBuffersFull + counters.droppedUnreadable + counters.droppedNoRandom,
    'nothing else',
  );
}
