// From facts to bytes: the outcome entry and the row (docs/formats.md 1.2 and 1.5).

import { commitRow, count, INTERIM, nextRow, TRUNCATED } from './batch';
import { entryNumber } from './dictionary';
import {
  ATTEMPTS,
  CERTIFICATE_SHA256,
  CODE,
  CONNECTION_ID,
  CONNECTION_TEXTS,
  CONNECTION_TEXTS_FIRST,
  cutCount,
  DIRECTION,
  DURATION_US,
  GRPC_STATUS,
  HAS_CERTIFICATE,
  MTLS,
  number,
  OUTCOME_TEXTS,
  PATH,
  POLICY_RESULT,
  PROTOCOL,
  REQUEST_BYTES,
  REQUEST_ID,
  REQUEST_UUID,
  RESPONSE_BYTES,
  RESPONSE_FLAGS,
  rowBits,
  SHADOW_RESULT,
  SOURCE_ADDRESS,
  START_NS,
  TLS_VERSION,
  TRACE,
  TRANSPORT_FAILURE,
  textAt,
  textBytes,
} from './facts';
import { SPAN_ID_AT, TRACE_FLAGS_AT } from './identifiers';
import {
  BIT_PRIORITY,
  BIT_REPEAT,
  BIT_REQUEST_ID,
  BIT_REQUEST_ID_TEXT,
  BIT_TRACE,
  CONNECTION_BYTES,
  CONNECTION_CERTIFICATE_AT,
  CONNECTION_HAS_CERTIFICATE,
  CONNECTION_MORE_REFERENCES_AT,
  CONNECTION_REFERENCES_AT,
  CONNECTION_REJECTED,
  ENTRY_CONNECTION,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  KIND_HTTP,
  OUTCOME_BYTES,
  OUTCOME_REFERENCES_AT,
  PHASE_BITS,
  ROW_ATTEMPTS,
  ROW_BYTES,
  ROW_CONNECTION,
  ROW_DURATION_US,
  ROW_HEADERS,
  ROW_KIND,
  ROW_OUTCOME,
  ROW_PATH,
  ROW_REQUEST_BYTES,
  ROW_REQUEST_ID,
  ROW_RESPONSE_BYTES,
  ROW_START_NS,
  ROW_SUBJECT,
  ROW_TRACE_FLAGS,
  ROW_TRACE_ID,
  ROW_TRACE_TEXT,
  ROW_USER_AGENT,
  ROW_VERDICT,
  U48_MAX,
} from './layout';
import { DENIED, FAILED } from './verdict';

const OUTCOME: usize = memory.data(56, 8);
const CONNECTION: usize = memory.data(80, 8);

/** Number of a text in the dictionary; 0 when it is absent. */
export function reference(fact: u32, kind: u32): u16 {
  const bytes = textBytes(fact);
  return bytes == 0 ? 0 : <u16>entryNumber(kind, textAt(fact), bytes);
}

function outcomeReference(): u32 {
  memory.fill(OUTCOME, 0, OUTCOME_BYTES);
  store<u16>(OUTCOME, <u16>number(CODE));
  store<u8>(OUTCOME, <u8>number(PROTOCOL), 2);
  store<u8>(OUTCOME, <u8>number(GRPC_STATUS), 3);
  store<u64>(OUTCOME, number(RESPONSE_FLAGS), 4);
  store<u8>(OUTCOME, <u8>number(POLICY_RESULT), 12);
  store<u8>(OUTCOME, <u8>number(SHADOW_RESULT), 13);
  for (let fact: u32 = 0; fact < OUTCOME_TEXTS; fact++)
    store<u16>(OUTCOME + OUTCOME_REFERENCES_AT + 2 * <usize>fact, reference(fact, ENTRY_PUBLIC));
  return entryNumber(ENTRY_OUTCOME, OUTCOME, OUTCOME_BYTES);
}

