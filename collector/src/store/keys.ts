// Keys of the LevelDB stores (docs/formats.md section 7): a letter, then big-endian integers, so that they ascend with the log.

/** A key of a letter and a u64. */
export function key64(letter: string, value: number): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = letter.charCodeAt(0);
  new DataView(key.buffer).setBigUint64(1, BigInt(value));
  return key;
}

/** The u64 behind the letter. */
export function valueOf64(key: Uint8Array): number {
  return Number(new DataView(key.buffer, key.byteOffset, key.byteLength).getBigUint64(1));
}

/** Key of a hash tile: level, index. */
export function tileKey(level: number, index: number): Uint8Array {
  const key = new Uint8Array(10);
  key[0] = 't'.charCodeAt(0);
  key[1] = level;
  new DataView(key.buffer).setBigUint64(2, BigInt(index));
  return key;
}

/** Key of a batch (`s`) or of its conflict entry (`c`). */
export function batchKey(letter: 's' | 'c', stream: Uint8Array, batchNumber: number): Uint8Array {
  const key = new Uint8Array(25);
  key[0] = letter.charCodeAt(0);
  key.set(stream, 1);
  new DataView(key.buffer).setBigUint64(17, BigInt(batchNumber));
  return key;
}

/** Key of a value that stands alone. */
export function metaKey(name: string): Uint8Array {
  return new TextEncoder().encode(`m${name}`);
}
