// Goal: each rule that came with version 2 refuses the batch that breaks it and names the field; version 1 keeps its own rules.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { type BatchFacts, encodeBatch, type RowFacts, sealBatch } from '../../../collector/src/core/codec/encode.ts';
import {
  BIT,
  CONNECTION,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  HEADER,
  OUTCOME,
  PHASE_SHIFT,
  ROW,
  SENSOR_SHIFT,
  SHAPES,
} from '../../../collector/src/core/codec/layout.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { START_NS } from '../../support/facts.ts';

const HTTP: RowFacts = {
  verdict: 'allowed',
  startNs: START_NS,
  path: '/a',
  traceText: '00-bad',
  attempts: 1,
  trace: { id: new Uint8Array(16).fill(7), span: new Uint8Array(8).fill(8), flags: 1 },
  connection: { id: 1, mtls: true, peerPrincipal: 'spiffe://a/ns/b/sa/c', filterStatePrincipal: 'x' },
  outcome: { code: 200, method: 'GET', claimedPrincipal: 'y', requestEncoding: 'gzip', upstreamNamespace: 'z' },
};
const TCP: RowFacts = {
  kind: 'connection',
  verdict: 'failed',
  startNs: START_NS,
  connection: { id: 2, transportFailure: 'refused' },
  outcome: { codeDetails: 'details' },
};

function wireOf(version: 1 | 2, rows: readonly RowFacts[], more: Partial<BatchFacts> = {}): Uint8Array {
  return encodeBatch({ stream: new Uint8Array(16).fill(1), batchNumber: 0, firstRecord: 0, version, rows, ...more });
}

const bent = (wire: Uint8Array, change: (view: DataView) => void): Uint8Array => {
  const copy = Uint8Array.from(wire);
  change(new DataView(copy.buffer));
  return sealBatch(copy);
};

function refused(wire: Uint8Array, field: RegExp | string): void {
  assert.throws(
    () => decodeBatch(wire),
    (error) => {
      assert.ok(error instanceof MeshtrailError, (error as Error).stack);
      assert.equal(error.code, 'BATCH_MALFORMED');
      assert.match(error.message, typeof field === 'string' ? new RegExp(`: ${field}\\b`) : field);
      return true;
    },
  );
}

/** The first dictionary entry of a kind: where its bytes begin. */
function entryOf(wire: Uint8Array, kind: number): number {
  const { dictionary } = decodeBatch(wire);
  for (let number = 1; number <= dictionary.count; number++)
    if (dictionary.kind(number) === kind) return dictionary.start(number);
  throw new Error(`no entry of kind ${kind}`);
}

test('the header', () => {
  const wire = wireOf(2, [HTTP], { counters: { interim: 1 }, life: { vmsKnown: 2, vmsAlive: 2 } });
  const u64 = (name: keyof typeof HEADER, value: bigint): Uint8Array =>
    bent(wire, (view) => view.setBigUint64(HEADER[name], value, true));
  refused(u64('interim', 2n), 'interim');
  refused(u64('droppedNoRandom', 1n), 'seen');
  refused(u64('unwatched', 1n << 60n), 'unwatched');
  refused(u64('proxySinceWallNs', 1n << 63n), 'proxy_since_wall_ns');
  refused(
    bent(wire, (view) => view.setUint16(HEADER.vmsKnown, 1, true)),
    'vms_alive',
  );
  refused(
    bent(wire, (view) => view.setUint16(HEADER.flags, 8, true)),
    'flags',
  );
  assert.ok(decodeBatch(u64('unwatched', 5n)).counters.unwatched === 5);
});

test('a batch without rows is a last one or a sign of life', () => {
  const decoded = decodeBatch(wireOf(2, [], { isAlive: true, life: { silentStream: new Uint8Array(16).fill(3) } }));
  assert.deepEqual([decoded.isAlive, decoded.isFin, decoded.rowCount], [true, false, 0]);
  assert.deepEqual(decoded.life?.silentStream, new Uint8Array(16).fill(3));
  refused(wireOf(2, []), 'row_count');
  refused(wireOf(1, []), 'row_count');
  const older = wireOf(1, [HTTP]);
  refused(
    bent(older, (view) => view.setUint16(HEADER.flags, 4, true)),
    'flags',
  );
  refused(
    bent(older, (view) => view.setBigUint64(HEADER.droppedNoRandom, 1n << 40n, true)),
    'reserved',
  );
});

/** Sets bits of a row's `flags`, of either version. */
function withFlags(version: 1 | 2, row: RowFacts, bits: number): Uint8Array {
  const at = SHAPES[version].headerBytes + ROW.flags;
  return bent(wireOf(version, [row]), (view) => view.setUint32(at, view.getUint32(at, true) | bits, true));
}

test('bits of a row', () => {
  for (const bits of [1 << 10, 1 << 15, 1 << 20, 1 << 23, 1 << 30, 1 << 31]) refused(withFlags(2, HTTP, bits), 'flags');
  for (const bits of [BIT.b3, BIT.b3Short, BIT.b3Text, BIT.repeat, 1 << PHASE_SHIFT, 1 << SENSOR_SHIFT])
    refused(withFlags(1, HTTP, bits), 'flags');
  const { trace: _, traceText: __, ...bare } = HTTP;
  refused(withFlags(2, bare, BIT.b3), 'flags');
  refused(withFlags(2, HTTP, BIT.b3Short), 'flags');
  refused(withFlags(2, bare, BIT.b3Text), 'flags');
  refused(withFlags(2, HTTP, BIT.b3 | BIT.b3Short), /trace_id of row 0 .* 0,/);
  decodeBatch(withFlags(2, HTTP, BIT.b3 | BIT.b3Text));
  const flags = SHAPES[2].headerBytes + ROW.traceFlags;
  refused(
    bent(withFlags(2, HTTP, BIT.b3), (view) => view.setUint8(flags, 8)),
    'trace_flags',
  );
  for (const sensor of [0, 1, 2, 3]) decodeBatch(withFlags(2, HTTP, sensor << SENSOR_SHIFT));
});

