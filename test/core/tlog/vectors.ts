// Reads the vectors and judges their cases: a verdict is accept (no error), reject (a coded error, never another one) or
// beyond (the size is over 2^53 - 1, which every reader here refuses by name, whatever the case wants).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseDecimal } from '../../../collector/src/core/bytes.ts';
import { MeshtrailError } from '../../../collector/src/core/error.ts';

// The files are foreign JSON whose fields differ from case to case.
export type Case = { readonly [key: string]: unknown };
export interface Vectors {
  readonly cases: readonly Case[];
  readonly [key: string]: unknown;
}

export function read(path: string): Buffer {
  return readFileSync(new URL(`../../vectors/${path}`, import.meta.url));
}

export function load(name: string): Vectors {
  return JSON.parse(read(`tlog/${name}.json`).toString()) as Vectors;
}

export function text(value: unknown): string {
  return String(value);
}

/** Bytes of a field; lenient on purpose, so that the product's strictness is what is tested. */
export function b64(value: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(text(value), 'base64'));
}

export function list(value: unknown): Uint8Array[] {
  return ((value ?? []) as readonly string[]).map(b64);
}

export function sizeOf(value: unknown): number {
  const size = parseDecimal(text(value));
  assert.ok(size !== undefined, `${text(value)} is no decimal`);
  return size;
}

export function verdict(work: () => unknown): 'accept' | 'reject' | 'beyond' {
  try {
    work();
    return 'accept';
  } catch (error) {
    assert.ok(error instanceof MeshtrailError, `not a coded error: ${(error as Error).stack}`);
    return error.code === 'TREE_SIZE_UNSUPPORTED' ? 'beyond' : 'reject';
  }
}

/** Whether a field of the case holds a number over 2^53 - 1: only then may a reader call it unsupported. */
function isBeyond(c: Case): boolean {
  return (JSON.stringify(c).match(/\d{16,}/g) ?? []).some((digits) => BigInt(digits) > Number.MAX_SAFE_INTEGER);
}

/** How many cases a file has, and how many of those wanted as valid are refused for their size. */
export interface Expected {
  readonly cases: number;
  readonly validBeyond: number;
}

const wanted = (c: Case): string => text(c['want']);

export function judge(
  cases: readonly Case[],
  expected: Expected,
  work: (c: Case) => unknown,
  want: (c: Case) => string = wanted,
): void {
  let validBeyond = 0;
  for (const c of cases) {
    const name = text(c['name'] ?? c['path'] ?? c['_path'] ?? JSON.stringify(c).slice(0, 100));
    const got = verdict(() => work(c));
    if (got === 'beyond') {
      assert.ok(isBeyond(c), `${name}: refused for its size, which is supported`);
      if (want(c) === 'accept') validBeyond++;
    } else assert.equal(got, want(c), name);
  }
  assert.deepEqual({ cases: cases.length, validBeyond }, expected);
}
