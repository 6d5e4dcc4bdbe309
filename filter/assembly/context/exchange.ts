// One exchange that is over: everything that is asked of the host for it, in the order of need (docs/filter.md has the table).

import { readHeader, readMap, readWord, valueAt, valueBytes, wallClock, word } from '../abi/read';
import { MAP_REQUEST, MAP_RESPONSE, MAP_RESPONSE_TRAILERS, NOT_FOUND, OK } from '../abi/status';
import { answerBytes, NOT_KNOWN, takeAnswer } from '../record/answers';
import { startsWith } from '../record/bytes';
import { isDetailed, openAfterMs } from '../record/config';
import {
  ATTEMPTS,
  CODE,
  CODE_DETAILS,
  clearFacts,
  GRPC_STATUS,
  number,
  REQUEST_CONTENT_TYPE,
  RESPONSE_BYTES,
  RESPONSE_CONTENT_TYPE,
  ROUTE,
  START_NS,
  setBits,
  setNumber,
  setPresent,
  setText,
  textAt,
  textBytes,
  UPSTREAM_FAILURE,
} from '../record/facts';
import {
  beginHeaders,
  endHeaders,
  HEADER_NAMES,
  headerName,
  isFirstAttempt,
  takeHeader,
  takeHeaders,
} from '../record/headers';
import { BIT_ATTEMPTS, BIT_OTHER_CUT, BIT_RESPONSE_BYTES, GRPC_ABSENT } from '../record/layout';
import { takeDenialDetails } from '../record/metadata';
import { path, text } from '../record/text';
import { hasFailure, isOrdinary } from '../record/verdict';
import { takeConnection } from './connection';
import {
  NO_DURATION,
  readText,
  takeAllMetadata,
  takeDuration,
  takeFlags,
  takeRequestBytes,
  takeResponseBytes,
  takeStart,
  takeUpstreamHost,
} from './readings';
import { takeUpstreamPeer } from './upstream';

const PATH_CODE = path('response.code');
export const PATH_CODE_DETAILS: usize = path('response.code_details');
const PATH_GRPC_STATUS = path('response.grpc_status');
const PATH_ATTEMPTS = path('upstream.request_attempt_count');
export const PATH_UPSTREAM_FAILURE: usize = path('upstream.transport_failure_reason');
const PATH_ROUTE = path('xds.route_name');
const GRPC = text('application/grpc');

/** Of longer exchanges Envoy is asked for the start: the clock may have been set since. */
const DERIVED_NS_MAX: u64 = 1_000_000_000;

/** One header by itself: for a map that is larger than the arena. */
function readOne(name: usize): void {
  if (readHeader(MAP_REQUEST, name) == OK) takeHeader(name + 1, <usize>load<u8>(name), valueAt, valueBytes);
}

function takeRequestHeaders(): void {
  beginHeaders();
  const status = readMap(MAP_REQUEST);
  if (status == OK) {
    if (!takeHeaders(valueAt, valueBytes)) setBits(BIT_OTHER_CUT);
  } else if (status != NOT_FOUND) {
    for (let i: u32 = 0; i < HEADER_NAMES; i++) readOne(headerName(i));
    setBits(BIT_OTHER_CUT);
  }
  endHeaders();
}

/** Takes start and duration; returns what tells this exchange from the others of its connection. */
function takeTimes(): u64 {
  const duration = takeDuration();
  // Those that can have open records have to agree with them.
  const isShort = duration < DERIVED_NS_MAX && duration < <u64>openAfterMs * 1_000_000;
  const now = isShort ? wallClock() : 0;
  if (now > duration) setNumber(START_NS, now - duration);
  else takeStart();
  return duration != NO_DURATION ? duration : number(START_NS);
}

/** Takes the code, when the header map has none. */
export function takeCode(): void {
  if (number(CODE) == 0 && readWord(PATH_CODE) == OK && word() <= 65535) setNumber(CODE, word());
}

function takeResponse(): void {
  takeFlags();
  const status = readMap(MAP_RESPONSE);
  takeAnswer(valueAt, valueBytes);
  if (status != OK && status != NOT_FOUND) {
    if (readHeader(MAP_RESPONSE, text('content-type')) == OK) setText(RESPONSE_CONTENT_TYPE, valueAt, valueBytes);
    setBits(BIT_OTHER_CUT);
  }
  takeCode();
  takeRequestBytes();
  // Envoy's size is of headers, body and trailers.
  const bytes = isDetailed ? NOT_KNOWN : answerBytes();
  if (bytes != NOT_KNOWN && readMap(MAP_RESPONSE_TRAILERS) == NOT_FOUND)
    setPresent(RESPONSE_BYTES, bytes, BIT_RESPONSE_BYTES);
  else takeResponseBytes();
  setNumber(GRPC_STATUS, GRPC_ABSENT);
  // Envoy derives a gRPC status for every exchange; it means something only where gRPC was spoken.
  const isGrpc = startsWith(textAt(REQUEST_CONTENT_TYPE), textBytes(REQUEST_CONTENT_TYPE), GRPC);
  if (isGrpc && readWord(PATH_GRPC_STATUS) == OK && word() < GRPC_ABSENT) setNumber(GRPC_STATUS, word());
}

/**
 * Envoy writes the number of the attempt into the request where it is told to. A caller can write it too, so it saves the
 * question and never gives the answer: attempts are absent then.
 */
function takeAttempts(isPlain: bool): void {
  if (isPlain && isFirstAttempt()) return;
  if (readWord(PATH_ATTEMPTS) == OK && word() > 0) setPresent(ATTEMPTS, word(), BIT_ATTEMPTS);
}

/** Gathers the facts of the exchange at hand; returns a number that two reports of it agree in. */
export function takeExchange(): u64 {
  clearFacts();
  takeRequestHeaders();
  takeConnection(false);
  const mark = takeTimes();
  takeResponse();
  const hasHost = takeUpstreamHost();
  const isPlain = isOrdinary() && !isDetailed;
  // Where no host was chosen there is nothing to ask about it.
  if (hasHost) {
    takeAttempts(isPlain);
    takeUpstreamPeer();
  }
  takeAllMetadata();
  if (isPlain) return mark;
  readText(ROUTE, PATH_ROUTE);
  readText(CODE_DETAILS, PATH_CODE_DETAILS);
  takeDenialDetails(textAt(CODE_DETAILS), textBytes(CODE_DETAILS));
  if (hasFailure()) readText(UPSTREAM_FAILURE, PATH_UPSTREAM_FAILURE);
  return mark;
}
