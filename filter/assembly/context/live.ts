// Contexts that live. Their ids ascend, and nothing is told of a beginning: whoever has not ended when a tick looks is alive.
// Between two looks an ended context costs a bit; one that lives on has an entry in a table, until it ends.

import { proxy_set_effective_context } from '../abi/env';
import { OK } from '../abi/status';
import { count, UNWATCHED } from '../record/batch';
import { openAfterMs } from '../record/config';

/** Ids that can come between two looks before the oldest are moved into the table. */
const RING: u32 = 65536;
const RING_BYTES: usize = 8192;
const ENDED: usize = memory.data(8192, 8);
const NETWORK: usize = memory.data(8192, 8);
const ALL_ENDED: u64 = 0xffff_ffff_ffff_ffff;

/** Contexts may be gone without a word: so many ids in a row that no context has end the search beyond the newest known. */
const MISSES_MAX: u32 = 16;
const ENTRIES_MAX: u32 = 8192;
const ENTRY_BYTES: usize = 16;
const ENTRIES: usize = memory.data(131088, 8); // (ENTRIES_MAX + 1) x ENTRY_BYTES; entry 0 is none
const BUCKETS: usize = memory.data(16384, 8); // u16 each, the first entry of ids that agree in their lowest 13 bits
const BUCKET_MASK: u32 = 8191;

const ENTRY_ID: usize = 0; // u32
const ENTRY_NEXT: usize = 4; // u16: the next of its bucket, or of the free ones
const ENTRY_STATE: usize = 6; // u16
const ENTRY_DUE: usize = 8; // u64, monotonic time of the next report

const TAKEN: u16 = 1;
const IS_NETWORK: u16 = 2;
const IS_TOLD: u16 = 4;
/** Done, and to be logged yet. */
const IS_DONE: u16 = 8;

/** All ids up to this one were looked at. Ids are compared by their distance: in a long life they begin anew. */
let looked: u32 = 0;
let newest: u32 = 0;
let entries: u32 = 0;
let everTaken: u32 = 0;
let firstFree: u32 = 0;
let lookedAtNs: u64 = 0;

function isBehind(id: u32): bool {
  return <i32>(id - looked) <= 0;
}

function entryAt(place: u32): usize {
  return ENTRIES + ENTRY_BYTES * <usize>place;
}

function bucketOf(id: u32): usize {
  return BUCKETS + 2 * <usize>(id & BUCKET_MASK);
}

function hasBit(bits: usize, id: u32): bool {
  return ((load<u8>(bits + <usize>((id & (RING - 1)) >> 3)) >> <u8>(id & 7)) & 1) != 0;
}

function setBit(bits: usize, id: u32): void {
  const at = bits + <usize>((id & (RING - 1)) >> 3);
  store<u8>(at, load<u8>(at) | ((<u8>1) << (<u8>(id & 7))));
}

function clearBit(bits: usize, id: u32): void {
  const at = bits + <usize>((id & (RING - 1)) >> 3);
  store<u8>(at, load<u8>(at) & ~((<u8>1) << (<u8>(id & 7))));
}

function enter(id: u32, isNetwork: bool): void {
  let place = firstFree;
  if (place != 0) firstFree = <u32>load<u16>(entryAt(place), ENTRY_NEXT);
  else if (everTaken < ENTRIES_MAX) place = ++everTaken;
  if (place == 0) {
    count(UNWATCHED, 1);
    return;
  }
  const entry = entryAt(place);
  store<u32>(entry, id, ENTRY_ID);
  store<u16>(entry, load<u16>(bucketOf(id)), ENTRY_NEXT);
  store<u16>(entry, isNetwork ? TAKEN | IS_NETWORK : TAKEN, ENTRY_STATE);
  store<u64>(entry, lookedAtNs + <u64>openAfterMs * 1_000_000, ENTRY_DUE);
  store<u16>(bucketOf(id), <u16>place);
  entries++;
}

/** The place of an id's entry, 0 when it has none. */
function placeOf(id: u32): u32 {
  let place = <u32>load<u16>(bucketOf(id));
  for (let i: u32 = 0; i < ENTRIES_MAX && place != 0; i++) {
    if (load<u32>(entryAt(place), ENTRY_ID) == id) return place;
    place = <u32>load<u16>(entryAt(place), ENTRY_NEXT);
  }
  return 0;
}

/** Takes an entry away. */
export function leave(place: u32): void {
  const entry = entryAt(place);
  let from = bucketOf(load<u32>(entry, ENTRY_ID));
  for (let i: u32 = 0; i < ENTRIES_MAX && <u32>load<u16>(from) != place; i++)
    from = entryAt(<u32>load<u16>(from)) + ENTRY_NEXT;
  store<u16>(from, load<u16>(entry, ENTRY_NEXT));
  store<u16>(entry, 0, ENTRY_STATE);
  store<u16>(entry, <u16>firstFree, ENTRY_NEXT);
  firstFree = place;
  entries--;
}

