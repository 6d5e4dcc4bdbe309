// Goal: filters mean what CEL means, absence stays absence, errors tell the place, and nothing hostile is slow.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ATTRIBUTES } from '../../../collector/src/core/attributes.ts';
import { decodeBatch } from '../../../collector/src/core/codec/batch.ts';
import { encodeBatch } from '../../../collector/src/core/codec/encode.ts';
import { recordOf, sourceOf } from '../../../collector/src/core/codec/record.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';
import { parseFilter } from '../../../collector/src/core/query/filter.ts';
import { parseDurationNs, parseRfc3339, parseTime } from '../../../collector/src/core/time.ts';
import { START_NS } from '../../support/facts.ts';

const batch = decodeBatch(
  encodeBatch({
    stream: new Uint8Array(16),
    batchNumber: 0,
    firstRecord: 0,
    rows: [
      {
        verdict: 'denied',
        startNs: START_NS,
        durationUs: 4512,
        path: '/pay/1?x=é',
        headers: 'x-team: blue\nx-team: green\n',
        responseBytes: 7,
        connection: { direction: 1, mtls: true, peerPrincipal: 'spiffe://m/ns/backend/sa/inventory' },
        outcome: { code: 403, method: 'GET', policy: 'deny-all' },
      },
    ],
  }),
);
const row = { record: recordOf(sourceOf(batch, 4, 0)), startNs: START_NS };
const ask = (text: string): boolean => parseFilter(text).matches(row);

test('meaning', () => {
  for (const [text, want] of [
    ['verdict == "denied"', true],
    ['verdict != "denied"', false],
    ['verdict in ["allowed", "denied"]', true],
    ['!(verdict in ["allowed"])', true],
    ['response.code >= 400 && response.code < 500', true],
    ['response.code == 403 || false', true],
    ['400 <= response.code', true],
    ['response.code in [401, 403]', true],
    ['connection.mtls', true],
    ['!connection.mtls', false],
    ['source.namespace == "backend" && source.service_account == "inventory"', true],
    ['request.path.startsWith("/pay")', true],
    ['request.path.endsWith("é")', true],
    ['request.path.contains("1?x")', true],
    ['size(request.path) == 10', true],
    ['request.path.size() > 10', false],
    ['duration > duration("4ms")', true],
    ['duration < duration("1h30m")', true],
    ['time >= timestamp("2026-11-24T12:00:00Z")', true],
    ['time < timestamp("2026-11-24T12:00:00Z")', false],
    ['request.headers["X-Team"] == "blue, green"', true],
    ['has(request.headers["x-other"])', false],
    ['has(policy)', true],
    ['has(upstream.address)', false],
    ['verdict == "denied" ? response.code == 403 : false', true],
    ['response.total_size > -1', true],
    ['id == "4.0"', true],
    ['record.kind == "http" && record.phase == "end"', true],
    ['record.kind in ["connection"]', false],
    ['record.sensor != "http_filter"', false],
    ['!has(record.repeat)', true],
    ['has(source.principal_from) && source.principal_from == "mtls"', true],
    ['has(connection.certificate_rejected)', false],
  ] as const)
    assert.equal(ask(text), want, text);
});

test('absent is neither equal nor different', () => {
  for (const text of [
    'trace.id == "x"',
    'trace.id != "x"',
    '!(trace.id == "x")',
    'upstream.address.startsWith("")',
    'size(trace.id) == 0',
    'trace.sampled',
    '!trace.sampled',
    'trace.sampled ? true : true',
  ])
    assert.equal(ask(text), false, text);
  assert.equal(ask('trace.id == "x" || verdict == "denied"'), true);
  assert.equal(ask('verdict == "denied" || trace.id == "x"'), true);
  assert.equal(ask('!(trace.id == "x" && verdict == "allowed")'), true);
});

function error(text: string): MeshtrailError {
  try {
    parseFilter(text);
  } catch (caught) {
    assert.ok(caught instanceof MeshtrailError, (caught as Error).stack);
    assert.equal(caught.code, 'FILTER_INVALID');
    return caught;
  }
  throw new Error(`accepted: ${text}`);
}

/** The part of a filter that its error points at. */
const shown = (text: string): string => text.slice(error(text).position?.start, error(text).position?.end);

