// The host functions that a guest can import.

import {
  BUFFER_MAX,
  bytesOf,
  decodePairs,
  ERRNO,
  encodePairs,
  encodeValue,
  LOG_LEVELS,
  MAP_MAX,
  NODE_BYTES,
  STATUS,
  type Text,
} from './abi.ts';
import type { Context } from './contexts.ts';
import { HostTrap, type Machine } from './machine.ts';

type Argument = number | bigint;
type HostFunction = (machine: Machine, ...args: number[]) => number;

const RANDOM_BYTES_MAX = 65_536;
const decoder = new TextDecoder();
const latin1 = (text: Text): string => Buffer.from(bytesOf(text)).toString('latin1').toLowerCase();

const statusOf = (isDone: boolean): number => (isDone ? STATUS.ok : STATUS.invalidMemoryAccess);

const ENV: Readonly<Record<string, HostFunction>> = {
  proxy_log(machine, level = 0, at = 0, length = 0) {
    const name = LOG_LEVELS[level];
    if (name === undefined) return STATUS.badArgument;
    const text = machine.bytes(at, length);
    if (text === undefined) return STATUS.invalidMemoryAccess;
    machine.process.world.logs.push({ vm: machine.name, level: name, text: decoder.decode(text) });
    return STATUS.ok;
  },
  proxy_get_log_level: (machine, out = 0) => statusOf(machine.writeU32(out, LOG_LEVELS.indexOf('info'))),
  proxy_get_current_time_nanoseconds: (machine, out = 0) =>
    statusOf(machine.writeU64(out, machine.process.world.wallNs())),
  proxy_get_property(machine, at = 0, length = 0, outAt = 0, outLength = 0) {
    const path = machine.bytes(at, length);
    if (path === undefined) return STATUS.invalidMemoryAccess;
    const parts = decoder.decode(path).split('\0');
    if (parts.at(-1) === '') parts.pop();
    const context = machine.context();
    noteMisuse(machine, context, parts.join('.'));
    const value = context.property(parts, machine.process.properties);
    if (value === undefined || parts.length === 0) return STATUS.notFound;
    const bytes = encodeValue(value);
    return bytes === undefined ? STATUS.serializationFailure : statusOf(machine.handOver(bytes, outAt, outLength));
  },
  proxy_get_header_map_pairs(machine, map = 0, outAt = 0, outLength = 0) {
    if (map > MAP_MAX) return STATUS.badArgument;
    // A map that is not there is handed over as an empty one.
    return statusOf(machine.handOver(encodePairs(machine.context().map(map) ?? []), outAt, outLength));
  },
  proxy_get_header_map_value(machine, map = 0, at = 0, length = 0, outAt = 0, outLength = 0) {
    if (map > MAP_MAX) return STATUS.badArgument;
    const name = machine.bytes(at, length);
    if (name === undefined) return STATUS.invalidMemoryAccess;
    const wanted = latin1(name);
    // Only the first of repeated headers.
    const found = machine
      .context()
      .map(map)
      ?.find(([other]) => latin1(other) === wanted);
    return found === undefined ? STATUS.notFound : statusOf(machine.handOver(bytesOf(found[1]), outAt, outLength));
  },
  proxy_get_buffer_bytes(machine, type = 0, start = 0, length = 0, outAt = 0, outLength = 0) {
    if (type > BUFFER_MAX) return STATUS.badArgument;
    const buffer = machine.context().buffer(type);
    if (buffer === undefined) return STATUS.notFound;
    const from = start >>> 0;
    return statusOf(machine.handOver(buffer.subarray(from, from + (length >>> 0)), outAt, outLength));
  },
  proxy_set_tick_period_milliseconds(machine, period = 0) {
    const root = machine.context().root;
    if (root === undefined) return STATUS.badArgument;
    machine.setTickPeriod(root, period >>> 0);
    return STATUS.ok;
  },
  proxy_set_effective_context: (machine, id = 0) => (machine.setEffective(id >>> 0) ? STATUS.ok : STATUS.badArgument),
  proxy_done: (machine) => (machine.finish(machine.context().root) ? STATUS.ok : STATUS.notFound),
  proxy_http_call: httpCall,
  proxy_get_shared_data(machine, at = 0, length = 0, outAt = 0, outLength = 0, outCas = 0) {
    const key = machine.bytes(at, length);
    if (key === undefined) return STATUS.invalidMemoryAccess;
    const found = machine.process.world.sharedData.get(machine.vmId, Buffer.from(key).toString('latin1'));
    if (found === undefined) return STATUS.notFound;
    return statusOf(machine.handOver(found.value, outAt, outLength) && machine.writeU32(outCas, found.cas));
  },
  proxy_set_shared_data(machine, at = 0, length = 0, valueAt = 0, valueLength = 0, cas = 0) {
    const key = machine.bytes(at, length);
    const value = machine.bytes(valueAt, valueLength);
    if (key === undefined || value === undefined) return STATUS.invalidMemoryAccess;
    const name = Buffer.from(key).toString('latin1');
    return machine.process.world.sharedData.set(machine.vmId, name, value, cas >>> 0);
  },
  proxy_define_metric(machine, kind = 0, at = 0, length = 0, out = 0) {
    const name = machine.bytes(at, length);
    if (name === undefined) return STATUS.invalidMemoryAccess;
    const id = machine.metrics.define(kind, decoder.decode(name));
    return id === undefined ? STATUS.badArgument : statusOf(machine.writeU32(out, id));
  },
  proxy_increment_metric: (machine, id = 0, by: Argument = 0) => machine.metrics.increment(id >>> 0, BigInt(by)),
  proxy_record_metric: (machine, id = 0, value: Argument = 0) =>
    machine.metrics.record(id >>> 0, BigInt.asUintN(64, BigInt(value))),
  proxy_get_metric(machine, id = 0, out = 0) {
    const value = machine.metrics.get(id >>> 0);
    return typeof value === 'number' ? value : statusOf(machine.writeU64(out, value));
  },
};

