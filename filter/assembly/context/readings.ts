// Readings that exchanges and connections share: sizes, flags, times, what other filters wrote into metadata.

import { readProperty, readWord, valueAt, valueBytes, wallClock, word } from '../abi/read';
import { NOT_FOUND, OK } from '../abi/status';
import {
  DURATION_US,
  REQUEST_BYTES,
  RESPONSE_BYTES,
  RESPONSE_FLAGS,
  START_NS,
  setNumber,
  setPresent,
  setText,
  textBytes,
  UPSTREAM_ADDRESS,
  UPSTREAM_CLUSTER,
} from '../record/facts';
import { BIT_DURATION, BIT_REQUEST_BYTES, BIT_RESPONSE_BYTES, NUMBER_MAX } from '../record/layout';
import { JWT, RBAC, takeMetadata, takeRbac, takeTokens } from '../record/metadata';
import { path } from '../record/text';

const PATH_TIME = path('request.time');
const PATH_DURATION = path('request.duration');
const PATH_REQUEST_BYTES = path('request.total_size');
const PATH_RESPONSE_BYTES = path('response.total_size');
const PATH_FLAGS = path('response.flags');
const PATH_UPSTREAM_ADDRESS = path('upstream.address');
const PATH_UPSTREAM_CLUSTER = path('xds.cluster_name');
const PATH_METADATA = path('metadata.filter_metadata');
const PATH_ALL_METADATA = path('metadata');
const EMPTY_MAP_BYTES: usize = 4;
/** A longer property path: a text constant that is made when it is needed. */
const LONGER_PATH: usize = memory.data(64, 8);

const I64_MAX: u64 = 0x7fff_ffff_ffff_ffff;
/** No duration: Envoy does not tell one before the end, and to a network filter never. */
export const NO_DURATION: u64 = 0xffff_ffff_ffff_ffff;

export function readText(fact: u32, from: usize): void {
  if (readProperty(from) == OK) setText(fact, valueAt, valueBytes);
}

/** Whether the proxy tells no duration at the end: only a network filter's context has none. */
export function hasNoDuration(): bool {
  return readWord(PATH_DURATION) == NOT_FOUND;
}

/** Takes the duration; returns it in ns, or NO_DURATION. */
export function takeDuration(): u64 {
  // Envoy's durations are signed; one below zero is no duration.
  if (readWord(PATH_DURATION) != OK || word() > I64_MAX) return NO_DURATION;
  setPresent(DURATION_US, word() / 1000, BIT_DURATION);
  return word();
}

/** Takes the time of the start; false when the host does not tell it, and then it is now. */
export function takeStart(): bool {
  const isTold = readWord(PATH_TIME) == OK;
  const start = isTold ? word() : wallClock();
  setNumber(START_NS, start > I64_MAX ? I64_MAX : start);
  return isTold;
}

/** Takes the time that went by since a start. */
export function takeAge(startNs: u64): void {
  const now = wallClock();
  if (now >= startNs) setPresent(DURATION_US, (now - startNs) / 1000, BIT_DURATION);
}

export function takeFlags(): void {
  if (readWord(PATH_FLAGS) == OK) setNumber(RESPONSE_FLAGS, word() & NUMBER_MAX);
}

export function takeRequestBytes(): void {
  if (readWord(PATH_REQUEST_BYTES) == OK) setPresent(REQUEST_BYTES, word(), BIT_REQUEST_BYTES);
}

export function takeResponseBytes(): void {
  if (readWord(PATH_RESPONSE_BYTES) == OK) setPresent(RESPONSE_BYTES, word(), BIT_RESPONSE_BYTES);
}

/** Takes where it was sent to; false when no host was chosen. */
export function takeUpstreamHost(): bool {
  readText(UPSTREAM_CLUSTER, PATH_UPSTREAM_CLUSTER);
  readText(UPSTREAM_ADDRESS, PATH_UPSTREAM_ADDRESS);
  return textBytes(UPSTREAM_ADDRESS) > 0;
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

/** Whether the newest exchange asked had metadata: those of one proxy mostly agree. */
let hadMetadata: bool = false;

/**
 * The map of all filters' metadata has four bytes when it is empty, so it costs a call with data; the message around it has none.
 * Where there was none, the message is asked first.
 */
function hasMetadata(): bool {
  if (!hadMetadata) hadMetadata = readProperty(PATH_ALL_METADATA) != NOT_FOUND;
  return hadMetadata;
}

/** One value that the host cannot turn into bytes, in the metadata of any filter, keeps it from handing over all: then each by itself. */
export function takeAllMetadata(): void {
  if (!hasMetadata()) return;
  const status = readProperty(PATH_METADATA);
  hadMetadata = status != NOT_FOUND && valueBytes != EMPTY_MAP_BYTES;
  if (status == OK) takeMetadata(valueAt, valueBytes);
  if (status == OK || status == NOT_FOUND) return;
  if (readMetadataOf(RBAC)) takeRbac(valueAt, valueBytes);
  if (readMetadataOf(JWT)) takeTokens(valueAt, valueBytes);
}
