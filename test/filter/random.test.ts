// Random exchanges and connections of both kinds, in every phase, are recorded as they were told. random.slow.ts has many more.

import { test } from 'node:test';
import fc from 'fast-check';
import { assertConnections, assertOpen } from './cases.ts';
import { ALLOWED, anyConnection, anyExchange } from './random.ts';
import { assertRecorded } from './recorded.ts';
import { CONFIGURATION } from './recorder.ts';

const SOME = { numRuns: 40, seed: 20_261_125, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: true };
const some = { minLength: 1, maxLength: 12 };

test('random exchanges', () => {
  const options = { configuration: { ...CONFIGURATION, request_headers: ALLOWED.join(',') } };
  fc.assert(
    fc.property(fc.array(anyExchange, some), (all) => assertRecorded(all, ALLOWED, options)),
    SOME,
  );
});

test('random connections at a network filter', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, some), (all) => assertConnections(all, 'network_filter')),
    SOME,
  );
});

test('random connections at an access logger', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, some), (all) => assertConnections(all, 'connection_logger')),
    SOME,
  );
});

test('random exchanges that live', () => {
  fc.assert(
    fc.property(fc.array(anyExchange, some), (all) => assertOpen(all, 'http')),
    SOME,
  );
});

test('random connections that live', () => {
  fc.assert(
    fc.property(fc.array(anyConnection, some), (all) => assertOpen(all, 'connection')),
    SOME,
  );
});
