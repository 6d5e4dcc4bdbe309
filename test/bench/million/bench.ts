// Benchmark `million`: a million requests through one VM of a real Envoy: memory stays, and a request costs at the end what it did
// at the beginning. Blocks alternate with those of a proxy that records nothing, so that the machine's drift is not taken for ours.

import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchSinkReply } from '../filter/batch-sink.ts';
import { CONNECTIONS, Field, SETTLE_MS, startNode, whole } from '../filter/field.ts';
import { type VariantName, variantOf } from '../filter/variants.ts';
import { type Benchmark, chosen, countOption, type RunInput } from '../lib/benchmark.ts';
import { type Check, Notebook, type Outcome, shown, type Table } from '../lib/figures.ts';
import { interleave } from '../lib/rounds.ts';
import { line } from './trend.ts';

const REQUESTS = 1_000_000;
const REQUESTS_SMOKE = 2000;
const NAMES = ['none', 'httpFilter', 'accessLogger', 'httpAndNetwork', 'bothLoggers', 'everything'] as const;
type Name = (typeof NAMES)[number];
const DEFAULT = ['none', 'httpFilter'] as const;
/** Before the first block, so that V8 has compiled the module as it will stay. */
const WARM_UP_REQUESTS = 10_000;
/** Envoy's own memory moves a little; a leak of 3 bytes a request would show. */
const GROWTH_MIB_MAX = 2;

function blockTable(notebook: Notebook, names: readonly Name[], perBlock: number): Table {
  const blocks = notebook.valuesOf(names[0] as Name, 'cpuPerRequestUs').length;
  const text = (name: Name, figure: string, block: number): string =>
    shown(notebook.valuesOf(name, figure)[block] ?? Number.NaN);
  return {
    title: 'by block of requests',
    head: ['requests', ...names.flatMap((name) => [`\`${name}\`: CPU, us`, 'memory, MiB'])],
    rows: Array.from({ length: blocks }, (_, block) => [
      `${(block * perBlock).toLocaleString('en-US')} to ${((block + 1) * perBlock).toLocaleString('en-US')}`,
      ...names.flatMap((name) => [text(name, 'cpuPerRequestUs', block), text(name, 'residentMib', block)]),
    ]),
  };
}

/** Whether the cost moved, with the error that the scatter of the blocks leaves. */
function trendNote(notebook: Notebook, name: Name): string {
  const base = notebook.valuesOf('none', 'cpuPerRequestUs');
  const own = notebook.valuesOf(name, 'cpuPerRequestUs');
  const isAdded = name !== 'none' && base.length === own.length;
  const values = own.map((value, i) => (isAdded ? value - (base[i] as number) : value));
  const { slope, error } = line(values);
  const what = isAdded ? 'added CPU for each request' : 'CPU for each request';
  return `${name}: ${what} moves by ${slope.toFixed(3)} us from block to block, standard error ${error.toFixed(3)}`;
}

async function run(input: RunInput): Promise<Outcome> {
  const { cleanup, rounds, isSmoke, progress } = input;
  const names: readonly Name[] = input.variants.length === 0 ? DEFAULT : chosen(NAMES, input.variants);
  const total = countOption(input, 'requests', isSmoke ? REQUESTS_SMOKE : REQUESTS);
  const perBlock = Math.ceil(total / rounds);
  const workDir = cleanup.directory();
  const sink = startNode(cleanup, workDir, new URL('../filter/batch-sink.ts', import.meta.url));
  const ports = await sink.ask<BatchSinkReply>({ names });
  const each = <Value>(value: (name: VariantName) => Value): Record<Name, Value> =>
    Object.fromEntries(names.map((name) => [name, value(name)])) as Record<Name, Value>;
  const field = await Field.start<Name>({
    cleanup,
    setting: { tls: 'none', workers: 1 },
    variants: each(variantOf),
    receivers: each((name) => ({ ingestPort: ports[name]?.port ?? 0, alsPort: 0, jsonPath: '' })),
    otherPids: [sink.pid],
  });
  for (const name of names) {
    progress(`warm-up: ${name}`);
    await field.send(name, Math.min(perBlock, WARM_UP_REQUESTS));
  }
  const notebook = new Notebook();
  const repeats = await interleave({
    subjects: names,
    rounds,
    isSmoke,
    notebook,
    progress,
    measure: async (name) => await whole(await field.measure(name, perBlock, name === 'none' ? undefined : sink.pid)),
  });
  const recorders = names.filter((name) => name !== 'none');
  const checks: Check[] = recorders.map((name) => {
    const resident = notebook.valuesOf(name, 'residentMib');
    const growth = (resident.at(-1) as number) - (resident[0] as number);
    const what = `${name}: memory grew by ${growth.toFixed(2)} MiB after the first block, at most ${GROWTH_MIB_MAX} are allowed`;
    return { what, ok: growth <= GROWTH_MIB_MAX };
  });
  await field.stopProxies();
  await sleep(SETTLE_MS);
  const received = await sink.ask<BatchSinkReply>({ names: [] });
  for (const name of recorders) {
    const { exchanges = 0, seen = 0, recorded = 0, invalid = 0 } = received[name] ?? {};
    const sent = field.proxies[name].requests;
    checks.push({
      what: `${name}: ${exchanges} exchanges at the sink (${seen - recorded} dropped, ${invalid} batches invalid), ${sent} requests sent`,
      ok: exchanges === sent && seen === recorded && invalid === 0,
    });
  }
  return {
    settings: { connections: CONNECTIONS, requestsInBlock: perBlock, workers: 1, tls: 'none', repeats },
    subjects: names.map((name) => notebook.subject(name, variantOf(name).what)),
    ratios: notebook.ratios('cpuPerRequestUs', recorders, ['none']),
    tables: [blockTable(notebook, names, perBlock)],
    checks,
    notes: rounds > 2 ? names.map((name) => trendNote(notebook, name)) : [],
  };
}

export const million: Benchmark = {
  name: 'million',
  summary: 'A million requests through one VM: memory and cost by block of a hundred thousand. A round is a block.',
  roundsDefault: 10,
  options: { requests: ['N', `requests for each subject, over all blocks; ${REQUESTS} by default`] },
  run,
};
