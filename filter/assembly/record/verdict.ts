// The verdict (docs/formats.md 1.2): the first rule that matches.

import { isText, startsWith } from './bytes';
import {
  CODE,
  CODE_DETAILS,
  METHOD,
  number,
  RESPONSE_FLAGS,
  TRANSPORT_FAILURE,
  textAt,
  textBytes,
  UPSTREAM_ADDRESS,
  UPSTREAM_FAILURE,
} from './facts';
import { isRefusedByPolicy } from './metadata';
import { text } from './text';

export const ALLOWED: u8 = 1;
export const DENIED: u8 = 2;
export const FAILED: u8 = 3;
export const RESET: u8 = 4;
export const INVALID: u8 = 5;
export const UNROUTED: u8 = 6;
export const UNKNOWN: u8 = 7;

// Envoy's response flags, by their short names.
const LH: u64 = 1 << 0;
const UH: u64 = 1 << 1;
const UT: u64 = 1 << 2;
const LR: u64 = 1 << 3;
const UR: u64 = 1 << 4;
const UF: u64 = 1 << 5;
const UC: u64 = 1 << 6;
const UO: u64 = 1 << 7;
const NR: u64 = 1 << 8;
const RL: u64 = 1 << 11;
const UAEX: u64 = 1 << 12;
const DC: u64 = 1 << 14;
const URX: u64 = 1 << 15;
const SI: u64 = 1 << 16;
const IH: u64 = 1 << 17;
const DPE: u64 = 1 << 18;
const UMSDR: u64 = 1 << 19;
const DT: u64 = 1 << 22;
const UPE: u64 = 1 << 23;
const NC: u64 = 1 << 24;
const OM: u64 = 1 << 25;
const DF: u64 = 1 << 26;
const DO: u64 = 1 << 27;
const DR: u64 = 1 << 28;
const FAILURES: u64 = UH | UF | UC | UT | UR | UO | URX | NC | LR | LH | DT | UPE | UMSDR | DF | SI | OM | DO;

const CONNECT = text('CONNECT');
const RBAC = text('rbac_access_denied');
const JWT = text('jwt_authn_access_denied');
const EXT_AUTHZ = text('ext_authz_');
const RATE_LIMITED = text('request_rate_limited');
const LOCAL_RATE_LIMITED = text('local_rate_limited');
const HTTP1 = text('http1.');
const HTTP2 = text('http2.');
const HTTP3 = text('http3.');
const HTTP2_REMOTE = text('http2.remote_');
const MISSING_HOST = text('missing_host_header');
const MISSING_PATH = text('missing_path_rejected');
const ABSOLUTE_PATH = text('absolute_path_rejected');
const PATH_NORMALIZATION = text('path_normalization_failed');
const LOW_VERSION = text('low_version');
const HEADERS_TOO_LARGE = text('request_headers_too_large');
const UPGRADE_FAILED = text('upgrade_failed');
const STRICT_CHECK = text('request_headers_failed_strict_check');
const REMOTE_DISCONNECT = text('downstream_remote_disconnect');
const VIA_UPSTREAM = text('via_upstream');
const DIRECT_RESPONSE = text('direct_response');

function areDetails(constant: usize): bool {
  return isText(textAt(CODE_DETAILS), textBytes(CODE_DETAILS), constant);
}

function detailsBegin(constant: usize): bool {
  return startsWith(textAt(CODE_DETAILS), textBytes(CODE_DETAILS), constant);
}

function isDenied(flags: u64): bool {
  if (isRefusedByPolicy() || (flags & (RL | UAEX)) != 0) return true;
  if (detailsBegin(RBAC) || detailsBegin(JWT) || detailsBegin(EXT_AUTHZ)) return true;
  return areDetails(RATE_LIMITED) || areDetails(LOCAL_RATE_LIMITED);
}

function isInvalid(flags: u64): bool {
  if ((flags & (DPE | IH)) != 0 || detailsBegin(HTTP1) || detailsBegin(HTTP3)) return true;
  if (detailsBegin(HTTP2) && !detailsBegin(HTTP2_REMOTE)) return true;
  if (areDetails(MISSING_HOST) || areDetails(MISSING_PATH) || areDetails(ABSOLUTE_PATH)) return true;
  if (areDetails(PATH_NORMALIZATION) || areDetails(LOW_VERSION)) return true;
  return areDetails(HEADERS_TOO_LARGE) || areDetails(STRICT_CHECK) || areDetails(UPGRADE_FAILED);
}

function isReset(flags: u64): bool {
  return (flags & (DC | DR)) != 0 || areDetails(REMOTE_DISCONNECT) || number(CODE) == 0;
}

/** Whether both sides took up another protocol: then its end, by whichever side, takes nothing back. */
function isTunnel(): bool {
  if (number(CODE) == 101) return true;
  return number(CODE) == 200 && isText(textAt(METHOD), textBytes(METHOD), CONNECT) && textBytes(UPSTREAM_ADDRESS) > 0;
}

/** Whether the answer needs no explaining: the upstream gave it, and nothing is flagged. */
export function isOrdinary(): bool {
  const code = number(CODE);
  return number(RESPONSE_FLAGS) == 0 && code - 200 < 200 && textBytes(UPSTREAM_ADDRESS) > 0;
}

/** Whether the upstream's failure has a reason to ask for. */
export function hasFailure(): bool {
  return (number(RESPONSE_FLAGS) & FAILURES) != 0;
}

/** Whether there was no way to go. */
export function isUnrouted(): bool {
  return (number(RESPONSE_FLAGS) & NR) != 0;
}

/** The verdict on the exchange at hand. */
export function verdictOf(): u8 {
  const flags = number(RESPONSE_FLAGS);
  if (isDenied(flags)) return DENIED;
  if (isInvalid(flags)) return INVALID;
  if (isTunnel()) return ALLOWED;
  if (isReset(flags)) return RESET;
  if (isUnrouted()) return UNROUTED;
  if ((flags & FAILURES) != 0) return FAILED;
  return isOrdinary() || areDetails(VIA_UPSTREAM) || areDetails(DIRECT_RESPONSE) ? ALLOWED : UNKNOWN;
}

/** The verdict on the connection at hand, whose termination details are its code details. */
export function verdictOfConnection(): u8 {
  const flags = number(RESPONSE_FLAGS);
  if (detailsBegin(RBAC)) return DENIED;
  if (isUnrouted()) return UNROUTED;
  if (textBytes(TRANSPORT_FAILURE) > 0 || textBytes(UPSTREAM_FAILURE) > 0 || (flags & FAILURES) != 0) return FAILED;
  return (flags & DPE) != 0 ? INVALID : ALLOWED;
}
