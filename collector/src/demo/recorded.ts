// What a client can know of a recorded run: every record from the API, and the log checked from its served files alone.

import { setTimeout as sleep } from 'node:timers/promises';
import { askJson } from '../cli/client.ts';
import { equalBytes, fromUtf8, toHex } from '../core/bytes.ts';
import { type BatchEntry, type Entry, parseEntry } from '../core/codec/entry.ts';
import { parseRecordProof, verifyRecordProof } from '../core/codec/record-proof.ts';
import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import { checkLog, type LogFinding, type LogReader } from '../core/tlog/check-log.ts';
import { type Checkpoint, openCheckpoint } from '../core/tlog/checkpoint.ts';
import { parseVkey, type Verifier } from '../core/tlog/note.ts';
import { decodeEntryTile, entryTilePath, TILE_WIDTH, tilePath, widthInTree } from '../core/tlog/tile.ts';

const PAGE_LIMIT = '1000';
const REQUEST_MS_MAX = 10_000;
const SETTLE_POLL_MS = 50;

interface Page {
  readonly flows: readonly FlowRecord[];
  readonly nextCursor: string | null;
  readonly gaps: readonly unknown[];
}

/** Records, and what the collector itself says is missing of them. */
export interface Recorded {
  readonly records: readonly FlowRecord[];
  /** One line of JSON for each gap. */
  readonly gaps: readonly string[];
}

/** Every record that a collector has, oldest first. */
export async function readRecords(api: URL): Promise<Recorded> {
  const records: FlowRecord[] = [];
  const gaps = new Set<string>();
  const members = ['flows', 'nextCursor', 'gaps'] as const;
  let cursor: string | undefined;
  do {
    const page: Page = await askJson<Page>(api, '/v1/flows', members, { order: 'asc', limit: PAGE_LIMIT, cursor });
    records.push(...page.flows);
    for (const gap of page.gaps) gaps.add(JSON.stringify(gap));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return { records, gaps: [...gaps] };
}

async function fetchFile(api: URL, path: string): Promise<Uint8Array | undefined> {
  const response = await fetch(new URL(`/log/${path}`, api), { signal: AbortSignal.timeout(REQUEST_MS_MAX) });
  if (response.status === 404) return undefined;
  if (!response.ok) throw new MeshtrailError('COLLECTOR_UNREACHABLE', `/log/${path}: status ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

function readerOf(api: URL): LogReader {
  return {
    tile: (level, index, width) => fetchFile(api, tilePath({ level, index, width })),
    entryTile: (index, width) => fetchFile(api, entryTilePath(index, width)),
  };
}

async function checkpointOf(api: URL, log: Verifier): Promise<Checkpoint> {
  const note = await fetchFile(api, 'checkpoint');
  if (note === undefined) throw new MeshtrailError('TILE_MISSING', 'The log serves no checkpoint.');
  return openCheckpoint(note, log);
}

async function entriesOf(reader: LogReader, size: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const width = widthInTree(size, 0, index);
    const bytes = await reader.entryTile(index, width);
    if (bytes !== undefined) entries.push(...decodeEntryTile(bytes, width).map(parseEntry));
  }
  return entries;
}

/** One life of a recorder, as its batch headers in the log tell it. */
export interface StreamReport {
  readonly id: string;
  /** Envoy's `node.cluster`: workload and namespace. */
  readonly node: string;
  readonly batches: number;
  readonly records: number;
  /** The stream said that it ends here: nothing is missing behind its last batch. */
  readonly isEnded: boolean;
  /** Batch numbers, record numbers and hashes go on without a hole from the first batch. */
  readonly isWhole: boolean;
  /** Counters of the newest batch. */
  readonly counters: BatchEntry['counters'];
}

function streamOf(id: string, batches: readonly BatchEntry[]): StreamReport {
  const ordered = batches.toSorted((a, b) => a.batchNumber - b.batchNumber);
  const last = ordered.at(-1) as BatchEntry;
  const isWhole = ordered.every((batch, i) => {
    const before = ordered[i - 1];
    if (batch.batchNumber !== i) return false;
    if (before === undefined) return batch.firstRecord === 0 && batch.previous === undefined;
    const isLinked = batch.previous !== undefined && equalBytes(batch.previous, before.bodyHash);
    return isLinked && batch.firstRecord === before.firstRecord + before.recordCount;
  });
  return {
    id,
    node: (last.nodeCluster && fromUtf8(last.nodeCluster)) ?? '-',
    batches: ordered.length,
    records: ordered.reduce((sum, { recordCount }) => sum + recordCount, 0),
    isEnded: last.isFin,
    isWhole,
    counters: last.counters,
  };
}

export function streamsOf(entries: readonly Entry[]): StreamReport[] {
  const byStream = Map.groupBy(
    entries.filter((entry) => entry.kind === 'batch'),
    ({ stream }) => toHex(stream),
  );
  return [...byStream].map(([id, batches]) => streamOf(id, batches)).sort((a, b) => (a.node < b.node ? -1 : 1));
}

/** Streams by the newest published checkpoint. */
export async function publishedStreams(api: URL, vkey: string): Promise<StreamReport[]> {
  const { size } = await checkpointOf(api, parseVkey(vkey));
  return streamsOf(await entriesOf(readerOf(api), size));
}

/** Waits until the log shows the end of one stream for each of `nodes`, or until a time limit; false then. */
export async function waitForEnds(api: URL, vkey: string, nodes: readonly string[], msMax: number): Promise<boolean> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const ended = new Set((await publishedStreams(api, vkey)).filter(({ isEnded }) => isEnded).map(({ node }) => node));
    if (nodes.every((node) => ended.has(node))) return true;
    if (performance.now() > deadline) return false;
    await sleep(SETTLE_POLL_MS);
  }
}

/** What checking the log from its served files, and one record from its proof, came to. */
export interface LogAudit {
  readonly checkpoint: Checkpoint;
  readonly entries: number;
  readonly findings: readonly LogFinding[];
  readonly isComplete: boolean;
  readonly streams: readonly StreamReport[];
  /** Id of the record whose proof was verified; absent when there was none to ask for. */
  readonly proven?: string;
}

/** Checks the whole log against its signed checkpoint, and the proof of one record; trusts only `vkey`. Throws when a proof does not verify. */
export async function auditLog(api: URL, vkey: string, recordId: string | undefined): Promise<LogAudit> {
  const log = parseVkey(vkey);
  const checkpoint = await checkpointOf(api, log);
  const reader = readerOf(api);
  const report = await checkLog({ reader, head: checkpoint });
  const streams = streamsOf(await entriesOf(reader, checkpoint.size));
  if (recordId !== undefined) await verifyRecord(api, log, recordId);
  return { checkpoint, ...report, streams, ...(recordId === undefined ? {} : { proven: recordId }) };
}

async function verifyRecord(api: URL, log: Verifier, id: string): Promise<void> {
  const response = await fetch(new URL(`/v1/flows/${id}/proof`, api), { signal: AbortSignal.timeout(REQUEST_MS_MAX) });
  const { record } = verifyRecordProof(parseRecordProof(await response.text()), log);
  if (record.id !== id) throw new MeshtrailError('PROOF_NOT_VERIFIED', `The proof of ${id} is one of ${record.id}.`);
}
