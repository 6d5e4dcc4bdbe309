// Goal: the table of streams says of each stream what came, how it ended and what it can lack at most, is the same after a restart,
// raises what is silent and nothing else, and stays within its limits whatever comes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry } from '../../collector/src/core/codec/entry.ts';
import { entryOf, ProxyMaker, startMs, VmMaker } from './proxy-maker.ts';
import { Told } from './told.ts';

const heartbeat = (atMs: number): Entry => ({ kind: 'heartbeat', timeMs: startMs + atMs });
const silentStream = ({ stream }: VmMaker) => ({ life: { silentStream: stream } });

test('a stream that says its end has ended; one that is heard is open', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0).note(one.entry(3, 100), two.entry(2, 200), one.entry(1, 900, { isFin: true }));
  t.judge(2000);
  assert.deepEqual([t.stream(one, 2000).state, t.stream(two, 2000).state], ['ended', 'open']);
  assert.deepEqual(t.states(2000), ['a: open']);
  t.note(two.entry(0, 2100, { isFin: true })).judge(1_000_000);
  assert.deepEqual(t.states(1_000_000), ['a: ended']);
  const { gaps, proxies } = t.coverage(1_000_000);
  assert.deepEqual([gaps, t.said], [[], []], 'who says that it ends is not missed');
  const { first, last, received, records, proxy_since, vms_known } = proxies[0] ?? assert.fail();
  assert.deepEqual(
    [first, last, received, records, proxy_since, vms_known],
    [
      '2026-11-24T12:00:00.100000000Z',
      '2026-11-24T12:00:02.100000000Z',
      '2026-11-24T12:00:02.100000000Z',
      6,
      '2026-11-24T12:00:00.000000000Z',
      3,
    ],
  );
});

test('a proxy without a sign of life for three intervals is silent, not before; what it can lack is said', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0).note(one.entry(3, 100), two.entry(0, 1000));
  t.judge(4000);
  assert.deepEqual([t.said, t.states(4000)], [[], ['a: open']], 'three intervals are not more than three');
  t.judge(4001).judge(5000);
  assert.deepEqual([t.said, t.states(5000)], [['silent a'], ['a: ended unknown']], 'told once');
  assert.deepEqual(t.stream(one, 5000).lost, {
    records_max: 33 * 700,
    seconds_max: 5,
    from: '2026-11-24T12:00:00.100000000Z',
    until: '2026-11-24T12:00:05.000000000Z',
  });
  assert.equal(t.stream(one, 60_100).lost?.seconds_max, 60, 'it may live still: the time runs on');
  const ended = t.coverage(5000).gaps.map(({ kind, count, seconds }) => [kind, count, seconds]);
  assert.deepEqual(ended, [
    ['ended unknown', 23_100, 4],
    ['ended unknown', 23_100, 5],
  ]);
  assert.equal(t.streams.proxies.silentCount(startMs + 5000), 1);
  assert.equal(t.streams.proxies.silentCount(startMs + 1000 + 24 * 3_600_000), 0, 'no news for ever');
  t.note(one.entry(1, 6000)).judge(6500);
  assert.deepEqual([t.said, t.states(6500)], [['silent a', 'heard a'], ['a: open']]);
  t.judge(20_000);
  assert.deepEqual(t.said, ['silent a', 'heard a', 'silent a'], 'and it can fall silent again');
});

test('batches that are missing took buffers of what a filter can hold', () => {
  const vm = new ProxyMaker('a', 1, 0).vm();
  const entries = Array.from({ length: 40 }, (_, i) => vm.entry(2, i));
  const t = new Told([entries[0], entries[3], entries[4]] as Entry[]).live(0).judge(60_000);
  assert.deepEqual(t.stream(vm, 0).missing, { batches: 2, records: 4 });
  assert.equal(t.stream(vm, 0).lost?.records_max, 31 * 700);
  t.note(entries[39] as Entry).judge(120_000);
  assert.equal(t.stream(vm, 0).lost?.records_max, 0, 'never below nothing');
  assert.deepEqual(
    t.streams.gaps().map(({ kind, from, to, count }) => [kind, from, to, count]),
    [
      ['missing', 2, 5, 4],
      ['missing', 10, 77, 68],
    ],
  );
});

