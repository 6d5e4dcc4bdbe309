// Text constants: one length byte with the bytes behind it. The compiler's transform (tools/static-texts.js) puts all of them into
// TEXTS and each call's place into the call's stead, so that a text costs its bytes and nothing when the VM starts.

export const TEXTS: usize = memory.data<u8>([0]);

/** An ASCII text of up to 255 bytes; `literal` is a literal. */
export function text(_literal: string): usize {
  ERROR('tools/static-texts.js did not run');
  return 0;
}

/**
 * A property path, whose parts NUL parts in memory: in one literal its dots part it; of several literals each is a part as it
 * is.
 */
export function path(_literal: string, _second: string = '', _third: string = ''): usize {
  ERROR('tools/static-texts.js did not run');
  return 0;
}
