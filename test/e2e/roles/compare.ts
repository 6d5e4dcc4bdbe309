// A line of Envoy's own access log beside the record of the same exchange or connection, field by field.

import assert from 'node:assert/strict';
import type { FlowRecord } from '../../../collector/src/core/record.ts';
import type { Line, Value } from './access-logs.ts';

/** The recorder takes the start of an exchange from its own clock when Envoy tells of it, less the duration: late by what Envoy had to do between. */
const EXCHANGE_START_MS_MAX = 250;
/** Envoy does not tell a network filter how long the connection lasted: it takes the time itself, at another moment than Envoy. */
const CLOCK_MS_MAX = 250;
/** What a record keeps of a text that has no limit of its own. */
const TEXT_BYTES_MAX = 256;

export type Facts = Readonly<Record<string, Value | boolean>>;
/** Which proxy tells: one in front of the callee, or one at the edge, for which the callee is behind the upstream. */
export type Reporter = 'destination' | 'gateway';
export type RecordValue = string | number | boolean | undefined;

const orNull = (value: RecordValue): Value | boolean => value ?? null;
const numberOf = (value: Value | undefined): number => Number(value ?? 0);
/** Envoy's logs have no spaces in a reason. */
const underscored = (reason: string | undefined): Value => reason?.replaceAll(' ', '_') ?? null;

/** Unix milliseconds of a time with nanoseconds, as a record has it. */
export function msOf(time: string): number {
  return Date.parse(`${time.slice(0, 19)}Z`) + Number(time.slice(20, 29)) / 1e6;
}

/** Unix seconds with nine decimals, as a log has it. */
function secondsOf(time: string): string {
  return `${Date.parse(`${time.slice(0, 19)}Z`) / 1000}.${time.slice(20, -1)}`;
}

export const lineMs = (line: Line): number => numberOf(line['start']) * 1000;
export const distanceMs = (record: FlowRecord, line: Line): number => Math.abs(msOf(record.time) - lineMs(line));

function get(line: Line, name: string): Value {
  const value = line[name];
  assert.ok(value !== undefined, `the log has no ${name}`);
  return value;
}

/** What a certificate was worth: an identity, or a claim that was refused. */
function connectionOfLine(line: Line, reporter: Reporter): Facts {
  const isEdge = reporter === 'gateway';
  const isRefused = get(line, 'tls_failure') !== null;
  return {
    // No filter chain, no connection: Envoy's log has a zero there.
    'connection.id': get(line, 'connection_id') || null,
    'connection.direction': 'inbound',
    reporter,
    'source.address': get(line, 'remote'),
    'destination.address': (isEdge ? get(line, 'upstream') : null) ?? get(line, 'local'),
    'source.principal': (isRefused ? null : get(line, 'peer')) ?? get(line, 'told'),
    'source.principal_from': isRefused || get(line, 'peer') === null ? get(line, 'told') && 'filter_state' : 'mtls',
    'connection.rejected_principal': isRefused ? get(line, 'peer') : null,
    'connection.certificate_rejected': isRefused ? true : null,
    'destination.principal': get(line, isEdge ? 'upstream_peer' : 'own'),
    'connection.subject_peer_certificate': get(line, 'subject'),
    'connection.sha256_peer_certificate_digest': get(line, 'digest'),
    // A certificate was shown, whatever came of it.
    'connection.mtls': get(line, 'digest') !== null,
    'connection.tls_version': get(line, 'tls'),
    'connection.transport_failure_reason': get(line, 'tls_failure'),
    'connection.requested_server_name': get(line, 'sni'),
    'connection.filter_chain': get(line, 'filter_chain'),
    'request.protocol': get(line, 'protocol'),
    'request.total_size': numberOf(line['request_bytes']),
    'response.total_size': numberOf(line['response_bytes']),
    'response.flags': numberOf(line['flag_bits']),
    'upstream.cluster': get(line, 'cluster'),
    'upstream.address': get(line, 'upstream'),
    'upstream.principal': get(line, 'upstream_peer'),
    'upstream.transport_failure_reason': get(line, 'upstream_failure'),
    // Of a refusal network RBAC leaves no result, but its words.
    'rbac.result':
      get(line, 'net_enforced_result') ??
      (String(line['termination']).startsWith('rbac_access_denied') ? 'denied' : null),
    'rbac.shadow_result': get(line, 'net_shadow_result'),
    'rbac.shadow_policy': get(line, 'net_shadow_policy'),
  };
}

