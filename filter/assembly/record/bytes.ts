// Comparisons over linear memory. A text constant (text.ts) is one length byte with the bytes behind it.

export function isEqual(a: usize, b: usize, bytes: usize): bool {
  if (bytes < 8) {
    for (let i: usize = 0; i < bytes; i++) if (load<u8>(a + i) != load<u8>(b + i)) return false;
    return true;
  }
  // The last word overlaps the one before it.
  const last = bytes - 8;
  for (let i: usize = 0; i < last; i += 8) if (load<u64>(a + i) != load<u64>(b + i)) return false;
  return load<u64>(a + last) == load<u64>(b + last);
}

export function isZero(at: usize, bytes: usize): bool {
  for (let i: usize = 0; i < bytes; i++) if (load<u8>(at + i) != 0) return false;
  return true;
}

export function isText(at: usize, bytes: usize, text: usize): bool {
  return bytes == <usize>load<u8>(text) && isEqual(at, text + 1, bytes);
}

export function startsWith(at: usize, bytes: usize, text: usize): bool {
  const length = <usize>load<u8>(text);
  return bytes >= length && isEqual(at, text + 1, length);
}

export function endsWith(at: usize, bytes: usize, text: usize): bool {
  const length = <usize>load<u8>(text);
  return bytes >= length && isEqual(at + bytes - length, text + 1, length);
}

/** Value of a lower-case hex digit, 255 for any other byte. */
export function hexValue(byte: u32): u32 {
  if (byte - 48 < 10) return byte - 48;
  if (byte - 97 < 6) return byte - 87;
  return 255;
}

/** Reads `bytes` bytes from lower-case hex into `out`; false when a digit is something else. */
export function readHex(at: usize, bytes: usize, out: usize): bool {
  for (let i: usize = 0; i < bytes; i++) {
    const high = hexValue(load<u8>(at + 2 * i));
    const low = hexValue(load<u8>(at + 2 * i + 1));
    if ((high | low) > 15) return false;
    store<u8>(out + i, <u8>((high << 4) | low));
  }
  return true;
}
