// Goal: kill -9 under load loses nothing that was acknowledged. The same with many more kills: crash.slow.ts.

import { test } from 'node:test';
import { crash } from './crash.ts';

test('three kills under load', async (t) => {
  await crash(t, { kills: 3, seed: 500 });
});