test('a later life of a proxy ends the one before, at its own beginning', () => {
  const [old, young] = [new ProxyMaker('a', 1, 0), new ProxyMaker('a', 11, 5000)];
  const [vm, next, other] = [old.vm(), young.vm(), new ProxyMaker('b', 21, 5000).vm()];
  const t = new Told().live(0).note(vm.entry(3, 1000), other.entry(1, 5000));
  assert.deepEqual(t.states(5000), ['b: open', 'a: open'], 'another proxy is no later life');
  t.note(next.entry(1, 5500));
  assert.deepEqual(t.states(6000), ['a: ended unknown', 'a: open', 'b: open']);
  const { seconds_max, until } = t.stream(vm, 1_000_000).lost ?? assert.fail();
  assert.deepEqual([seconds_max, until], [4, '2026-11-24T12:00:05.000000000Z']);
  // A hot restart: both live for a while.
  t.note(vm.entry(1, 6000), vm.entry(1, 6500));
  assert.equal(t.stream(vm, 6500).state, 'open');
  t.note(next.entry(0, 9000), other.entry(0, 9000)).judge(9501);
  assert.equal(t.stream(vm, 9501).state, 'ended unknown');
  assert.deepEqual(t.said, [], 'a proxy that lives is not silent');
  t.note(vm.entry(0, 9600, { isFin: true }));
  assert.equal(t.stream(vm, 9600).state, 'ended');
});

test('of many lives each ends at the beginning of the first one after it', () => {
  const [one, two, three] = [1, 2, 3].map((i) => new ProxyMaker('a', i, 1000 * i, 60_000).vm()) as [
    VmMaker,
    VmMaker,
    VmMaker,
  ];
  const t = new Told().live(0).note(one.entry(1, 1000), two.entry(1, 2000), two.entry(1, 2500), one.entry(1, 2600));
  assert.equal(t.stream(one, 2600).state, 'open', 'it outlived the beginning of the second');
  t.note(three.entry(1, 3000));
  const ends = [one, two, three].map((vm) => t.stream(vm, 9000).lost?.until);
  assert.deepEqual(ends, ['2026-11-24T12:00:03.000000000Z', '2026-11-24T12:00:03.000000000Z', undefined]);
  t.note(new ProxyMaker('a', 4, 4000).vm().entry(1, 4000));
  assert.equal(t.stream(one, 9000).lost?.until, '2026-11-24T12:00:03.000000000Z', 'and stays so');
});

test('a proxy that gives no name is no later life of another', () => {
  const [one, two] = [new ProxyMaker(undefined, 1, 0).vm(), new ProxyMaker(undefined, 11, 5000).vm()];
  const t = new Told().live(0).note(one.entry(1, 1000), two.entry(1, 5500));
  assert.deepEqual([t.stream(one, 6000).state, t.stream(two, 6000).state], ['open', 'open']);
  assert.equal(t.coverage(6000).proxies[0]?.node, undefined);
});

test('an older life that is heard late ends nothing', () => {
  const [old, young] = [new ProxyMaker('a', 1, 0).vm(), new ProxyMaker('a', 11, 5000).vm()];
  const t = new Told().live(0).note(young.entry(1, 5500), old.entry(1, 5600));
  assert.deepEqual([t.stream(young, 6000).state, t.stream(old, 6000).state], ['open', 'open']);
});

test('a dead VM is named by another one of its proxy, once, and is open again when it was only slow', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two, mute] = [proxy.vm(0), proxy.vm(1), proxy.vm(2)];
  const t = new Told().live(0).note(one.entry(3, 100), two.entry(2, 5000, silentStream(one)));
  assert.deepEqual([t.said, t.stream(one, 6000).state], [['vm 01'], 'silent']);
  assert.deepEqual(t.stream(one, 10_100).lost, {
    records_max: 23_100,
    seconds_max: 10,
    from: '2026-11-24T12:00:00.100000000Z',
    until: '2026-11-24T12:00:10.100000000Z',
  });
  assert.equal(t.stream(one, 6000).silent_since, '2026-11-24T12:00:05.000000000Z');
  t.note(two.entry(0, 5500, silentStream(one)), two.entry(0, 6000, silentStream(mute)));
  assert.deepEqual(t.said, ['vm 01', 'vm 03'], 'told once, and of a VM that never sent anything too');
  const { state, batches, first, lost } = t.stream(mute, 6000);
  assert.deepEqual([state, batches, first, lost?.from], ['silent', 0, undefined, '2026-11-24T12:00:00.000000000Z']);
  assert.deepEqual(
    t.coverage(6000).gaps.map(({ kind }) => kind),
    ['silent', 'silent'],
  );
  assert.deepEqual(t.streams.counts(), { open: 1, ended: 0, 'ended unknown': 0, silent: 2 });
  t.note(one.entry(1, 5000));
  assert.equal(t.stream(one, 6000).state, 'silent', 'sealed before it was named');
  t.note(one.entry(1, 7000));
  assert.equal(t.stream(one, 7000).state, 'open');
});

