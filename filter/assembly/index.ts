// The hooks of Proxy-Wasm 0.2.1 that the recorder answers, and nothing else. No hook for headers, bodies or data is exported, so
// that no request waits for the recorder; none for the creation or deletion of contexts: what lives is found at a tick.

import { allocate, resetArena } from './abi/memory';
import { noteAnswer } from './context/delivery';
import { noteConnection, noteDone, noteEnd, OF_NETWORK, OF_UNKNOWN } from './context/live';
import { hasNoDuration } from './context/readings';
import { recordConnection, recordExchange } from './context/recorder';
import { configure, end, layerOf, NO_LAYER, tick } from './context/roots';
import { LAYER_HTTP } from './record/config';
import {
  SENSOR_CONNECTION_LOGGER,
  SENSOR_HTTP_FILTER,
  SENSOR_HTTP_LOGGER,
  SENSOR_NETWORK_FILTER,
} from './record/layout';

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

/** Tells a network filter's context from an HTTP filter's; the connection goes on at once. */
export function proxy_on_new_connection(context: u32): u32 {
  noteConnection(context);
  return 0;
}

export function proxy_on_log(context: u32): void {
  resetArena();
  const layer = layerOf(context);
  if (layer == NO_LAYER) {
    const kind = noteEnd(context);
    if (kind == OF_NETWORK || (kind == OF_UNKNOWN && hasNoDuration())) recordConnection(SENSOR_NETWORK_FILTER);
    else recordExchange(SENSOR_HTTP_FILTER);
  } else if (layer == LAYER_HTTP) recordExchange(SENSOR_HTTP_LOGGER);
  else recordConnection(SENSOR_CONNECTION_LOGGER);
}

export function proxy_on_done(context: u32): u32 {
  resetArena();
  if (layerOf(context) == NO_LAYER) noteDone(context);
  else end(context);
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
