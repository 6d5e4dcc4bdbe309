// Goal: one flipped bit in any stored value is found by fsck, which names the place; so is every value that is gone, moved or added.
// Method: real LevelDB, closed; values are changed under it, every kind of key systematically, then places at random.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { key64, metaKey, tileKey, valueOf64 } from '../../collector/src/store/keys.ts';
import { damage, databasesOf, edit, flipped, kindOf, makeDirectory, Workshop } from './directory.ts';

interface Stored {
  readonly database: string;
  readonly kind: string;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

let shop: Workshop;
let directory: string;
let values: Stored[];

before(async () => {
  shop = await Workshop.open();
  directory = shop.next();
  await makeDirectory(directory);
  values = [];
  for (const database of await databasesOf(directory))
    await edit(join(directory, database), async (db) => {
      for await (const [key, value] of db.iterator())
        values.push({
          database,
          kind: kindOf(database, key),
          key: Uint8Array.from(key),
          value: Uint8Array.from(value),
        });
    });
});
after(async () => await shop.remove());

const PLACES: Readonly<Record<string, RegExp>> = {
  'segment e': /^segment entry \d+$/,
  'segment b': /^segment body \d+ \(stream [0-9a-f]{32} batch \d+\)$/,
  'tree t': /^tree tile\/[01]\/\d+(\.p\/\d+)?$/,
  'tree n': /^tree entry tile 0$/,
  'tree s': /^tree key of stream [0-9a-f]{32} batch \d+$/,
  'tree c': /^tree key of stream [0-9a-f]{32} batch 1$/,
  'tree mintegrated': /^tree "integrated"$/,
  'tree mpublished': /^tree "published"$/,
  'tree mformat': /tree has another format/,
  'last-signed last-signed': /^last-signed$/,
};

/** Where another place is named when the last value of a kind is gone. */
const GONE: Readonly<Record<string, RegExp>> = {
  // The last entry that is gone is a log that is shorter than what was signed.
  'segment e': /^tree "published"$/,
  'tree mformat': /tree holds a tree and does not say in which format/,
};

/** Changes one value, looks, and puts it back. */
async function withValue(stored: Stored, value: Uint8Array | undefined, look: () => Promise<void>): Promise<void> {
  const path = join(directory, stored.database);
  await edit(path, async (db) => (value === undefined ? await db.del(stored.key) : await db.put(stored.key, value)));
  try {
    await look();
  } finally {
    await edit(path, async (db) => await db.put(stored.key, stored.value));
  }
}

const isFound = async (what: string, place: RegExp): Promise<void> => {
  const found = await damage(directory);
  assert.ok(
    found.some((finding) => place.test(finding.place)),
    `${what}: ${JSON.stringify(found.slice(0, 3))}`,
  );
};
const hasFlipFound = async (stored: Stored, bit: number): Promise<void> =>
  await withValue(
    stored,
    flipped(stored.value, bit),
    async () =>
      await isFound(
        `${stored.kind} ${Buffer.from(stored.key).toString('hex')} bit ${bit} of ${stored.value.length * 8}`,
        PLACES[stored.kind] as RegExp,
      ),
  );
const ofKind = (kind: string): Stored[] => values.filter((stored) => stored.kind === kind);

test('the directory is clean, and has every kind of key', async () => {
  assert.deepEqual(await damage(directory), []);
  assert.deepEqual([...new Set(values.map(({ kind }) => kind))].sort(), Object.keys(PLACES).sort());
});

test('a flipped bit in every kind of value is found and placed', async () => {
  for (const kind of Object.keys(PLACES)) {
    const all = ofKind(kind);
    for (const stored of new Set([all[0] as Stored, all.at(-1) as Stored]))
      for (const bit of [0, 7, stored.value.length * 4 + 3, stored.value.length * 8 - 1])
        await hasFlipFound(stored, bit);
  }
});

test('a flipped bit at a random place is found and placed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...Object.keys(PLACES)), fc.nat(), fc.nat(), async (kind, which, bit) => {
      const all = ofKind(kind);
      const stored = all[which % all.length] as Stored;
      await hasFlipFound(stored, bit % (stored.value.length * 8));
    }),
    { numRuns: Number(process.env['MESHTRAIL_FAULT_RUNS'] ?? 40) },
  );
});

test('a value that is gone, cut short or emptied is found and placed', async () => {
  for (const [kind, place] of Object.entries(PLACES)) {
    const stored = ofKind(kind).at(-1) as Stored;
    const gone = GONE[kind] ?? place;
    await withValue(stored, undefined, async () => await isFound(`${kind} gone`, gone));
    for (const value of [stored.value.subarray(0, stored.value.length - 1), new Uint8Array(0)])
      await withValue(stored, value, async () => await isFound(`${kind} of ${value.length} bytes`, place));
  }
});

test('values that changed places are found', async () => {
  for (const [kind, [a, b]] of Object.entries({ 'segment b': [4, 9], 'segment e': [4, 9], 'tree s': [0, 5] })) {
    const [one, other] = [ofKind(kind)[a as number] as Stored, ofKind(kind)[b as number] as Stored];
    await withValue(
      one,
      other.value,
      async () =>
        await withValue(other, one.value, async () => await isFound(`${kind} swapped`, PLACES[kind] as RegExp)),
    );
  }
});

test('keys that no collector wrote are found', async () => {
  const value = (ofKind('segment b')[0] as Stored).value;
  const heartbeat = values.find(
    ({ kind, value: text }) => kind === 'segment e' && Buffer.from(text).includes('heartbeat'),
  );
  const at = valueOf64((heartbeat as Stored).key);
  const extra: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['segments/0000000000000000', key64('b', at), /^segments bodies$/],
    ['segments/0000000000000000', key64('e', 9000), /^segments entries$/],
    ['segments/0000000000000256', key64('e', 3), /^segments entries$/],
    ['segments/0000000000000256', key64('e', 2 ** 50), /^segment entry 272$/],
    ['segments/0000000000000000', Uint8Array.of(1, 2, 3), /^segments keys$/],
    ['tree', tileKey(0, 77), /^tree hash tiles$/],
    ['tree', tileKey(7, 0), /^tree hash tiles$/],
    ['tree', key64('n', 1), /^tree entry tiles$/],
    ['tree', Uint8Array.from({ length: 25 }, (_, i) => (i === 0 ? 0x73 : i)), /^tree stream keys$/],
    ['tree', Uint8Array.from({ length: 25 }, (_, i) => (i === 0 ? 0x63 : i)), /^tree conflict keys$/],
    ['tree', metaKey('other'), /^tree keys$/],
    ['last-signed', Uint8Array.of(1), /^last-signed$/],
    ['last-signed', Uint8Array.of(255), /^last-signed$/],
  ];
  for (const [database, key, place] of extra) {
    const path = join(directory, database);
    await edit(path, async (db) => await db.put(key, value));
    await isFound(`${database} ${Buffer.from(key).toString('hex')}`, place);
    await edit(path, async (db) => await db.del(key));
  }
  assert.deepEqual(await damage(directory), []);
});
