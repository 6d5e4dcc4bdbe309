// A recorder that traps on command, for the tests of what a trap does to live traffic: the hooks of the release around an
// instruction that ends the VM. The release is built from ../assembly/index alone and has none of this.
//
// The command is the plugin's VM configuration: `log` traps in the log hook of an exchange that carries the header `x-trap`;
// `log:N` in the Nth log hook of the VM, `tick:N` in the first tick after it, `allocate:N` hands the host no room after it;
// `configure` traps when the plugin is configured. In the log hook and at a tick one VM of the proxy traps, and only once.

import {
  proxy_get_buffer_bytes,
  proxy_get_header_map_value,
  proxy_get_shared_data,
  proxy_set_shared_data,
} from '../assembly/abi/env';
import { MAP_REQUEST, NOT_FOUND, OK } from '../assembly/abi/status';
import * as recorder from '../assembly/index';

const BUFFER_VM_CONFIGURATION: u32 = 6;
const LETTER_A: u32 = 97;
const LETTER_C: u32 = 99;
const LETTER_L: u32 = 108;
const LETTER_T: u32 = 116;

const OUT: usize = memory.data(16, 8);
const HEADER: usize = memory.data<u8>([0x78, 0x2d, 0x74, 0x72, 0x61, 0x70]); // "x-trap"
const HEADER_BYTES: usize = 6;

/** First letter of the command, 0 none. */
let command: u32 = 0;
/** The N of the command, 0 none. */
let after: u32 = 0;
let logged: u32 = 0;

/** Reads `word` or `word:N`. */
function readCommand(at: usize, bytes: usize): void {
  command = bytes == 0 ? 0 : <u32>load<u8>(at);
  let isNumber = false;
  for (let i: usize = 0; i < bytes; i++) {
    const letter = <u32>load<u8>(at + i);
    if (letter == 58) isNumber = true;
    else if (isNumber) after = after * 10 + letter - 48;
  }
}

/** Ends the VM, unless one of the proxy did already. */
function trap(): void {
  if (proxy_get_shared_data(HEADER, HEADER_BYTES, OUT, OUT + 4, OUT + 8) != NOT_FOUND) return;
  proxy_set_shared_data(HEADER, HEADER_BYTES, HEADER, HEADER_BYTES, 0);
  unreachable();
}

function isTold(): bool {
  if (after > 0) return logged >= after;
  return proxy_get_header_map_value(MAP_REQUEST, HEADER, HEADER_BYTES, OUT, OUT + 4) == OK && load<u32>(OUT, 4) > 0;
}

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_memory_allocate(bytes: u32): usize {
  if (command == LETTER_A && logged >= after) return 0;
  return recorder.proxy_on_memory_allocate(bytes);
}

export function proxy_on_vm_start(root: u32, configurationBytes: u32): u32 {
  if (
    configurationBytes > 0 &&
    proxy_get_buffer_bytes(BUFFER_VM_CONFIGURATION, 0, configurationBytes, OUT, OUT + 4) == OK
  )
    readCommand(<usize>load<u32>(OUT), <usize>load<u32>(OUT, 4));
  return recorder.proxy_on_vm_start(root, configurationBytes);
}

export function proxy_on_configure(root: u32, configurationBytes: u32): u32 {
  if (command == LETTER_C) unreachable();
  return recorder.proxy_on_configure(root, configurationBytes);
}

export function proxy_on_tick(root: u32): void {
  if (command == LETTER_T && logged >= after) trap();
  recorder.proxy_on_tick(root);
}

export function proxy_on_new_connection(context: u32): u32 {
  return recorder.proxy_on_new_connection(context);
}

export function proxy_on_log(context: u32): void {
  logged++;
  if (command == LETTER_L && isTold()) trap();
  recorder.proxy_on_log(context);
}

export function proxy_on_done(context: u32): u32 {
  return recorder.proxy_on_done(context);
}

export function proxy_on_http_call_response(root: u32, token: u32, headers: u32, body: u32, trailers: u32): void {
  recorder.proxy_on_http_call_response(root, token, headers, body, trailers);
}
