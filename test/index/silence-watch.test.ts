// Goal: over a real log, who falls silent is told in time, and a collector that is slow, stands still or cannot read its log
// takes nobody for dead.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openZoneIndex } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { memoryZones } from '../../collector/src/store/memory.ts';
import { admitted, ManualClock, MemoryDisk, openMemoryLog } from '../support/logs.ts';
import { ProxyMaker } from './proxy-maker.ts';

interface Setup {
  readonly clock: ManualClock;
  readonly log: EvidenceLog;
  readonly said: string[];
  /** The index's own writes fail. */
  isBroken: boolean;
  add(wire: Uint8Array): Promise<void>;
  /** Lets time pass a second at a time, so that every check comes. */
  pass(seconds: number): Promise<void>;
  restart(): Promise<Setup>;
}

async function setup(t: TestContext, disk = new MemoryDisk(), clock = new ManualClock(), ms = 1000): Promise<Setup> {
  const log = await openMemoryLog(disk, { clock, publishIntervalMs: ms });
  const store = memoryZones();
  const s = { isBroken: false };
  const index = await openZoneIndex({
    ...{ log, rowsMax: 1000, timeMsMax: 1000, now: () => 0, failed: () => undefined },
    store: {
      ...store,
      write: async (zones, indexed) => {
        if (s.isBroken) throw new Error('disk full');
        await store.write(zones, indexed);
      },
    },
  });
  const said: string[] = [];
  index.watchSilence(clock, {
    vmSilent: ({ name }) => said.push(`vm ${name.slice(0, 2)}`),
    proxySilent: ({ node }) => said.push(`silent ${node}`),
    proxyHeard: ({ node }) => said.push(`heard ${node}`),
  });
  const close = async (): Promise<void> => {
    await index.close();
    await log.close();
  };
  t.after(close);
  return Object.assign(s, {
    ...{ clock, log, said },
    async add(wire: Uint8Array) {
      await log.append(admitted(wire));
    },
    async pass(seconds: number) {
      for (let i = 0; i < seconds; i++) {
        await clock.advance(1000);
        await index.idle();
      }
    },
    async restart() {
      await close();
      return await setup(t, disk, clock, ms);
    },
  });
}

test('a proxy that falls silent is told within seconds, and one that lives is not', async (t) => {
  const s = await setup(t);
  const [dead, alive] = [new ProxyMaker('dead', 1, 0, 5000).vm(), new ProxyMaker('alive', 11, 0, 5000).vm()];
  await s.add(dead.batch(3, 0));
  for (let second = 0; second < 15; second++) {
    if (second % 5 === 0) await s.add(alive.batch(0, second * 1000));
    await s.pass(1);
  }
  assert.deepEqual(s.said, []);
  await s.pass(2);
  assert.deepEqual(s.said, ['silent dead']);
});

test('a dead VM is told with the publication of the batch that names it, and again after a restart', async (t) => {
  const s = await setup(t);
  const proxy = new ProxyMaker('a', 1, 0, 5000);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  await s.add(one.batch(3, 0));
  await s.add(two.batch(0, 4000, { life: { silentStream: one.stream } }));
  await s.pass(1);
  assert.deepEqual(s.said, ['vm 01']);
  const again = await s.restart();
  assert.deepEqual(again.said, ['vm 01']);
  await again.pass(15);
  assert.deepEqual(again.said, ['vm 01'], 'three intervals from the restart');
  await again.pass(2);
  assert.deepEqual(again.said, ['vm 01', 'silent a']);
});

test('what is stored and not yet published counts: slow publication is nobody’s silence', async (t) => {
  const s = await setup(t, new MemoryDisk(), new ManualClock(), 30_000);
  const vm = new ProxyMaker('a', 1, 0, 2000).vm();
  await s.add(vm.batch(1, 0));
  await s.log.publishNow();
  for (let second = 1; second < 29; second++) {
    await s.add(vm.batch(0, second * 1000));
    await s.pass(1);
    assert.deepEqual(s.said, [], `second ${second}`);
  }
  await s.pass(40);
  assert.deepEqual(s.said, ['silent a']);
});

test('an index that does not follow the log judges nobody', async (t) => {
  const s = await setup(t);
  const vm = new ProxyMaker('a', 1, 0, 2000).vm();
  await s.add(vm.batch(1, 0));
  await s.pass(1);
  s.isBroken = true;
  for (let second = 2; second < 20; second++) {
    await s.add(vm.batch(0, second * 1000));
    await s.pass(1);
  }
  assert.deepEqual(s.said, []);
  s.isBroken = false;
  await s.add(vm.batch(0, 20_000));
  await s.pass(2);
  assert.deepEqual(s.said, []);
  await s.pass(8);
  assert.deepEqual(s.said, ['silent a']);
});

test('a process that stood still listens anew', async (t) => {
  const s = await setup(t);
  const vm = new ProxyMaker('a', 1, 0, 5000).vm();
  await s.add(vm.batch(1, 0));
  await s.pass(1);
  await s.clock.advance(600_000);
  await s.pass(1);
  assert.deepEqual(s.said, []);
  await s.pass(15);
  assert.deepEqual(s.said, ['silent a']);
});
