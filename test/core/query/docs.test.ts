// Goal: docs/query.md has exactly the fields there are, each with its type, unit, class and Envoy's name, and its examples are accepted.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ATTRIBUTES } from '../../../collector/src/core/attributes.ts';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { type BatchFacts, encodeBatch, type RowFacts } from '../../../collector/src/core/codec/encode.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { parseFilter } from '../../../collector/src/core/query/filter.ts';
import { FILTER_LIMITS } from '../../../collector/src/core/query/parse.ts';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import { START_NS } from '../../support/facts.ts';
import { fieldRow } from './docs.ts';

const page = readFileSync(new URL('../../../docs/query.md', import.meta.url), 'utf8');
const formats = readFileSync(new URL('../../../docs/formats.md', import.meta.url), 'utf8');

function recordWith(row: Partial<RowFacts>, more: Partial<BatchFacts> = {}): FlowRecord {
  const rows = [{ verdict: 'allowed' as const, startNs: START_NS, connection: {}, outcome: {}, ...row }];
  const batch = { stream: new Uint8Array(16), batchNumber: 0, firstRecord: 0, rows, ...more };
  return recordOf(sourceOf(decodeBatch(encodeBatch(batch)), 0, 0));
}

test('the table of fields', () => {
  const rows = page
    .split('\n')
    .filter((line) => /^\| `[a-z0-9_.]+` \| (?:string|int|bool|timestamp|duration|map) \|/.test(line));
  assert.deepEqual(rows, [...ATTRIBUTES.values()].map(fieldRow));
});

test('closed lists of values are told in the table', () => {
  const closed = [...ATTRIBUTES.values()].filter(({ choices }) => choices !== undefined);
  assert.deepEqual(
    closed.map(({ name }) => name),
    [
      'verdict',
      'reporter',
      'source.principal_from',
      'connection.direction',
      'rbac.result',
      'rbac.shadow_result',
      'trace.format',
      'record.kind',
      'record.phase',
      'record.sensor',
    ],
  );
  for (const { description, choices } of closed)
    assert.deepEqual(
      [...description.matchAll(/`([a-z0-9_]+)`/g)].map(([, value]) => value),
      choices,
    );
  const names = closed.map(({ name }) => `\`${name}\``);
  const list = `The values of ${names.slice(0, -1).join(', ')} and ${names.at(-1)} are closed lists`;
  assert.ok(page.includes(list), list);
});

test('the examples are filters', () => {
  const filters = [...page.matchAll(/^meshtrail flows -f '([^']+)'/gm)].map(([, filter = '']) => filter);
  assert.ok(filters.length >= 4);
  for (const filter of filters) parseFilter(filter);
});

test('the limits', () => {
  const { characters, nodes, depth, listElements } = FILTER_LIMITS;
  assert.ok(
    page.includes(
      `${characters.toLocaleString('en')} characters, ${nodes} parts, ${depth} levels, ${listElements} elements`,
    ),
  );
});

test('the table of who spoke to whom', () => {
  // Every attribute has its own name for a value, so that a record shows which one it took.
  const connection = {
    mtls: true,
    sourceAddress: 'source.address',
    destinationAddress: 'destination.address',
    peerPrincipal: 'connection.uri_san_peer_certificate',
    localPrincipal: 'connection.uri_san_local_certificate',
    filterStatePrincipal: 'filter_state["io.istio.peer_principal"]',
  };
  const outcome = {
    upstreamPrincipal: 'upstream.uri_san_peer_certificate',
    upstreamLocalPrincipal: 'upstream.uri_san_local_certificate',
  };
  const seen: string[] = [];
  for (const [, reporters = '', rest = ''] of page.matchAll(
    /^\| ((?:`(?:source|destination|gateway|waypoint)`(?:, )?)+) \| (.*) \|$/gm,
  )) {
    const cells = rest.split(' | ').map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name));
    for (const [, reporter = ''] of reporters.matchAll(/`([a-z]+)`/g)) {
      seen.push(reporter);
      const isSidecar = reporter === 'source' || reporter === 'destination';
      const role = isSidecar ? 'sidecar' : (reporter as 'gateway' | 'waypoint');
      const of = (upstreamAddress: object, more: object = {}): (string | undefined)[] => {
        const record = recordWith(
          {
            connection: { ...connection, direction: reporter === 'source' ? 2 : 1, ...more },
            outcome: { ...outcome, ...upstreamAddress },
          },
          { role },
        );
        assert.equal(record.reporter, reporter);
        const { source, destination } = record;
        return [source.principal, destination.principal, source.address, destination.address];
      };
      const upstreamAddress = { upstreamAddress: 'upstream.address' };
      const [caller, ...others] = cells as [string[], ...string[][]];
      const first = cells.map(([name]) => name);
      assert.deepEqual(of(upstreamAddress), first, reporter);
      assert.deepEqual(of({}), [caller[0], ...others.map((names) => names.at(-1))], reporter);
      const elsewhere = [caller.at(-1), ...first.slice(1)];
      assert.deepEqual(of(upstreamAddress, { mtls: false }), elsewhere, reporter);
      assert.deepEqual(of(upstreamAddress, { peerPrincipal: undefined }), elsewhere, reporter);
      const refused = reporter === 'source' ? first : [undefined, ...first.slice(1)];
      assert.deepEqual(of(upstreamAddress, { transportFailure: 'refused' }), refused, reporter);
    }
  }
  assert.deepEqual(seen.sort(), ATTRIBUTES.get('reporter')?.choices?.toSorted());
});

test('the groups that are always there', () => {
  const groups = Object.entries(recordWith({})).filter(([, value]) => typeof value === 'object');
  assert.deepEqual(groups.find(([name]) => name === 'rbac')?.[1], {});
  const names = groups.map(([name]) => `\`${name}\``);
  const list = `the groups ${names.slice(0, -1).join(', ')} and ${names.at(-1)} are always there`;
  assert.ok(page.includes(`In JSON ${list}`), list);
  assert.ok(formats.includes(list), list);
});
