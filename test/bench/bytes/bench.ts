// Benchmark `bytes`: what a record weighs on the wire and on disk, for several kinds of traffic, beside a JSON access log of the same facts.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { constants, createZstdCompress } from 'node:zlib';
import type { RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { random, randomRow } from '../../support/facts.ts';
import { type Benchmark, chosen, type RunInput } from '../lib/benchmark.ts';
import { startCollector } from '../lib/collector.ts';
import { type Check, Notebook, type Outcome } from '../lib/figures.ts';
import { directoryBytes, OTHER_CORE } from '../lib/processes.ts';
import { RawConnection } from '../lib/raw-http.ts';
import { Chain, fullBatchRows, jsonRecord, Traffic } from '../lib/traffic.ts';

const RECORDS = 150_000;
const RECORDS_SMOKE = 3000;
const CONNECTIONS = 4;
const ZSTD_LEVEL = 3;
const TICK_RECORDS = 20;
const DEMO_RECORDS = 60;

interface Mix {
  readonly what: string;
  /** Makes rows of one batch after the other. */
  readonly batches: () => () => readonly RowFacts[];
}

function fullBatches(recordsPerTrace: number): () => RowFacts[] {
  const traffic = new Traffic({ seed: 5, recordsPerTrace });
  return () => fullBatchRows(traffic);
}

function tickBatches(): () => RowFacts[] {
  const traffic = new Traffic({ seed: 6, recordsPerTrace: 1 });
  return () => traffic.rows(TICK_RECORDS);
}

function demoBatches(): () => RowFacts[] {
  const next = random(7);
  const callers: string[] = [];
  return () =>
    Array.from({ length: DEMO_RECORDS }, () => {
      const row = randomRow(next, next() * 1e9);
      // One proxy sees itself at one end: a connection for each caller, one authority.
      const caller = String(row.connection.peerPrincipal);
      if (!callers.includes(caller)) callers.push(caller);
      return {
        ...row,
        connection: {
          ...row.connection,
          id: 1 + callers.indexOf(caller),
          localPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
        },
        outcome: { ...row.outcome, authority: 'orders.shop' },
      };
    });
}

const MIXES = {
  fullRandom: {
    what: 'a busy sidecar: batches of 48 KiB, every request id, trace id and span id random',
    batches: () => fullBatches(1),
  },
  fullShared: {
    what: 'the same, but 3 records of a batch share request id and trace id, as the legs of one call do',
    batches: () => fullBatches(3),
  },
  tick: {
    what: `a quiet sidecar: ${TICK_RECORDS} records in each batch, sent at the tick of a second`,
    batches: tickBatches,
  },
  demo: {
    what: `traffic like the demo's: a sidecar with four callers, ${DEMO_RECORDS} records in each batch, some ids absent`,
    batches: demoBatches,
  },
} as const satisfies Record<string, Mix>;
type MixName = keyof typeof MIXES;

interface Sent {
  readonly batches: number;
  readonly records: number;
  readonly wireBytes: number;
  readonly jsonBytes: number;
  readonly zstdBytes: number;
}

/** Compresses lines as one stream, which is the best that a rotated log file can do. */
class JsonFile {
  private readonly zstd = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
  private plainBytes = 0;
  private zstdBytes = 0;

  constructor() {
    this.zstd.on('data', (chunk: Buffer) => {
      this.zstdBytes += chunk.length;
    });
  }

  async add(rows: readonly RowFacts[]): Promise<void> {
    const lines = Buffer.from(rows.map((row) => `${JSON.stringify(jsonRecord(row))}\n`).join(''));
    this.plainBytes += lines.length;
    await new Promise<void>((done, failed) =>
      this.zstd.write(lines, (error) => (error == null ? done() : failed(error))),
    );
  }

  async end(): Promise<Pick<Sent, 'jsonBytes' | 'zstdBytes'>> {
    const ended = new Promise<void>((done) => this.zstd.once('end', done));
    this.zstd.end();
    await ended;
    return { jsonBytes: this.plainBytes, zstdBytes: this.zstdBytes };
  }
}

async function sendAll(port: number, mix: Mix, records: number): Promise<Sent> {
  const make = mix.batches();
  const json = new JsonFile();
  const lanes = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => ({ chain: new Chain(), socket: await RawConnection.open(port) })),
  );
  const totals = { batches: 0, records: 0, wireBytes: 0 };
  while (totals.records < records) {
    await Promise.all(
      lanes.map(async ({ chain, socket }) => {
        const rows = make();
        const wire = chain.batch(rows);
        totals.batches++;
        totals.records += rows.length;
        totals.wireBytes += wire.length;
        const head = `POST /v1/batches HTTP/1.1\r\nhost: bench\r\ncontent-type: application/vnd.meshtrail.batch\r\ncontent-length: ${wire.length}\r\n\r\n`;
        const [reply] = await Promise.all([socket.exchange(head, wire), json.add(rows)]);
        if (reply.status !== 200) throw new Error(`no acknowledgement but ${reply.status}: ${reply.body.toString()}`);
      }),
    );
  }
  for (const { socket } of lanes) socket.close();
  return { ...totals, ...(await json.end()) };
}

