// Connections: one that is over, and what can be told of an exchange or a connection that lives.

import {
  CODE_DETAILS,
  clearFacts,
  GRPC_STATUS,
  number,
  START_NS,
  setNumber,
  textAt,
  textBytes,
  UPSTREAM_FAILURE,
} from '../record/facts';
import { GRPC_ABSENT } from '../record/layout';
import { takeDenialDetails } from '../record/metadata';
import { path } from '../record/text';
import { hasFailure, isUnrouted } from '../record/verdict';
import { takeConnection } from './connection';
import { PATH_CODE_DETAILS, PATH_UPSTREAM_FAILURE, takeCode } from './exchange';
import {
  NO_DURATION,
  readText,
  takeAge,
  takeAllMetadata,
  takeDuration,
  takeFlags,
  takeRequestBytes,
  takeResponseBytes,
  takeStart,
  takeUpstreamHost,
} from './readings';
import { takeUpstreamPeer } from './upstream';

const PATH_TERMINATION = path('connection.termination_details');

function begin(isLive: bool): void {
  clearFacts();
  setNumber(GRPC_STATUS, GRPC_ABSENT);
  takeConnection(isLive);
}

function takeCounters(): void {
  takeFlags();
  takeRequestBytes();
  takeResponseBytes();
}

/** Gathers the facts of the connection at hand, which is over. */
export function takeClosedConnection(): void {
  begin(false);
  const isTold = takeStart();
  if (takeDuration() == NO_DURATION && isTold) takeAge(number(START_NS));
  takeCounters();
  if (takeUpstreamHost()) takeUpstreamPeer();
  takeAllMetadata();
  readText(CODE_DETAILS, PATH_TERMINATION);
  // A connection that no filter chain matches has its reason elsewhere.
  if (textBytes(CODE_DETAILS) == 0 && isUnrouted()) readText(CODE_DETAILS, PATH_CODE_DETAILS);
  takeDenialDetails(textAt(CODE_DETAILS), textBytes(CODE_DETAILS));
  if (hasFailure()) readText(UPSTREAM_FAILURE, PATH_UPSTREAM_FAILURE);
}

/** Gathers what is known of the exchange or connection at hand while it lives; false: there is none. */
export function takeLiving(isNetwork: bool): bool {
  begin(true);
  if (!takeStart()) return false;
  takeAge(number(START_NS));
  takeCounters();
  if (!isNetwork) takeCode();
  takeUpstreamHost();
  return true;
}
