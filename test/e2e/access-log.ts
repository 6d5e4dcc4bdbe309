// Envoy's own JSON access logs beside the records: line by line, field by field.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FlowRecord } from '../../collector/src/core/record.ts';
import { countedOf, proxyOf } from '../../collector/src/demo/findings.ts';

type Value = string | number | null;
type Line = Readonly<Record<string, Value>>;

/** Response flags as the log writes them, and their bits; only what can occur in the demo's mesh. */
const FLAGS: Readonly<Record<string, number>> = { UF: 0x20, UC: 0x40, UH: 0x2, NR: 0x100, DC: 0x4000 };
const REPORTERS: Readonly<Record<string, string>> = { inbound: 'destination', outbound: 'source', ingress: 'gateway' };

function flagsOf(text: Value): number {
  if (text === null || text === '-') return 0;
  return String(text)
    .split(',')
    .reduce((bits, name) => {
      assert.ok(FLAGS[name] !== undefined, `unknown response flag ${name}`);
      return bits | FLAGS[name];
    }, 0);
}

/** A record's start is derived when its exchange ends, so it is late by what the worker did between; both in Unix seconds. */
const LATE_SECONDS_MAX = 0.25;
const EARLY_SECONDS_MAX = 0.002;
const secondsOf = (time: string): number =>
  Date.parse(`${time.slice(0, 19)}Z`) / 1000 + Number(`0${time.slice(19, -1)}`);

const bytesOf = (headers: Value, body: Value): number => Number(headers) + Number(body);
const orNull = (value: string | number | undefined): Value => value ?? null;

/** The recorder asks neither why an upstream answered nor by which route, when it answered below 400 without flags. */
function isOrdinary({ code, flags, details }: Line): boolean {
  return flags === '-' && Number(code) >= 200 && Number(code) < 400 && details === 'via_upstream';
}

/** What a line says, by the names of a record. */
function ofLine(line: Line, reporter: string): Readonly<Record<string, Value>> {
  const trace = /^00-(\w+)-(\w+)-/.exec(String(line['traceparent']));
  return {
    'request.method': line['method'] ?? null,
    'request.host': line['authority'] ?? null,
    'request.path': line['path'] ?? null,
    'request.protocol': line['protocol'] ?? null,
    'request.useragent': line['user_agent'] ?? null,
    'request.id': line['request_id'] ?? null,
    'request.total_size': bytesOf(line['request_headers_bytes'] ?? null, line['request_body_bytes'] ?? null),
    'trace.id': trace?.[1] ?? null,
    'trace.span_id': trace?.[2] ?? null,
    'response.code': line['code'] === 0 ? null : (line['code'] ?? null),
    'response.code_details': isOrdinary(line) ? null : (line['details'] ?? null),
    'response.flags': flagsOf(line['flags'] ?? null),
    'response.total_size': bytesOf(line['response_headers_bytes'] ?? null, line['response_body_bytes'] ?? null),
    'duration, ms': line['duration_ms'] ?? null,
    'source.address': line['remote'] ?? null,
    // A sender's proxy says where it sent the exchange, not on which of its own addresses the exchange came in.
    'destination.address': line[reporter === 'destination' ? 'local' : 'upstream'] ?? null,
    'connection.sha256_peer_certificate_digest': line['peer_digest'] ?? null,
    'connection.tls_version': line['tls'] ?? null,
    'connection.requested_server_name': line['sni'] ?? null,
    route: isOrdinary(line) ? null : (line['route'] ?? null),
    'upstream.cluster': line['upstream_cluster'] ?? null,
    'upstream.address': line['upstream'] ?? null,
    'upstream.principal': line['upstream_peer'] ?? null,
    // No attempt was made: the recorder has none, the log a zero.
    'upstream.request_attempt_count': line['attempts'] || null,
    'rbac.shadow_result': line['shadow_result'] ?? null,
    'rbac.shadow_policy': line['shadow_policy'] ?? null,
  };
}