test('a field that is true or absent is never asked for as false', () => {
  for (const name of ['record.repeat', 'connection.certificate_rejected']) {
    for (const text of [`!${name}`, `${name} == false`, `${name} != true`, `false == ${name}`, `${name} in [false]`])
      assert.match(error(text).message, new RegExp(`never false: write !has\\(${name}\\)\\.$`), text);
    for (const text of [name, `${name} == true`, `${name} != false`, `has(${name})`]) assert.equal(ask(text), false);
    assert.equal(ask(`!has(${name})`), true);
  }
  assert.equal(ask('!(connection.mtls == false)'), true, 'others may be false');
});

test('errors tell the place and the nearest name', () => {
  assert.deepEqual(
    [error('source.principle == "x"').position, error('source.principle == "x"').nearest],
    [{ start: 0, end: 16 }, 'source.principal'],
  );
  assert.equal(error('1 == 1 && respnse.code == 1').nearest, 'response.code');
  assert.equal(error('respons.code == 1').position?.start, 0);
  for (const [name, meant] of [
    ['status', 'response.code'],
    ['response.status', 'response.code'],
    ['path', 'request.path'],
    ['method', 'request.method'],
    ['principal', 'source.principal'],
    ['verdit', 'verdict'],
    ['nothing.like.it', undefined],
    ['__proto__', undefined],
  ] as const)
    assert.equal(error(`${name} == "x"`).nearest, meant, name);
  assert.match(error('verdict == denied').message, /no field "denied"; a text stands in quotes: "denied"\.$/);
  const symbol = error('verdict == \u{1f600}');
  assert.deepEqual(symbol.position, { start: 11, end: 13 });
  assert.ok(symbol.message.isWellFormed(), symbol.message);
  for (const text of [
    '',
    ' ',
    'response.code >= "500"',
    'request.path',
    'request.path + "a" == "b"',
    'response.code == ',
    '"a".matches("(a+)+$")',
    'connection.mtls > false',
    'verdict in "denied"',
    'verdict in [response.code]',
    'response.code == 1.5',
    'policy == null',
    'foo(1)',
    'has(1)',
    'has(verdict, policy)',
    'timestamp("yesterday") < time',
    'duration("soon") < duration',
    'request.headers == request.headers',
    'response.code == 99999999999999999999',
    '[1].all(x, x > 0)',
    '{"a": 1}.a == 1',
    'source == source',
    'constructor == "x"',
    '__proto__.x == "y"',
    'request.headers[verdict] == "x"',
    'time > 5',
  ])
    error(text);
});

test('what other languages write is told in the words of this one', () => {
  const texts = /is written x\.startsWith\("a"\), x\.endsWith\("a"\) or x\.contains\("a"\) here\.$/;
  for (const [text, slip, message] of [
    ['verdict == "denied" and response.code == 3', 'and', /"and" is written && here\.$/],
    ['verdict == "denied" AND true', 'AND', /"AND" is written && here\.$/],
    ['verdict == "denied" or true', 'or', /"or" is written \|\| here\.$/],
    ['verdict == "denied" & true', '&', /"&" is written && here\.$/],
    ['true | false', '|', /"\|" is written \|\| here\.$/],
    ['true && not has(policy)', 'not', /"not" is written ! here\.$/],
    ['verdict not in ["denied"]', 'not', /"not" is written ! here\.$/],
    ['not (verdict == "denied")', 'not (verdict == "denied")', /"not" is written ! here\.$/],
    ['verdict = "denied"', '=', /"=" is written == here\.$/],
    ['verdict === "denied"', '===', /"===" is written == here\.$/],
    ['verdict <> "denied"', '<>', /"<>" is written != here\.$/],
    ['request.path like "/pay%"', 'like', texts],
    ['request.path =~ "/pay"', '=~', texts],
    ["request.path LIKE '/pay'", 'LIKE', texts],
  ] as const) {
    assert.equal(shown(text), slip, text);
    assert.match(error(text).message, message, text);
  }
  // Not a slip where the word is a text or the end of a name.
  for (const text of ['policy == "and" x', 'verdict == "and', 'request.not has(policy)'])
    assert.doesNotMatch(error(text).message, /is written/, text);
  assert.match(error('response.code == "5"').message, /: an int cannot be compared with a string\.$/);
  assert.match(error('response.code').message, /: it gives an int; /);
  for (const text of ['', ' \n']) assert.match(error(text).message, /^The filter is empty; /);
});

