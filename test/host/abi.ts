// Numbers and byte formats of Proxy-Wasm 0.2.1, as Envoy 1.40 writes them.

export const STATUS = {
  ok: 0,
  notFound: 1,
  badArgument: 2,
  serializationFailure: 3,
  invalidMemoryAccess: 6,
  casMismatch: 8,
  internalFailure: 10,
  unimplemented: 12,
} as const;

export const MAP = {
  requestHeaders: 0,
  requestTrailers: 1,
  responseHeaders: 2,
  responseTrailers: 3,
  callResponseHeaders: 6,
  callResponseTrailers: 7,
} as const;
export const MAP_MAX = 7;

export const BUFFER = { callResponseBody: 4, vmConfiguration: 6, pluginConfiguration: 7 } as const;
export const BUFFER_MAX = 8;

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const METRIC_KINDS = ['counter', 'gauge', 'histogram'] as const;

/** WASI error numbers. */
export const ERRNO = { success: 0, fault: 21, invalid: 28, notSupported: 58 } as const;

export type Text = string | Uint8Array;
/** Headers in wire order; a name may come more than once. */
export type Pairs = readonly (readonly [name: Text, value: Text])[];

/** The host refuses more when it reads pairs. */
export const PAIRS_COUNT_MAX = 1024;
const PAIRS_BYTES_MAX = 1024 * 1024;

const encoder = new TextEncoder();

export function bytesOf(text: Text): Uint8Array {
  return typeof text === 'string' ? encoder.encode(text) : text;
}

/** The pairs format: u32 count, u32 name and value length of each, then `name NUL value NUL` of each. No pairs: no bytes. */
export function encodePairs(pairs: Pairs): Uint8Array {
  if (pairs.length === 0) return new Uint8Array(0);
  const parts = pairs.map(([name, value]) => [bytesOf(name), bytesOf(value)] as const);
  const total = parts.reduce((sum, [name, value]) => sum + 8 + name.length + 1 + value.length + 1, 4);
  const out = new Uint8Array(total);
  const view = new DataView(out.buffer);
  view.setUint32(0, parts.length, true);
  let at = 4 + 8 * parts.length;
  parts.forEach(([name, value], i) => {
    view.setUint32(4 + 8 * i, name.length, true);
    view.setUint32(8 + 8 * i, value.length, true);
    out.set(name, at);
    out.set(value, at + name.length + 1);
    at += name.length + 1 + value.length + 1;
  });
  return out;
}

/** Reads pairs that a guest hands over. As in Envoy, anything that is not exactly in the format is no pairs at all. */
export function decodePairs(bytes: Uint8Array): [name: Uint8Array, value: Uint8Array][] {
  if (bytes.length < 4 || bytes.length > PAIRS_BYTES_MAX) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(0, true);
  if (count > PAIRS_COUNT_MAX || 4 + 8 * count > bytes.length) return [];
  const pairs: [Uint8Array, Uint8Array][] = [];
  let at = 4 + 8 * count;
  for (let i = 0; i < count; i++) {
    const parts: Uint8Array[] = [];
    for (const field of [4, 8]) {
      const length = view.getUint32(field + 8 * i, true);
      if (at + length + 1 > bytes.length || bytes[at + length] !== 0) return [];
      parts.push(bytes.slice(at, at + length));
      at += length + 1;
    }
    pairs.push([parts[0] as Uint8Array, parts[1] as Uint8Array]);
  }
  return at === bytes.length ? pairs : [];
}

/**
 * A property. bigint: integer, time or duration (8 bytes); number: double; boolean: 1 byte; Map: pairs, nested for nested maps;
 * a plain object is a message, which can be walked through but has no bytes of its own (status 3).
 */
export type Value = bigint | number | boolean | Text | ReadonlyMap<string, Value> | Message | Protobuf;
export interface Message {
  readonly [part: string]: Value | undefined;
}

/** Bytes of `xds.node`: it carries the whole bootstrap, with every extension that Envoy has. */
export const NODE_BYTES = 61 * 1024;

/** A message that Envoy serialises when it is read whole, and whose fields can be read one by one. */
export class Protobuf {
  readonly bytes: Uint8Array;
  readonly fields: Message;

  constructor(bytes: Uint8Array, fields: Message) {
    this.bytes = bytes;
    this.fields = fields;
  }
}

/** The bytes of a property; undefined for what Envoy cannot serialise. */
export function encodeValue(value: Value): Uint8Array | undefined {
  if (typeof value === 'string' || value instanceof Uint8Array) return bytesOf(value);
  if (typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  if (typeof value === 'bigint' || typeof value === 'number') {
    const out = new DataView(new ArrayBuffer(8));
    if (typeof value === 'bigint') out.setBigUint64(0, BigInt.asUintN(64, value), true);
    else out.setFloat64(0, value, true);
    return new Uint8Array(out.buffer);
  }
  if (value instanceof Protobuf) return value.bytes;
  if (value instanceof Map) {
    // Unlike a header map without headers, a property without entries has its count.
    if (value.size === 0) return new Uint8Array(4);
    const pairs: [string, Uint8Array][] = [];
    for (const [key, member] of value) {
      const bytes = encodeValue(member);
      if (bytes === undefined) return undefined;
      pairs.push([key, bytes]);
    }
    return encodePairs(pairs);
  }
  return undefined;
}

/** Follows a path; undefined where it leads nowhere. */
export function lookUp(tree: Message, path: readonly string[]): Value | undefined {
  let value: Value | undefined = tree;
  for (const part of path) {
    if (value instanceof Protobuf) value = value.fields;
    if (value instanceof Map) value = value.get(part);
    else if (isMessage(value)) value = Object.hasOwn(value, part) ? value[part] : undefined;
    else return undefined;
  }
  return value;
}

export function isMessage(value: Value | undefined): value is Message {
  return (
    typeof value === 'object' &&
    !(value instanceof Uint8Array) &&
    !(value instanceof Map) &&
    !(value instanceof Protobuf)
  );
}