/** Goes past the next id: it has ended, or gets an entry. */
function pass(): void {
  looked++;
  if (!hasBit(ENDED, looked)) enter(looked, hasBit(NETWORK, looked));
  clearBit(ENDED, looked);
  clearBit(NETWORK, looked);
}

/** Makes room in the ring for an id. */
function reach(id: u32): void {
  if (<i32>(id - newest) > 0) newest = id;
  const ahead = id - looked;
  if (ahead <= RING) return;
  if (ahead - RING > RING) {
    // No host gives out ids like this; what lies between was never there.
    memory.fill(ENDED, 0, RING_BYTES);
    memory.fill(NETWORK, 0, RING_BYTES);
    looked = id - 1;
    return;
  }
  for (let left = ahead - RING; left > 0; left--) pass();
}

/** A connection begins at a network filter. */
export function noteConnection(id: u32): void {
  if (isBehind(id)) return;
  reach(id);
  setBit(NETWORK, id);
}

export const OF_HTTP: u32 = 0;
export const OF_NETWORK: u32 = 1;
/** It lived, and there was no room to remember its kind. */
export const OF_UNKNOWN: u32 = 2;

/** A context is logged, so it has ended; returns whose it is. */
export function noteEnd(id: u32): u32 {
  if (!isBehind(id)) {
    reach(id);
    setBit(ENDED, id);
    return hasBit(NETWORK, id) ? OF_NETWORK : OF_HTTP;
  }
  const place = entries == 0 ? 0 : placeOf(id);
  if (place == 0) return OF_UNKNOWN;
  const isNetwork = isNetworkAt(place);
  leave(place);
  return isNetwork ? OF_NETWORK : OF_HTTP;
}

/** A context is done. A network filter's is logged right after, and must be known until then. */
export function noteDone(id: u32): void {
  if (!isBehind(id)) {
    reach(id);
    setBit(ENDED, id);
    return;
  }
  const place = entries == 0 ? 0 : placeOf(id);
  if (place == 0) return;
  const state = load<u16>(entryAt(place), ENTRY_STATE);
  if ((state & IS_NETWORK) == 0) leave(place);
  else store<u16>(entryAt(place), state | IS_DONE, ENTRY_STATE);
}

/** Looks at all ids that came since the last time, and beyond the newest known as long as contexts are there. */
export function look(nowNs: u64): void {
  lookedAtNs = nowNs;
  for (let steps: u32 = 0; steps < RING && !isBehind(newest); steps++) {
    const word = <usize>(((looked + 1) & (RING - 1)) >> 3);
    const isWhole = ((looked + 1) & 63) == 0 && newest - looked >= 64;
    if (isWhole && load<u64>(ENDED + word) == ALL_ENDED) {
      store<u64>(ENDED + word, 0);
      store<u64>(NETWORK + word, 0);
      looked += 64;
    } else pass();
  }
  let misses: u32 = 0;
  for (let id = newest + 1; misses < MISSES_MAX && id - newest <= ENTRIES_MAX; id++) {
    if (proxy_set_effective_context(id) != OK) {
      misses++;
      continue;
    }
    misses = 0;
    enter(id, false);
    looked = id;
  }
  newest = looked;
}

/** The next entry behind `place` whose report is due, 0 when there is none. */
export function nextDue(place: u32, nowNs: u64): u32 {
  if (entries == 0) return 0;
  for (let next = place + 1; next <= everTaken; next++) {
    const entry = entryAt(next);
    if ((load<u16>(entry, ENTRY_STATE) & TAKEN) != 0 && load<u64>(entry, ENTRY_DUE) <= nowNs) return next;
  }
  return 0;
}

export function idAt(place: u32): u32 {
  return load<u32>(entryAt(place), ENTRY_ID);
}

export function isNetworkAt(place: u32): bool {
  return (load<u16>(entryAt(place), ENTRY_STATE) & IS_NETWORK) != 0;
}

/** Whether the context is done, and was not logged. */
export function isDoneAt(place: u32): bool {
  return (load<u16>(entryAt(place), ENTRY_STATE) & IS_DONE) != 0;
}

/** Whether it was reported before. */
export function isToldAt(place: u32): bool {
  return (load<u16>(entryAt(place), ENTRY_STATE) & IS_TOLD) != 0;
}

/** It was reported, if it could be; the next report is due then. */
export function postpone(place: u32, dueNs: u64, isTold: bool): void {
  const entry = entryAt(place);
  if (isTold) store<u16>(entry, load<u16>(entry, ENTRY_STATE) | IS_TOLD, ENTRY_STATE);
  store<u64>(entry, dueNs, ENTRY_DUE);
}
