// A table of streams as a test sees it: what it is told, what it raises, what it answers.

import assert from 'node:assert/strict';
import type { Entry } from '../../collector/src/core/codec/entry.ts';
import { type Coverage, coverageOf, type StreamCoverage } from '../../collector/src/index/coverage.ts';
import { Streams } from '../../collector/src/index/streams.ts';
import { startMs, type VmMaker } from './proxy-maker.ts';

/** A table, and what it raised. */
export class Told {
  readonly streams: Streams;
  readonly said: string[] = [];

  constructor(entries: readonly Entry[] = [], streams = new Streams()) {
    this.streams = streams;
    this.note(...entries);
  }

  note(...entries: readonly Entry[]): this {
    for (const entry of entries) this.streams.note(entry);
    return this;
  }

  /** The past is read; from here on it raises. */
  live(atMs: number): this {
    this.streams.live(startMs + atMs);
    this.streams.proxies.events = {
      vmSilent: ({ name }) => this.said.push(`vm ${name.slice(0, 2)}`),
      proxySilent: ({ node }) => this.said.push(`silent ${node}`),
      proxyHeard: ({ node }) => this.said.push(`heard ${node}`),
    };
    this.streams.proxies.tellSilentVms();
    return this;
  }

  judge(atMs: number): this {
    this.streams.proxies.judge(startMs + atMs);
    return this;
  }

  coverage(atMs: number, range: { readonly sinceNs?: bigint; readonly untilNs?: bigint } = {}): Coverage {
    return coverageOf(this.streams, { nowMs: startMs + atMs, ...range });
  }

  stream(vm: VmMaker, atMs: number): StreamCoverage {
    const all = this.coverage(atMs).proxies.flatMap(({ streams }) => streams);
    return all.find(({ stream }) => stream === vm.name) ?? assert.fail(`no stream ${vm.name}`);
  }

  states(atMs: number): string[] {
    return this.coverage(atMs).proxies.map(({ node, state }) => `${node}: ${state}`);
  }
}
