// Random changes of valid bytes: what a parser meets from a disk that fails or a sender that means harm.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MeshtrailError } from '../../../collector/src/core/error.ts';

/** One change; numbers are cut to what it is applied to. */
interface Change {
  readonly kind: 'flip' | 'set' | 'insert' | 'remove' | 'repeat' | 'move' | 'cut' | 'append';
  readonly at: number;
  readonly length: number;
  readonly byte: number;
}

const change: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom('flip', 'set', 'insert', 'remove', 'repeat', 'move', 'cut', 'append'),
  at: fc.nat(),
  length: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 300 })),
  // Bytes that mean something in the formats come up more often than others.
  byte: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(...Buffer.from('\n\r \t+-=0179/.%xp"\\{}[],:—').values())),
});

/** One to three changes. */
export const changes = fc.array(change, { minLength: 1, maxLength: 3 });

const without = (bytes: Uint8Array, at: number, length: number): Uint8Array =>
  Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + length)]);
const withAt = (bytes: Uint8Array, at: number, part: Uint8Array): Uint8Array =>
  Uint8Array.from([...bytes.subarray(0, at), ...part, ...bytes.subarray(at)]);

function applyOne(bytes: Uint8Array, { kind, at, length, byte }: Change): Uint8Array {
  const place = bytes.length === 0 ? 0 : at % bytes.length;
  const part = bytes.slice(place, place + length);
  const bent = Uint8Array.from(bytes);
  switch (kind) {
    case 'flip':
      bent[place] = (bent[place] as number) ^ (1 << (byte & 7));
      return bent;
    case 'set':
      bent[place] = byte;
      return bent;
    case 'insert':
      return withAt(bytes, place, Uint8Array.of(byte));
    case 'remove':
      return without(bytes, place, length);
    case 'repeat':
      return withAt(bytes, place, part);
    case 'move': {
      const rest = without(bytes, place, length);
      return withAt(rest, (at >>> 8) % (rest.length + 1), part);
    }
    case 'cut':
      return bytes.slice(0, place);
    case 'append':
      return withAt(bytes, bytes.length, part);
  }
}

/** Applies changes one after the other. */
export function mutated(bytes: Uint8Array, list: readonly Change[]): Uint8Array {
  return list.reduce(applyOne, bytes);
}

/** What a parser gives, or undefined for a coded refusal; anything else that it throws is a failure. */
export function parsed<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    assert.ok(error instanceof MeshtrailError, (error as Error).stack);
    return undefined;
  }
}
