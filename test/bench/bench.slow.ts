// The benchmarks work: each is run with tiny rounds, and what it writes has the shape that readers of the figures rely on.
// Nothing here looks at how fast anything was.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isOfOther, VARIANT_NAMES } from './filter/variants.ts';
import { median, percentile } from './lib/figures.ts';
import { line } from './million/trend.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const RUN_MS_MAX = 120_000;
const ENVOY = process.env['MESHTRAIL_ENVOY'] ?? fileURLToPath(new URL('../../.tools/envoy/envoy', import.meta.url));
const LINUX = process.platform === 'linux' ? false : 'CPU time is read from /proc';
let dir = '';

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'meshtrail-bench-test-'));
});
after(() => rmSync(dir, { recursive: true }));

interface Spread {
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly values: readonly number[];
}
interface Written {
  readonly format: string;
  readonly benchmark: string;
  readonly rounds: number;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly subjects: readonly { readonly name: string; readonly figures: Readonly<Record<string, Spread>> }[];
  readonly ratios: readonly (Spread & {
    readonly kind: string;
    readonly figure: string;
    readonly of: string;
    readonly to: string;
  })[];
  readonly checks: readonly { readonly what: string; readonly ok: boolean }[];
}

function bench(...args: readonly string[]): {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
} {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    timeout: RUN_MS_MAX,
  });
  return { status, out: stdout, err: stderr };
}

/** Runs a benchmark small and checks what all of them promise. */
function runSmoke(
  name: string,
  subjects: readonly string[],
  figures: readonly string[],
  ...options: readonly string[]
): Written {
  const file = join(dir, `${name}.json`);
  const { status, out, err } = bench(name, '--smoke', '--json', file, ...options);
  assert.equal(status, 0, `${out}\n${err}`);
  const written = JSON.parse(readFileSync(file, 'utf8')) as Written;
  assert.equal(written.format, 'meshtrail/bench/v1');
  assert.equal(written.benchmark, name);
  assert.ok(written.machine.cores > 0 && written.machine.node.startsWith('v'));
  assert.deepEqual(
    written.subjects.map((subject) => subject.name),
    subjects,
  );
  for (const subject of written.subjects)
    for (const figure of figures) {
      const found = subject.figures[figure];
      assert.ok(found !== undefined, `${subject.name} has no ${figure}`);
      assert.notEqual(found.unit, '');
      assert.ok(found.values.length > 0 && found.values.every((value) => Number.isFinite(value) && value >= 0));
      assert.ok(found.min <= found.median && found.median <= found.max);
    }
  assert.ok(written.checks.length > 0);
  assert.deepEqual(
    written.checks.filter(({ ok }) => !ok),
    [],
  );
  for (const { kind, values } of written.ratios) assert.equal(values.length, kind === 'paired' ? written.rounds : 0);
  for (const subject of subjects) assert.ok(out.includes(subject), `the table has no ${subject}`);
  return written;
}

test('the list names every benchmark, and an unknown name or option is a mistake of usage', () => {
  const { status, out } = bench();
  assert.equal(status, 0);
  for (const name of ['filter', 'endtoend', 'million', 'ingest', 'bytes'])
    assert.match(out, new RegExp(`^  ${name} `, 'm'));
  for (const args of [['nothing'], ['ingest', '--tls', 'none'], ['filter', '--rounds', 'many'], ['filter', 'more']]) {
    const wrong = bench(...args);
    assert.equal(wrong.status, 2, args.join(' '));
    assert.match(wrong.err, /^usage: /);
  }
  assert.match(bench('filter', '--workers', '3').err, /there is no "3"; there are 1, 2/);
});

test('medians and percentiles', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(percentile([5, 1, 4, 2, 3], 0.5), 3);
  assert.equal(percentile([5, 1, 4, 2, 3], 0.99), 5);
});

