// A proxy as its batches show it: VMs with streams, a life, clocks that a test moves.

import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { type BatchFacts, encodeBatch } from '../../collector/src/core/codec/encode.ts';
import { type BatchEntry, headerOf } from '../../collector/src/core/codec/entry.ts';
import { START_NS } from '../support/facts.ts';

const NS_PER_MS = 1_000_000n;

/** One VM of a proxy: a stream of chained batches. */
export class VmMaker {
  readonly stream: Uint8Array;
  readonly #proxy: ProxyMaker;
  #batchNumber = 0;
  #firstRecord = 0;
  #previous: Uint8Array | undefined;

  constructor(proxy: ProxyMaker, number: number) {
    this.#proxy = proxy;
    this.stream = new Uint8Array(16).fill(number);
    this.stream.set([number >>> 24, number >>> 16, number >>> 8], 13);
  }

  get name(): string {
    return Buffer.from(this.stream).toString('hex');
  }

  /** The next batch, sealed `atMs` after the tests' beginning. */
  batch(rows: number, atMs: number, more: Partial<BatchFacts> = {}): Uint8Array {
    const at = START_NS + BigInt(atMs) * NS_PER_MS;
    const { life = {}, ...others } = more;
    const wire = encodeBatch({
      stream: this.stream,
      batchNumber: this.#batchNumber++,
      firstRecord: this.#firstRecord,
      rows: Array.from({ length: rows }, () => ({
        verdict: 'allowed' as const,
        startNs: at,
        connection: { id: 1 },
        outcome: { code: 200 },
      })),
      ...(this.#proxy.node === undefined ? {} : { nodeId: this.#proxy.node }),
      nodeCluster: 'orders.shop',
      meshCluster: 'cluster-1',
      clock: [at, at, BigInt(atMs) * NS_PER_MS, BigInt(atMs) * NS_PER_MS],
      isAlive: rows === 0 && more.isFin !== true,
      life: { ...this.#proxy.life, ...life },
      ...(this.#previous === undefined ? {} : { previous: this.#previous }),
      ...others,
    });
    this.#firstRecord += rows;
    this.#previous = wire.slice(-32);
    return wire;
  }

  /** The next batch as the log has it, received when it was sealed. */
  entry(rows: number, atMs: number, more: Partial<BatchFacts> = {}): BatchEntry {
    return entryOf(this.batch(rows, atMs, more), atMs);
  }
}

/** What the log has of a batch that came `atMs` after the tests' beginning. */
export function entryOf(wire: Uint8Array, atMs: number): BatchEntry {
  return headerOf(decodeBatch(wire), undefined)(startMs + atMs);
}

export const startMs = Number(START_NS / NS_PER_MS);

export class ProxyMaker {
  readonly node: string | undefined;
  readonly life: NonNullable<BatchFacts['life']>;
  readonly #first: number;

  /** `sinceMs` after the tests' beginning; undefined: a proxy without shared data. One of its VMs does not tick. */
  constructor(node: string | undefined, first: number, sinceMs: number | undefined, aliveIntervalMs = 1000) {
    this.node = node;
    this.#first = first;
    this.life = {
      ...(sinceMs === undefined ? {} : { proxySinceWallNs: START_NS + BigInt(sinceMs) * NS_PER_MS }),
      ...{ aliveIntervalMs, vmsKnown: sinceMs === undefined ? 0 : 3, vmsAlive: sinceMs === undefined ? 0 : 2 },
    };
  }

  /** A VM; streams have the numbers from the first one on. */
  vm(i = 0): VmMaker {
    return new VmMaker(this, this.#first + i);
  }
}
