// Small guests, written in AssemblyScript inside the tests and compiled on the spot.

import asc from 'assemblyscript/asc';

const DECLARATIONS = `
@external("env", "proxy_log") declare function proxy_log(level: i32, at: usize, bytes: usize): i32;
@external("env", "proxy_get_property") declare function proxy_get_property(at: usize, bytes: usize, outAt: usize, outBytes: usize): i32;
@external("env", "proxy_get_header_map_pairs") declare function proxy_get_header_map_pairs(map: i32, outAt: usize, outBytes: usize): i32;
@external("env", "proxy_get_header_map_value") declare function proxy_get_header_map_value(map: i32, at: usize, bytes: usize, outAt: usize, outBytes: usize): i32;
@external("env", "proxy_get_buffer_bytes") declare function proxy_get_buffer_bytes(type: i32, start: i32, bytes: i32, outAt: usize, outBytes: usize): i32;
@external("env", "proxy_get_current_time_nanoseconds") declare function proxy_get_current_time_nanoseconds(out: usize): i32;
@external("env", "proxy_set_tick_period_milliseconds") declare function proxy_set_tick_period_milliseconds(ms: i32): i32;
@external("env", "proxy_set_effective_context") declare function proxy_set_effective_context(id: i32): i32;
@external("env", "proxy_done") declare function proxy_done(): i32;
@external("env", "proxy_http_call") declare function proxy_http_call(cluster: usize, clusterBytes: usize, headers: usize, headersBytes: usize, body: usize, bodyBytes: usize, trailers: usize, trailersBytes: usize, ms: i32, outToken: usize): i32;
@external("env", "proxy_define_metric") declare function proxy_define_metric(kind: i32, at: usize, bytes: usize, out: usize): i32;
@external("env", "proxy_increment_metric") declare function proxy_increment_metric(id: i32, by: i64): i32;
@external("env", "proxy_get_shared_data") declare function proxy_get_shared_data(at: usize, bytes: usize, outAt: usize, outBytes: usize, outCas: usize): i32;
@external("env", "proxy_set_shared_data") declare function proxy_set_shared_data(at: usize, bytes: usize, valueAt: usize, valueBytes: usize, cas: u32): i32;
@external("env", "proxy_record_metric") declare function proxy_record_metric(id: i32, value: u64): i32;
@external("env", "proxy_get_metric") declare function proxy_get_metric(id: i32, out: usize): i32;
@external("wasi_snapshot_preview1", "random_get") declare function random_get(at: usize, bytes: usize): i32;
@external("wasi_snapshot_preview1", "clock_time_get") declare function clock_time_get(clock: i32, precision: u64, out: usize): i32;
@external("env", "abort") declare function hostAbort(): void;
@external("env", "proxy_call_foreign_function") declare function proxy_call_foreign_function(): i32;
export function proxy_abi_version_0_2_1(): void {}

const OUT: usize = memory.data(64, 8);
const LINE: usize = memory.data(4096, 8);
let lineBytes: usize = 0;
/** Adds a word, a number or bytes in hex to the line; say() logs it. */
function word(text: string): void {
  for (let i = 0; i < text.length; i++) store<u8>(LINE + lineBytes++, <u8>text.charCodeAt(i));
  store<u8>(LINE + lineBytes++, 32);
}
function digits(value: i64): void {
  if (value < 0) { store<u8>(LINE + lineBytes++, 45); value = -value; }
  if (value > 9) digits(value / 10);
  store<u8>(LINE + lineBytes++, <u8>(48 + value % 10));
}
function number(value: i64): void { digits(value); store<u8>(LINE + lineBytes++, 32); }
function hex(at: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i++) {
    const byte = load<u8>(at + i);
    store<u8>(LINE + lineBytes++, byte < 160 ? 48 + (byte >> 4) : 87 + (byte >> 4));
    store<u8>(LINE + lineBytes++, (byte & 15) < 10 ? 48 + (byte & 15) : 87 + (byte & 15));
  }
  store<u8>(LINE + lineBytes++, 32);
}
function say(): void { proxy_log(2, LINE, lineBytes - 1); lineBytes = 0; }
const TEXT: usize = memory.data(1024, 8);
/** Copies a literal to TEXT, dots as NUL where it is a path; returns its length. */
function text(literal: string, dot: i32 = 46): usize {
  for (let i = 0; i < literal.length; i++) {
    const unit = literal.charCodeAt(i);
    store<u8>(TEXT + i, <u8>(unit == 46 ? dot : unit));
  }
  return literal.length;
}
function readProperty(path: string): void {
  store<u64>(OUT, 0xffffffffffffffff);
  const status = proxy_get_property(TEXT, text(path, 0), OUT, OUT + 4);
  word(path); number(status);
  if (status == 0) { number(load<u32>(OUT + 4)); if (load<u32>(OUT + 4) > 0) hex(load<u32>(OUT), load<u32>(OUT + 4)); }
  say();
}
const ARENA: usize = memory.data(65536, 8);
let used: usize = 0;
`;

const ALLOCATOR = `
export function proxy_on_memory_allocate(bytes: i32): usize {
  const at = ARENA + used;
  used = (used + bytes + 7) & ~7 & 0x7fff;
  return at;
}
`;

const compiled = new Map<string, Uint8Array>();

export interface GuestOptions {
  /** Without the usual allocator, the source brings its own, or none. */
  readonly hasAllocator?: boolean;
  /** Run top-level statements in a start section instead of `_initialize`. */
  readonly hasStartSection?: boolean;
}

/** Compiles a guest; the source sees the declarations above. */
export async function compileGuest(
  source: string,
  { hasAllocator = true, hasStartSection = false }: GuestOptions = {},
): Promise<Uint8Array> {
  const whole = `${DECLARATIONS}${hasAllocator ? ALLOCATOR : ''}${source}`;
  const known = compiled.get(`${hasStartSection}${whole}`);
  if (known !== undefined) return known;
  let binary: Uint8Array | undefined;
  const start = hasStartSection ? [] : ['--exportStart', '_initialize'];
  const options = [
    '--runtime',
    'stub',
    '--noAssert',
    '--use',
    'abort=',
    '--initialMemory',
    '4',
    '--maximumMemory',
    '4',
  ];
  const { error, stderr } = await asc.main(['guest.ts', '--outFile', 'guest.wasm', '-O1', ...options, ...start], {
    readFile: (name) => (name === 'guest.ts' ? whole : null),
    writeFile: (_name, contents) => {
      if (contents instanceof Uint8Array) binary = contents;
    },
    listFiles: () => [],
  });
  if (error !== null || binary === undefined) throw new Error(`The guest does not compile: ${stderr.toString()}`);
  compiled.set(`${hasStartSection}${whole}`, binary);
  return binary;
}