test('a line through values knows how far it moves and how sure that is', () => {
  assert.deepEqual(line([3, 5, 7, 9]), { slope: 2, error: 0 });
  const { slope, error } = line([1, 0, 1, 0]);
  assert.ok(Math.abs(slope + 0.2) < 1e-12 && Math.abs(error - Math.sqrt(0.8 / 2 / 5)) < 1e-12);
});

test('ingest: every subject in every round, everything acknowledged is signed', { skip: LINUX }, () => {
  const written = runSmoke(
    'ingest',
    ['meshtrail', 'naive', 'append'],
    ['recordsPerSecond', 'cpuPerBatchUs', 'ackP50Ms', 'ackP99Ms', 'diskBytesPerRecord'],
  );
  assert.ok(
    written.ratios.some(({ figure, of, to }) => figure === 'recordsPerSecond' && of === 'meshtrail' && to === 'naive'),
  );
});

test('bytes: wire, disk and the JSON of the same facts for every mix', { skip: LINUX }, () => {
  const { subjects } = runSmoke(
    'bytes',
    ['fullRandom', 'fullShared', 'tick', 'demo'],
    ['wireBytesPerRecord', 'diskBytesPerRecord', 'jsonBytesPerRecord', 'jsonZstdBytesPerRecord'],
  );
  for (const { figures } of subjects)
    assert.ok((figures['segmentBytesPerRecord']?.median ?? 0) < (figures['diskBytesPerRecord']?.median ?? 0));
});

const NO_ENVOY = LINUX !== false ? LINUX : existsSync(ENVOY) ? false : 'Envoy is not installed here: npm run setup';

test('filter: as many records delivered as requests sent, in every variant, reached both ways', {
  skip: NO_ENVOY,
}, () => {
  const variants = VARIANT_NAMES.filter((name) => !isOfOther(name));
  const { ratios, checks, subjects } = runSmoke(
    'filter',
    ['none/1', 'mtls/2'].flatMap((setting) => variants.map((name) => `${setting}/${name}`)),
    ['cpuPerRequestUs', 'requestsPerSecond', 'residentMib'],
  );
  assert.equal(checks.length, 2 * (variants.length - 1));
  assert.ok(ratios.some(({ figure, to }) => figure === 'addedCpuPerRequestUs' && to === 'mtls/2/grpcAls'));
  const callsOf = (name: string): number =>
    subjects.find((subject) => subject.name === `none/1/${name}`)?.figures['hostCallsWithDataPerRequest']?.median ?? -1;
  assert.equal(callsOf('countFilter'), 0);
  assert.ok(callsOf('httpFilter') > 4 && callsOf('everything') > callsOf('httpFilter'));
});

test('endtoend: as many records durable as requests sent, with our filter and with the log of Envoy', {
  skip: NO_ENVOY,
}, () => {
  const names = ['none', 'httpFilter', 'alsRecords', 'alsMessages'];
  const { checks, ratios, subjects } = runSmoke(
    'endtoend',
    names.map((name) => `mtls/${name}`),
    ['cpuPerRequestUs'],
    '--tls',
    'mtls',
    '--variants',
    names.join(','),
  );
  assert.equal(checks.length, 3);
  assert.deepEqual(
    ratios.map(({ figure, of, to }) => [figure, of, to]),
    ['alsRecords', 'alsMessages'].map((rival) => ['togetherUs', 'mtls/httpFilter', `mtls/${rival}`]),
  );
  for (const { name, figures } of subjects)
    if (name !== 'mtls/none') assert.ok((figures['diskBytesPerRecord']?.median ?? 0) > 0, name);
});

test('million: every request of every block recorded, and memory stays', { skip: NO_ENVOY }, () => {
  const { checks } = runSmoke(
    'million',
    ['none', 'httpFilter'],
    ['cpuPerRequestUs', 'residentMib'],
    '--requests',
    '4000',
  );
  assert.equal(checks.length, 2);
});