function connectionOfRecord(record: FlowRecord): Facts {
  const { source, destination, connection, request, response, upstream, rbac } = record;
  return {
    'connection.id': orNull(connection.id),
    'connection.direction': orNull(connection.direction),
    reporter: record.reporter,
    'source.address': orNull(source.address),
    'destination.address': orNull(destination.address),
    'source.principal': orNull(source.principal),
    'source.principal_from': orNull(source.principal_from),
    'connection.rejected_principal': orNull(connection.rejected_principal),
    'connection.certificate_rejected': orNull(connection.certificate_rejected),
    'destination.principal': orNull(destination.principal),
    'connection.subject_peer_certificate': orNull(connection.subject_peer_certificate),
    'connection.sha256_peer_certificate_digest': orNull(connection.sha256_peer_certificate_digest),
    'connection.mtls': orNull(connection.mtls),
    'connection.tls_version': orNull(connection.tls_version),
    'connection.transport_failure_reason': underscored(connection.transport_failure_reason),
    'connection.requested_server_name': orNull(connection.requested_server_name),
    'connection.filter_chain': orNull(connection.filter_chain),
    'request.protocol': orNull(request.protocol),
    'request.total_size': orNull(request.total_size),
    'response.total_size': orNull(response.total_size),
    'response.flags': orNull(response.flags),
    'upstream.cluster': orNull(upstream.cluster),
    'upstream.address': orNull(upstream.address),
    'upstream.principal': orNull(upstream.principal),
    'upstream.transport_failure_reason': underscored(upstream.transport_failure_reason),
    'rbac.result': orNull(rbac.result),
    'rbac.shadow_result': orNull(rbac.shadow_result),
    'rbac.shadow_policy': orNull(rbac.shadow_policy),
  };
}

/** The upstream answered with 200 to 399, and nothing is flagged: then the recorder asks neither details nor route. */
function isOrdinary(line: Line): boolean {
  const code = numberOf(line['code']);
  return line['flags'] === '-' && code >= 200 && code < 400 && line['details'] === 'via_upstream';
}

/**
 * No attempt was made: the recorder has none, the log a zero, or a one where there was no host to try. Where the request says
 * that it is the first, the recorder does not ask.
 */
function attemptsOfLine(line: Line, isFull: boolean): Value {
  const isSaid = isOrdinary(line) && String(line['said_attempts']) === '1';
  return line['upstream'] === null || (isSaid && !isFull) ? null : get(line, 'attempts') || null;
}

function exchangeOfLine(line: Line, isFull: boolean, reporter: Reporter): Facts {
  const isOf = (type: Value | undefined): boolean => String(type).startsWith('application/grpc');
  const unlessOrdinary = (name: string): Value => (isOrdinary(line) && !isFull ? null : get(line, name));
  return {
    ...connectionOfLine(line, reporter),
    'request.method': get(line, 'method'),
    'request.host': get(line, 'authority'),
    'request.path': get(line, 'path'),
    'request.useragent': get(line, 'user_agent'),
    'request.id': get(line, 'request_id'),
    'request.headers["x-tenant"]': get(line, 'tenant'),
    'request.content_type': get(line, 'request_type'),
    'request.content_encoding': get(line, 'request_encoding'),
    'response.content_type': get(line, 'response_type'),
    'response.content_encoding': get(line, 'response_encoding'),
    'response.code': get(line, 'code') || null,
    'response.code_details': unlessOrdinary('details'),
    'response.grpc_status': isOf(line['request_type']) ? get(line, 'grpc') : null,
    route: unlessOrdinary('route'),
    'upstream.request_attempt_count': attemptsOfLine(line, isFull),
    'rbac.result': get(line, 'enforced_result'),
    'rbac.shadow_result': get(line, 'shadow_result'),
    'rbac.shadow_policy': get(line, 'shadow_policy'),
    'token.issuer': get(line, 'token_issuer'),
    'token.subject': get(line, 'token_subject'),
  };
}

