// The demo's report: found and counted from records alone, through the API of a real collector; loud when anything is off.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import type { RowFacts } from '../../collector/src/core/codec/encode.ts';
import { BIT } from '../../collector/src/core/codec/layout.ts';
import { type CollectorProcess, startCollectorProcess } from '../../collector/src/demo/collector.ts';
import { nodeClusterOf } from '../../collector/src/demo/envoy-config.ts';
import { compare, countedOf, findIncident, isAgreed } from '../../collector/src/demo/findings.ts';
import { consequencesOf, DROPZONE_HOST, makePlan, play } from '../../collector/src/demo/incident.ts';
import { INGRESS, SERVICES, spiffeIdOf } from '../../collector/src/demo/policies.ts';
import { auditLog, readRecords, waitForEnds } from '../../collector/src/demo/recorded.ts';
import { countLines, gapLines, incidentLines, isSound, logLines } from '../../collector/src/demo/report.ts';
import { makeParties } from '../../collector/src/demo/services.ts';
import { Ledger, type Truth } from '../../collector/src/demo/truth.ts';
import { joinByFakes } from './fake-mesh.ts';
import { type Rows, record, rowsOf } from './fake-recorder.ts';

const SEED = 5;
const WIDTH_MAX = 100;
const SETTLE_MS_MAX = 10_000;
const NODES = [INGRESS, ...SERVICES].map(nodeClusterOf);
let truth: Truth;

before(async () => {
  const ledger = new Ledger();
  const parties = makeParties(ledger);
  const mesh = await joinByFakes(parties);
  const plan = makePlan(SEED);
  await play(plan, parties);
  await parties.close();
  await mesh.close();
  truth = ledger.truth(SEED, consequencesOf(plan));
});

/** A collector that has the given rows, all published. */
async function collectorWith(t: TestContext, rows: Rows): Promise<CollectorProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail report '));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const addresses = { api: '127.0.0.1:0', ingest: '127.0.0.1:0' };
  const collector = await startCollectorProcess({ dir: join(dir, 'log'), runDir: join(dir, 'run'), addresses });
  t.after(() => collector.stop());
  await record(collector.ingest, rows);
  assert.ok(await waitForEnds(collector.url, collector.vkey, NODES, SETTLE_MS_MAX));
  return collector;
}

function assertFits(lines: readonly string[]): void {
  for (const line of lines) assert.ok(line.length <= WIDTH_MAX, `${line.length} columns: ${line}`);
}

test('counts agree, the incident is found as it was, and the log verifies', async (t) => {
  const collector = await collectorWith(t, rowsOf(truth));
  const { records } = await readRecords(collector.url);
  const agreements = compare(truth, records, INGRESS.name);
  assert.ok(isAgreed(agreements), JSON.stringify(agreements));

  const incident = findIncident(records);
  assert.ok(incident);
  const attack = truth.exchanges.filter((e) => e.incident_step !== null && e.source === 'inventory');
  const callsOf = (list: readonly { request: { method?: string; path?: string } }[]): string[] =>
    list.map(({ request }) => `${request.method} ${request.path}`);
  const wanted = (isWanted: (e: Truth['exchanges'][number]) => boolean): string[] =>
    attack.filter(isWanted).map(({ method, path }) => `${method} ${path}`);
  assert.equal(incident.principal, spiffeIdOf('backend', 'inventory'));
  assert.equal(incident.certificates.length, 1);
  assert.deepEqual(callsOf(incident.denied).toSorted(), wanted(({ verdict }) => verdict === 'denied').toSorted());
  assert.deepEqual(
    callsOf(incident.allowed),
    wanted((e) => e.status === 200 && ['find', 'read'].includes(e.incident_step ?? '')),
  );
  assert.equal(incident.firstAllowed?.request.path, '/internal/refunds/2000');
  assert.deepEqual(
    callsOf(incident.sentOut),
    wanted(({ destination }) => destination === DROPZONE_HOST),
  );
  assert.ok(incident.onBehalf.length > 0 && incident.onBehalf.every((r) => r.request.host === 'payments.backend'));

  const audit = await auditLog(collector.url, collector.vkey, incident.firstAllowed?.id);
  assert.ok(isSound(audit));
  assert.equal(audit.streams.length, NODES.length);
  assert.ok(audit.streams.every(({ isEnded, isWhole }) => isEnded && isWhole));
  assert.equal(
    audit.streams.reduce((sum, { records: count }) => sum + count, 0),
    records.length,
  );

  const text = [...countLines(agreements, records.length, 5), ...incidentLines(incident), ...logLines(audit, NODES)];
  assertFits(text);
  const whole = text.join('\n');
  for (const part of [
    'They agree',
    spiffeIdOf('backend', 'inventory'),
    'payments-only-from-orders',
    'orders-internal-only-from-frontend would have refused it',
    `${(incident.sentOut.length * 300).toLocaleString('en-US')} bytes in ${incident.sentOut.length} requests to ${DROPZONE_HOST}`,
    'the signature is good',
    'nothing dropped',
  ])
    assert.ok(whole.includes(part), part);
});

