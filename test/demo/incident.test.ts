// The demo's scenario: one seed gives one plan, every plan has what the story needs, and the ground truth adds up.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { consequencesOf, DROPZONE_HOST, makePlan, play } from '../../collector/src/demo/incident.ts';
import { SERVICES } from '../../collector/src/demo/policies.ts';
import { makeParties } from '../../collector/src/demo/services.ts';
import { expectedRecords, INCIDENT_STEPS, Ledger, type Truth } from '../../collector/src/demo/truth.ts';
import { joinByFakes } from './fake-mesh.ts';

/** Plays a plan over fake proxies. */
async function played(seed: number): Promise<{ readonly truth: Truth; readonly records: readonly string[] }> {
  const ledger = new Ledger();
  const parties = makeParties(ledger);
  const mesh = await joinByFakes(parties);
  const plan = makePlan(seed);
  const isQuick = { pauseMs: 0 };
  const quick = {
    ...plan,
    visits: plan.visits.map((visit) => ({ ...visit, ...isQuick })),
    moves: plan.moves.map((move) => ({ ...move, ...isQuick })),
  };
  await play(quick, parties);
  await parties.close();
  await mesh.close();
  return { truth: ledger.truth(seed, consequencesOf(plan)), records: mesh.records };
}

/** What of a truth does not depend on timing. */
const shapeOf = ({ services, exchanges }: Truth): unknown => ({
  services,
  exchanges: exchanges
    .map((e) => [e.source, e.destination, e.method, e.path, e.status, e.verdict, e.incident_step].join(' '))
    .sort(),
});

test('one seed gives one plan; another seed another', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (seed) => {
      assert.deepEqual(makePlan(seed), makePlan(seed));
      assert.notDeepEqual(makePlan(seed).visits, makePlan(seed + 1).visits);
    }),
    { numRuns: 20 },
  );
});

test('every plan probes before it finds, finds before it reads, and sends last; stolen refunds are nobody else’s', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (seed) => {
      const { moves, visits } = makePlan(seed);
      const order = moves.map(({ step }) => INCIDENT_STEPS.indexOf(step));
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
      );
      assert.deepEqual(new Set(order), new Set([0, 1, 2, 3]));
      assert.equal(visits.filter(({ hangsUp }) => hangsUp).length, 1);
      const stolen = new Set(moves.filter(({ step }) => step === 'read').map(({ path }) => path.split('/').at(-1)));
      for (const { path } of visits) assert.ok(!stolen.has(path.split('/').at(-1)));
    }),
    { numRuns: 50 },
  );
});

test('the truth demands exactly the records that proxies make, in every verdict', async () => {
  const { truth, records } = await played(7);
  assert.deepEqual(expectedRecords(truth).toSorted(), records.toSorted());
  const verdicts = new Set(truth.exchanges.map(({ verdict }) => verdict));
  assert.deepEqual(verdicts, new Set(['allowed', 'denied', 'failed', 'reset']));
});

test('a service’s counts are its exchanges: all that it sent, and those that reached it', async () => {
  const { truth } = await played(11);
  for (const { name } of SERVICES) {
    const sent = truth.exchanges.filter(({ source }) => source === name);
    const received = truth.exchanges.filter((e) => e.destination === name && ['allowed', 'reset'].includes(e.verdict));
    assert.deepEqual(truth.services[name], { sent: sent.length, received: received.length });
  }
  const steps = new Map(INCIDENT_STEPS.map((step) => [step, truth.exchanges.filter((e) => e.incident_step === step)]));
  assert.ok(steps.get('probe')?.some(({ verdict }) => verdict === 'denied'));
  assert.ok(steps.get('probe')?.some(({ status }) => status === 404));
  assert.ok(steps.get('find')?.some(({ source, status }) => source === 'inventory' && status === 200));
  assert.ok(steps.get('read')?.some(({ source, destination }) => source === 'orders' && destination === 'payments'));
  assert.ok(
    steps.get('exfiltrate')?.every(({ destination, method }) => destination === DROPZONE_HOST && method === 'POST'),
  );
});

test('a scenario played twice ends the same, however it was timed', async () => {
  const [one, two] = await Promise.all([played(3), played(3)]);
  assert.deepEqual(shapeOf(one.truth), shapeOf(two.truth));
});
