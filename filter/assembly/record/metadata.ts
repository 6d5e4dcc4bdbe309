// What other filters of the chain wrote into the stream's dynamic metadata: decisions of RBAC, claims of a verified token.

import { endsWith, isText, startsWith } from './bytes';
import {
  number,
  POLICY,
  POLICY_RESULT,
  SHADOW_POLICY,
  SHADOW_RESULT,
  SUBJECT,
  setNumber,
  setText,
  TOKEN_ISSUER,
  textBytes,
} from './facts';
import { keyAt, keyBytes, nextPair, openPairs, pairValueAt, pairValueBytes } from './pairs';
import { text } from './text';

export const RBAC = text('envoy.filters.http.rbac');
const NETWORK_RBAC = text('envoy.filters.network.rbac');
export const JWT = text('envoy.filters.http.jwt_authn');
const ENFORCED_RESULT = text('enforced_engine_result');
const ENFORCED_POLICY = text('enforced_effective_policy_id');
const SHADOW_ENGINE_RESULT = text('shadow_engine_result');
const SHADOW_ENGINE_POLICY = text('shadow_effective_policy_id');
/** Istio tries allow and deny policies side by side. A dry denial says more than a dry permission. */
const DRY_ALLOW = text('istio_dry_run_allow_');
const RESULT_ALLOWED = text('allowed');
const RESULT_DENIED = text('denied');
const ISSUER = text('iss');
const SUBJECT_CLAIM = text('sub');

const FILTERS_WALK: usize = memory.data(64, 8);
const ENTRIES_WALK: usize = memory.data(64, 8);
const CLAIMS_WALK: usize = memory.data(64, 8);

export const ABSENT: u64 = 0;
export const ALLOWED: u64 = 1;
export const DENIED: u64 = 2;

/** Takes the metadata of all filters: pairs of a filter's name and its entries, which are pairs again. */
export function takeMetadata(at: usize, bytes: usize): void {
  openPairs(FILTERS_WALK, at, bytes);
  while (nextPair(FILTERS_WALK)) {
    const name = keyAt(FILTERS_WALK);
    const nameBytes = keyBytes(FILTERS_WALK);
    if (isText(name, nameBytes, RBAC) || isText(name, nameBytes, NETWORK_RBAC))
      takeRbac(pairValueAt(FILTERS_WALK), pairValueBytes(FILTERS_WALK));
    else if (isText(name, nameBytes, JWT)) takeTokens(pairValueAt(FILTERS_WALK), pairValueBytes(FILTERS_WALK));
  }
}

function resultOf(at: usize, bytes: usize): u64 {
  if (isText(at, bytes, RESULT_ALLOWED)) return ALLOWED;
  return isText(at, bytes, RESULT_DENIED) ? DENIED : ABSENT;
}

// Shadow results and policies: [0] of the engine itself or a dry denial, [1] of a dry permission.
const SHADOWS: usize = memory.data(24, 8); // 2 x (u32 result, u32 policy, u32 bytes)
const SHADOW_SLOT: usize = 12;

/** Takes the entries of the RBAC filter. */
export function takeRbac(at: usize, bytes: usize): void {
  memory.fill(SHADOWS, 0, 2 * SHADOW_SLOT);
  openPairs(ENTRIES_WALK, at, bytes);
  while (nextPair(ENTRIES_WALK)) {
    const key = keyAt(ENTRIES_WALK);
    const length = keyBytes(ENTRIES_WALK);
    const value = pairValueAt(ENTRIES_WALK);
    const valueBytes = pairValueBytes(ENTRIES_WALK);
    if (valueBytes == 0) continue;
    const slot = SHADOWS + (startsWith(key, length, DRY_ALLOW) ? SHADOW_SLOT : 0);
    if (endsWith(key, length, ENFORCED_RESULT)) setNumber(POLICY_RESULT, resultOf(value, valueBytes));
    else if (endsWith(key, length, ENFORCED_POLICY)) setText(POLICY, value, valueBytes);
    else if (endsWith(key, length, SHADOW_ENGINE_RESULT)) store<u32>(slot, <u32>resultOf(value, valueBytes));
    else if (endsWith(key, length, SHADOW_ENGINE_POLICY)) {
      store<u32>(slot, <u32>value, 4);
      store<u32>(slot, <u32>valueBytes, 8);
    }
  }
  // ABSENT is the least and DENIED the most that one can say.
  const slot = load<u32>(SHADOWS) < load<u32>(SHADOWS, SHADOW_SLOT) ? SHADOWS + SHADOW_SLOT : SHADOWS;
  setNumber(SHADOW_RESULT, <u64>load<u32>(slot));
  if (load<u32>(slot, 8) > 0) setText(SHADOW_POLICY, <usize>load<u32>(slot, 4), <usize>load<u32>(slot, 8));
}

