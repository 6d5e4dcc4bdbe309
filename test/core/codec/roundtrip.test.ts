// Goal: random batches of both versions come back as they went in; no byte of one is without a meaning that is checked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeBatch, decodeStoredBatch } from '../../../collector/src/core/codec/batch.ts';
import { type BatchFacts, encodeBatch, type RowFacts, sealBatch } from '../../../collector/src/core/codec/encode.ts';
import { formatEntry, headerOf, parseEntry } from '../../../collector/src/core/codec/entry.ts';
import { BIT, TRAILER_BYTES } from '../../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { packBody, unpackBody } from '../../../collector/src/log/body.ts';
import { parsed } from '../tlog/mutate.ts';
import { batchFacts } from './arbitrary.ts';
import { rebuild } from './rebuild.ts';

/** What a row of facts must be as a record, as far as version 2 brought it. */
function assertRecord(row: RowFacts, facts: BatchFacts, record: ReturnType<typeof recordOf>): void {
  const isNew = facts.version === 2;
  const kind = row.kind ?? 'http';
  const sensor = row.sensor ?? (kind === 'http' ? 'http_filter' : 'network_filter');
  const phase = row.phase ?? 'end';
  const isRepeat = phase !== 'end' || ((row.flags ?? 0) & BIT.repeat) !== 0;
  assert.deepEqual(
    [record.record.kind, record.record.phase, record.record.sensor, record.record.repeat],
    isNew ? [kind, phase, sensor, isRepeat || undefined] : ['http', 'end', 'http_filter', undefined],
  );
  assert.equal(record.verdict, row.verdict);
  assert.equal(record.request.total_size, row.requestBytes);
  assert.equal(record.response.total_size, row.responseBytes);
  assert.equal('code_details' in record.response, kind === 'http' && row.outcome.codeDetails !== undefined);
  const isEnded = kind === 'connection' && row.outcome.codeDetails !== undefined;
  assert.equal('termination_details' in record.connection, isEnded);
  assert.equal('claimed_principal' in record.source, isNew && row.outcome.claimedPrincipal !== undefined);
  assert.equal(record.trace.format, row.trace === undefined ? undefined : isNew && row.trace.isB3 ? 'b3' : 'w3c');
  const { transportFailure } = row.connection;
  if (transportFailure !== undefined && record.reporter !== 'source') {
    assert.equal(record.source.principal, undefined, 'a refused certificate is no identity');
    assert.equal(record.source.namespace, undefined);
  }
  assert.equal(record.connection.certificate_rejected, (isNew && transportFailure !== undefined) || undefined);
}

for (const version of [1, 2] as const) {
  const runs = { numRuns: 400 };

  test(`version ${version}: a batch comes back, byte by byte and as records`, () => {
    fc.assert(
      fc.property(batchFacts(version), (facts) => {
        const wire = encodeBatch(facts);
        const batch = decodeBatch(wire);
        assert.equal(batch.version, version);
        assert.deepEqual(rebuild(batch), wire);
        assert.deepEqual(decodeStoredBatch(wire), batch);
        assert.deepEqual(unpackBody(packBody(wire)), wire);
        assert.equal(batch.isAlive, facts.isAlive);
        assert.equal(batch.counters.interim, version === 1 ? 0 : interimOf(facts));
        for (const [i, row] of facts.rows.entries()) assertRecord(row, facts, recordOf(sourceOf(batch, 3, i)));
        const header = headerOf(batch, undefined)(1_795_521_601_042);
        assert.deepEqual(parseEntry(formatEntry(header)), header);
      }),
      runs,
    );
  });

  test(`version ${version}: a byte that is changed is refused, or says something else and nothing else does`, () => {
    let accepted = 0;
    const change = fc.tuple(batchFacts(version), fc.nat({ max: 65_535 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(change, ([facts, place, value]) => {
        const wire = encodeBatch(facts);
        const at = place % (wire.length - TRAILER_BYTES);
        const bent = Uint8Array.from(wire);
        bent[at] = value;
        if (value !== wire[at])
          assert.equal(
            parsed(() => decodeBatch(bent)),
            undefined,
            'its hash is another',
          );
        const batch = parsed(() => decodeBatch(sealBatch(bent)));
        if (batch === undefined) return;
        accepted++;
        assert.deepEqual(rebuild(batch), bent);
        for (let row = 0; row < batch.rowCount; row++) JSON.stringify(recordOf(sourceOf(batch, 0, row)));
        assert.deepEqual(unpackBody(packBody(bent)), bent);
        const entry = formatEntry(headerOf(batch, undefined)(1));
        assert.deepEqual(formatEntry(parseEntry(entry)), entry);
      }),
      { numRuns: 2000 },
    );
    assert.ok(accepted > 100, `${accepted} changes got past the rules`);
  });
}

const interimOf = ({ rows }: BatchFacts): number => rows.filter(({ phase = 'end' }) => phase !== 'end').length;
