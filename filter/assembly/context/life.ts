// Signs of life: the VMs of a proxy tell each other of their ticks in shared data, so that one that fell silent is named, and a
// proxy that has nothing to record says once in an interval that it is there.

import { proxy_set_shared_data } from '../abi/env';
import { arenaMark, releaseTo } from '../abi/memory';
import { readSharedData, sharedDataCas, valueAt, valueBytes, wallClock } from '../abi/read';
import { CAS_MISMATCH, NOT_FOUND, OK } from '../abi/status';
import { batchesSealed, SEEN, setLife, streamIdentity, total } from '../record/batch';
import { isEqual } from '../record/bytes';
import { aliveIntervalMs, flushIntervalMs } from '../record/config';
import { STREAM_BYTES } from '../record/layout';
import { text } from '../record/text';

const KEY = text('meshtrail.vms');
/** Other VMs may come in between: so often is it tried in a tick. */
const TRIES: u32 = 4;
/** Ticks that a VM can miss before it counts as silent. */
const TICKS_MISSED_MAX: u64 = 3;
/** A worker that is busy is late by hundreds of ms: nobody is called dead sooner. */
const SILENCE_NS_MIN: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

// The value: a head, and an entry for each VM.
const MAGIC: u32 = 0x3156_544d; // "MTV1"
const SINCE: usize = 8; // u64, wall time of the first sign of life
const ALIVE_DUE: usize = 16; // u64, monotonic time at which a proxy without batches says that it is there
const VMS_AT: usize = 24;
const VMS_MAX: u32 = 64;
const VM_BYTES: usize = 32; // begins with the stream
const VM_TICK: usize = 16; // u64, monotonic
const VM_FLUSH_MS: usize = 24; // u32
const VM_STATE: usize = 28; // u32
const VALUE_BYTES: usize = 2072;
const VALUE: usize = memory.data(2072, 8);

const STATE_FREE: u32 = 0;
const STATE_TICKS: u32 = 1;
/** It was named as silent. */
const STATE_TOLD: u32 = 2;

const SILENT: usize = memory.data(16, 8);
let isSilentKnown: bool = false;
let isRegistered: bool = false;
let silentTold: u64 = 0;
let since: u64 = 0;
let known: u32 = 0;
let alive: u32 = 0;
let sealedBefore: u64 = 0;
let sealedNs: u64 = 0;

/** Silent VMs that this one named. */
export function silentVms(): u64 {
  return silentTold;
}

function vmAt(place: u32): usize {
  return VALUE + VMS_AT + VM_BYTES * <usize>place;
}

function stateOf(vm: usize): u32 {
  return load<u32>(vm, VM_STATE);
}

/** Fetches the table, or begins it; false: the host has no shared data. */
function fetch(nowNs: u64, wallNs: u64): bool {
  const mark = arenaMark();
  const status = readSharedData(KEY);
  releaseTo(mark);
  if (status != OK && status != NOT_FOUND) return false;
  if (status == OK && valueBytes == VALUE_BYTES && load<u32>(valueAt) == MAGIC) {
    memory.copy(VALUE, valueAt, VALUE_BYTES);
    // Whoever shares our vm_id can write here; no batch may say what no reader accepts.
    if (load<u64>(VALUE, SINCE) > wallNs) store<u64>(VALUE, wallNs, SINCE);
    return true;
  }
  memory.fill(VALUE, 0, VALUE_BYTES);
  store<u32>(VALUE, MAGIC);
  store<u64>(VALUE, wallNs, SINCE);
  store<u64>(VALUE, nowNs + <u64>aliveIntervalMs * NS_PER_MS, ALIVE_DUE);
  return true;
}

/** Sets the table; returns the host's status. */
function put(): u32 {
  return proxy_set_shared_data(KEY + 1, <usize>load<u8>(KEY), VALUE, VALUE_BYTES, sharedDataCas());
}

/** The place of this VM, or of a free or else a silent one; VMS_MAX when there is no room. */
function ownPlace(): u32 {
  let place = VMS_MAX;
  let isFree = false;
  for (let i: u32 = 0; i < VMS_MAX; i++) {
    const state = stateOf(vmAt(i));
    if (state != STATE_FREE && isEqual(vmAt(i), streamIdentity(), STREAM_BYTES)) return i;
    if (isFree || state == STATE_TICKS) continue;
    isFree = state == STATE_FREE;
    if (isFree || place == VMS_MAX) place = i;
  }
  return place;
}