test('what is recorded more than once, or is no exchange, changes neither counts nor incident', async (t) => {
  const plain = await collectorWith(t, rowsOf(truth));
  const { records: alone } = await readRecords(plain.url);
  const beside = (row: RowFacts): RowFacts[] => {
    const { connection, startNs } = row;
    const common = { connection, startNs, outcome: { protocol: 'HTTP/1.1' } } as const;
    return [
      { ...common, phase: 'open', verdict: 'unknown' },
      row,
      { ...row, sensor: 'http_logger', flags: BIT.repeat },
      { ...common, kind: 'connection', verdict: 'allowed', flags: BIT.repeat },
    ];
  };
  const tcp: RowFacts = { kind: 'connection', verdict: 'allowed', startNs: 1n, connection: {}, outcome: {} };
  const more = [...rowsOf(truth)].map(([name, rows]): [string, RowFacts[]] => [name, [tcp, ...rows.flatMap(beside)]]);
  const collector = await collectorWith(t, new Map(more));
  const { records } = await readRecords(collector.url);
  assert.equal(records.length, 4 * alone.length + NODES.length);
  assert.equal(countedOf(records).length, alone.length + NODES.length, 'the TCP connections are no repeats');
  assert.ok(isAgreed(compare(truth, records, INGRESS.name)));
  const [seen, expected] = [records, alone].map((list) => incidentLines(findIncident(list)).join('\n'));
  const ids = /\d+\.\d+$/gm;
  assert.equal(seen?.replaceAll(ids, 'ID'), expected?.replaceAll(ids, 'ID'));
});

test('one record too few or too many for one service is a disagreement, and said loudly', async (t) => {
  const rows = rowsOf(truth);
  const orders = rows.get('orders') as RowFacts[];
  const inbound = orders.findIndex(({ connection }) => connection.direction === 1);
  const payments = rows.get('payments') as RowFacts[];
  const collector = await collectorWith(
    t,
    new Map([...rows, ['orders', orders.toSpliced(inbound, 1)], ['payments', [...payments, payments[0] as RowFacts]]]),
  );
  const { records } = await readRecords(collector.url);
  const agreements = compare(truth, records, INGRESS.name);
  assert.ok(!isAgreed(agreements));
  const lines = countLines(agreements, records.length, 5);
  assertFits(lines);
  assert.match(lines.at(-1) ?? '', /THEY DISAGREE by 2 records/);
});

test('a stream that breaks off, one that never spoke, and another log’s key are noticed', async (t) => {
  const collector = await collectorWith(t, rowsOf(truth));
  const audit = await auditLog(collector.url, collector.vkey, undefined);
  const [first, ...others] = audit.streams;
  assert.ok(first);
  const broken = { ...audit, streams: [{ ...first, isWhole: false }, ...others.slice(0, -1)] };
  assert.ok(!isSound(broken));
  const text = logLines(broken, NODES).join('\n');
  assert.match(text, new RegExp(`1 of 4 not whole: ${first.node}`));
  assert.match(text, /recorded nothing/);
  const stranger = collector.vkey.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
  await assert.rejects(auditLog(collector.url, stranger, undefined));
});

test('no refusal, no incident', () => {
  assert.equal(findIncident([]), undefined);
  assert.match(incidentLines(undefined).join('\n'), /No call was refused/);
});

test('gaps that the collector knows of are said loudly, and none are not spoken of', () => {
  const lines = gapLines([`{"kind":"loss","stream":"${'8f'.repeat(60)}"}`, '{"kind":"partial"}']);
  assertFits(lines);
  assert.match(lines[0] ?? '', /INCOMPLETE: the collector knows of 2 gaps/);
  assert.match(lines[1] ?? '', /"kind":"loss"/);
  assert.deepEqual(gapLines([]), []);
});