test('a VM that goes on sending is not dead, however late whoever named it says that it is', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const late = 2n ** 62n;
  const t = new Told().live(0).note(one.entry(1, 100));
  t.note(two.entry(0, 5000, { ...silentStream(one), clock: [late, late, late, late] }));
  t.note(one.entry(1, 6000), one.entry(1, 6001));
  assert.equal(t.stream(one, 6001).state, 'silent', 'what was under way when it died');
  t.note(one.entry(1, 7000));
  assert.equal(t.stream(one, 7000).state, 'open');
});

test('a VM that was named and ticks again was only held up, even when it has nothing to say', () => {
  const proxy = new ProxyMaker('a', 1, 0, 600_000);
  const [one, two, three, mute] = [proxy.vm(0), proxy.vm(1), proxy.vm(2), proxy.vm(3)];
  const t = new Told().live(0).note(one.entry(1, 100), three.entry(1, 100));
  const named = (vm: VmMaker) => ({ life: { vmsKnown: 4, vmsAlive: 3, silentStream: vm.stream } });
  t.note(two.entry(0, 5000, named(one)), two.entry(0, 6000, named(mute)));
  t.note(two.entry(0, 7000, { life: { vmsKnown: 4, vmsAlive: 2 } }));
  const all = { life: { vmsKnown: 4, vmsAlive: 4 } };
  // As of a tick that may have been before.
  t.note(three.entry(1, 20_000, all));
  assert.deepEqual([t.stream(one, 20_000).state, t.stream(mute, 20_000).state], ['silent', 'silent']);
  t.note(two.entry(0, 21_000, all));
  assert.equal(t.stream(one, 21_000).state, 'open');
  assert.equal(t.coverage(21_000).proxies[0]?.streams.length, 3, 'who never sent anything is no stream');
  t.note(two.entry(0, 30_000, named(one)), three.entry(1, 90_000, all));
  assert.equal(t.stream(one, 90_000).state, 'silent');
  t.note(three.entry(1, 90_001, all));
  assert.equal(t.stream(one, 90_001).state, 'open', 'later than the longest tick');
  assert.deepEqual(t.said, ['vm 01', 'vm 04', 'vm 01']);
});

test('a VM that lived longer than its naming knew is not dead, and what comes behind an end is no end', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0).note(one.entry(1, 6000), two.entry(0, 5000, silentStream(one)));
  assert.deepEqual([t.said, t.stream(one, 6000).state], [[], 'open']);
  t.note(one.entry(1, 6500, { isFin: true }), two.entry(0, 9000, silentStream(one)));
  assert.deepEqual([t.said, t.stream(one, 9000).state], [[], 'ended'], 'who said that it ends is not dead');
  t.note(one.entry(1, 9500));
  assert.equal(t.stream(one, 9500).state, 'open');
});

test('a dead VM is no news when its proxy ends, and its end is unknown then', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0).note(one.entry(3, 100), two.entry(2, 5000, silentStream(one)));
  t.note(two.entry(1, 6000, { isFin: true })).judge(8000);
  assert.deepEqual([t.said, t.stream(one, 8000).state], [['vm 01'], 'silent']);
  t.judge(20_000);
  assert.deepEqual([t.said, t.stream(one, 20_000).state], [['vm 01'], 'ended unknown']);
  assert.equal(t.streams.proxies.silentCount(startMs + 20_000), 0);
});

