// Headers that carry credentials: they can never be put on the list of recorded headers.

import { isText } from './bytes';
import { text } from './text';

function contains(name: usize, bytes: usize, part: usize): bool {
  const length = <usize>load<u8>(part);
  for (let i: usize = 0; i + length <= bytes; i++) if (isText(name + i, length, part)) return true;
  return false;
}

/** Whether a header of this name (lower case) is never recorded. A list would miss the next product's name, so parts of names count. */
export function isSecretName(name: usize, bytes: usize): bool {
  return (
    contains(name, bytes, text('token')) ||
    contains(name, bytes, text('secret')) ||
    contains(name, bytes, text('passw')) ||
    contains(name, bytes, text('credential')) ||
    contains(name, bytes, text('api-key')) ||
    contains(name, bytes, text('apikey')) ||
    contains(name, bytes, text('session')) ||
    contains(name, bytes, text('cookie')) ||
    contains(name, bytes, text('authorization')) ||
    contains(name, bytes, text('jwt')) ||
    contains(name, bytes, text('csrf')) ||
    contains(name, bytes, text('xsrf')) ||
    contains(name, bytes, text('signature')) ||
    isText(name, bytes, text('x-forwarded-client-cert'))
  );
}
