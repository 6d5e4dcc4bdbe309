// From facts to bytes: the outcome entry and the row (docs/formats.md 1.2 and 1.5).

import { commitRow, count, nextRow, TRUNCATED } from './batch';
import { entryNumber } from './dictionary';
import {
  ATTEMPTS,
  CODE,
  cutCount,
  DURATION_US,
  GRPC_STATUS,
  HEADERS,
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
  START_NS,
  SUBJECT,
  TRACE,
  TRACE_TEXT,
  textAt,
  textBytes,
  USER_AGENT,
} from './facts';
import { SPAN_ID_AT, TRACE_FLAGS_AT } from './identifiers';
import {
  BIT_PRIORITY,
  BIT_REQUEST_ID,
  BIT_REQUEST_ID_TEXT,
  BIT_TRACE,
  ENTRY_OUTCOME,
  ENTRY_PRIVATE,
  ENTRY_PUBLIC,
  KIND_HTTP,
  OUTCOME_BYTES,
  REFERENCES_AT,
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

const OUTCOME: usize = memory.data(48, 8);

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
    store<u16>(OUTCOME + REFERENCES_AT + 2 * <usize>fact, reference(fact, ENTRY_PUBLIC));
  return entryNumber(ENTRY_OUTCOME, OUTCOME, OUTCOME_BYTES);
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

/** Writes the facts as the batch's next row; false when a table is full. */
export function writeRow(connection: u32, verdict: u8): bool {
  const outcome = outcomeReference();
  if (connection == 0 || outcome == 0) return false;
  const row = nextRow();
  const bits = rowBits();
  memory.fill(row, 0, ROW_BYTES);
  store<u32>(row, bits | (isPriority(verdict) ? BIT_PRIORITY : 0));
  store<u8>(row, KIND_HTTP, ROW_KIND);
  store<u8>(row, verdict, ROW_VERDICT);
  store<u16>(row, <u16>connection, ROW_CONNECTION);
  store<u16>(row, <u16>outcome, ROW_OUTCOME);
  store<u16>(row, reference(PATH, ENTRY_PRIVATE), ROW_PATH);
  store<u16>(row, reference(USER_AGENT, ENTRY_PRIVATE), ROW_USER_AGENT);
  store<u16>(row, reference(SUBJECT, ENTRY_PRIVATE), ROW_SUBJECT);
  store<u64>(row, number(START_NS), ROW_START_NS);
  // Numbers without their presence bit are zero.
  storeU48(row + ROW_DURATION_US, number(DURATION_US));
  store<u16>(row, reference(HEADERS, ENTRY_PRIVATE), ROW_HEADERS);
  storeU48(row + ROW_REQUEST_BYTES, number(REQUEST_BYTES));
  storeU48(row + ROW_RESPONSE_BYTES, number(RESPONSE_BYTES));
  const attempts = number(ATTEMPTS);
  store<u8>(row, attempts > 255 ? 255 : <u8>attempts, ROW_ATTEMPTS);
  store<u16>(row, reference(TRACE_TEXT, ENTRY_PRIVATE), ROW_TRACE_TEXT);
  if ((bits & BIT_REQUEST_ID) != 0) memory.copy(row + ROW_REQUEST_ID, REQUEST_UUID, 16);
  else if ((bits & BIT_REQUEST_ID_TEXT) != 0) store<u16>(row, reference(REQUEST_ID, ENTRY_PRIVATE), ROW_REQUEST_ID);
  if ((bits & BIT_TRACE) != 0) {
    memory.copy(row + ROW_TRACE_ID, TRACE, SPAN_ID_AT + 8);
    store<u8>(row, load<u8>(TRACE, TRACE_FLAGS_AT), ROW_TRACE_FLAGS);
  }
  count(TRUNCATED, <u64>cutCount());
  commitRow();
  return true;
}