/** The same of a record. */
function ofRecord(record: FlowRecord): Readonly<Record<string, Value>> {
  const { request, response, trace, source, destination, connection, upstream, rbac } = record;
  return {
    'request.method': orNull(request.method),
    'request.host': orNull(request.host),
    'request.path': orNull(request.path),
    'request.protocol': orNull(request.protocol),
    'request.useragent': orNull(request.useragent),
    'request.id': orNull(request.id),
    'request.total_size': orNull(request.total_size),
    'trace.id': orNull(trace.id),
    'trace.span_id': orNull(trace.span_id),
    'response.code': orNull(response.code),
    'response.code_details': orNull(response.code_details),
    'response.flags': response.flags ?? 0,
    'response.total_size': orNull(response.total_size),
    'duration, ms': record.duration === undefined ? null : Math.floor(Number.parseFloat(record.duration) * 1000 + 1e-6),
    'source.address': orNull(source.address),
    'destination.address': orNull(destination.address),
    'connection.sha256_peer_certificate_digest': orNull(connection.sha256_peer_certificate_digest),
    'connection.tls_version': orNull(connection.tls_version),
    'connection.requested_server_name': orNull(connection.requested_server_name),
    route: orNull(record.route),
    'upstream.cluster': orNull(upstream.cluster),
    'upstream.address': orNull(upstream.address),
    'upstream.principal': orNull(upstream.principal),
    'upstream.request_attempt_count': orNull(upstream.request_attempt_count),
    'rbac.shadow_result': orNull(rbac.shadow_result),
    'rbac.shadow_policy': orNull(rbac.shadow_policy),
  };
}

/** Lines of all logs in a directory by proxy, side and connection, in order of their start. */
function linesOf(dir: string): Map<string, Line[]> {
  const lines: { readonly key: string; readonly line: Line }[] = [];
  for (const file of readdirSync(dir)) {
    const [, proxy, listener] = /^(\w+)-(\w+)\.json$/.exec(file) ?? [];
    for (const text of readFileSync(join(dir, file), 'utf8').split('\n')) {
      if (text === '') continue;
      const line = JSON.parse(text) as Line;
      lines.push({ key: `${proxy} ${REPORTERS[listener ?? '']} ${line['connection_id']}`, line });
    }
  }
  lines.sort((a, b) => Number(a.line['start']) - Number(b.line['start']));
  const groups = Map.groupBy(lines, ({ key }) => key);
  return new Map([...groups].map(([key, group]) => [key, group.map(({ line }) => line)]));
}

/** Asserts that records which are no repeats and access logs tell of the same exchanges, and the same of each. Returns how many. */
export function assertEqualToAccessLogs(dir: string, records: readonly FlowRecord[]): number {
  const lines = linesOf(dir);
  const ordered = countedOf(records).toSorted((a, b) => (a.time < b.time ? -1 : 1));
  const recorded = Map.groupBy(ordered, (r) => `${proxyOf(r)} ${r.reporter} ${r.connection.id}`);
  assert.deepEqual([...recorded.keys()].toSorted(), [...lines.keys()].toSorted());
  for (const [key, group] of lines) {
    const own = recorded.get(key) ?? [];
    assert.equal(own.length, group.length, key);
    // The mesh speaks HTTP/1.1: exchanges of a connection come one after the other.
    for (const [i, line] of group.entries()) {
      const record = own[i] as FlowRecord;
      assert.deepEqual(ofRecord(record), ofLine(line, record.reporter), `${key}, exchange ${i}`);
      const late = secondsOf(record.time) - Number(line['start']);
      assert.ok(late > -EARLY_SECONDS_MAX && late < LATE_SECONDS_MAX, `${key}, exchange ${i} starts ${late} s late`);
    }
  }
  return [...lines.values()].reduce((sum, group) => sum + group.length, 0);
}
