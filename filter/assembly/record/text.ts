// The module's memory, as the compiler's transform (tools/static-data.js) lays it out, and text constants: one length byte with the
// bytes behind it. The transform puts small areas and all texts into HEAD, large areas behind it, and each one's place into the
// stead of the call of `memory.data`, `text` or `path` that asked for it. So a text costs its bytes, and nothing when a VM starts.

export const HEAD: usize = memory.data<u8>([0]);
/** Behind the head: the compiler meets that first. The transform knows the size. */
export const REST: usize = 0 * HEAD + memory.data(16384, 16);

/** An ASCII text of up to 255 bytes; `literal` is a literal. */
export function text(_literal: string): usize {
  ERROR('tools/static-data.js did not run');
  return 0;
}

/**
 * A property path, whose parts NUL parts in memory: in one literal its dots part it; of several literals each is a part as it
 * is.
 */
export function path(_literal: string, _second: string = '', _third: string = ''): usize {
  ERROR('tools/static-data.js did not run');
  return 0;
}
