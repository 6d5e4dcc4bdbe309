// 100,000 random exchanges and connections of both kinds, in every phase, are recorded as they were told.

import { test } from 'node:test';
import fc from 'fast-check';
import { assertConnections, assertOpen } from './cases.ts';
import { ALLOWED, anyConnection, anyExchange } from './random.ts';
import { assertRecorded } from './recorded.ts';
import { CONFIGURATION } from './recorder.ts';

/** So many at once, in a VM of their own. */
const AT_ONCE = 100;
const many = { minLength: AT_ONCE, maxLength: AT_ONCE };
/** A seed that is another one each time is told when something fails. */
const runs = (cases: number): { readonly numRuns: number; readonly endOnFailure: boolean } => ({
  numRuns: cases / AT_ONCE,
  endOnFailure: true,
});

test('random exchanges', () => {
  const options = { configuration: { ...CONFIGURATION, request_headers: ALLOWED.join(',') } };
  fc.assert(
    fc.property(fc.array(anyExchange, many), (all) => assertRecorded(all, ALLOWED, options)),
    runs(50_000),
  );
});

test('random connections at a network filter', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, many), (all) => assertConnections(all, 'network_filter')),
    runs(15_000),
  );
});

test('random connections at an access logger', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, many), (all) => assertConnections(all, 'connection_logger')),
    runs(15_000),
  );
});

test('random exchanges that live', () => {
  fc.assert(
    fc.property(fc.array(anyExchange, many), (all) => assertOpen(all, 'http')),
    runs(10_000),
  );
});

test('random connections that live', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, many), (all) => assertOpen(all, 'connection')),
    runs(10_000),
  );
});