test('an open or interval record is a repeat without a verdict', () => {
  const lives: RowFacts = { ...TCP, verdict: 'unknown' };
  for (const phase of [1, 2]) {
    refused(withFlags(2, lives, phase << PHASE_SHIFT), 'flags');
    refused(withFlags(2, TCP, (phase << PHASE_SHIFT) | BIT.repeat), 'verdict');
    decodeBatch(withFlags(2, lives, (phase << PHASE_SHIFT) | BIT.repeat));
  }
  refused(withFlags(2, lives, (3 << PHASE_SHIFT) | BIT.repeat), 'flags');
});

test('a connection has nothing of an exchange', () => {
  const plain: RowFacts = { ...TCP, outcome: {} };
  decodeBatch(wireOf(2, [plain]));
  const id = new Uint8Array(16).fill(9);
  const others: readonly Partial<RowFacts>[] = [
    { path: '/' },
    { userAgent: 'a' },
    { subject: 'a' },
    { headers: 'a: b\n' },
    { traceText: 'a' },
    { attempts: 1 },
    { requestId: id },
    { requestId: 'text' },
    { trace: { id, span: id.subarray(8), flags: 0 } },
    { flags: BIT.pathCut },
    { outcome: { method: 'GET' } },
    { outcome: { authority: 'a' } },
    { outcome: { requestContentType: 'a' } },
    { outcome: { responseContentType: 'a' } },
    { outcome: { requestEncoding: 'a' } },
    { outcome: { responseEncoding: 'a' } },
  ];
  for (const more of others) {
    refused(wireOf(2, [{ ...plain, ...more }]), /row 0|outcome entry/);
    decodeBatch(wireOf(2, [{ ...plain, ...more, kind: 'http' }]));
  }
  const kind = SHAPES[2].headerBytes + ROW.kind;
  refused(
    bent(wireOf(2, [plain]), (view) => view.setUint8(kind, 3)),
    'kind',
  );
  refused(
    bent(wireOf(1, [HTTP]), (view) => view.setUint8(SHAPES[1].headerBytes + ROW.kind, 2)),
    'kind',
  );
});

test('connection entries', () => {
  const failed = wireOf(2, [TCP]);
  const fine = wireOf(2, [HTTP]);
  const flagsAt = (wire: Uint8Array): number => entryOf(wire, ENTRY_CONNECTION) + CONNECTION.flags;
  assert.equal(failed[flagsAt(failed)], 2);
  refused(
    bent(failed, (view) => view.setUint8(flagsAt(failed), 0)),
    'flags of connection entry',
  );
  refused(
    bent(fine, (view) => view.setUint8(flagsAt(fine), 2)),
    'flags of connection entry',
  );
  refused(
    bent(fine, (view) => view.setUint8(flagsAt(fine), 4)),
    'flags of connection entry',
  );
  const start = entryOf(fine, ENTRY_CONNECTION);
  for (const at of [CONNECTION.reserved72, 79, CONNECTION.reserved12])
    refused(
      bent(fine, (view) => view.setUint8(start + at, 1)),
      'reserved of connection entry',
    );
  for (const at of [CONNECTION.filterStatePrincipal, CONNECTION.peerWorkload, CONNECTION.peerCluster])
    refused(
      bent(fine, (view) => view.setUint16(start + at, 99, true)),
      /of connection entry \d+ .* is 99;/,
    );
  const older = wireOf(1, [HTTP]);
  const olderStart = entryOf(older, ENTRY_CONNECTION);
  refused(
    bent(older, (view) => view.setUint16(olderStart + CONNECTION.filterStatePrincipal, 1, true)),
    'filter_state_principal of connection entry',
  );
  refused(
    bent(older, (view) => view.setUint8(olderStart + CONNECTION.flags, 2)),
    'flags of connection entry',
  );
});

test('outcome entries', () => {
  for (const [version, spots] of [
    [1, [OUTCOME.claimedPrincipal, OUTCOME.requestEncoding, OUTCOME.responseEncoding]],
    [2, [OUTCOME.reserved52, 55]],
  ] as const) {
    const wire = wireOf(version, [HTTP]);
    const start = entryOf(wire, ENTRY_OUTCOME);
    for (const at of spots)
      refused(
        bent(wire, (view) => view.setUint8(start + at, 1)),
        /of outcome entry \d+ .* 0,/,
      );
  }
  const wire = wireOf(2, [HTTP]);
  const start = entryOf(wire, ENTRY_OUTCOME);
  for (const at of [OUTCOME.claimedPrincipal, OUTCOME.responseEncoding, OUTCOME.upstreamWorkload])
    refused(
      bent(wire, (view) => view.setUint16(start + at, 99, true)),
      /of outcome entry \d+ .* is 99;/,
    );
  // An entry of the other version's length.
  const [older, newer] = [wireOf(1, [HTTP]), wire];
  for (const [one, length] of [
    [older, 56],
    [newer, 48],
  ] as const)
    refused(
      bent(one, (view) => view.setUint16(entryOf(one, ENTRY_OUTCOME) - 2, length, true)),
      'length of dictionary entry',
    );
});
