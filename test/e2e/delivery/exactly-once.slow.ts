// Many exchanges of every kind through a collector that misbehaves in every way, again and again.

import { test } from 'node:test';
import { withEnvoy } from '../support.ts';
import { playExactlyOnce } from './exactly-once.ts';

const envoy = withEnvoy();

test(
  '20,000 exchanges of every kind, a collector with every fault: each is recorded exactly once',
  envoy.options,
  (t) => playExactlyOnce(t, envoy, 20_000, 4),
);
