// Headers that carry credentials: they can never be put on the list of recorded headers.

import { isText } from './bytes';
import { text } from './text';

function contains(name: usize, bytes: usize, part: usize): bool {
  const length = <usize>load<u8>(part);
  for (let i: usize = 0; i + length <= bytes; i++) if (isText(name + i, length, part)) return true;
  return false;
}

/** A list of names would miss the next product's, so parts of names count. */
const PARTS: usize = memory.data<u32>([
  <u32>text('api-key'),
  <u32>text('apikey'),
  <u32>text('authorization'),
  <u32>text('client-cert'),
  <u32>text('cookie'),
  <u32>text('credential'),
  <u32>text('csrf'),
  <u32>text('jwt'),
  <u32>text('passw'),
  <u32>text('secret'),
  <u32>text('session'),
  <u32>text('signature'),
  <u32>text('token'),
  <u32>text('xsrf'),
]);
const PART_COUNT: usize = 14;

/** Whether a header of this name (lower case) is never recorded. */
export function isSecretName(name: usize, bytes: usize): bool {
  for (let i: usize = 0; i < PART_COUNT; i++) if (contains(name, bytes, <usize>load<u32>(PARTS + 4 * i))) return true;
  return false;
}
