// The two WASI functions that the recorder needs; named like abi/env.ts.

export declare function random_get(at: usize, bytes: usize): u32;
export declare function clock_time_get(clock: u32, precision: u64, out: usize): u32;