/** Number of the connection's entry in the batch that is filling; 0 when there is no room. */
export function connectionEntry(): u32 {
  memory.fill(CONNECTION, 0, CONNECTION_BYTES);
  store<u64>(CONNECTION, number(CONNECTION_ID));
  store<u8>(CONNECTION, <u8>number(DIRECTION), 8);
  store<u8>(CONNECTION, <u8>number(MTLS), 9);
  store<u8>(CONNECTION, <u8>number(TLS_VERSION), 10);
  let flags: u8 = textBytes(TRANSPORT_FAILURE) > 0 ? CONNECTION_REJECTED : 0;
  if (number(HAS_CERTIFICATE) != 0) {
    flags |= CONNECTION_HAS_CERTIFICATE;
    memory.copy(CONNECTION + CONNECTION_CERTIFICATE_AT, CERTIFICATE_SHA256, 32);
  }
  store<u8>(CONNECTION, flags, 11);
  let at = CONNECTION + CONNECTION_REFERENCES_AT;
  for (let i: u32 = 0; i < CONNECTION_TEXTS; i++) {
    if (i == CONNECTION_TEXTS_FIRST) at = CONNECTION + CONNECTION_MORE_REFERENCES_AT;
    store<u16>(at, reference(SOURCE_ADDRESS + i, i == 0 ? ENTRY_PRIVATE : ENTRY_PUBLIC));
    at += 2;
  }
  return entryNumber(ENTRY_CONNECTION, CONNECTION, CONNECTION_BYTES);
}

function storeU48(at: usize, value: u64): void {
  const kept = value > U48_MAX ? U48_MAX : value;
  store<u32>(at, <u32>kept);
  store<u16>(at, <u16>(kept >> 32), 4);
}

/** Whether a verdict is kept in the reserve under overload. */
export function isPriority(verdict: u8): bool {
  return verdict == DENIED || verdict == FAILED;
}

/** Where the references to the row's texts stand, in the order of the facts from PATH on. */
const TEXTS_AT: usize = memory.data<u8>([
  <u8>ROW_PATH,
  <u8>ROW_USER_AGENT,
  <u8>ROW_SUBJECT,
  <u8>ROW_HEADERS,
  <u8>ROW_TRACE_TEXT,
]);
const TEXT_COUNT: u32 = 5;

/** Writes what a request has and a connection has not. */
function writeRequest(row: usize, bits: u32): void {
  for (let i: u32 = 0; i < TEXT_COUNT; i++)
    store<u16>(row + <usize>load<u8>(TEXTS_AT + i), reference(PATH + i, ENTRY_PRIVATE));
  const attempts = number(ATTEMPTS);
  store<u8>(row, attempts > 255 ? 255 : <u8>attempts, ROW_ATTEMPTS);
  if ((bits & BIT_REQUEST_ID) != 0) memory.copy(row + ROW_REQUEST_ID, REQUEST_UUID, 16);
  else if ((bits & BIT_REQUEST_ID_TEXT) != 0) store<u16>(row, reference(REQUEST_ID, ENTRY_PRIVATE), ROW_REQUEST_ID);
  if ((bits & BIT_TRACE) != 0) {
    memory.copy(row + ROW_TRACE_ID, TRACE, SPAN_ID_AT + 8);
    store<u8>(row, load<u8>(TRACE, TRACE_FLAGS_AT), ROW_TRACE_FLAGS);
  }
}

/**
 * Writes the facts as the batch's next row; false when a table is full. `mark`: sensor, phase and BIT_REPEAT; an open or interval
 * record is a repeat by itself.
 */
export function writeRow(kind: u8, connection: u32, verdict: u8, mark: u32): bool {
  const outcome = outcomeReference();
  if (connection == 0 || outcome == 0) return false;
  const row = nextRow();
  if ((mark & PHASE_BITS) != 0) {
    mark |= BIT_REPEAT;
    count(INTERIM, 1);
  }
  const bits = rowBits();
  memory.fill(row, 0, ROW_BYTES);
  store<u32>(row, bits | mark | (isPriority(verdict) ? BIT_PRIORITY : 0));
  store<u8>(row, kind, ROW_KIND);
  store<u8>(row, verdict, ROW_VERDICT);
  store<u16>(row, <u16>connection, ROW_CONNECTION);
  store<u16>(row, <u16>outcome, ROW_OUTCOME);
  store<u64>(row, number(START_NS), ROW_START_NS);
  // Numbers without their presence bit are zero.
  storeU48(row + ROW_DURATION_US, number(DURATION_US));
  storeU48(row + ROW_REQUEST_BYTES, number(REQUEST_BYTES));
  storeU48(row + ROW_RESPONSE_BYTES, number(RESPONSE_BYTES));
  if (kind == KIND_HTTP) writeRequest(row, bits);
  count(TRUNCATED, <u64>cutCount());
  commitRow();
  return true;
}
