// Records over HTTP: list, one, its proof.

import { fromUtf8, parseDecimal, toBase64 } from '../core/bytes.ts';
import { decodeStoredBatch } from '../core/codec/batch.ts';
import { parseEntry } from '../core/codec/entry.ts';
import { makeRecordProof, type RecordProof } from '../core/codec/record-proof.ts';
import { MeshtrailError } from '../core/error.ts';
import { parseFilter } from '../core/query/filter.ts';
import type { FlowRecord } from '../core/record.ts';
import { parseTime } from '../core/time.ts';
import { inclusionProof, rootFromTiles } from '../core/tlog/tile.ts';
import { formatTlogProof } from '../core/tlog/tlog-proof.ts';
import type { FlowIndex, Gap } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { formatCursor, parseCursor } from './cursor.ts';

const LIMIT_DEFAULT = 100;

export interface FlowsParameters {
  readonly filter?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: number;
  readonly cursor?: string;
  readonly order?: 'asc' | 'desc';
}

export interface FlowsAnswer {
  readonly flows: readonly FlowRecord[];
  readonly nextCursor: string | null;
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly Gap[];
}

/** Resolved bounds of a query's time. Throws TIME_INVALID. */
export function boundsOf(
  { since, until }: Pick<FlowsParameters, 'since' | 'until'>,
  nowMs: number,
): { readonly sinceNs?: bigint; readonly untilNs?: bigint } {
  const sinceNs = since === undefined ? undefined : parseTime(since, nowMs);
  const untilNs = until === undefined ? undefined : parseTime(until, nowMs);
  if (sinceNs !== undefined && untilNs !== undefined && sinceNs >= untilNs)
    throw new MeshtrailError('TIME_INVALID', `Nothing is since ${since} and until ${until}: until must be later.`);
  return { ...(sinceNs === undefined ? {} : { sinceNs }), ...(untilNs === undefined ? {} : { untilNs }) };
}

/** Answers `GET /v1/flows`. Throws FILTER_INVALID, TIME_INVALID, CURSOR_INVALID, QUERY_OVERLOADED. */
export async function listFlows(
  log: EvidenceLog,
  index: FlowIndex,
  nowMs: number,
  parameters: FlowsParameters,
  signal?: AbortSignal,
): Promise<FlowsAnswer> {
  const { filter, since, until, limit = LIMIT_DEFAULT, order = 'desc' } = parameters;
  const queryText = JSON.stringify([log.origin, filter ?? null, since ?? null, until ?? null, order]);
  const compiled = filter === undefined ? undefined : parseFilter(filter);
  const head = log.published();
  const cursor = parameters.cursor === undefined ? undefined : parseCursor(parameters.cursor, queryText, head.size);
  const bounds = cursor ?? boundsOf(parameters, nowMs);
  await index.idle();
  const size = cursor?.size ?? Math.min(index.size, head.size);
  const page = await index.search({
    order,
    limit,
    size,
    ...(bounds.sinceNs === undefined ? {} : { sinceNs: bounds.sinceNs }),
    ...(bounds.untilNs === undefined ? {} : { untilNs: bounds.untilNs }),
    ...(compiled === undefined ? {} : { filter: compiled }),
    ...(cursor === undefined ? {} : { after: cursor.position }),
    ...(signal === undefined ? {} : { signal }),
  });
  const gaps: Gap[] = [...index.gaps()];
  if (size < head.size && cursor === undefined)
    gaps.push({ kind: 'partial', reason: `the index is ${head.size - size} entries behind the log` });
  if (page.partial !== undefined) gaps.push({ kind: 'partial', reason: page.partial });
  const root = size === head.size ? head.root : await rootFromTiles(log.tiles, size);
  return {
    flows: page.flows,
    nextCursor: page.next === undefined ? null : formatCursor({ ...bounds, position: page.next, size }, queryText),
    asOf: { origin: log.origin, size, root: toBase64(root) },
    complete: gaps.length === 0,
    gaps,
  };
}

/** Parses `<leaf>.<record>` or `<origin>/<leaf>.<record>`. Throws RECORD_ID_INVALID, or RECORD_NOT_FOUND for another log. */
export function parseRecordId(id: string, origin: string): { readonly index: number; readonly row: number } {
  const slash = id.lastIndexOf('/');
  if (slash >= 0 && id.slice(0, slash) !== origin)
    throw new MeshtrailError(
      'RECORD_NOT_FOUND',
      `This collector holds the log ${origin}, not ${JSON.stringify(id.slice(0, Math.min(slash, 200)))}.`,
    );
  const [leaf = '', record = '', ...rest] = id.slice(slash + 1).split('.');
  const [index, row] = [parseDecimal(leaf), parseDecimal(record)];
  if (index === undefined || row === undefined || rest.length > 0) {
    throw new MeshtrailError(
      'RECORD_ID_INVALID',
      `${JSON.stringify(id.slice(0, 200))} is no record id; one is <leaf index>.<record index>, such as 93.12.`,
    );
  }
  return { index, row };
}

/** Answers `GET /v1/flows/{id}`. */
export async function oneFlow(log: EvidenceLog, index: FlowIndex, id: string): Promise<FlowRecord> {
  const place = parseRecordId(id, log.origin);
  await index.idle();
  const record = await index.record(place.index, place.row);
  if (record !== undefined) return record;
  if (place.index >= index.size && (await log.entry(place.index)) !== undefined)
    throw new MeshtrailError(
      'NOT_PUBLISHED_YET',
      `Entry ${place.index} is stored, and no published checkpoint covers it yet; ask again in a second.`,
    );
  const why = place.index >= index.size ? `the log has ${index.size} entries` : await recordsOf(log, place.index);
  throw new MeshtrailError('RECORD_NOT_FOUND', `There is no record ${id}: ${why}.`);
}

/** What to say of the records of an entry that there is. */
async function recordsOf(log: EvidenceLog, index: number): Promise<string> {
  const bytes = await log.entry(index);
  const entry = bytes === undefined ? undefined : parseEntry(bytes);
  if (entry?.kind !== 'batch') return `entry ${index} is no batch and has no records`;
  const { recordCount } = entry;
  if (recordCount === 0) return `entry ${index} has no records`;
  return `entry ${index} has ${recordCount} record${recordCount === 1 ? '' : 's'}, ${index}.0 to ${index}.${recordCount - 1}`;
}

/** Answers `GET /v1/flows/{id}/proof`. */
export async function proofOfFlow(log: EvidenceLog, index: FlowIndex, id: string): Promise<RecordProof> {
  await oneFlow(log, index, id);
  const place = parseRecordId(id, log.origin);
  const head = log.published();
  const [wire, entry] = [await log.wireBatch(place.index), await log.entry(place.index)];
  const header = entry === undefined ? undefined : fromUtf8(entry);
  if (wire === undefined || header === undefined)
    throw new MeshtrailError('RECORD_NOT_FOUND', `Entry ${place.index} has no records.`);
  const path = await inclusionProof(log.tiles, place.index, head.size);
  return makeRecordProof(
    decodeStoredBatch(wire),
    place.row,
    place.index,
    header,
    formatTlogProof({ index: place.index, path, note: head.note }),
    log.origin,
  );
}
