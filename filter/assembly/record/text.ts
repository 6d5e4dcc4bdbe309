// Text constants: one length byte with the bytes behind it. They are made from literals once, by `_initialize`.

const ROOM: usize = 8192;
const BYTES: usize = memory.data(8192, 8);
const TEXT_BYTES_MAX: usize = 255;

let used: usize = 0;

function keep(literal: string, isPath: bool): usize {
  const length = <usize>literal.length;
  if (length > TEXT_BYTES_MAX || used + 1 + length > ROOM) return BYTES;
  const at = BYTES + used;
  store<u8>(at, <u8>length);
  for (let i: usize = 0; i < length; i++) {
    const unit = load<u16>(changetype<usize>(literal) + 2 * i);
    store<u8>(at + 1 + i, isPath && unit == 46 ? 0 : <u8>unit);
  }
  used += 1 + length;
  return at;
}

/** An ASCII text. */
export function text(literal: string): usize {
  return keep(literal, false);
}

/** A property path: its parts are parted by dots in the literal and by NUL in memory. */
export function path(literal: string): usize {
  return keep(literal, true);
}
