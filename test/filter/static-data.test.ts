// How the filter's texts and areas of memory become data of the module (tools/static-data.js): small programs in its place.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { instantiateSync } from '@assemblyscript/loader';
import asc from 'assemblyscript/asc';

const TRANSFORM = fileURLToPath(new URL('../../tools/static-data.js', import.meta.url));
const ROOM = 'filter/assembly/record/text.ts';
const room = readFileSync(new URL(`../../${ROOM}`, import.meta.url), 'utf8');

interface Compiled {
  readonly module: Uint8Array | undefined;
  readonly message: string;
}

/** Compiles a program that stands beside the room. */
async function compile(program: string): Promise<Compiled> {
  const sources = new Map([
    [ROOM, room],
    ['filter/assembly/main.ts', `import { path, text } from './record/text';\n${program}`],
  ]);
  let module: Uint8Array | undefined;
  const options = ['--runtime', 'stub', '--noAssert', '--use', 'abort=', '--exportStart', '_initialize', '-O3'];
  const args = ['filter/assembly/main.ts', '--transform', TRANSFORM, '--outFile', 'main.wasm', ...options];
  const { error, stderr } = await asc.main(args, {
    readFile: (name) => sources.get(name) ?? null,
    writeFile: (_name, contents) => {
      if (contents instanceof Uint8Array) module = contents;
    },
    listFiles: () => [],
  });
  return { module, message: `${error?.message ?? ''}${stderr.toString()}` };
}

interface Memory {
  readonly bytes: Uint8Array;
  readonly exports: Readonly<Record<string, number>>;
}

type Global = { readonly value: unknown };
type Exports = { readonly memory: { readonly buffer: ArrayBuffer } } & Record<string, unknown>;
const isGlobal = (value: unknown): value is Global => typeof value === 'object' && value !== null && 'value' in value;

/** Runs a program: its memory before any call, and the addresses that it exports. */
async function run(program: string): Promise<Memory> {
  const { module, message } = await compile(program);
  assert.ok(module !== undefined, message);
  const { memory, ...others } = instantiateSync(Buffer.from(module)).instance.exports as unknown as Exports;
  const globals = Object.entries(others).filter((entry): entry is [string, Global] => isGlobal(entry[1]));
  return {
    bytes: new Uint8Array(memory.buffer),
    exports: Object.fromEntries(globals.map(([name, { value }]) => [name, Number(value)])),
  };
}

function textAt({ bytes, exports }: Memory, name: string): string {
  const at = exports[name] ?? 0;
  return Buffer.from(bytes.subarray(at + 1, at + 1 + (bytes[at] ?? 0))).toString('latin1');
}

test('texts and paths stand in memory before anything runs, each once', async () => {
  const memory = await run(`
    export const A: usize = text('abc');
    export const B: usize = text('abc');
    export const DOTS: usize = text('a.b');
    export const PATH: usize = path('xds.node.id');
    export const PARTS: usize = path('filter_state', 'io.istio.peer_principal');
    export const LONGEST: usize = text('${'x'.repeat(255)}');
    export const TABLE: usize = memory.data<u32>([<u32>text('in a table'), <u32>path('a.c')]);`);
  assert.equal(textAt(memory, 'A'), 'abc');
  assert.equal(memory.exports['A'], memory.exports['B']);
  assert.equal(textAt(memory, 'DOTS'), 'a.b');
  assert.equal(textAt(memory, 'PATH'), 'xds\0node\0id');
  assert.equal(textAt(memory, 'PARTS'), 'filter_state\0io.istio.peer_principal');
  assert.equal(textAt(memory, 'LONGEST'), 'x'.repeat(255));
  const table = new DataView(memory.bytes.buffer, memory.exports['TABLE']);
  const inTable = { ...memory, exports: { first: table.getUint32(0, true), second: table.getUint32(4, true) } };
  assert.equal(textAt(inTable, 'first'), 'in a table');
  assert.equal(textAt(inTable, 'second'), 'a\0c');
});

test('areas are zero, aligned, and share no byte with another one or a text', async () => {
  const sizes = [8, 1, 3, 16, 320, 321, 1024, 40_000, 5, 17];
  const lines = sizes.map((size, i) => `export const A${i}: usize = memory.data(${size}, ${i % 2 === 0 ? 16 : 4});`);
  const { bytes, exports } = await run(`${lines.join('\n')}\nexport const T: usize = text('between them');`);
  const areas = sizes.map((size, i) => ({ size, at: exports[`A${i}`] ?? 0, align: i % 2 === 0 ? 16 : 4 }));
  for (const { at, size, align } of areas) {
    assert.equal(at % align, 0);
    assert.ok(bytes.subarray(at, at + size).every((byte) => byte === 0));
  }
  const all = [...areas, { at: exports['T'] ?? 0, size: 13 }].toSorted((a, b) => a.at - b.at);
  for (const [i, { at, size }] of all.entries()) assert.ok(at + size <= (all[i + 1]?.at ?? Number.POSITIVE_INFINITY));
  assert.ok((areas[7]?.at ?? 0) > (areas[0]?.at ?? 0), 'what is small comes first');
});

test('the same sources give the same bytes', async () => {
  const program = `export function f(): usize { return text('a') + text('b') + memory.data(8, 8) + memory.data(8, 8); }`;
  const [first, second] = [await compile(program), await compile(program)];
  assert.ok(first.module !== undefined);
  assert.deepEqual(first.module, second.module);
});

test('what is no literal of 1 to 255 ASCII characters does not compile', async () => {
  const wrong = [
    `const n: string = 'a'; export const A: usize = text(n);`,
    `export const A: usize = text('');`,
    `export const A: usize = text('ä');`,
    `export const A: usize = text('${'x'.repeat(256)}');`,
    `export const A: usize = text('a' + 'b');`,
    `export const A: usize = path('a', 'b' + 'c');`,
  ];
  for (const program of wrong) {
    const { module, message } = await compile(program);
    assert.equal(module, undefined, program);
    assert.match(message, /must be of 1 to 255 ASCII characters, literally/);
  }
});