test('only a VM of the same life is believed, and not about more VMs than there can be', () => {
  const [a, b] = [new ProxyMaker('a', 1, 0), new ProxyMaker('b', 11, 0)];
  const [one, two, other] = [a.vm(0), a.vm(1), b.vm(0)];
  const alone = new ProxyMaker('c', 21, undefined).vm();
  const t = new Told().live(0).note(one.entry(1, 100), two.entry(1, 100), other.entry(1, 100), alone.entry(1, 100));
  t.note(other.entry(0, 200, silentStream(one)), one.entry(0, 200, silentStream(one)));
  t.note(alone.entry(0, 200, silentStream(one)), alone.entry(0, 200, silentStream(a.vm(9))));
  assert.deepEqual(t.said, []);
  for (let i = 0; i < 100; i++) t.note(two.entry(0, 300, silentStream(new VmMaker(a, 1000 + i))));
  assert.equal(t.said.length, 64);
  // A stream that was named under a false flag is its own proxy's as soon as it is heard.
  const stray = b.vm(5);
  const u = new Told().live(0).note(a.vm(6).entry(0, 400, silentStream(stray)), stray.entry(1, 500));
  assert.deepEqual(u.states(500), ['b: open', 'a: open']);
});

test('version 1 promises no sign of life and is not judged; without shared data each stream is judged alone', () => {
  const [first, second] = [new ProxyMaker('a', 1, 0).vm(0), new ProxyMaker('a', 1, 0).vm(1)];
  const proxy = new ProxyMaker('b', 11, undefined);
  const [one, two] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0);
  t.note(first.entry(1, 0, { version: 1 }), second.entry(1, 5, { version: 1, isFin: true }));
  t.note(one.entry(1, 0), two.entry(1, 1000)).judge(3500);
  assert.deepEqual([t.stream(one, 3500).state, t.stream(two, 3500).state], ['ended unknown', 'open']);
  t.judge(1_000_000_000);
  assert.deepEqual([t.stream(first, 0).state, t.stream(second, 0).state], ['open', 'ended']);
  assert.deepEqual(t.said, ['silent b', 'silent b']);
  const { proxy_since, alive_interval_ms } = t.coverage(0).proxies.find(({ node }) => node === 'a') ?? assert.fail();
  assert.deepEqual([proxy_since, alive_interval_ms], [undefined, undefined]);
});

test('a batch that was sealed before the first tick does not know the life yet; late ones change nothing', () => {
  const proxy = new ProxyMaker('a', 1, 0);
  const vm = proxy.vm();
  const unknowing = { life: { proxySinceWallNs: undefined, vmsKnown: 0, vmsAlive: 0 } };
  const [early, late] = [vm.entry(1, 10, unknowing), vm.entry(1, 20, unknowing)];
  const t = new Told().live(0).note(early, vm.entry(1, 1000), late, proxy.vm(1).entry(1, 1000)).judge(2000);
  const { proxies } = t.coverage(2000);
  assert.deepEqual(
    proxies.map(({ proxy_since, streams }) => [proxy_since, streams.length]),
    [['2026-11-24T12:00:00.000000000Z', 2]],
  );
  assert.deepEqual(t.judge(9000).said, ['silent a'], 'one life, told once');
});

test('a restart: the same table, the full time for who was heard, no second word about who was silent', () => {
  const [dead, alive] = [new ProxyMaker('dead', 1, 0).vm(), new ProxyMaker('alive', 11, 0)];
  const [one, two] = [alive.vm(0), alive.vm(1)];
  const entries: Entry[] = [dead.entry(1, 0), one.entry(1, 0), two.entry(0, 1000), heartbeat(3000)];
  entries.push(two.entry(0, 5000, silentStream(one)), heartbeat(6000));
  const before = new Told().live(0);
  for (const entry of entries) {
    const ms = entry.kind === 'heartbeat' ? entry.timeMs : entry.receivedMs;
    before.judge(ms - startMs - 1).note(entry);
  }
  assert.deepEqual(before.said, ['silent dead', 'silent alive', 'heard alive', 'vm 0b']);
  // The collector is away for an hour; what was heard last is nothing to go by.
  const after = new Told(entries).live(3_606_000);
  assert.deepEqual(after.coverage(6000), before.coverage(6000));
  assert.deepEqual(after.said, ['vm 0b'], 'what holds still and is dangerous is told again');
  after.judge(3_606_000).judge(3_609_000);
  assert.deepEqual(after.states(3_609_000), ['alive: silent', 'dead: ended unknown']);
  assert.deepEqual(after.said, ['vm 0b'], 'three intervals of grace');
  after.note(two.entry(0, 3_609_000)).judge(3_612_000);
  assert.deepEqual(after.said, ['vm 0b']);
  after.judge(3_612_001);
  assert.deepEqual(after.said, ['vm 0b', 'silent alive']);
});

