// A Wasm module that counts the calls of proxy_on_log and does nothing else: what entering the VM costs, and no more. It calls no
// host function in the hook; a tick tells the count as a metric, so that the benchmark can check that every request entered.

import { compileString } from 'assemblyscript/asc';

/** Envoy's name of the metric. */
export const COUNTED_METRIC = 'wasmcustom.bench_counted';

const SOURCE = `
@external("env", "proxy_define_metric")
declare function defineMetric(type: u32, name: usize, bytes: u32, id: usize): u32;
@external("env", "proxy_increment_metric")
declare function incrementMetric(id: u32, by: i64): u32;
@external("env", "proxy_set_tick_period_milliseconds")
declare function setTick(ms: u32): u32;

const NAME = memory.data<u8>([${[...Buffer.from('bench_counted')].join(', ')}]);
const ID = memory.data(4);
const SPACE = memory.data(4096);
let isDefined = false;
let counted: i64 = 0;

export function proxy_abi_version_0_2_1(): void {}
export function proxy_on_memory_allocate(bytes: u32): usize {
  return bytes <= 4096 ? SPACE : 0;
}
export function proxy_on_vm_start(root: u32, bytes: u32): u32 {
  return 1;
}
export function proxy_on_configure(root: u32, bytes: u32): u32 {
  if (!isDefined) isDefined = defineMetric(0, NAME, 13, ID) == 0;
  setTick(500);
  return 1;
}
export function proxy_on_tick(root: u32): void {
  if (counted == 0) return;
  incrementMetric(load<u32>(ID), counted);
  counted = 0;
}
export function proxy_on_log(context: u32): void {
  counted++;
}
export function proxy_on_done(context: u32): u32 {
  return 1;
}
`;

/** Compiles the module with the options of ours. Throws with the compiler's words. */
export async function countingModule(): Promise<Uint8Array> {
  const { error, binary, stderr } = await compileString(SOURCE, {
    runtime: 'stub',
    exportStart: '_initialize',
    use: ['abort='],
    initialMemory: 2,
    maximumMemory: 2,
    optimizeLevel: 3,
    noAssert: true,
  });
  if (error !== null || binary === null) throw new Error(`the counting module does not compile:\n${String(stderr)}`);
  return binary;
}