/** What a call asks for: a path, a map, a header or a key. */
function whatOf(machine: Machine, name: string, args: readonly number[]): string {
  const text = (at = 0, length = 0): string => decoder.decode(machine.bytes(at, length)?.slice()).replaceAll('\0', '.');
  if (name === 'proxy_get_header_map_pairs') return `map ${args[0]}`;
  if (name === 'proxy_get_header_map_value') return `map ${args[0]} ${text(args[1], args[2])}`;
  return /property|shared_data/.test(name) ? text(args[0], args[1]) : '';
}

/** Reads that Envoy answers, and that no guest should ask for. */
function noteMisuse(machine: Machine, context: Context, path: string): void {
  if (path === 'connection.tls_version' && context.tls?.isHandshakeOver === false)
    machine.violations.push(`${path} before the handshake spoils the access logs of Envoy`);
  if (path === 'xds.node') machine.violations.push(`${path} is ${NODE_BYTES} bytes when it is read whole`);
}

/** The call runs on the root's behalf, whoever makes it. */
function httpCall(machine: Machine, ...args: number[]): number {
  const [clusterAt = 0, clusterLength = 0, headersAt = 0, headersLength = 0] = args;
  const [bodyAt = 0, bodyLength = 0, trailersAt = 0, trailersLength = 0, timeoutMs = 0, outToken = 0] = args.slice(4);
  const cluster = machine.bytes(clusterAt, clusterLength);
  const headerBytes = machine.bytes(headersAt, headersLength);
  const body = machine.bytes(bodyAt, bodyLength);
  const trailers = machine.bytes(trailersAt, trailersLength);
  if (!cluster || !headerBytes || !body || !trailers || !machine.writeU32(outToken, 0))
    return STATUS.invalidMemoryAccess;
  const root = machine.context().root;
  const headers = decodePairs(headerBytes);
  const names = new Set(headers.map(([name]) => latin1(name)));
  const name = decoder.decode(cluster);
  const behaviour = machine.process.upstreams.clusters.get(name);
  const isWhole = [':method', ':path', ':authority'].every((required) => names.has(required));
  if (root === undefined || behaviour === undefined || !isWhole) return STATUS.badArgument;
  if (behaviour === 'inline_failure') return STATUS.internalFailure;
  const call = machine.startCall(root, { cluster: name, headers, body: body.slice(), timeoutMs: timeoutMs >>> 0 });
  machine.process.upstreams.accept(call, behaviour);
  machine.writeU32(outToken, call.token);
  return STATUS.ok;
}

const WASI: Readonly<Record<string, HostFunction>> = {
  random_get(machine, at = 0, length = 0) {
    if (length >>> 0 > RANDOM_BYTES_MAX) return ERRNO.invalid;
    return machine.write(at, machine.process.world.randomBytes(length)) ? ERRNO.success : ERRNO.fault;
  },
  clock_time_get(machine, clock = 0, _precision = 0, out = 0) {
    const { world } = machine.process;
    if (clock !== 0 && clock !== 1) return ERRNO.notSupported;
    return machine.writeU64(out, clock === 0 ? world.wallNs() : world.monotonicNs()) ? ERRNO.success : ERRNO.fault;
  },
};

const MODULES = { env: ENV, wasi_snapshot_preview1: WASI } as const;

/** Full names of all host functions of the emulator. */
export const HOST_FUNCTIONS: ReadonlySet<string> = new Set(
  Object.entries(MODULES).flatMap(([module, functions]) => Object.keys(functions).map((name) => `${module}.${name}`)),
);

type Imports = Record<keyof typeof MODULES, Record<string, (...args: number[]) => number>>;

/** The imports of one VM: each call is counted, checked against the phase, and shown to the test that tampers. */
export function hostFunctions(machine: Machine): Imports {
  const imports: Imports = { env: {}, wasi_snapshot_preview1: {} };
  for (const module of ['env', 'wasi_snapshot_preview1'] as const) {
    for (const [name, run] of Object.entries(MODULES[module])) {
      const full = `${module}.${name}`;
      imports[module][name] = (...args) => {
        machine.checkPhase(full);
        const before = machine.entries.allocations;
        const proceed = (): number => run(machine, ...args);
        const status = machine.tamper === undefined ? proceed() : machine.tamper({ name, args }, proceed);
        machine.trace?.push({
          name,
          what: whatOf(machine, name, args),
          status,
          isCostly: machine.entries.allocations > before,
        });
        return status;
      };
    }
  }
  // The loader would add an abort of its own, which Envoy has not; GuestModule has refused such a guest before.
  imports.env['abort'] = () => {
    throw new HostTrap('abort');
  };
  return imports;
}
