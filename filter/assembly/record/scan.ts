// A scanner for flat JSON: strings without escapes and whole numbers, in place, without building anything.

let at: usize = 0;
let end: usize = 0;

/** The newest string, without its quotes. */
export let stringAt: usize = 0;
export let stringBytes: usize = 0;
/** The newest number. */
export let wholeNumber: u32 = 0;

export function openScan(from: usize, bytes: usize): void {
  at = from;
  end = from + bytes;
}

function skipBlanks(): void {
  while (at < end) {
    const byte = load<u8>(at);
    if (byte != 32 && byte != 10 && byte != 13 && byte != 9) return;
    at++;
  }
}

/** Whether nothing but blanks is left. */
export function isScanned(): bool {
  skipBlanks();
  return at == end;
}

/** Takes one byte behind any blanks; false where it is another. */
export function take(byte: u8): bool {
  skipBlanks();
  if (at >= end || load<u8>(at) != byte) return false;
  at++;
  return true;
}

/** A string without escapes: none of the options needs them, and what needs decoding could be read two ways. */
export function takeString(): bool {
  if (!take(34)) return false;
  stringAt = at;
  while (at < end) {
    const byte = load<u8>(at);
    if (byte == 34) {
      stringBytes = at - stringAt;
      at++;
      return true;
    }
    if (byte == 92 || byte < 32) return false;
    at++;
  }
  return false;
}

/** A whole number of up to nine digits that a comma or the end of the object follows. */
export function takeWholeNumber(): bool {
  skipBlanks();
  wholeNumber = 0;
  let digits: u32 = 0;
  while (at < end && digits < 9) {
    const digit = <u32>load<u8>(at) - 48;
    if (digit > 9) break;
    if (digits == 1 && wholeNumber == 0) return false;
    wholeNumber = wholeNumber * 10 + digit;
    digits++;
    at++;
  }
  if (digits == 0) return false;
  skipBlanks();
  return at < end && (load<u8>(at) == 44 || load<u8>(at) == 125);
}
