// The facts of the exchange at hand, gathered before anything is written: texts as pointer and length, numbers as u64.

import { BIT_HEADERS_CUT, BIT_OTHER_CUT, BIT_PATH_CUT, BIT_USER_AGENT_CUT } from './layout';

// Texts of the outcome entry, in the order of its references.
export const CLAIMED_PRINCIPAL: u32 = 0;
export const METHOD: u32 = 1;
export const AUTHORITY: u32 = 2;
export const ROUTE: u32 = 3;
export const UPSTREAM_CLUSTER: u32 = 4;
export const UPSTREAM_ADDRESS: u32 = 5;
export const UPSTREAM_PRINCIPAL: u32 = 6;
export const UPSTREAM_LOCAL_PRINCIPAL: u32 = 7;
export const CODE_DETAILS: u32 = 8;
export const POLICY: u32 = 9;
export const SHADOW_POLICY: u32 = 10;
export const TOKEN_ISSUER: u32 = 11;
export const REQUEST_CONTENT_TYPE: u32 = 12;
export const RESPONSE_CONTENT_TYPE: u32 = 13;
export const UPSTREAM_FAILURE: u32 = 14;
export const REQUEST_ENCODING: u32 = 15;
export const RESPONSE_ENCODING: u32 = 16;
export const UPSTREAM_WORKLOAD: u32 = 17;
export const UPSTREAM_NAMESPACE: u32 = 18;
export const OUTCOME_TEXTS: u32 = 19;
// Texts of the connection entry, in the order of its references.
export const SOURCE_ADDRESS: u32 = 19;
export const DESTINATION_ADDRESS: u32 = 20;
export const PEER_PRINCIPAL: u32 = 21;
export const LOCAL_PRINCIPAL: u32 = 22;
export const REQUESTED_SERVER_NAME: u32 = 23;
export const TRANSPORT_FAILURE: u32 = 24;
export const FILTER_CHAIN: u32 = 25;
export const PEER_SUBJECT: u32 = 26;
export const FILTER_STATE_PRINCIPAL: u32 = 27;
export const PEER_WORKLOAD: u32 = 28;
export const PEER_NAMESPACE: u32 = 29;
export const PEER_CLUSTER: u32 = 30;
export const CONNECTION_TEXTS: u32 = 12;
/** Of these, the ones in front of the certificate. */
export const CONNECTION_TEXTS_FIRST: u32 = 8;
// Texts of the row.
export const PATH: u32 = 31;
export const USER_AGENT: u32 = 32;
export const SUBJECT: u32 = 33;
export const HEADERS: u32 = 34;
export const TRACE_TEXT: u32 = 35;
export const REQUEST_ID: u32 = 36;
/** Not recorded: it tells whether the source address can be another than the connection's. */
export const FORWARDED_FOR: u32 = 37;

export const START_NS: u32 = 0;
export const DURATION_US: u32 = 1;
export const REQUEST_BYTES: u32 = 2;
export const RESPONSE_BYTES: u32 = 3;
export const ATTEMPTS: u32 = 4;
export const CODE: u32 = 5;
export const PROTOCOL: u32 = 6;
export const GRPC_STATUS: u32 = 7;
export const RESPONSE_FLAGS: u32 = 8;
export const POLICY_RESULT: u32 = 9;
export const SHADOW_RESULT: u32 = 10;
export const CONNECTION_ID: u32 = 11;
export const DIRECTION: u32 = 12;
export const MTLS: u32 = 13;
export const TLS_VERSION: u32 = 14;
export const HAS_CERTIFICATE: u32 = 15;

const TEXTS: usize = memory.data(304, 16); // 38 x (u32 pointer, u32 length)
const NUMBERS: usize = memory.data(128, 16); // 16 x u64
export const CERTIFICATE_SHA256: usize = memory.data(32, 8);
export const REQUEST_UUID: usize = memory.data(16, 8);
/** The parsed trace (identifiers.ts), with room for a version in front. */
export const TRACE: usize = memory.data(32, 8) + 1;

/** Presence and quality bits of the row. */
let bits: u32 = 0;
let cuts: u32 = 0;

export function clearFacts(): void {
  memory.fill(TEXTS, 0, 304);
  memory.fill(NUMBERS, 0, 128);
  bits = 0;
  cuts = 0;
}

export function number(fact: u32): u64 {
  return load<u64>(NUMBERS + 8 * <usize>fact);
}

export function setNumber(fact: u32, value: u64): void {
  store<u64>(NUMBERS + 8 * <usize>fact, value);
}

/** Sets a number whose presence has a bit in the row. */
export function setPresent(fact: u32, value: u64, bit: u32): void {
  setNumber(fact, value);
  bits |= bit;
}

export function textAt(fact: u32): usize {
  return <usize>load<u32>(TEXTS + 8 * <usize>fact);
}

export function textBytes(fact: u32): usize {
  return <usize>load<u32>(TEXTS + 8 * <usize>fact, 4);
}

/** Bytes that a text keeps (docs/formats.md 1.3). */
export function limitOf(fact: u32): usize {
  if (fact == PATH || fact == HEADERS) return 1024;
  // Principals and failure reasons, as bits: a reason of BoringSSL names all that led to it.
  const long: u64 =
    (1 << CLAIMED_PRINCIPAL) |
    (1 << UPSTREAM_PRINCIPAL) |
    (1 << UPSTREAM_LOCAL_PRINCIPAL) |
    (1 << PEER_PRINCIPAL) |
    (1 << LOCAL_PRINCIPAL) |
    (1 << FILTER_STATE_PRINCIPAL) |
    (1 << TRANSPORT_FAILURE) |
    (1 << UPSTREAM_FAILURE);
  return ((long >> fact) & 1) != 0 ? 512 : 256;
}

/** Sets a text; a longer one than its limit is cut and marked. The bytes must stay where they are until the row is written. */
export function setText(fact: u32, at: usize, bytes: usize): void {
  const limit = limitOf(fact);
  if (bytes > limit) {
    bytes = limit;
    markCut(fact);
  }
  setCutText(fact, at, bytes);
}

/** Sets a text that is within its limit already. */
export function setCutText(fact: u32, at: usize, bytes: usize): void {
  store<u32>(TEXTS + 8 * <usize>fact, <u32>at);
  store<u32>(TEXTS + 8 * <usize>fact, <u32>bytes, 4);
}

/** Marks a text as cut, be it to nothing: the proxy had more of it than could be kept. */
export function markCut(fact: u32): void {
  cuts++;
  if (fact == PATH) bits |= BIT_PATH_CUT;
  else if (fact == USER_AGENT) bits |= BIT_USER_AGENT_CUT;
  else if (fact == HEADERS) bits |= BIT_HEADERS_CUT;
  else bits |= BIT_OTHER_CUT;
}

export function rowBits(): u32 {
  return bits;
}

export function setBits(more: u32): void {
  bits |= more;
}

/** Values of this exchange that were cut. */
export function cutCount(): u32 {
  return cuts;
}
