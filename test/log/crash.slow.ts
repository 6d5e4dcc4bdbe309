// Goal: kill -9 at any moment, starting up included, loses nothing that was acknowledged and never shortens what was published.

import { test } from 'node:test';
import { crash } from './crash.ts';

test('forty kills under load', async (t) => {
  await crash(t, { kills: 40, seed: 900 });
});

test('eight kills while LevelDB moves data between its files', async (t) => {
  await crash(t, { kills: 8, seed: 1900, isLarge: true });
});