test('a time when no collector ran is nobody’s silence, and does not unsay one', () => {
  const [dead, alive] = [new ProxyMaker('dead', 1, 0).vm(), new ProxyMaker('alive', 11, 0).vm()];
  const entries: Entry[] = [dead.entry(1, 0), alive.entry(1, 0), alive.entry(0, 4000)];
  // Away for an hour, and stopped again right after the first batch of somebody else.
  entries.push(new ProxyMaker('other', 21, 0).vm().entry(1, 3_604_000));
  const t = new Told(entries).live(3_604_100).judge(3_604_100);
  assert.deepEqual(t.states(3_604_100), ['dead: ended unknown', 'other: open', 'alive: open']);
});

test('since and until: who may have lived then', () => {
  const proxy = new ProxyMaker('a', 1, 1000);
  const [ended, open] = [proxy.vm(0), proxy.vm(1)];
  const t = new Told().live(0).note(ended.entry(1, 2000), open.entry(1, 2500), ended.entry(1, 4000, { isFin: true }));
  const at = (ms: number): bigint => BigInt(startMs + ms) * 1_000_000n;
  const listed = (range: { sinceNs?: bigint; untilNs?: bigint }): number =>
    t.coverage(10_000, range).proxies.reduce((sum, { streams }) => sum + streams.length, 0);
  assert.equal(listed({}), 2);
  assert.equal(listed({ untilNs: at(2000) }), 0, 'until is exclusive');
  assert.equal(listed({ untilNs: at(2001) }), 1);
  assert.equal(listed({ sinceNs: at(4000) }), 2, 'since is inclusive');
  assert.equal(listed({ sinceNs: at(4001) }), 1, 'an open stream goes on');
  assert.equal(listed({ sinceNs: at(9000), untilNs: at(9500) }), 1);
});

test('counters are those of the newest batch; drops, missing batches and rollbacks come first', () => {
  const [good, bad] = [new ProxyMaker('good', 1, 0).vm(), new ProxyMaker('bad', 11, 0).vm()];
  const counters = {
    ...{ droppedBuffersFull: 4, droppedUnreadable: 2, droppedNoRandom: 1, truncated: 3, sendFailures: 5 },
    ...{ rollbacksSeen: 1, interim: 1, unwatched: 6 },
  };
  const [first, second, third] = [bad.entry(1, 0), bad.entry(0, 10), bad.entry(1, 20, { counters })];
  const t = new Told().live(0).note(first, third, good.entry(1, 30));
  const stream = t.stream(bad, 30);
  assert.deepEqual(
    [stream.missing, stream.dropped, stream.truncated, stream.send_failures],
    [{ batches: 1, records: 0 }, { buffers_full: 4, unreadable: 2, no_random: 1 }, 3, 5],
  );
  assert.deepEqual([stream.rollbacks_seen, stream.interim, stream.unwatched], [1, 1, 6]);
  assert.deepEqual(t.states(30), ['bad: open', 'good: open']);
  assert.deepEqual(
    t.coverage(30).gaps.map(({ kind, count, reason }) => [kind, count, reason]),
    [
      ['dropped', 4, 'buffers_full'],
      ['dropped', 2, 'unreadable'],
      ['dropped', 1, 'no_random'],
      ['missing', 0, 'batches without records: 1'],
    ],
  );
  assert.equal(t.streams.gaps().length, 3, 'for records, a batch without any is no gap');
  t.note(second);
  assert.deepEqual(t.stream(bad, 30).missing, { batches: 0, records: 0 });
});

test('a stream is told from its neighbour when clocks of proxies go wrong', () => {
  const vm = new ProxyMaker('a', 1, 5000).vm();
  // Received before it was sealed, by the collector's clock.
  const t = new Told()
    .live(0)
    .note(entryOf(vm.batch(1, 60_000), 0))
    .judge(3001);
  assert.deepEqual(t.said, ['silent a'], 'silence is measured by the collector’s clock alone');
  assert.equal(t.stream(vm, 3001).lost?.seconds_max, 0, 'and no time is negative');
});