function exchangeOfRecord(record: FlowRecord): Facts {
  const { request, response, token, upstream } = record;
  return {
    ...connectionOfRecord(record),
    'request.method': orNull(request.method),
    'request.host': orNull(request.host),
    'request.path': orNull(request.path),
    'request.useragent': orNull(request.useragent),
    'request.id': orNull(request.id),
    'request.headers["x-tenant"]': orNull(request.headers?.['x-tenant']),
    'request.content_type': orNull(request.content_type),
    'request.content_encoding': orNull(request.content_encoding),
    'response.content_type': orNull(response.content_type),
    'response.content_encoding': orNull(response.content_encoding),
    'response.code': orNull(response.code),
    'response.code_details': orNull(response.code_details),
    'response.grpc_status': orNull(response.grpc_status),
    route: orNull(record.route),
    'upstream.request_attempt_count': orNull(upstream.request_attempt_count),
    'token.issuer': orNull(token.issuer),
    'token.subject': orNull(token.subject),
  };
}

/** A text of the log as a record has it that says of itself that texts were cut. */
function cut(value: Value | boolean | undefined, record: FlowRecord): Value | boolean {
  const isCut = typeof value === 'string' && record.record.truncated?.includes('other') === true;
  return isCut ? value.slice(0, TEXT_BYTES_MAX) : (value ?? null);
}

/** Asserts that two lists of facts agree; the message has only what does not. */
function assertSame(record: FlowRecord, ofRecord: Facts, ofLine: Facts, what: string): void {
  const names = Object.keys(ofLine).filter((name) => ofRecord[name] !== cut(ofLine[name], record));
  const only = (facts: Facts): Facts => Object.fromEntries(names.map((name) => [name, facts[name] ?? null]));
  assert.deepEqual(only(ofRecord), only(ofLine), `${what}: the record (actual) and Envoy's log (expected) differ`);
}

/** Milliseconds of a record's duration, cut as the log cuts them. */
function durationMs(record: FlowRecord): number {
  assert.ok(record.duration !== undefined, 'a record of something that ended has a duration');
  return Math.floor(Number.parseFloat(record.duration) * 1000 + 1e-6);
}

/** Asserts that the record of an exchange says what the manager's log says. */
export function assertExchange(
  record: FlowRecord,
  line: Line,
  how: { readonly isFull: boolean; readonly reporter?: Reporter },
  what: string,
): void {
  const { isFull, reporter = 'destination' } = how;
  const logged = exchangeOfLine(line, isFull, reporter);
  assertSame(record, exchangeOfRecord(record), logged, what);
  assert.equal(durationMs(record), line['duration_ms'], `${what}: duration, ms`);
  assert.ok(distanceMs(record, line) <= EXCHANGE_START_MS_MAX, `${what}: start ${record.time}, log ${line['start']}`);
}

/** Asserts that the record of a connection says what the log of the listener or of `tcp_proxy` says; `protocol`: what its exchanges told the recorder. */
export function assertConnection(
  record: FlowRecord,
  line: Line,
  how: { readonly hasOwnClock: boolean; readonly reporter?: Reporter; readonly protocol?: Value },
  what: string,
): void {
  const { hasOwnClock, reporter = 'destination', protocol } = how;
  assertSame(
    record,
    { ...connectionOfRecord(record), 'connection.termination_details': orNull(record.connection.termination_details) },
    // That no chain was found is said in the details of the response, though there is none.
    {
      ...connectionOfLine(line, reporter),
      // After a codec error only its exchange told the protocol, and the recorder remembers it for a while.
      'request.protocol': line['protocol'] ?? (record.request.protocol === protocol ? (protocol ?? null) : null),
      'connection.termination_details': line['termination'] ?? line['details'] ?? null,
    },
    what,
  );
  // Of connections the log says the bytes in two ways.
  assert.deepEqual([line['received'], line['sent']], [record.request.total_size, record.response.total_size], what);
  assert.equal(secondsOf(record.time), line['start'], `${what}: start`);
  const offMs = durationMs(record) - numberOf(line['duration_ms']);
  assert.ok(Math.abs(offMs) <= (hasOwnClock ? CLOCK_MS_MAX : 0), `${what}: ${offMs} ms longer than logged`);
}