/** Takes the entries of the JWT filter: under names of the operator's choice, payloads whose claims are pairs. */
export function takeTokens(at: usize, bytes: usize): void {
  openPairs(ENTRIES_WALK, at, bytes);
  while (nextPair(ENTRIES_WALK)) {
    if (textBytes(TOKEN_ISSUER) > 0 || textBytes(SUBJECT) > 0) return;
    openPairs(CLAIMS_WALK, pairValueAt(ENTRIES_WALK), pairValueBytes(ENTRIES_WALK));
    while (nextPair(CLAIMS_WALK)) {
      if (pairValueBytes(CLAIMS_WALK) == 0) continue;
      const isIssuer = isText(keyAt(CLAIMS_WALK), keyBytes(CLAIMS_WALK), ISSUER);
      const isSubject = isText(keyAt(CLAIMS_WALK), keyBytes(CLAIMS_WALK), SUBJECT_CLAIM);
      if (isIssuer) setText(TOKEN_ISSUER, pairValueAt(CLAIMS_WALK), pairValueBytes(CLAIMS_WALK));
      else if (isSubject) setText(SUBJECT, pairValueAt(CLAIMS_WALK), pairValueBytes(CLAIMS_WALK));
    }
  }
}

const DETAILS_POLICY = text('rbac_access_denied_matched_policy[');
const NO_POLICY = text('none');

/**
 * Takes what a peer says of itself, as Istio's metadata exchange keeps it in filter state: pairs. Facts for its workload and its
 * namespace, and for its cluster; `cluster` 0 (which is no peer's fact): not wanted.
 */
export function takePeer(at: usize, bytes: usize, workload: u32, namespace: u32, cluster: u32): void {
  openPairs(ENTRIES_WALK, at, bytes);
  while (nextPair(ENTRIES_WALK)) {
    const key = keyAt(ENTRIES_WALK);
    const length = keyBytes(ENTRIES_WALK);
    let fact: u32 = 0;
    if (isText(key, length, text('workload'))) fact = workload;
    else if (isText(key, length, text('namespace'))) fact = namespace;
    else if (isText(key, length, text('cluster'))) fact = cluster;
    if (fact != 0) setText(fact, pairValueAt(ENTRIES_WALK), pairValueBytes(ENTRIES_WALK));
  }
}

/** Takes an RBAC denial from the code details, where the metadata does not have it. */
export function takeDenialDetails(details: usize, bytes: usize): void {
  if (!startsWith(details, bytes, DETAILS_POLICY)) return;
  setNumber(POLICY_RESULT, DENIED);
  const head = <usize>load<u8>(DETAILS_POLICY);
  if (textBytes(POLICY) > 0 || bytes < head + 2) return;
  const nameBytes = bytes - head - 1;
  // An allow list that no rule of matched has no policy that decided.
  if (!isText(details + head, nameBytes, NO_POLICY)) setText(POLICY, details + head, nameBytes);
}

/** Whether the enforced RBAC engine refused. */
export function isRefusedByPolicy(): bool {
  return number(POLICY_RESULT) == DENIED;
}