async function weigh(name: MixName, records: number, input: RunInput, notebook: Notebook): Promise<Check> {
  const workDir = join(input.cleanup.directory(), name);
  mkdirSync(workDir);
  const collector = await startCollector({ workDir, core: OTHER_CORE });
  input.cleanup.add(() => collector.stop());
  const sent = await sendAll(collector.ingestPort, MIXES[name], records);
  const size = await collector.waitForPublished(sent.batches);
  const stored = (await collector.batches()).reduce((sum, { recordCount }) => sum + recordCount, 0);
  await collector.stop();
  const note = (figure: string, unit: string, value: number): void => notebook.note(name, figure, unit, value);
  const part = (...parts: readonly string[]): number => directoryBytes(join(collector.dir, ...parts)) / sent.records;
  note('recordsPerBatch', 'records', sent.records / sent.batches);
  note('wireBytesPerRecord', 'bytes', sent.wireBytes / sent.records);
  note('diskBytesPerRecord', 'bytes', part());
  note('segmentBytesPerRecord', 'bytes', part('segments'));
  note('treeBytesPerRecord', 'bytes', part('tree'));
  note('indexBytesPerRecord', 'bytes', part('index'));
  note('jsonBytesPerRecord', 'bytes', sent.jsonBytes / sent.records);
  note('jsonZstdBytesPerRecord', 'bytes', sent.zstdBytes / sent.records);
  return {
    what: `${name}: ${stored} records in the signed log (size ${size}), ${sent.records} sent`,
    ok: stored === sent.records && size >= sent.batches,
  };
}

async function run(input: RunInput): Promise<Outcome> {
  const names = chosen(Object.keys(MIXES) as MixName[], input.variants);
  const notebook = new Notebook();
  const checks: Check[] = [];
  for (let round = 0; round < input.rounds; round++) {
    for (const name of names) {
      input.progress(`round ${round + 1} of ${input.rounds}: ${name}`);
      const share = name === 'tick' ? 0.4 : 1;
      checks.push(await weigh(name, input.isSmoke ? RECORDS_SMOKE : RECORDS * share, input, notebook));
    }
  }
  return {
    settings: { records: input.isSmoke ? RECORDS_SMOKE : RECORDS, zstdLevelOfJson: ZSTD_LEVEL },
    subjects: names.map((name) => notebook.subject(name, MIXES[name].what)),
    ratios: [],
    checks,
    notes: [],
  };
}

export const bytes: Benchmark = {
  name: 'bytes',
  summary:
    'Bytes of a record on the wire and on disk by kind of traffic; JSON lines and JSON with zstd of the same facts.',
  roundsDefault: 1,
  run,
};
