// What every counted answer has around it: the checkpoint it stands on, what it may lack, and a tag when it will always be the same.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { toBase64, utf8 } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';
import { sha256 } from '../core/hash.ts';
import { type Filter, parseFilter } from '../core/query/filter.ts';
import { namesIn } from '../core/query/names.ts';
import { parseDurationNs } from '../core/time.ts';
import { rootFromTiles } from '../core/tlog/tile.ts';
import type { LimitHit } from '../index/aggregate.ts';
import type { FlowIndex, Gap } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { boundsOf } from './flows.ts';

export interface CountInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly nowMs: () => number;
}

/** Parameters that all counted answers take. */
export interface CountParameters {
  readonly filter?: string;
  readonly since?: string;
  readonly until?: string;
  readonly repeats?: boolean;
}

export interface Bounds {
  readonly sinceNs?: bigint;
  readonly untilNs?: bigint;
}

/** A question whose text is understood, about one time range. */
export interface Question extends Bounds {
  readonly filter?: Filter;
  readonly repeats: boolean;
}

/** Reads filter and time. Throws FILTER_INVALID, TIME_INVALID. */
export function questionOf({ filter, since, until, repeats }: CountParameters, nowMs: number): Question {
  const bounds = boundsOf(
    { ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) },
    nowMs,
  );
  const compiled = filter === undefined ? undefined : parseFilter(filter);
  // Who asks for repeats or phases by name means to see them.
  const names = filter === undefined ? new Set<string>() : namesIn(filter);
  const asksForRepeats = names.has('record.repeat') || names.has('record.phase');
  return {
    ...bounds,
    ...(compiled === undefined ? {} : { filter: compiled }),
    repeats: repeats ?? asksForRepeats,
  };
}

/** A length of time in a parameter. Throws PARAMETER_INVALID. */
export function lengthOf(name: string, text: string, minNs: bigint, maxNs: bigint): bigint {
  const ns = parseDurationNs(text);
  if (ns === undefined || ns < minNs || ns > maxNs)
    throw new MeshtrailError(
      'PARAMETER_INVALID',
      `The parameter ${name} is ${JSON.stringify(text.slice(0, 80))}; it must be a length of time such as 10s, 1m or 1h30m, from 1ms to 366d.`,
      { position: { start: 0, end: text.length } },
    );
  return ns;
}

export interface Envelope {
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
  readonly gaps: readonly Gap[];
}

export interface Counted {
  readonly body: Readonly<Record<string, unknown>>;
  readonly limits: readonly LimitHit[];
}

/** Whether a time is written as what it is, not relative to when it is read. */
const isAbsolute = (text: string | undefined): boolean => text !== undefined && /^\d/.test(text);

/** Whether nothing new can start in a window, and its bounds mean the same whenever it is asked for. */
export function isClosed(
  { since, until }: { readonly since?: string; readonly until?: string },
  { untilNs }: Bounds,
  nowMs: number,
): boolean {
  if (since !== undefined && !isAbsolute(since)) return false;
  return isAbsolute(until) && untilNs !== undefined && untilNs <= BigInt(Math.floor(nowMs)) * 1_000_000n;
}

/**
 * Counts at the newest indexed checkpoint, and puts around it what it stands on. An answer about a closed window has an ETag: its
 * question, the checkpoint and the known gaps decide it, so who has it already is told so without counting again.
 */
export async function answer(
  { log, index }: CountInput,
  request: FastifyRequest,
  reply: FastifyReply,
  isFixed: boolean,
  count: (size: number, signal: AbortSignal) => Promise<Counted>,
): Promise<unknown> {
  const head = log.published();
  await index.idle();
  const size = Math.min(index.size, head.size);
  const root = toBase64(size === head.size ? head.root : await rootFromTiles(log.tiles, size));
  const gaps: Gap[] = [...index.gaps()];
  if (size < head.size)
    gaps.push({ kind: 'partial', reason: `the index is ${head.size - size} entries behind the log` });
  const tag = tagOf([request.routeOptions.url, request.query, log.origin, size, root, gaps]);
  reply.header('cache-control', isFixed ? 'no-cache' : 'no-store');
  if (isFixed && isKnown(request.headers['if-none-match'], tag)) {
    reply.code(304).header('etag', tag);
    return reply.send();
  }
  const { body, limits } = await count(size, request.signal);
  for (const { limit, reason } of limits) gaps.push({ kind: 'partial', reason, limit });
  // Where time ended the work, another try may tell more.
  if (limits.some(({ limit }) => limit === 'time')) reply.header('cache-control', 'no-store');
  else if (isFixed) reply.header('etag', tag);
  return { ...body, asOf: { origin: log.origin, size, root }, complete: gaps.length === 0, gaps };
}

function tagOf(parts: readonly unknown[]): string {
  const digest = toBase64(sha256(utf8(JSON.stringify(parts)))).slice(0, 32);
  return `"${digest.replaceAll('+', '-').replaceAll('/', '_')}"`;
}

function isKnown(header: string | undefined, tag: string): boolean {
  const tags = header?.split(',').map((text) => text.trim().replace(/^W\//, '')) ?? [];
  return tags.includes(tag) || tags.includes('*');
}
