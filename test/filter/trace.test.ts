// Trace contexts by their specifications: what is valid is read, and what is not is kept as it came.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Pairs } from '../host/abi.ts';
import { type Exchange, ordinary, withHeaders } from './exchange.ts';
import type { Flat } from './flat.ts';
import { assertRecorded, recorded } from './recorded.ts';

interface Vector {
  readonly name: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly expect: 'continue' | 'restart';
  readonly trace_id?: string;
  readonly parent_id?: string;
  readonly flags?: string;
}
const VECTORS = new URL('../vectors/tracecontext/traceparent_tracestate_vectors.json', import.meta.url);
const { vectors } = JSON.parse(readFileSync(VECTORS, 'utf8')) as { readonly vectors: readonly Vector[] };

const ID = '80f198ee56343ba864fe8b2a57d3eff7';
const SHORT = '64fe8b2a57d3eff7';
const SPAN = '05e3ac9a4f6e3b90';
const PARENT = 'e457b5a2e4d86bd1';
const W3C = `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`;

function withTrace(...headers: Pairs): Exchange {
  const { requestHeaders = [], ...rest } = withHeaders(ordinary(), { traceparent: undefined });
  return { ...rest, requestHeaders: [...requestHeaders, ...headers] };
}

/** What the record of a request with these headers says of its trace. */
function traceIn(...headers: Pairs): Flat {
  const exchange = withTrace(...headers);
  assertRecorded([exchange]);
  const [record = {}] = recorded([exchange]);
  return Object.fromEntries(Object.entries(record).filter(([name]) => /^(?:trace|span)_/.test(name)));
}

test('the vectors of W3C Trace Context: a valid link is read, and another one is kept as text', () => {
  assert.equal(vectors.length, 68);
  const names = new Set(['traceparent']);
  for (const { name, headers, expect, trace_id, parent_id, flags } of vectors) {
    // Envoy's header maps have names in lower case, and values without the blanks around them.
    const lower = headers.map(([header, value]) => [header.toLowerCase(), value.trim()] as const);
    const got = traceIn(...lower);
    const given = lower.filter(([header, value]) => names.has(header) && value !== '').map(([, value]) => value);
    if (given.length === 0) assert.deepEqual(got, {}, name);
    else if (expect === 'restart') assert.deepEqual(got, { trace_text: given.join(', ') }, name);
    else {
      assert.equal(got['trace_text'], undefined, name);
      if (trace_id !== undefined) assert.equal(got['trace_id'], trace_id, name);
      if (parent_id !== undefined) assert.equal(got['span_id'], parent_id, name);
      if (flags !== undefined) assert.equal(got['trace_flags'], Number.parseInt(flags, 16), name);
    }
  }
});

