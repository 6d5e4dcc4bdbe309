// The arena: where the host puts what it hands over. It is emptied at the start of each hook and never grows; when it is full
// the host gets 0, refuses the one call that asked, and the recorder goes on without that value.

/** Room for the largest header maps that Envoy takes by default (60 KiB), several times over. */
export const ARENA_BYTES: usize = 262144;
const ARENA: usize = memory.data(262144, 16);

/** Kept from header maps: who sends them must not choose what else of the exchange can be read. */
const HELD_BACK: usize = 65536;

let used: usize = 0;
let limit: usize = ARENA_BYTES;

/** Whether header maps are read: what others write may not fill the arena. */
export function holdBack(isHeld: bool): void {
  limit = isHeld ? ARENA_BYTES - HELD_BACK : ARENA_BYTES;
}

/** Hands out room; 0 when there is none. */
export function allocate(bytes: usize): usize {
  if (used > limit || bytes > limit - used) return 0;
  const at = ARENA + used;
  // Both are multiples of 8, so rounding up stays inside.
  used += (bytes + 7) & ~7;
  return at;
}

export function resetArena(): void {
  used = 0;
}

/** A place to return to with `releaseTo`, once what was handed over since has been used. */
export function arenaMark(): usize {
  return used;
}

export function releaseTo(mark: usize): void {
  used = mark;
}

/** Whether the host's answer lies inside the arena; nothing else is ever read. */
export function isInArena(at: usize, bytes: usize): bool {
  return at >= ARENA && bytes <= ARENA_BYTES && at - ARENA <= ARENA_BYTES - bytes;
}
