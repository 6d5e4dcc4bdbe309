// Lines in the proxy's own log: few, constant, and never about a single request.

import { proxy_log } from '../abi/env';
import { LOG_ERROR, LOG_WARN } from '../abi/status';
import { text } from '../record/text';

const LINE: usize = memory.data(768, 8);
const LINE_BYTES_MAX: usize = 768;
const PREFIX = text('meshtrail: ');
const KEY = text('configuration: ');
const QUOTE = text('"');
const SPACE = text(' ');

let bytes: usize = 0;

function add(at: usize, length: usize): void {
  const room = LINE_BYTES_MAX - bytes;
  const kept = length > room ? room : length;
  memory.copy(LINE + bytes, at, kept);
  bytes += kept;
}

function addText(constant: usize): void {
  add(constant + 1, <usize>load<u8>(constant));
}

/** Says a text constant. */
export function say(constant: usize): void {
  bytes = 0;
  addText(PREFIX);
  addText(constant);
  proxy_log(LOG_WARN, LINE, bytes);
}

/** Says why the configuration is refused; no key: the whole is at fault. */
export function sayRefused(keyAt: usize, keyBytes: usize, why: usize): void {
  bytes = 0;
  addText(PREFIX);
  addText(KEY);
  if (keyBytes > 0) {
    addText(QUOTE);
    add(keyAt, keyBytes > 64 ? 64 : keyBytes);
    addText(QUOTE);
    addText(SPACE);
  }
  addText(why);
  proxy_log(LOG_ERROR, LINE, bytes);
}
