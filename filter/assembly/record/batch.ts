// The batch that is filling: rows here, its strings in dictionary.ts. Counters and chain of the stream (docs/formats.md 1.1).

import { isEqual, isZero } from './bytes';
import {
  clearDictionary,
  copyDictionary,
  dictionaryBytes,
  dictionaryCount,
  entryNumber,
  keyDictionary,
} from './dictionary';
import {
  ACK_CHECKPOINT_ROOT,
  ACK_CHECKPOINT_SIZE,
  BATCH_BYTES_MAX,
  BATCH_MAGIC,
  ENTRIES_MAX,
  ENTRIES_RESERVE,
  ENTRY_PUBLIC,
  FILTER_VERSION,
  FLAG_ROLLBACK_SEEN,
  FORMAT_VERSION,
  HASH_BYTES,
  HEADER_BATCH_NUMBER,
  HEADER_BYTES,
  HEADER_CHECKPOINT_SIZE,
  HEADER_COUNTERS,
  HEADER_DICTIONARY_BYTES,
  HEADER_DICTIONARY_COUNT,
  HEADER_FILTER_VERSION,
  HEADER_FIRST_RECORD,
  HEADER_FLAGS,
  HEADER_HEADER_BYTES,
  HEADER_LIFE,
  HEADER_MESH_CLUSTER,
  HEADER_MORE_COUNTERS,
  HEADER_NODE_CLUSTER,
  HEADER_NODE_ID,
  HEADER_OPENED_MONO_NS,
  HEADER_OPENED_WALL_NS,
  HEADER_PREVIOUS,
  HEADER_ROLE,
  HEADER_ROW_BYTES,
  HEADER_ROW_COUNT,
  HEADER_SEALED_MONO_NS,
  HEADER_SEALED_WALL_NS,
  HEADER_SECRET,
  HEADER_STREAM,
  HEADER_TOTAL_BYTES,
  HEADER_VERSION,
  LIFE_BYTES,
  NUMBER_MAX,
  RECORD_BYTES_MAX,
  ROW_BYTES,
  ROWS_MAX,
  SEAL_AT_BYTES,
  STREAM_BYTES,
} from './layout';
import { sha256 } from './sha256';

export const SEEN: u32 = 0;
export const RECORDED: u32 = 1;
export const DROPPED_BUFFERS_FULL: u32 = 2;
export const DROPPED_UNREADABLE: u32 = 3;
export const TRUNCATED: u32 = 4;
export const SEND_FAILURES: u32 = 5;
export const ROLLBACKS_SEEN: u32 = 6;
export const DROPPED_NO_RANDOM: u32 = 7;
export const INTERIM: u32 = 8;
export const UNWATCHED: u32 = 9;
export const COUNTERS: u32 = 10;
/** Of these, the ones that stand side by side at HEADER_COUNTERS. */
const COUNTERS_FIRST: usize = 8;

const ROWS: usize = memory.data(61600, 16); // ROWS_MAX x ROW_BYTES
const HEADER: usize = memory.data(320, 16); // of the batch that is filling, as far as it is known
const TOTALS: usize = memory.data(80, 8); // COUNTERS x u64
const LIFE: usize = memory.data(32, 8); // as in the header
const STREAM: usize = memory.data(16, 8);
const PREVIOUS: usize = memory.data(32, 8);
const CHECKPOINT: usize = memory.data(40, 8); // size and root, as in the header
const NODE: usize = memory.data(1024, 8); // node id, node cluster, mesh cluster: NODE_SLOT bytes each, u16 length in front
const NODE_SLOT: usize = 320;
const NODE_TEXT_BYTES_MAX: usize = 256;
export const NODE_ID: u32 = 0;
export const NODE_CLUSTER: u32 = 1;
export const MESH_CLUSTER: u32 = 2;

let rows: u32 = 0;
let isOpen: bool = false;
let batchNumber: u64 = 0;
let firstRecord: u64 = 0;
let epoch: u64 = 0;

export function count(counter: u32, by: u64): void {
  const at = TOTALS + 8 * <usize>counter;
  store<u64>(at, load<u64>(at) + by);
}

export function total(counter: u32): u64 {
  return load<u64>(TOTALS + 8 * <usize>counter);
}