function isSilent(vm: usize, nowNs: u64): bool {
  const tick = load<u64>(vm, VM_TICK);
  const limit = TICKS_MISSED_MAX * <u64>load<u32>(vm, VM_FLUSH_MS) * NS_PER_MS;
  return tick < nowNs && nowNs - tick > (limit < SILENCE_NS_MIN ? SILENCE_NS_MIN : limit);
}

/** Renews this VM's own entry and counts all; returns a VM that is silent and was not named yet, or VMS_MAX. */
function renew(nowNs: u64): u32 {
  const own = ownPlace();
  if (own < VMS_MAX) {
    memory.copy(vmAt(own), streamIdentity(), STREAM_BYTES);
    store<u64>(vmAt(own), nowNs, VM_TICK);
    store<u32>(vmAt(own), flushIntervalMs, VM_FLUSH_MS);
    store<u32>(vmAt(own), STATE_TICKS, VM_STATE);
  }
  let silent = VMS_MAX;
  known = 0;
  alive = 0;
  for (let i: u32 = 0; i < VMS_MAX; i++) {
    const state = stateOf(vmAt(i));
    if (state == STATE_FREE) continue;
    known++;
    if (!isSilent(vmAt(i), nowNs)) alive++;
    else if (state == STATE_TICKS && silent == VMS_MAX) silent = i;
  }
  return silent;
}

function tell(): void {
  setLife(since, aliveIntervalMs, known, alive, isSilentKnown ? SILENT : 0);
}

/** Without shared data each VM that has recorded something speaks for itself. */
function isDueAlone(nowNs: u64, isNew: bool): bool {
  since = 0;
  known = 0;
  alive = 0;
  tell();
  if (isNew || sealedNs == 0) sealedNs = nowNs;
  if (total(SEEN) == 0 || nowNs < sealedNs + <u64>aliveIntervalMs * NS_PER_MS) return false;
  sealedNs = nowNs;
  return true;
}

/** A VM's sign of life at a tick; true: a batch that says so is due, be it without records. */
export function signOfLife(nowNs: u64, wallNs: u64): bool {
  const isNew = batchesSealed() != sealedBefore;
  sealedBefore = batchesSealed();
  for (let tries: u32 = 0; tries < TRIES; tries++) {
    if (!fetch(nowNs, wallNs)) return isDueAlone(nowNs, isNew);
    const silent = renew(nowNs);
    const isDue = silent < VMS_MAX || (!isNew && load<u64>(VALUE, ALIVE_DUE) <= nowNs);
    if (silent < VMS_MAX) store<u32>(vmAt(silent), STATE_TOLD, VM_STATE);
    if (isDue || isNew) store<u64>(VALUE, nowNs + <u64>aliveIntervalMs * NS_PER_MS, ALIVE_DUE);
    const isFirst = sharedDataCas() == 0;
    const status = put();
    if (status == CAS_MISMATCH) continue;
    if (status != OK) return isDueAlone(nowNs, isNew);
    isRegistered = true;
    // Two that begin the table at once overwrite each other: whoever began it looks again.
    if (isFirst) continue;
    since = load<u64>(VALUE, SINCE);
    if (silent < VMS_MAX) {
      memory.copy(SILENT, vmAt(silent), STREAM_BYTES);
      isSilentKnown = true;
      silentTold++;
    }
    tell();
    return isDue;
  }
  return false;
}

/** A batch was sealed with what was known: a silent VM is named once. A sign of life moved the next one already. */
export function noteSealed(isAlive: bool): void {
  if (isAlive) sealedBefore = batchesSealed();
  if (!isSilentKnown) return;
  isSilentKnown = false;
  tell();
}

/** Whether a silent VM waits to be named. */
export function isNaming(): bool {
  return isSilentKnown;
}

/** This VM ends, and is missed by nobody. */
export function leaveProxy(): void {
  if (!isRegistered) return;
  isRegistered = false;
  for (let tries: u32 = 0; tries < TRIES; tries++) {
    if (!fetch(0, wallClock()) || sharedDataCas() == 0) return;
    const own = ownPlace();
    if (own == VMS_MAX || !isEqual(vmAt(own), streamIdentity(), STREAM_BYTES)) return;
    memory.fill(vmAt(own), 0, VM_BYTES);
    if (put() != CAS_MISMATCH) return;
  }
}
