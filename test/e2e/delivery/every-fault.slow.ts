// The short form of exactly-once.slow.ts: every kind of exchange, every kind of fault.

import { test } from 'node:test';
import { withEnvoy } from '../support.ts';
import { playExactlyOnce } from './exactly-once.ts';

const envoy = withEnvoy();

test('1,500 exchanges of every kind, a collector with every fault: each is recorded exactly once', envoy.options, (t) =>
  playExactlyOnce(t, envoy, 1500, 2),
);
