// What all VMs of one emulated Envoy share: clocks, randomness, logs, metrics, shared data. All of it follows from the seed.

import { random } from '../support/facts.ts';
import { type LogLevel, METRIC_KINDS, STATUS } from './abi.ts';
import { SharedData } from './shared-data.ts';

const WALL_START_NS = 1_795_521_600_000_000_000n;
const MONOTONIC_START_NS = 91_000_000_000n;
const NS_PER_MS = 1_000_000n;

export interface LogLine {
  readonly vm: string;
  readonly level: LogLevel;
  readonly text: string;
}

export class World {
  readonly logs: LogLine[] = [];
  readonly metrics = new Metrics();
  readonly sharedData = new SharedData();
  /** Ms since the process began. */
  nowMs = 0;
  /** How far the wall clock was set forward, or back. */
  wallShiftMs = 0;
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  wallNs(): bigint {
    return WALL_START_NS + BigInt(this.nowMs + this.wallShiftMs) * NS_PER_MS;
  }

  monotonicNs(): bigint {
    return MONOTONIC_START_NS + BigInt(this.nowMs) * NS_PER_MS;
  }

  randomBytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => Math.floor(this.#next() * 256));
  }
}

type MetricKind = (typeof METRIC_KINDS)[number];

interface Metric {
  readonly kind: MetricKind;
  value: bigint;
}

/** Metrics of the process: each VM has ids of its own, and a name is one metric for all of them. */
export class Metrics {
  readonly #byName = new Map<string, Metric>();

  /** Value of a metric by the name that the guest gave it; undefined when nobody defined it. */
  value(name: string): bigint | undefined {
    return this.#byName.get(name)?.value;
  }

  table(): MetricTable {
    return new MetricTable(this.#byName);
  }
}

/** The metrics that one VM defined. */
export class MetricTable {
  readonly #byId = new Map<number, Metric>();
  readonly #byName: Map<string, Metric>;

  constructor(byName: Map<string, Metric>) {
    this.#byName = byName;
  }

  /** Returns the id, or undefined for a kind that there is not. */
  define(kind: number, name: string): number | undefined {
    const known = METRIC_KINDS[kind];
    if (known === undefined) return undefined;
    const metric = this.#byName.get(name) ?? { kind: known, value: 0n };
    this.#byName.set(name, metric);
    // Envoy keeps the kind in the two low bits of the id.
    const id = (this.#byId.size + 1) * 4 + kind;
    this.#byId.set(id, metric);
    return id;
  }

  increment(id: number, by: bigint): number {
    const metric = this.#byId.get(id);
    if (metric === undefined) return STATUS.notFound;
    if (metric.kind === 'histogram' || (metric.kind === 'counter' && by <= 0n)) return STATUS.badArgument;
    metric.value += by;
    return STATUS.ok;
  }

  record(id: number, value: bigint): number {
    const metric = this.#byId.get(id);
    if (metric === undefined) return STATUS.notFound;
    metric.value = metric.kind === 'gauge' ? value : metric.value + value;
    return STATUS.ok;
  }

  /** The value, or the status that says why there is none. */
  get(id: number): bigint | number {
    const metric = this.#byId.get(id);
    if (metric === undefined) return STATUS.notFound;
    return metric.kind === 'histogram' ? STATUS.badArgument : metric.value;
  }
}
