// Goal: a collector whose disk is full acknowledges nothing that it could not write, ends with its reason, and goes on where it was when there is room.
// Method: a real `serve` under a limit of the system on the size of files; a write beyond it fails in the middle, as on a full disk.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fsckDirectory } from '../../collector/src/compose.ts';
import { checkKept, Sender } from '../log/crash.ts';
import { auditLog, Served } from '../log/served.ts';

/** A segment's database gets no larger than 400 KiB here; the tree's grows with every publication. */
const CASES = [
  { what: 'a segment', interval: '60000', fileKiBMax: 192 },
  { what: 'the tree', interval: '50', fileKiBMax: 512 },
];

for (const { what, interval, fileKiBMax } of CASES) {
  test(`no room for ${what}`, { timeout: 40_000 }, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'meshtrail full '));
    const options = ['--publish-interval-ms', interval, '--segment-entries-min', '256', '--log-level', 'warn'];
    let served = new Served(dir, options, fileKiBMax);
    t.after(async () => {
      await served.end('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    });
    const full = await served.ready();
    const senders = [new Sender(700), new Sender(701)];
    await Promise.all(senders.map((sender) => sender.send(full.ingest, () => false, true)));
    const { code, stderr } = await served.exit();
    assert.equal(code, 3, stderr);
    assert.match(stderr, /STORE_FAILED/);
    assert.match(stderr, what === 'the tree' ? /tree/ : /segments/);
    const acknowledged = senders.reduce((sum, { kept }) => sum + kept.length, 0);
    assert.ok(acknowledged > 10, `only ${acknowledged} batches fitted`);

    served = new Served(dir, options);
    const ready = await served.ready();
    const { entries, findings } = await auditLog(ready, []);
    assert.deepEqual(findings, []);
    checkKept(senders, entries);
    let isStopped = false;
    const sending = Promise.all(senders.map((sender) => sender.send(ready.ingest, () => isStopped)));
    await setTimeout(200);
    isStopped = true;
    await sending;
    assert.equal(await served.end('SIGTERM'), 0);
    const report = await fsckDirectory(join(dir, 'log'), '', undefined, () => undefined);
    assert.deepEqual(report.findings, []);
    const after = senders.reduce((sum, { kept }) => sum + kept.length, 0);
    assert.ok(after > acknowledged);
    assert.equal(report.entries, after);
    t.diagnostic(`${acknowledged} acknowledged before the disk was full, ${after} in the end`);
  });
}
