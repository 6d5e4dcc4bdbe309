// Status codes, map types and other numbers of Proxy-Wasm 0.2.1.

export const OK: u32 = 0;
export const NOT_FOUND: u32 = 1;
/** The host could not turn the value into bytes. */
export const SERIALIZATION_FAILURE: u32 = 3;
/** Another VM has set the shared data since it was read. */
export const CAS_MISMATCH: u32 = 8;
/** Ours: the host said OK, and what it handed over lies outside the arena. */
export const OUTSIDE_ARENA: u32 = 255;

export const MAP_REQUEST: u32 = 0;
export const MAP_RESPONSE: u32 = 2;
export const MAP_RESPONSE_TRAILERS: u32 = 3;
export const MAP_CALL_RESPONSE: u32 = 6;

export const BUFFER_CALL_RESPONSE: u32 = 4;
export const BUFFER_CONFIGURATION: u32 = 7;

export const LOG_WARN: u32 = 3;
export const LOG_ERROR: u32 = 4;

export const METRIC_COUNTER: u32 = 0;
export const METRIC_GAUGE: u32 = 1;

export const CLOCK_MONOTONIC: u32 = 1;