test('a field with a closed list of values is compared with those alone', () => {
  for (const { name, choices = [] } of ATTRIBUTES.values()) {
    for (const value of choices) {
      parseFilter(`${name} == "${value}" || "${value}" != ${name} || ${name} in ["${value}"]`).matches(row);
      const capital = value.toUpperCase();
      for (const text of [
        `true || ${name} == "${capital}"`,
        `"${capital}" != ${name}`,
        `${name} in ["${value}", "${capital}"]`,
      ]) {
        assert.deepEqual([shown(text), error(text).nearest], [`"${capital}"`, value], text);
        assert.ok(error(text).message.includes(`only ${choices.join(', ')}; did you mean "${value}"?`), text);
      }
    }
  }
  for (const [text, meant] of [
    ['verdict == "deny"', 'denied'],
    ['verdict == "alowed"', 'allowed'],
    ['verdict == "nothing"', undefined],
    ['verdict == ""', undefined],
    ['connection.direction == "in"', 'inbound'],
    ['rbac.result == "ALLOW"', 'allowed'],
    ['reporter == "proxy"', undefined],
  ] as const)
    assert.equal(error(text).nearest, meant, text);
  // Other tests of the field, and other fields, take any text.
  assert.equal(ask('verdict.startsWith("den") && verdict < "e" && verdict == (true ? "denied" : "x")'), true);
  assert.equal(ask('policy == "Denied"'), false);
});

test('hostile filters are refused quickly', () => {
  for (const text of [
    '('.repeat(2000) + 'true' + ')'.repeat(2000),
    '!'.repeat(4000) + 'true',
    `verdict in [${'"a",'.repeat(1000)}"b"]`,
    'true && '.repeat(500) + 'true',
    `verdict == "${'a'.repeat(5000)}"`,
    '-'.repeat(4000) + '1 == 1',
    'a.'.repeat(2000) + 'b == 1',
  ]) {
    const startedAt = performance.now();
    assert.throws(() => parseFilter(text), { code: 'FILTER_INVALID' }, text.slice(0, 20));
    assert.ok(performance.now() - startedAt < 250, text.slice(0, 20));
  }
});

test('bounds on time are found where every match obeys them', () => {
  const t = '2026-11-24T12:00:00Z';
  const ns = parseRfc3339(t) as bigint;
  assert.deepEqual(parseFilter(`time >= timestamp("${t}") && verdict == "denied"`).bounds, { sinceNs: ns });
  assert.deepEqual(parseFilter(`timestamp("${t}") > time`).bounds, { untilNs: ns });
  assert.deepEqual(parseFilter(`time > timestamp("${t}") && time <= timestamp("2026-11-24T13:00:00Z")`).bounds, {
    sinceNs: ns + 1n,
    untilNs: (parseRfc3339('2026-11-24T13:00:00Z') as bigint) + 1n,
  });
  assert.deepEqual(parseFilter(`time >= timestamp("${t}") || verdict == "denied"`).bounds, {});
  assert.deepEqual(parseFilter(`!(time >= timestamp("${t}"))`).bounds, {});
});

test('times', () => {
  const now = Date.parse('2026-11-24T13:00:00Z');
  const iso = (text: string): string => new Date(Number(parseTime(text, now) / 1_000_000n)).toISOString();
  assert.equal(iso('-15m'), '2026-11-24T12:45:00.000Z');
  assert.equal(iso('-1h30m'), '2026-11-24T11:30:00.000Z');
  assert.equal(iso('now'), '2026-11-24T13:00:00.000Z');
  assert.equal(iso('2026-11-24T14:00:00+01:00'), '2026-11-24T13:00:00.000Z');
  assert.equal(parseTime('2026-11-24T13:00:00.000000001Z', now) % 10n, 1n);
  assert.equal(parseDurationNs('1.5s'), 1_500_000_000n);
  for (const text of [
    '',
    'yesterday',
    '2026-11-24',
    '2026-11-24T13:00:00',
    '2026-02-30T00:00:00Z',
    '-',
    '-5',
    '-5y',
    '5m',
    '2026-11-24T25:00:00Z',
    '-99999999d',
    '1',
  ])
    assert.throws(() => parseTime(text, now), { code: 'TIME_INVALID' }, text);
});

test('every attribute can be asked for', () => {
  for (const { name, type } of ATTRIBUTES.values()) if (type !== 'map') parseFilter(`has(${name})`).matches(row);
});
