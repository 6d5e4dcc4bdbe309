// Host functions of Proxy-Wasm 0.2.1. AssemblyScript takes the file's name as the module and the function's name as the field
// of an @external import, so both are the host's. Results are status codes (status.ts); `out` parameters are addresses.

export declare function proxy_log(level: u32, message: usize, bytes: usize): u32;
export declare function proxy_get_property(path: usize, bytes: usize, outAt: usize, outBytes: usize): u32;
export declare function proxy_get_header_map_pairs(map: u32, outAt: usize, outBytes: usize): u32;
export declare function proxy_get_header_map_value(
  map: u32,
  name: usize,
  nameBytes: usize,
  outAt: usize,
  outBytes: usize,
): u32;
export declare function proxy_get_buffer_bytes(buffer: u32, start: u32, bytes: u32, outAt: usize, outBytes: usize): u32;
export declare function proxy_get_current_time_nanoseconds(out: usize): u32;
export declare function proxy_set_tick_period_milliseconds(period: u32): u32;
export declare function proxy_http_call(
  cluster: usize,
  clusterBytes: usize,
  headers: usize,
  headersBytes: usize,
  body: usize,
  bodyBytes: usize,
  trailers: usize,
  trailersBytes: usize,
  timeoutMs: u32,
  outToken: usize,
): u32;
export declare function proxy_define_metric(kind: u32, name: usize, bytes: usize, out: usize): u32;
export declare function proxy_increment_metric(metric: u32, by: i64): u32;
/** Host functions answer for that context until the hook ends, or another is chosen. */
export declare function proxy_set_effective_context(context: u32): u32;
export declare function proxy_get_shared_data(
  key: usize,
  keyBytes: usize,
  outAt: usize,
  outBytes: usize,
  outCas: usize,
): u32;
/** `cas` 0 sets in any case; another one only while it is the value's, and else the status is CAS_MISMATCH. */
export declare function proxy_set_shared_data(key: usize, keyBytes: usize, at: usize, bytes: usize, cas: u32): u32;
