// One exchange that is over: everything that is asked of the host for it, in the order of need (docs/filter.md has the table).

import { readHeader, readMap, readProperty, readWord, valueAt, valueBytes, wallClock, word } from '../abi/read';
import { MAP_REQUEST, MAP_RESPONSE, NOT_FOUND, OK } from '../abi/status';
import { startsWith } from '../record/bytes';
import {
  ATTEMPTS,
  CODE,
  CODE_DETAILS,
  clearFacts,
  DURATION_US,
  GRPC_STATUS,
  REQUEST_BYTES,
  REQUEST_CONTENT_TYPE,
  RESPONSE_BYTES,
  RESPONSE_CONTENT_TYPE,
  RESPONSE_FLAGS,
  ROUTE,
  START_NS,
  setBits,
  setNumber,
  setPresent,
  setText,
  textAt,
  textBytes,
  UPSTREAM_ADDRESS,
  UPSTREAM_CLUSTER,
  UPSTREAM_FAILURE,
  UPSTREAM_LOCAL_PRINCIPAL,
  UPSTREAM_PRINCIPAL,
} from '../record/facts';
import { beginHeaders, endHeaders, HEADER_NAMES, headerName, takeHeader, takeHeaders } from '../record/headers';
import {
  BIT_ATTEMPTS,
  BIT_DURATION,
  BIT_OTHER_CUT,
  BIT_REQUEST_BYTES,
  BIT_RESPONSE_BYTES,
  GRPC_ABSENT,
} from '../record/layout';
import { JWT, RBAC, takeDenialDetails, takeMetadata, takeRbac, takeTokens } from '../record/metadata';
import { path, text } from '../record/text';
import { hasFailure, isOrdinary } from '../record/verdict';
import { takeConnection } from './connection';

const PATH_TIME = path('request.time');
const PATH_DURATION = path('request.duration');
const PATH_REQUEST_BYTES = path('request.total_size');
const PATH_RESPONSE_BYTES = path('response.total_size');
const PATH_CODE = path('response.code');
const PATH_CODE_DETAILS = path('response.code_details');
const PATH_FLAGS = path('response.flags');
const PATH_GRPC_STATUS = path('response.grpc_status');
const PATH_ATTEMPTS = path('upstream.request_attempt_count');
const PATH_UPSTREAM_ADDRESS = path('upstream.address');
const PATH_UPSTREAM_CLUSTER = path('xds.cluster_name');
const PATH_UPSTREAM_PRINCIPAL = path('upstream.uri_san_peer_certificate');
const PATH_UPSTREAM_LOCAL_PRINCIPAL = path('upstream.uri_san_local_certificate');
const PATH_UPSTREAM_FAILURE = path('upstream.transport_failure_reason');
const PATH_ROUTE = path('xds.route_name');
const PATH_METADATA = path('metadata.filter_metadata');
/** A longer property path: a text constant of which the length byte is written when it is made. */
const LONGER_PATH: usize = memory.data(64, 8);
const GRPC = text('application/grpc');

const I64_MAX: u64 = 0x7fff_ffff_ffff_ffff;

function readText(fact: u32, from: usize): void {
  if (readProperty(from) == OK) setText(fact, valueAt, valueBytes);
}

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

function takeTimes(): void {
  const start = readWord(PATH_TIME) == OK ? word() : wallClock();
  setNumber(START_NS, start > I64_MAX ? I64_MAX : start);
  // Envoy's durations are signed; one below zero is no duration.
  if (readWord(PATH_DURATION) == OK && word() <= I64_MAX) setPresent(DURATION_US, word() / 1000, BIT_DURATION);
}

function takeResponse(): void {
  if (readWord(PATH_CODE) == OK && word() <= 65535) setNumber(CODE, word());
  if (readWord(PATH_FLAGS) == OK) setNumber(RESPONSE_FLAGS, word() & 0x1f_ffff_ffff_ffff);
  if (readWord(PATH_REQUEST_BYTES) == OK) setPresent(REQUEST_BYTES, word(), BIT_REQUEST_BYTES);
  if (readWord(PATH_RESPONSE_BYTES) == OK) setPresent(RESPONSE_BYTES, word(), BIT_RESPONSE_BYTES);
  if (readHeader(MAP_RESPONSE, text('content-type')) == OK) setText(RESPONSE_CONTENT_TYPE, valueAt, valueBytes);
  setNumber(GRPC_STATUS, GRPC_ABSENT);
  // Envoy derives a gRPC status for every exchange; it means something only where gRPC was spoken.
  const isGrpc = startsWith(textAt(REQUEST_CONTENT_TYPE), textBytes(REQUEST_CONTENT_TYPE), GRPC);
  if (isGrpc && readWord(PATH_GRPC_STATUS) == OK && word() < GRPC_ABSENT) setNumber(GRPC_STATUS, word());
}

function takeUpstream(): void {
  readText(UPSTREAM_CLUSTER, PATH_UPSTREAM_CLUSTER);
  readText(ROUTE, PATH_ROUTE);
  readText(UPSTREAM_ADDRESS, PATH_UPSTREAM_ADDRESS);
  // No host was chosen: there is nothing to ask about it.
  if (textBytes(UPSTREAM_ADDRESS) == 0) return;
  if (readWord(PATH_ATTEMPTS) == OK && word() > 0) setPresent(ATTEMPTS, word(), BIT_ATTEMPTS);
  readText(UPSTREAM_PRINCIPAL, PATH_UPSTREAM_PRINCIPAL);
  readText(UPSTREAM_LOCAL_PRINCIPAL, PATH_UPSTREAM_LOCAL_PRINCIPAL);
}

/** Reads the metadata of one filter: the path of all metadata, NUL and the filter's name. */
function readMetadataOf(filter: usize): bool {
  const prefix = <usize>load<u8>(PATH_METADATA);
  const name = <usize>load<u8>(filter);
  memory.copy(LONGER_PATH, PATH_METADATA, prefix + 1);
  store<u8>(LONGER_PATH + prefix + 1, 0);
  memory.copy(LONGER_PATH + prefix + 2, filter + 1, name);
  store<u8>(LONGER_PATH, <u8>(prefix + 1 + name));
  return readProperty(LONGER_PATH) == OK;
}

/** One value that the host cannot turn into bytes, in the metadata of any filter, keeps it from handing over all: then each by itself. */
function takeAllMetadata(): void {
  const status = readProperty(PATH_METADATA);
  if (status == OK) takeMetadata(valueAt, valueBytes);
  if (status == OK || status == NOT_FOUND) return;
  if (readMetadataOf(RBAC)) takeRbac(valueAt, valueBytes);
  if (readMetadataOf(JWT)) takeTokens(valueAt, valueBytes);
}

/** Gathers the facts of the exchange at hand. */
export function takeExchange(): void {
  clearFacts();
  takeRequestHeaders();
  takeConnection();
  takeTimes();
  takeResponse();
  takeUpstream();
  takeAllMetadata();
  if (isOrdinary()) return;
  readText(CODE_DETAILS, PATH_CODE_DETAILS);
  takeDenialDetails(textAt(CODE_DETAILS), textBytes(CODE_DETAILS));
  if (hasFailure()) readText(UPSTREAM_FAILURE, PATH_UPSTREAM_FAILURE);
}
