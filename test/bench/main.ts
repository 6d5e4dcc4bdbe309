// Benchmarks: `npm run bench` lists them, `npm run bench -- NAME [--json FILE]` runs one. They compare with rivals in the same run
// and never fail for being slow; they fail when something that they measured did not happen.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { endWithLauncher } from '../../collector/bin/node24.js';
import { bytes } from './bytes/bench.ts';
import { endToEnd } from './endtoend/bench.ts';
import { filter } from './filter/bench.ts';
import { ingest } from './ingest/bench.ts';
import type { Benchmark } from './lib/benchmark.ts';
import { report } from './lib/figures.ts';
import { machine } from './lib/machine.ts';
import { Cleanup } from './lib/processes.ts';
import { million } from './million/bench.ts';

const BENCHMARKS: readonly Benchmark[] = [filter, endToEnd, million, ingest, bytes];
const USAGE = 2;
const COULD_NOT_MEASURE = 3;
const INTERRUPTED = 130;

function list(): string {
  const line = (name: string, text: string): string => `  ${name.padEnd(18)}${text}`;
  return [
    'usage: npm run bench -- NAME [options]',
    '',
    ...BENCHMARKS.flatMap(({ name, summary, roundsDefault, options }) => [
      line(name, `${summary} Rounds: ${roundsDefault}.`),
      ...Object.entries(options ?? {}).map(([option, [value, meaning]]) => line(`  --${option} ${value}`, meaning)),
    ]),
    '',
    line('--json FILE', 'also write everything, every round included, as JSON'),
    line('--rounds N', 'rounds instead of the default'),
    line('--variants A,B', 'only these subjects'),
    line('--profile', 'add a CPU profile of the collector (it costs some speed)'),
    line('--smoke', 'tiny rounds: shows that it works, not how fast'),
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

const GENERAL = {
  json: { type: 'string' },
  rounds: { type: 'string' },
  variants: { type: 'string' },
  profile: { type: 'boolean' },
  smoke: { type: 'boolean' },
} as const;
type Options = Readonly<Record<string, string | boolean | undefined>>;

/** Options of a benchmark; none is taken that another one has. */
function parse(
  args: readonly string[],
): { readonly benchmark: Benchmark | undefined; readonly options: Options } | undefined {
  const benchmark = BENCHMARKS.find(({ name }) => name === args[0]);
  if (benchmark === undefined) return args.length === 0 ? { benchmark, options: {} } : undefined;
  const own = Object.keys(benchmark.options ?? {}).map((name) => [name, { type: 'string' }] as const);
  try {
    const { values } = parseArgs({ args: args.slice(1), options: { ...Object.fromEntries(own), ...GENERAL } });
    const options: Options = values;
    return /^[1-9]\d{0,2}$/.test(String(options['rounds'] ?? '1')) ? { benchmark, options } : undefined;
  } catch {
    // An option that it does not have, or a value that is missing.
    return undefined;
  }
}

async function runOne(benchmark: Benchmark, options: Options, cleanup: Cleanup): Promise<number> {
  const isSmoke = options['smoke'] === true;
  const rounds = Number(options['rounds'] ?? (isSmoke ? 1 : benchmark.roundsDefault));
  const own = Object.keys(benchmark.options ?? {}).filter((name) => options[name] !== undefined);
  const started = new Date().toISOString();
  const before = machine();
  const outcome = await benchmark.run({
    rounds,
    isSmoke,
    isProfiled: options['profile'] === true,
    variants: options['variants']?.toString().split(',') ?? [],
    options: Object.fromEntries(own.map((name) => [name, String(options[name])])),
    cleanup,
    progress: (text) => process.stderr.write(`${benchmark.name}: ${text}\n`),
  });
  await cleanup.run();
  const facts = {
    benchmark: benchmark.name,
    started,
    commit: commit(),
    rounds,
    isSmoke,
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
  if (options['json'] !== undefined)
    writeFileSync(
      String(options['json']),
      `${JSON.stringify({ format: 'meshtrail/bench/v1', ...facts, ...outcome }, null, 1)}\n`,
    );
  return outcome.checks.every(({ ok }) => ok) ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parse(args);
  const benchmark = parsed?.benchmark;
  if (parsed === undefined || benchmark === undefined) {
    (parsed === undefined ? process.stderr : process.stdout).write(list());
    return parsed === undefined ? USAGE : 0;
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
    return await runOne(benchmark, parsed.options, cleanup);
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