/** Begins a stream whose identity is the 16 bytes at `identity`. */
export function beginStream(identity: usize): void {
  memory.copy(STREAM, identity, STREAM_BYTES);
  memory.fill(TOTALS, 0, 8 * <usize>COUNTERS);
  memory.fill(PREVIOUS, 0, HASH_BYTES);
  memory.fill(CHECKPOINT, 0, 40);
  batchNumber = 0;
  firstRecord = 0;
  rows = 0;
  isOpen = false;
}

/** The 16 bytes that name the stream. */
export function streamIdentity(): usize {
  return STREAM;
}

/**
 * Keeps what the VMs of this proxy know of each other, for the headers of the batches that are sealed from now on.
 * `silentStream`: the 16 bytes of the stream of a VM that is silent, or 0.
 */
export function setLife(sinceNs: u64, aliveIntervalMs: u32, known: u32, alive: u32, silentStream: usize): void {
  store<u64>(LIFE, sinceNs);
  store<u32>(LIFE, aliveIntervalMs, 8);
  store<u16>(LIFE, <u16>known, 12);
  store<u16>(LIFE, <u16>alive, 14);
  if (silentStream == 0) memory.fill(LIFE + 16, 0, STREAM_BYTES);
  else memory.copy(LIFE + 16, silentStream, STREAM_BYTES);
}

/** Number of batches that were sealed. */
export function batchesSealed(): u64 {
  return batchNumber;
}

/** Keeps a text that each batch opens with; empty is absent. Takes effect with the next batch. */
export function setNodeText(which: u32, at: usize, bytes: usize): void {
  const slot = NODE + NODE_SLOT * <usize>which;
  const kept = bytes > NODE_TEXT_BYTES_MAX ? NODE_TEXT_BYTES_MAX : bytes;
  if (kept < bytes) count(TRUNCATED, 1);
  store<u16>(slot, <u16>kept);
  memory.copy(slot + 2, at, kept);
}

function nodeReference(which: u32): u16 {
  const slot = NODE + NODE_SLOT * <usize>which;
  const bytes = <usize>load<u16>(slot);
  return bytes == 0 ? 0 : <u16>entryNumber(ENTRY_PUBLIC, slot + 2, bytes);
}

/** Whether a batch is filling. */
export function isFilling(): bool {
  return isOpen;
}

/** Changes whenever another batch begins: dictionary numbers of an earlier epoch mean nothing. */
export function batchEpoch(): u64 {
  return epoch;
}

export function rowCount(): u32 {
  return rows;
}

/** Opens a batch; `secret` is 32 random bytes. */
export function openBatch(role: u8, secret: usize, wallNs: u64, monoNs: u64): void {
  clearDictionary();
  keyDictionary(load<u64>(secret, 24) ^ load<u64>(secret, 8));
  memory.fill(HEADER, 0, HEADER_BYTES);
  store<u32>(HEADER, BATCH_MAGIC);
  store<u16>(HEADER, FORMAT_VERSION, HEADER_VERSION);
  store<u16>(HEADER, <u16>HEADER_BYTES, HEADER_HEADER_BYTES);
  store<u16>(HEADER, <u16>ROW_BYTES, HEADER_ROW_BYTES);
  store<u8>(HEADER, role, HEADER_ROLE);
  store<u32>(HEADER, FILTER_VERSION, HEADER_FILTER_VERSION);
  store<u64>(HEADER, wallNs, HEADER_OPENED_WALL_NS);
  store<u64>(HEADER, monoNs, HEADER_OPENED_MONO_NS);
  memory.copy(HEADER + HEADER_SECRET, secret, HASH_BYTES);
  store<u16>(HEADER, nodeReference(NODE_ID), HEADER_NODE_ID);
  store<u16>(HEADER, nodeReference(NODE_CLUSTER), HEADER_NODE_CLUSTER);
  store<u16>(HEADER, nodeReference(MESH_CLUSTER), HEADER_MESH_CLUSTER);
  rows = 0;
  isOpen = true;
  epoch++;
}

function bytesFilled(): usize {
  return HEADER_BYTES + <usize>rows * ROW_BYTES + dictionaryBytes() + HASH_BYTES;
}

/** Whether the batch has the size at which it is sealed. */
export function isSealable(): bool {
  if (!isOpen) return false;
  return bytesFilled() >= SEAL_AT_BYTES || !hasTableRoom();
}

