// What hangs on the upstream host, read once in a batch: identities of the connection to it, and what the peer says of itself.

import { readProperty, valueAt, valueBytes } from '../abi/read';
import { OK } from '../abi/status';
import { batchEpoch } from '../record/batch';
import { isEqual } from '../record/bytes';
import { hasIstioPeers } from '../record/config';
import {
  cutCount,
  setBits,
  setCutText,
  setText,
  textAt,
  textBytes,
  UPSTREAM_ADDRESS,
  UPSTREAM_CLUSTER,
  UPSTREAM_LOCAL_PRINCIPAL,
  UPSTREAM_NAMESPACE,
  UPSTREAM_PRINCIPAL,
  UPSTREAM_WORKLOAD,
} from '../record/facts';
import { BIT_OTHER_CUT } from '../record/layout';
import { takePeer } from '../record/metadata';
import { path } from '../record/text';

const PATH_PRINCIPAL = path('upstream.uri_san_peer_certificate');
const PATH_LOCAL_PRINCIPAL = path('upstream.uri_san_local_certificate');
const PATH_PEER = path('filter_state.upstream_peer');

/** Direct-mapped: hosts that share a slot cost readings, never a wrong fact. */
const SLOTS: u32 = 128;
const SLOT_BYTES: usize = 2072;
const CACHE: usize = memory.data(265216, 16); // SLOTS x SLOT_BYTES
const _SLOT_EPOCH: usize = 0; // u64: the batch in which it holds
const SLOT_LENGTHS: usize = 8; // u16 for each text
const SLOT_IS_CUT: usize = 20; // u8
const SLOT_TEXTS: usize = 24; // cluster, address and two of the peer up to 256 bytes, two principals up to 512: 2,048
const KEPT_TEXTS: u32 = 6;
/** Of these, the ones that name the host. */
const KEY_TEXTS: u32 = 2;
const FACTS: usize = memory.data<u32>([
  UPSTREAM_CLUSTER,
  UPSTREAM_ADDRESS,
  UPSTREAM_PRINCIPAL,
  UPSTREAM_LOCAL_PRINCIPAL,
  UPSTREAM_WORKLOAD,
  UPSTREAM_NAMESPACE,
]);

function factAt(i: u32): u32 {
  return load<u32>(FACTS + 4 * <usize>i);
}

function slotOf(): usize {
  let hash: u32 = 0;
  for (let i: u32 = 0; i < KEY_TEXTS; i++) {
    const at = textAt(factAt(i));
    const bytes = textBytes(factAt(i));
    for (let j: usize = 0; j < bytes; j++) hash = hash * 31 + <u32>load<u8>(at + j);
  }
  return CACHE + SLOT_BYTES * <usize>((hash ^ (hash >> 7)) & (SLOTS - 1));
}

/** Sets the facts of a slot that is the host's and of this batch; false when it is not. */
function recall(slot: usize): bool {
  if (load<u64>(slot) != batchEpoch()) return false;
  let at = slot + SLOT_TEXTS;
  for (let i: u32 = 0; i < KEPT_TEXTS; i++) {
    const bytes = <usize>load<u16>(slot + SLOT_LENGTHS + 2 * <usize>i);
    const fact = factAt(i);
    if (i < KEY_TEXTS) {
      if (textBytes(fact) != bytes || !isEqual(textAt(fact), at, bytes)) return false;
    } else if (bytes > 0) setCutText(fact, at, bytes);
    at += bytes;
  }
  if (load<u8>(slot, SLOT_IS_CUT) != 0) setBits(BIT_OTHER_CUT);
  return true;
}

function keep(slot: usize, isCut: bool): void {
  store<u64>(slot, batchEpoch());
  store<u8>(slot, isCut ? 1 : 0, SLOT_IS_CUT);
  let at = slot + SLOT_TEXTS;
  for (let i: u32 = 0; i < KEPT_TEXTS; i++) {
    const bytes = textBytes(factAt(i));
    store<u16>(slot + SLOT_LENGTHS + 2 * <usize>i, <u16>bytes);
    memory.copy(at, textAt(factAt(i)), bytes);
    at += bytes;
  }
}

function readText(fact: u32, from: usize): void {
  if (readProperty(from) == OK) setText(fact, valueAt, valueBytes);
}

/** Takes the identities of the upstream whose cluster and address are facts. */
export function takeUpstreamPeer(): void {
  const slot = slotOf();
  if (recall(slot)) return;
  const cutsBefore = cutCount();
  readText(UPSTREAM_PRINCIPAL, PATH_PRINCIPAL);
  readText(UPSTREAM_LOCAL_PRINCIPAL, PATH_LOCAL_PRINCIPAL);
  if (hasIstioPeers && readProperty(PATH_PEER) == OK)
    takePeer(valueAt, valueBytes, UPSTREAM_WORKLOAD, UPSTREAM_NAMESPACE, 0);
  keep(slot, cutCount() > cutsBefore);
}
