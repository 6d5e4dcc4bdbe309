// The hooks of Proxy-Wasm 0.2.1 that the recorder answers, and nothing else. No hook for headers, bodies or data is exported, so
// that no request waits for the recorder; none for the creation or deletion of contexts, since nothing is kept for one.

import { allocate, resetArena } from './abi/memory';
import { noteAnswer } from './context/delivery';
import { record } from './context/recorder';
import { configure, end, tick } from './context/roots';

/** Tells the host which version of the ABI this is. */
export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_memory_allocate(bytes: u32): usize {
  return allocate(<usize>bytes);
}

export function proxy_on_vm_start(_root: u32, _configurationBytes: u32): u32 {
  return 1;
}

export function proxy_on_configure(root: u32, configurationBytes: u32): u32 {
  resetArena();
  return configure(root, configurationBytes) ? 1 : 0;
}

export function proxy_on_tick(root: u32): void {
  resetArena();
  tick(root);
}

export function proxy_on_log(_context: u32): void {
  resetArena();
  record();
}

export function proxy_on_done(context: u32): u32 {
  resetArena();
  end(context);
  return 1;
}

export function proxy_on_http_call_response(
  _root: u32,
  token: u32,
  _headers: u32,
  bodyBytes: u32,
  _trailers: u32,
): void {
  resetArena();
  noteAnswer(token, bodyBytes);
}
