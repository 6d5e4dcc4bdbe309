// The Merkle kernel (collector/assembly), as core's way to the roots of a batch: built by set-up, used where the engine has SIMD.

import { readFileSync } from 'node:fs';
import { instantiateSync } from '@assemblyscript/loader';
import type { RootsKernel } from './core/codec/roots.ts';
import { HASH_BYTES } from './core/hash.ts';

const MODULE = new URL('../../build/merkle.wasm', import.meta.url);

/** What the module exports; addresses and lengths are in its memory. */
interface Exports extends Record<string, unknown> {
  readonly memory: { readonly buffer: ArrayBuffer };
  batch(): number;
  secret(): number;
  root(): number;
  recordRoot(from: number, count: number, rowBytes: number): number;
  dictionaryRoot(from: number, bytes: number, count: number): number;
}

function instantiate(module: Uint8Array): Exports | undefined {
  try {
    return instantiateSync<Exports>(module).exports;
  } catch {
    // An engine without SIMD refuses to compile it.
    return undefined;
  }
}

/** Loads the kernel; undefined where the engine cannot run it. Throws when the module was not built. */
export function loadRootsKernel(): RootsKernel | undefined {
  const exports = instantiate(readFileSync(MODULE));
  if (exports === undefined) return undefined;
  const memory = new Uint8Array(exports.memory.buffer);
  const [batchAt, secretAt, rootAt] = [exports.batch(), exports.secret(), exports.root()];
  const root = (isDone: number): Uint8Array | undefined =>
    isDone === 0 ? undefined : memory.slice(rootAt, rootAt + HASH_BYTES);
  return {
    recordRoot: (rows, count) => {
      if (count === 0) return undefined;
      memory.set(rows, batchAt);
      return root(exports.recordRoot(0, count, rows.length / count));
    },
    dictionaryRoot: (entries, count, secret) => {
      if (count === 0) return undefined;
      memory.set(entries, batchAt);
      memory.set(secret, secretAt);
      return root(exports.dictionaryRoot(0, entries.length, count));
    },
  };
}
