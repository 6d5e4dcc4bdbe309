// Goal: kill -9 at any moment, starting up included, loses nothing that was acknowledged and never shortens what was published.

import { test } from 'node:test';
import { crash } from './crash.ts';

test('forty kills under load', async (t) => {
  await crash(t, 40, 900);
});
