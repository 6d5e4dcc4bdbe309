// Goal: for any filter and any record, the compiled filter says what three-valued logic says, its bounds on time leave no match out,
// and no text, however odd, makes the parser fail in another way than FILTER_INVALID.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ATTRIBUTES } from '../../../collector/src/core/attributes.ts';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { parseFilter } from '../../../collector/src/core/query/filter.ts';
import type { FlowRecord, PolicyResult } from '../../../collector/src/core/record.ts';
import { START_NS, StreamMaker } from '../../support/facts.ts';

/** A filter's text, and what it should say of a record: undefined where absence decides. */
interface Case {
  readonly text: string;
  readonly of: (facts: Facts) => boolean | undefined;
}

interface Facts {
  readonly code: number | undefined;
  readonly method: string | undefined;
  readonly mtls: boolean | undefined;
  readonly result: PolicyResult | undefined;
  /** Seconds after START_NS. */
  readonly second: number;
}

const COMPARE: Readonly<Record<string, (a: number | string, b: number | string) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};
const FLIPPED: Readonly<Record<string, string>> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' };
const operator = fc.constantFrom(...Object.keys(COMPARE));
const known = <T>(value: T | undefined, test: (value: T) => boolean): boolean | undefined =>
  value === undefined ? undefined : test(value);
const timeText = (second: number): string => `timestamp("2026-11-24T12:00:${String(second).padStart(2, '0')}Z")`;

const leaf: fc.Arbitrary<Case> = fc.oneof(
  fc.tuple(operator, fc.nat(4), fc.boolean()).map(([op, n, isFlipped]) => ({
    text: isFlipped ? `${n} ${FLIPPED[op] ?? op} response.code` : `response.code ${op} ${n}`,
    of: ({ code }: Facts) => known(code, (value) => (COMPARE[op] as (typeof COMPARE)[string])(value, n)),
  })),
  fc.tuple(operator, fc.constantFrom('GET', 'POST')).map(([op, word]) => ({
    text: `request.method ${op} "${word}"`,
    of: ({ method }: Facts) => known(method, (value) => (COMPARE[op] as (typeof COMPARE)[string])(value, word)),
  })),
  fc.tuple(operator, fc.nat(9), fc.boolean()).map(([op, n, isFlipped]) => ({
    text: isFlipped ? `${timeText(n)} ${FLIPPED[op] ?? op} time` : `time ${op} ${timeText(n)}`,
    of: ({ second }: Facts) => (COMPARE[op] as (typeof COMPARE)[string])(second, n),
  })),
  fc.uniqueArray(fc.nat(4), { maxLength: 3 }).map((list) => ({
    text: `response.code in [${list.join(', ')}]`,
    of: ({ code }: Facts) => known(code, (value) => list.includes(value)),
  })),
  // A closed list of values.
  fc.tuple(fc.constantFrom('==', '!='), fc.constantFrom<PolicyResult>('allowed', 'denied')).map(([op, word]) => ({
    text: `rbac.result ${op} "${word}"`,
    of: ({ result }: Facts) => known(result, (value) => (value === word) === (op === '==')),
  })),
  fc.uniqueArray(fc.constantFrom<PolicyResult>('allowed', 'denied')).map((list) => ({
    text: `rbac.result in [${list.map((word) => `"${word}"`).join(', ')}]`,
    of: ({ result }: Facts) => known(result, (value) => list.includes(value)),
  })),
  fc.constantFrom<Case>(
    { text: 'connection.mtls', of: ({ mtls }) => mtls },
    { text: 'has(connection.mtls)', of: ({ mtls }) => mtls !== undefined },
    { text: 'has(response.code)', of: ({ code }) => code !== undefined },
    { text: 'request.method.startsWith("G")', of: ({ method }) => known(method, (text) => text.startsWith('G')) },
    { text: 'size(request.method) == 4', of: ({ method }) => known(method, (text) => text.length === 4) },
    { text: 'true', of: () => true },
    { text: 'false', of: () => false },
  ),
);

