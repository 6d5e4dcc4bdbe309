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
