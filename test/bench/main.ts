// Benchmarks: `npm run bench` lists them, `npm run bench -- NAME [--json FILE]` runs one. They compare with rivals in the same run
// and never fail for being slow; they fail when something that they measured did not happen.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { endWithLauncher } from '../../collector/bin/node24.js';
import { bytes } from './bytes/bench.ts';
import { filter } from './filter/bench.ts';
import { ingest } from './ingest/bench.ts';
import type { Benchmark } from './lib/benchmark.ts';
import { report } from './lib/figures.ts';
import { machine } from './lib/machine.ts';
import { Cleanup } from './lib/processes.ts';

const BENCHMARKS: readonly Benchmark[] = [ingest, filter, bytes];
const USAGE = 2;
const COULD_NOT_MEASURE = 3;
const INTERRUPTED = 130;

function list(): string {
  return [
    'usage: npm run bench -- NAME [--json FILE] [--rounds N] [--only A,B] [--profile] [--small]',
    '',
    ...BENCHMARKS.map(({ name, summary }) => `  ${name.padEnd(8)}${summary}`),
    '',
    '  --json FILE   also write everything, every round included, as JSON',
    '  --rounds N    rounds instead of the default',
    '  --only A,B    only these subjects',
    '  --profile     add a CPU profile of the collector (it costs some speed)',
    '  --small       tiny rounds: shows that it works, not how fast',
    '',
  ].join('\n');
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim();
  } catch {
    // An unpacked archive has no history.
    return 'unknown';
  }
}

interface Options {
  readonly json?: string;
  readonly rounds?: string;
  readonly only?: string;
  readonly profile?: boolean;
  readonly small?: boolean;
}

async function runOne(benchmark: Benchmark, options: Options, cleanup: Cleanup): Promise<number> {
  const rounds = Number(options.rounds ?? (options.small === true ? 2 : benchmark.roundsDefault));
  const started = new Date().toISOString();
  const before = machine();
  const outcome = await benchmark.run({
    rounds,
    isSmall: options.small === true,
    isProfiled: options.profile === true,
    only: options.only?.split(',') ?? [],
    cleanup,
    progress: (text) => process.stderr.write(`${benchmark.name}: ${text}\n`),
  });
  await cleanup.run();
  const facts = {
    benchmark: benchmark.name,
    started,
    commit: commit(),
    rounds,
    isSmall: options.small === true,
    machine: before,
  };
  const { cpu, cores, memoryGib, node, loadAverage1Min } = before;
  process.stdout.write(
    `${benchmark.name}: ${benchmark.summary}\n${rounds} rounds in shuffled order at ${started}, commit ${facts.commit}; ${cores} cores ${cpu}, ${memoryGib} GiB, Node ${node}, load ${loadAverage1Min} before\n${Object.entries(
      outcome.settings,
    )
      .map(([key, value]) => `${key} ${value}`)
      .join(', ')}\n\n${report(outcome)}\n`,
  );
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ format: 'meshtrail/bench/v1', ...facts, ...outcome }, null, 1)}\n`);
  return outcome.checks.every(({ ok }) => ok) ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      rounds: { type: 'string' },
      only: { type: 'string' },
      profile: { type: 'boolean' },
      small: { type: 'boolean' },
    },
  });
  const [name, ...more] = positionals;
  const benchmark = BENCHMARKS.find((one) => one.name === name);
  if (name === undefined) {
    process.stdout.write(list());
    return 0;
  }
  if (benchmark === undefined || more.length > 0 || !/^[1-9]\d{0,2}$/.test(values.rounds ?? '1')) {
    process.stderr.write(list());
    return USAGE;
  }
  const cleanup = new Cleanup();
  let isLeaving = false;
  // The launcher may die of the same signal and send another when its channel closes: one clean-up, to its end.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (isLeaving) return;
      isLeaving = true;
      const leave = (): never => process.exit(INTERRUPTED);
      cleanup.run().then(leave, leave);
    });
  try {
    return await runOne(benchmark, values, cleanup);
  } catch (error) {
    process.stderr.write(
      `${benchmark.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    return COULD_NOT_MEASURE;
  } finally {
    await cleanup.run();
  }
}

endWithLauncher();
process.exitCode = await main(process.argv.slice(2));