function hasTableRoom(): bool {
  return rows < ROWS_MAX && dictionaryCount() + ENTRIES_RESERVE <= ENTRIES_MAX;
}

/** Whether the largest possible record would still fit. */
export function hasRoom(): bool {
  return hasTableRoom() && bytesFilled() + RECORD_BYTES_MAX <= BATCH_BYTES_MAX;
}

/** The row to write next. */
export function nextRow(): usize {
  return ROWS + <usize>rows * ROW_BYTES;
}

/** Takes the row at `nextRow` into the batch. */
export function commitRow(): void {
  rows++;
  count(RECORDED, 1);
}

/** Seals the batch that is filling into `out` (BATCH_BYTES_MAX bytes) and returns its length. `flags`: FLAG_FIN, FLAG_ALIVE. */
export function sealBatch(out: usize, flags: u16, wallNs: u64, monoNs: u64): usize {
  const bytes = bytesFilled();
  memory.copy(out, HEADER, HEADER_BYTES);
  store<u32>(out, <u32>bytes, HEADER_TOTAL_BYTES);
  store<u32>(out, rows, HEADER_ROW_COUNT);
  store<u16>(out, <u16>dictionaryCount(), HEADER_DICTIONARY_COUNT);
  store<u32>(out, <u32>dictionaryBytes(), HEADER_DICTIONARY_BYTES);
  const rollback = total(ROLLBACKS_SEEN) > 0 ? FLAG_ROLLBACK_SEEN : 0;
  store<u16>(out, flags | rollback, HEADER_FLAGS);
  memory.copy(out + HEADER_STREAM, STREAM, STREAM_BYTES);
  store<u64>(out, batchNumber, HEADER_BATCH_NUMBER);
  store<u64>(out, firstRecord, HEADER_FIRST_RECORD);
  memory.copy(out + HEADER_COUNTERS, TOTALS, 8 * COUNTERS_FIRST);
  memory.copy(out + HEADER_MORE_COUNTERS, TOTALS + 8 * COUNTERS_FIRST, 8 * (<usize>COUNTERS - COUNTERS_FIRST));
  memory.copy(out + HEADER_LIFE, LIFE, LIFE_BYTES);
  store<u64>(out, wallNs, HEADER_SEALED_WALL_NS);
  store<u64>(out, monoNs, HEADER_SEALED_MONO_NS);
  memory.copy(out + HEADER_PREVIOUS, PREVIOUS, HASH_BYTES);
  memory.copy(out + HEADER_CHECKPOINT_SIZE, CHECKPOINT, 40);
  memory.copy(out + HEADER_BYTES, ROWS, <usize>rows * ROW_BYTES);
  copyDictionary(out + HEADER_BYTES + <usize>rows * ROW_BYTES);
  sha256(out, bytes - HASH_BYTES, out + bytes - HASH_BYTES);
  memory.copy(PREVIOUS, out + bytes - HASH_BYTES, HASH_BYTES);
  batchNumber++;
  firstRecord += <u64>rows;
  rows = 0;
  isOpen = false;
  epoch++;
  return bytes;
}

/** Size of the newest checkpoint that an acknowledgement showed. */
export function knownCheckpointSize(): u64 {
  return load<u64>(CHECKPOINT);
}

/**
 * Remembers the checkpoint of an acknowledgement, or counts that it went backwards or changed. `knownAtSend` is what was known
 * when the batch went out: of two batches in flight, the answer to the earlier one may come later and show less.
 */
export function noteCheckpoint(ack: usize, knownAtSend: u64): void {
  const size = load<u64>(ack, ACK_CHECKPOINT_SIZE);
  const root = ack + ACK_CHECKPOINT_ROOT;
  const known = load<u64>(CHECKPOINT);
  if (size > NUMBER_MAX) return;
  if (size < knownAtSend || (size == known && size > 0 && !isEqual(root, CHECKPOINT + 8, HASH_BYTES))) {
    count(ROLLBACKS_SEEN, 1);
    return;
  }
  if (size <= known || isZero(root, HASH_BYTES)) return;
  store<u64>(CHECKPOINT, size);
  memory.copy(CHECKPOINT + 8, root, HASH_BYTES);
}
