// The tree says in which format it is; one that no longer says so is damaged, not new.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { metaKey } from '../../collector/src/store/keys.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelTiles } from '../../collector/src/store/level-tree.ts';

test('a tree without its format is refused, an empty one is made', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'meshtrail format '));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const tiles = await openLevelTiles(dir);
  await tiles.publish('a note\n');
  await tiles.close();
  await (await openLevelTiles(dir)).close();
  const database = await openLevel(dir, 1 << 20);
  await database.del(metaKey('format'));
  await database.close();
  await assert.rejects(openLevelTiles(dir), { code: 'STORE_CORRUPT', message: /does not say in which format/ });
});
