// The crash suite: the collector is killed at random moments under load; nothing acknowledged is ever missing, other, or elsewhere.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { equalBytes, toHex } from '../../collector/src/core/bytes.ts';
import { type Ack, decodeAck } from '../../collector/src/core/codec/ack.ts';
import { parseEntry } from '../../collector/src/core/codec/entry.ts';
import type { Checkpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { random, StreamMaker } from '../support/facts.ts';
import { auditLog, type Ready, Served } from './served.ts';

const SENDERS = 4;
/** Small segments and short intervals: many moments between two writes in a short time. */
const SMALL = ['--segment-entries-min', '256'];
const OPTIONS = ['--publish-interval-ms', '50', '--log-level', 'warn'];

interface Kept {
  readonly ack: Ack;
  readonly wire: Uint8Array;
}

/** A proxy as the collector sees it: keeps a batch until it is acknowledged, and sends it again. */
export class Sender {
  readonly kept: Kept[] = [];
  private readonly maker: StreamMaker;
  private waiting: Uint8Array | undefined;

  private readonly rows: number;

  constructor(seed: number, rows = 3) {
    this.rows = rows;
    this.maker = new StreamMaker(seed, `sender-${seed}`);
  }

  /** Sends until told to stop, or until the collector is gone or refuses what it may refuse. */
  async send(ingest: string, isStopped: () => boolean, mayRefuse = false): Promise<void> {
    while (!isStopped()) {
      this.waiting ??= this.maker.batch(this.rows);
      const wire = this.waiting;
      const ack = await post(ingest, wire, mayRefuse);
      if (ack === undefined) return;
      this.kept.push({ ack, wire });
      this.waiting = undefined;
    }
  }
}

/** The acknowledgement, or undefined when none came. */
async function post(ingest: string, wire: Uint8Array, mayRefuse: boolean): Promise<Ack | undefined> {
  try {
    const response = await fetch(`http://${ingest}/v1/batches`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.meshtrail.batch' },
      body: Buffer.from(wire),
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (mayRefuse && response.status === 503) return undefined;
    assert.equal(response.status, 200, Buffer.from(bytes).toString());
    return decodeAck(bytes);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return undefined;
  }
}

/** Every acknowledged batch is the entry that its acknowledgement named, and no entry is named twice. */
export function checkKept(senders: readonly Sender[], entries: readonly Uint8Array[]): void {
  const taken = new Set<number>();
  for (const { ack, wire } of senders.flatMap(({ kept }) => kept)) {
    const bytes = entries[ack.index];
    assert.ok(bytes !== undefined, `acknowledged entry ${ack.index} is missing; the log has ${entries.length}`);
    const entry = parseEntry(bytes);
    assert.ok(entry.kind === 'batch' && toHex(entry.stream) === toHex(ack.stream), `entry ${ack.index}`);
    assert.equal(entry.batchNumber, ack.batchNumber);
    assert.ok(equalBytes(entry.bodyHash, wire.slice(-32)), `entry ${ack.index} holds another batch`);
    assert.ok(!taken.has(ack.index), `entry ${ack.index} was acknowledged for two batches`);
    taken.add(ack.index);
  }
}

/** What fsck says of a copy: the original must recover by the collector's own way. */
async function fsckCopy(dir: string, name: string): Promise<void> {
  const copy = join(dir, 'copy');
  await cp(join(dir, 'log'), copy, { recursive: true });
  const { findings } = await fsckDirectory(copy, '', undefined, () => undefined);
  assert.deepEqual(
    findings.filter(({ severity }) => severity === 'error'),
    [],
    name,
  );
  await rm(copy, { recursive: true });
}

/** Publishes what waits: the interval is short, so waiting is enough. */
async function waitFor(ready: Ready, size: number): Promise<void> {
  for (const until = performance.now() + 10_000; ; await setTimeout(20)) {
    const about = (await (await fetch(`${ready.api}/v1/log`)).json()) as { readonly size: number };
    if (about.size >= size) return;
    assert.ok(performance.now() < until, `the log has ${about.size} entries, and ${size} were acknowledged`);
  }
}

export interface CrashInput {
  readonly kills: number;
  readonly seed: number;
  /** Batches so large that LevelDB moves them from its log to tables while it is killed; and then one large segment. */
  readonly isLarge?: boolean;
}

/** Kills the collector so many times; every fourth time while it still starts. */
export async function crash(t: TestContext, { kills, seed, isLarge = false }: CrashInput): Promise<void> {
  const options = isLarge ? OPTIONS : [...SMALL, ...OPTIONS];
  const loadMs = isLarge ? 4000 : 500;
  const dir = await mkdtemp(join(tmpdir(), 'meshtrail crash '));
  let served: Served | undefined;
  t.after(async () => {
    await served?.end('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  });
  const next = random(seed);
  const senders = Array.from({ length: SENDERS }, (_, i) => new Sender(seed + i, isLarge ? 400 : 3));
  const kept: Checkpoint[] = [];
  for (let kill = 1; kill <= kills; kill++) {
    if (kill % 4 === 0) {
      served = new Served(dir, options);
      await setTimeout(next() * 1200);
      await served.end('SIGKILL');
    }
    served = new Served(dir, options);
    const ready = await served.ready();
    const highest = Math.max(-1, ...senders.flatMap((sender) => sender.kept.map(({ ack }) => ack.index)));
    await waitFor(ready, highest + 1);
    const { head, entries, findings } = await auditLog(ready, kept);
    assert.deepEqual(findings, [], `after kill ${kill - 1}`);
    checkKept(senders, entries);
    kept.push(head);
    let isStopped = false;
    const sending = Promise.all(senders.map((sender) => sender.send(ready.ingest, () => isStopped)));
    await setTimeout(30 + next() * loadMs);
    await served.end('SIGKILL');
    isStopped = true;
    await sending;
    await fsckCopy(dir, `after kill ${kill}`);
  }
  served = new Served(dir, options);
  const ready = await served.ready();
  // What was under way is sent again, and is either new or gets its first answer.
  await Promise.all(senders.map((sender) => sender.send(ready.ingest, () => sender.kept.length > 0)));
  let hasSent = false;
  const sending = Promise.all(senders.map((sender) => sender.send(ready.ingest, () => hasSent)));
  await setTimeout(100);
  hasSent = true;
  await sending;
  assert.equal(await served.end('SIGTERM'), 0);
  const report = await fsckDirectory(join(dir, 'log'), '', undefined, () => undefined);
  assert.deepEqual(report.findings, []);
  const acknowledged = senders.reduce((sum, sender) => sum + sender.kept.length, 0);
  assert.ok(acknowledged > kills, `only ${acknowledged} batches were acknowledged`);
  assert.equal(report.entries, acknowledged, 'an entry was stored for a batch that was never acknowledged in the end');
  t.diagnostic(`${kills} kills, ${acknowledged} batches acknowledged, ${kept.length} checkpoints kept`);
}
