// `meshtrail demo`: a mesh of real Envoys, an incident in it, and what the recorder has to say about it.

import { existsSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { MeshtrailError } from '../core/error.ts';
import { type CollectorProcess, chooseAddresses, startCollectorProcess } from '../demo/collector.ts';
import { nextCommands } from '../demo/commands.ts';
import { claimDefault, claimDirectory, type DemoDirectory } from '../demo/directory.ts';
import { findEnvoy } from '../demo/envoy.ts';
import { nodeClusterOf } from '../demo/envoy-config.ts';
import { compare, countedOf, findIncident, type Incident, isAgreed } from '../demo/findings.ts';
import { type Flight, playFlight, startFlight } from '../demo/flight.ts';
import { INGRESS, SERVICES } from '../demo/policies.ts';
import { step } from '../demo/progress.ts';
import { auditLog, readRecords, waitForEnds } from '../demo/recorded.ts';
import { countLines, gapLines, incidentLines, isSound, logLines } from '../demo/report.ts';
import { type Truth, writeTruth } from '../demo/truth.ts';
import { textOption, type Verb, type VerbInput } from './args.ts';
import { note, print } from './output.ts';

const DEFAULT_DIR = '.meshtrail/demo';
const DEFAULT_SEED = '1';
const SEED_MAX = 2 ** 32 - 1;
const PUBLISH_MS_MAX = 10_000;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const NODES = [INGRESS, ...SERVICES].map(nodeClusterOf);

interface Closable {
  close(): Promise<void>;
}

/** A run that can be interrupted: what was opened is closed in the opposite order, once. */
class Run {
  readonly #open: Closable[] = [];
  readonly #interrupted = Promise.withResolvers<never>();
  #signal: keyof typeof SIGNALS | undefined;

  constructor() {
    // Awaited only together with work; between two pieces of work a rejection is not unhandled.
    this.#interrupted.promise.catch(() => undefined);
    for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[])
      process.once(signal, () => {
        this.#signal ??= signal;
        this.#interrupted.reject(new Error(signal));
      });
  }

  get signal(): keyof typeof SIGNALS | undefined {
    return this.#signal;
  }

  closeLater(one: Closable): void {
    this.#open.push(one);
  }

  /** Work that a signal cuts short; what it makes is closed all the same. */
  async step<T>(title: string, work: () => Promise<T>, close?: (made: T) => Promise<void>): Promise<T> {
    return await step(title, async () => {
      const made = work();
      if (close !== undefined)
        this.closeLater({
          close: async () => {
            const [result] = await Promise.allSettled([made]);
            if (result.status === 'fulfilled') await close(result.value);
          },
        });
      // After an interruption nobody waits for it any more.
      made.catch(() => undefined);
      return await Promise.race([made, this.#interrupted.promise]);
    });
  }

  async untilInterrupted(): Promise<void> {
    await this.#interrupted.promise.catch(() => undefined);
  }

  async close(): Promise<void> {
    for (const one of this.#open.splice(0).reverse()) await one.close();
  }
}

function seedOf(input: VerbInput): number {
  const text = textOption(input, 'seed') ?? DEFAULT_SEED;
  const seed = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (seed <= SEED_MAX) return seed;
  throw new MeshtrailError(
    'USAGE',
    `--seed is ${JSON.stringify(text)}; it must be a whole number from 0 to ${SEED_MAX}.`,
  );
}

function findFilter(): string {
  const file = fileURLToPath(new URL('../../../build/filter.wasm', import.meta.url));
  if (existsSync(file)) return file;
  throw new MeshtrailError('PREREQUISITE_MISSING', 'The filter is not built: run `npm run build` in the checkout.');
}

async function claim(input: VerbInput): Promise<DemoDirectory> {
  const given = textOption(input, 'dir');
  if (given === '') throw new MeshtrailError('USAGE', '--dir is empty; name a directory, or leave it away.');
  if (given !== undefined) return await claimDirectory(resolve(given));
  const directory = await claimDefault(resolve(DEFAULT_DIR));
  if (directory.path !== resolve(DEFAULT_DIR)) note(`  ${DEFAULT_DIR} is in use, so this run has ${directory.path}`);
  return directory;
}

async function startCollector(directory: DemoDirectory): Promise<CollectorProcess> {
  const start = (api: string, ingest: string): Promise<CollectorProcess> =>
    startCollectorProcess({ dir: directory.collector, runDir: directory.run, addresses: { api, ingest } });
  const { api, ingest } = await chooseAddresses();
  try {
    return await start(api, ingest);
  } catch (error) {
    // Somebody was quicker to take a port.
    if (error instanceof MeshtrailError && error.message.includes('something else listens there'))
      return await start('127.0.0.1:0', '127.0.0.1:0');
    throw error;
  }
}

interface Flown {
  readonly collector: CollectorProcess;
  readonly truth: Truth;
  readonly directory: DemoDirectory;
}

/** Plays the incident through the mesh; at the end only the collector is up. */
async function fly(run: Run, directory: DemoDirectory, seed: number): Promise<Flown> {
  const [envoy, wasmFile] = [findEnvoy(), findFilter()];
  const collector = await run.step(
    'collector started',
    () => startCollector(directory),
    (made) => made.stop(),
  );
  note(`    queries at ${collector.url.origin}, batches at ${collector.ingest}`);
  const { ingest } = collector;
  const flight: Flight = await run.step(
    `mesh started, ${NODES.length} Envoys over mTLS: ingress, ${SERVICES.map(({ name }) => name).join(', ')}`,
    () => startFlight({ envoy, dir: directory.run, seed, recorder: { wasmFile, ingest } }),
    (made) => made.close(),
  );
  await run.step(`traffic and the incident played, seed ${seed}`, () => playFlight(flight));
  const truth = flight.truth();
  await run.step('proxies drained and stopped', async () => {
    await flight.drain();
    await flight.close();
  });
  writeTruth(directory.truthFile, truth);
  writeFileSync(directory.vkeyFile, `${collector.vkey}\n`);
  const isEnded = await run.step('log published', () =>
    waitForEnds(collector.url, collector.vkey, NODES, PUBLISH_MS_MAX),
  );
  if (!isEnded) note(`  not every recorder ended its stream within ${PUBLISH_MS_MAX / 1000} s`);
  return { collector, truth, directory };
}

/** Prints what the records say. Returns whether counts agree and the log is sound. */
async function report(run: Run, { collector, truth }: Flown): Promise<{ isGood: boolean; incident?: Incident }> {
  const { url, vkey } = collector;
  const { records, gaps } = await run.step('records read', () => readRecords(url));
  const agreements = compare(truth, records, INGRESS.name);
  const incident = findIncident(records);
  const wanted = incident?.firstAllowed ?? incident?.denied[0] ?? records[0];
  const audit = await run.step('log verified', () => auditLog(url, vkey, wanted?.id));
  const proxies = new Set(records.map(({ node }) => node.cluster)).size;
  const counts = countLines(agreements, countedOf(records).length, proxies);
  for (const lines of [counts, gapLines(gaps), incidentLines(incident), logLines(audit, NODES)])
    if (lines.length > 0) print(`\n${lines.join('\n')}`);
  return {
    isGood: isAgreed(agreements) && gaps.length === 0 && isSound(audit),
    ...(incident === undefined ? {} : { incident }),
  };
}

function printCommands({ directory, collector }: Flown, incident: Incident | undefined, isUp: boolean): void {
  const { api, ingest } = collector;
  const commands = nextCommands({ directory, incident, api, ingest, isUp, cwd: process.cwd() });
  print(`\n${styleText('bold', 'What to do next', { stream: process.stdout })}`);
  print(commands.map(({ why, line }) => `  # ${why}\n  ${line}`).join('\n'));
}

async function fullRun(run: Run, input: VerbInput): Promise<number> {
  const seed = seedOf(input);
  note('Meshtrail demo');
  const directory = await claim(input);
  run.closeLater({ close: async () => directory.release() });
  const flown = await fly(run, directory, seed);
  const { isGood, incident } = await report(run, flown);
  const isUp = input.options['once'] !== true && process.stdin.isTTY === true && process.stdout.isTTY === true;
  printCommands(flown, incident, isUp);
  if (isUp) {
    note(`\nThe collector stays up at ${flown.collector.url.origin}; Ctrl-C stops it.`);
    await Promise.race([run.untilInterrupted(), flown.collector.exited]);
    if (run.signal === undefined)
      throw new MeshtrailError('COLLECTOR_UNREACHABLE', `The collector ended. ${flown.collector.logEnd()}`);
  }
  return isGood ? 0 : 1;
}

export const demo: Verb = {
  summary: 'Plays an incident in a small mesh of real Envoys, and shows what was recorded of it.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    dir: {
      type: 'string',
      value: 'DIR',
      help: 'Where the run is kept; what an earlier demo left there is replaced.',
      default: DEFAULT_DIR,
    },
    seed: { type: 'string', value: 'N', help: 'Which scenario to play.', default: DEFAULT_SEED },
    once: { type: 'boolean', help: 'End after the report; without a terminal it always does.' },
  },
  examples: ['meshtrail demo', 'meshtrail demo --once --seed 7 --dir /tmp/demo'],
  async run(input) {
    const run = new Run();
    let isReported = false;
    try {
      const code = await fullRun(run, input);
      isReported = true;
      return code;
    } catch (error) {
      if (run.signal === undefined) throw error;
      note('\ninterrupted');
      return 128 + SIGNALS[run.signal];
    } finally {
      if (isReported && run.signal !== undefined) note('stopping');
      await run.close();
    }
  },
};
