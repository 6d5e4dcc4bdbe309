// Goal: docs/query.md says of counting what the code does: limits, rules of a difference, kinds of indicators, and examples that are taken.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LATENCY_REQUESTS_MIN, MTLS_SHARE_MIN, RATIO_MIN, SURE_Z } from '../../collector/src/api/diff.ts';
import { INDICATOR_CHARACTERS_MAX, INDICATOR_KINDS } from '../../collector/src/api/scope.ts';
import {
  BY_MAX,
  METRICS_MAX,
  PERCENTILE_FIELDS_MAX,
  parseBy,
  parseMetrics,
} from '../../collector/src/api/stats-parameters.ts';
import { parseFilter } from '../../collector/src/core/query/filter.ts';
import { AGGREGATE_LIMITS } from '../../collector/src/index/aggregate.ts';
import { SKETCH_ERROR } from '../../collector/src/index/samples.ts';
import { TWIN_CANDIDATES_MAX, TWIN_SLACK_NS } from '../../collector/src/index/twins.ts';

const page = readFileSync(new URL('../../docs/query.md', import.meta.url), 'utf8');
const counting = /^## Counting\n([\s\S]*?)^## /m.exec(page)?.[1] ?? '';
const number = (value: number): string => value.toLocaleString('en');

test('limits and rules are those of the code', () => {
  const { groupsMax, samplesMax, distinctMax, twinsMax } = AGGREGATE_LIMITS;
  for (const text of [
    `up to ${BY_MAX} fields, separated by commas`,
    `up to ${METRICS_MAX}, separated by commas`,
    `Of up to ${PERCENTILE_FIELDS_MAX} fields at once`,
    `of ${number(samplesMax)} values or fewer`,
    `within ${SKETCH_ERROR * 100} % of a recorded value`,
    `exact up to ${number(distinctMax)} different values`,
    `more than ${number(groupsMax)} groups`,
    `more than ${number(twinsMax)} records wait for a twin`,
    `not more than ${TWIN_SLACK_NS / 1_000_000_000n} s before`,
    `more than ${TWIN_CANDIDATES_MAX} destinations`,
    `one is ${RATIO_MIN} times the other, and the difference ${SURE_Z} standard deviations`,
    `both have ${LATENCY_REQUESTS_MIN} exchanges`,
    `by ${MTLS_SHARE_MIN}`,
    `of up to ${number(INDICATOR_CHARACTERS_MAX)} characters`,
    ...INDICATOR_KINDS.map((kind) => `\`${kind}\` (`).filter((text) => !/principal|useragent/.test(text)),
  ])
    assert.ok(counting.includes(text), text);
});

test('the examples are understood', () => {
  const lines = [...counting.matchAll(/^meshtrail stats (.+)$/gm)].map(([, line = '']) => line);
  assert.equal(lines.length, 3);
  for (const line of lines) {
    const by = /--by (\S+)/.exec(line)?.[1];
    assert.ok(parseBy(by).length > 0);
    parseMetrics(/-m '?([^' ]+)/.exec(line)?.[1] ?? 'count');
    const filter = /-f '([^']+)'/.exec(line)?.[1];
    if (filter !== undefined) parseFilter(filter);
  }
});