const { tree } = fc.letrec<{ tree: Case }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaf,
    tie('tree').map((inner) => ({
      text: `!(${inner.text})`,
      of: (facts: Facts) => known(inner.of(facts), (value) => !value),
    })),
    fc.tuple(tie('tree'), tie('tree')).map(([a, b]) => ({
      text: `(${a.text} && ${b.text})`,
      of: (facts: Facts) => {
        const sides = [a.of(facts), b.of(facts)];
        return sides.includes(false) ? false : sides.includes(undefined) ? undefined : true;
      },
    })),
    fc.tuple(tie('tree'), tie('tree')).map(([a, b]) => ({
      text: `(${a.text} || ${b.text})`,
      of: (facts: Facts) => {
        const sides = [a.of(facts), b.of(facts)];
        return sides.includes(true) ? true : sides.includes(undefined) ? undefined : false;
      },
    })),
    fc.tuple(tie('tree'), tie('tree'), tie('tree')).map(([condition, yes, no]) => ({
      text: `(${condition.text} ? ${yes.text} : ${no.text})`,
      of: (facts: Facts) => {
        const value = condition.of(facts);
        return value === undefined ? undefined : value ? yes.of(facts) : no.of(facts);
      },
    })),
  ),
}));

const facts: fc.Arbitrary<Facts> = fc.record({
  code: fc.option(fc.nat(4), { nil: undefined }),
  method: fc.option(fc.constantFrom('GET', 'POST', 'PUT'), { nil: undefined }),
  mtls: fc.option(fc.boolean(), { nil: undefined }),
  result: fc.option(fc.constantFrom<PolicyResult>('allowed', 'denied'), { nil: undefined }),
  second: fc.nat(9),
});

function rowOf({ code, method, mtls, result, second }: Facts): {
  readonly record: FlowRecord;
  readonly startNs: bigint;
} {
  const record = {
    response: code === undefined ? {} : { code },
    request: method === undefined ? {} : { method },
    connection: mtls === undefined ? {} : { mtls },
    rbac: result === undefined ? {} : { result },
  };
  return { record: record as unknown as FlowRecord, startNs: START_NS + BigInt(second) * 1_000_000_000n };
}

test('any filter means what three-valued logic says, and its bounds leave no match out', () => {
  fc.assert(
    fc.property(tree, fc.array(facts, { minLength: 1, maxLength: 8 }), ({ text, of }, all) => {
      const { matches, bounds } = parseFilter(text);
      for (const one of all) {
        const row = rowOf(one);
        assert.equal(matches(row), of(one) === true, `${text} on ${JSON.stringify(one)}`);
        if (!matches(row)) continue;
        assert.ok(bounds.sinceNs === undefined || row.startNs >= bounds.sinceNs, text);
        assert.ok(bounds.untilNs === undefined || row.startNs < bounds.untilNs, text);
      }
    }),
    { numRuns: 3000 },
  );
});

const WORDS = [
  ...ATTRIBUTES.keys(),
  '&&',
  '||',
  '!',
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  ',',
  '.',
  '?',
  ':',
  '==',
  '<',
  '=',
  '<>',
  'and',
  'not',
  'like',
  '"Denied"',
  '-',
  'in',
  'has',
  'size',
  'timestamp',
  'duration',
  '"a"',
  "'",
  '"',
  '1',
  '1.5',
  '1u',
  'null',
  'true',
  'b"x"',
  '\\',
  '"\\u0000"',
  '//',
  '__proto__',
  'constructor',
  'all',
  'x',
  '@',
  '\u202e',
  '\ud800',
  '😀',
];

test('odd texts are refused with their place, or mean something', () => {
  const odd = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.array(fc.constantFrom(...WORDS), { maxLength: 14 }).map((words) => words.join(' ')),
    fc.array(fc.constantFrom(...WORDS), { maxLength: 14 }).map((words) => words.join('')),
  );
  const batch = decodeBatch(new StreamMaker(1).batch(1));
  const row = { record: recordOf(sourceOf(batch, 0, 0)), startNs: START_NS };
  fc.assert(
    fc.property(odd, (text) => {
      try {
        assert.equal(typeof parseFilter(text).matches(row), 'boolean');
      } catch (error) {
        assert.ok(error instanceof MeshtrailError, `${JSON.stringify(text)}: ${(error as Error).stack}`);
        assert.equal(error.code, 'FILTER_INVALID');
        const { start, end } = error.position ?? { start: -1, end: -1 };
        assert.ok(
          0 <= start && start <= end && end <= Math.max(text.length, start),
          `${JSON.stringify(text)} at ${start}-${end}`,
        );
      }
    }),
    { numRuns: 5000 },
  );
});