test('B3 in one header: ids of both lengths, every state, with a parent and without', () => {
  const link = { trace_id: ID, span_id: SPAN, trace_is_b3: 1 };
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}-1-${PARENT}`]), { ...link, trace_flags: 1 });
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}-1`]), { ...link, trace_flags: 1 });
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}-0`]), { ...link, trace_flags: 0 });
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}-d`]), { ...link, trace_flags: 3 });
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}`]), { ...link, trace_flags: 4 });
  assert.deepEqual(traceIn(['b3', `${ID}-${SPAN}-${PARENT}`]), { ...link, trace_flags: 4 });
  const short = { ...link, trace_id: SHORT.padStart(32, '0'), trace_is_short: 1 };
  assert.deepEqual(traceIn(['b3', `${SHORT}-${SPAN}-d-${PARENT}`]), { ...short, trace_flags: 3 });
  for (const state of ['0', '1', 'd']) assert.deepEqual(traceIn(['b3', state]), {}, 'a decision alone says nothing');
});

test('B3 in several headers: the same context, and the first of repeated values', () => {
  const ids: Pairs = [
    ['x-b3-traceid', ID],
    ['x-b3-spanid', SPAN],
  ];
  const link = { trace_id: ID, span_id: SPAN, trace_is_b3: 1 };
  assert.deepEqual(traceIn(...ids), { ...link, trace_flags: 4 });
  assert.deepEqual(traceIn(...ids, ['x-b3-sampled', '1']), { ...link, trace_flags: 1 });
  assert.deepEqual(traceIn(...ids, ['x-b3-sampled', '0']), { ...link, trace_flags: 0 });
  assert.deepEqual(traceIn(...ids, ['x-b3-flags', '1'], ['x-b3-sampled', '1']), { ...link, trace_flags: 3 });
  assert.deepEqual(traceIn(...ids, ['x-b3-flags', '0'], ['x-b3-parentspanid', PARENT]), { ...link, trace_flags: 4 });
  assert.deepEqual(traceIn(...ids, ['x-b3-spanid', PARENT]), { ...link, trace_flags: 4 });
  const short: Pairs = [
    ['x-b3-spanid', SPAN],
    ['x-b3-traceid', SHORT],
  ];
  const shortLink = { ...link, trace_id: SHORT.padStart(32, '0'), trace_is_short: 1 };
  assert.deepEqual(traceIn(...short), { ...shortLink, trace_flags: 4 });
  assert.deepEqual(traceIn(['x-b3-sampled', '0']), {}, 'a decision alone says nothing');
  assert.deepEqual(traceIn(...ids, ['b3', `${ID}-${PARENT}-0`]), { ...link, span_id: PARENT, trace_flags: 0 });
});

test('W3C wins when it is valid; a malformed one stays beside a valid B3', () => {
  const b3: Pairs = [['b3', `${ID}-${SPAN}-1`]];
  const w3c = traceIn(['traceparent', W3C]);
  assert.deepEqual(traceIn(['traceparent', W3C], ...b3), w3c);
  assert.deepEqual(traceIn(...b3, ['traceparent', W3C]), w3c);
  assert.deepEqual(traceIn(['traceparent', W3C], ['b3', 'malformed']), w3c);
  const both = { trace_id: ID, span_id: SPAN, trace_flags: 1, trace_is_b3: 1, trace_text: 'malformed' };
  assert.deepEqual(traceIn(['traceparent', 'malformed'], ...b3), both);
  assert.deepEqual(traceIn(['traceparent', 'malformed'], ['b3', 'as well']), { trace_text: 'malformed' });
});

test('malformed B3 is kept as it came, every header of it', () => {
  const single = [
    '',
    '2',
    'D',
    '-',
    `${ID}`,
    `${ID}-`,
    `${ID}-${SPAN}-`,
    `${ID}-${SPAN}-2`,
    `${ID}-${SPAN}-11`,
    `${ID}-${SPAN}-1-`,
    `${ID}-${SPAN}-1-${PARENT}-`,
    `${ID}-${SPAN}-1-${PARENT}0`,
    `${ID}-${SPAN}-1-${ID}`,
    `${ID}_${SPAN}-1`,
    `${ID.toUpperCase()}-${SPAN}-1`,
    `${'0'.repeat(32)}-${SPAN}-1`,
    `${SHORT}0-${SPAN}-1`,
    `${ID}-${'0'.repeat(16)}-1`,
    `${ID}-${SPAN}-1-${'0'.repeat(16)}`,
    'x'.repeat(300),
  ];
  for (const value of single) {
    const want = value === '' ? {} : { trace_text: `b3: ${value}\n`.slice(0, 256), trace_text_is_b3: 1 };
    assert.deepEqual(traceIn(['b3', value]), want, value);
  }
  const half: Pairs = [
    ['x-b3-sampled', '1'],
    ['x-b3-traceid', ID],
  ];
  assert.deepEqual(traceIn(...half), {
    trace_text: `x-b3-traceid: ${ID}\nx-b3-sampled: 1\n`,
    trace_text_is_b3: 1,
  });
  const kept = traceIn(['x-b3-spanid', SPAN], ['x-b3-traceid', ID], ['b3', 'x'], ['x-b3-flags', '7']);
  assert.deepEqual(kept, {
    trace_text: `b3: x\nx-b3-traceid: ${ID}\nx-b3-spanid: ${SPAN}\nx-b3-flags: 7\n`,
    trace_text_is_b3: 1,
  });
});

test('random contexts of both formats are read as their specifications say', () => {
  const hex = (length: number): fc.Arbitrary<string> =>
    fc
      .array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
      .map((all) => all.join(''));
  const id = fc.oneof(hex(32), hex(16), hex(15), fc.constant('0'.repeat(16)), fc.constant('F'.repeat(16)), fc.string());
  const state = fc.constantFrom('0', '1', 'd', 'true', '');
  const single = fc.array(fc.oneof(id, state), { maxLength: 5 }).map((parts) => parts.join('-'));
  const header = fc.oneof(
    fc.tuple(fc.constant('b3'), single),
    fc.tuple(fc.constantFrom('x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid'), id),
    fc.tuple(fc.constantFrom('x-b3-sampled', 'x-b3-flags', 'x-b3-other', 'b4'), state),
    fc.tuple(fc.constant('traceparent'), fc.constantFrom(W3C, 'malformed')),
  );
  fc.assert(
    fc.property(fc.array(fc.array(header, { maxLength: 6 }), { minLength: 1, maxLength: 20 }), (all) =>
      assertRecorded(all.map((headers) => withTrace(...headers))),
    ),
    { numRuns: 60, seed: 20_261_125 },
  );
});
