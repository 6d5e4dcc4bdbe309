// The only file that chooses drivers and joins rooms: a collector over a directory, and what the command needs of a directory.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { apiApp } from './api/app.ts';
import { addressOf, type Config, OPTIONS } from './config.ts';
import { useRootsKernel } from './core/codec/roots.ts';
import { MeshtrailError } from './core/error.ts';
import {
  ed25519Signer,
  formatPrivateKey,
  parsePrivateKey,
  parseVkey,
  type Signer,
  type Verifier,
} from './core/tlog/note.ts';
import { apiEvents, indexFailed, ingestEvents, logEvents, observeConditions, proxyEvents } from './events.ts';
import { makeFolder } from './folder.ts';
import type { FlowIndex, ZoneStore } from './index/flow-index.ts';
import { openZoneIndex } from './index/zone-index.ts';
import { ingestApp } from './ingest/app.ts';
import { trustNetwork } from './ingest/identity.ts';
import { loadRootsKernel } from './kernel.ts';
import type { EvidenceLog, LogClock } from './log/evidence-log.ts';
import { type FsckInput, type FsckReport, fsck } from './log/fsck.ts';
import { openLog } from './log/open-log.ts';
import { openLevelSegments } from './store/level-segments.ts';
import { type DatabasePlace, damagedFiles, databasesOf, LevelSnapshot } from './store/level-snapshot.ts';
import { openLevelLock, openLevelTiles } from './store/level-tree.ts';
import { openLevelZones } from './store/level-zones.ts';

const DIRECTORY_FORMAT = 'meshtrail/directory/v1';
/** Requests that are under way when the collector stops get this long. */
const CLOSE_GRACE_MS = 5000;
const CLOSE_CHECK_MS = 10;
const SEGMENT_ENTRIES_MIN = OPTIONS.segment_entries_min.default;

/** A running collector. */
export interface Collector {
  readonly api: { readonly host: string; readonly port: number };
  readonly ingest: { readonly host: string; readonly port: number };
  readonly origin: string;
  readonly vkey: string;
  /** Stops taking batches, writes and publishes what is waiting, closes everything. */
  close(): Promise<void>;
}

export interface CollectorInput {
  readonly config: Config;
  readonly version: string;
  readonly logger: FastifyBaseLogger;
  readonly serveMetrics?: (request: IncomingMessage, response: ServerResponse) => void;
  /** The log stopped signing; the process should end. */
  readonly onFatal: (error: Error) => void;
}

/** Makes the directory on first use, or reads whose it is. Throws CONFIG_INVALID, STORE_FOREIGN. */
function prepareDirectory(dir: string, origin: string): void {
  if (dir === '')
    throw new MeshtrailError(
      'CONFIG_INVALID',
      'dir is not set: name the directory of the log with --dir DIR or MESHTRAIL_DIR.',
    );
  const file = join(dir, 'meshtrail.json');
  try {
    makeFolder(dir);
    if (!existsSync(file)) {
      if (existsSync(join(dir, 'segments')))
        throw new MeshtrailError(
          'STORE_FOREIGN',
          `${dir} holds segments and no meshtrail.json: it is not whole. Put the file back, or name another directory.`,
        );
      writeFileSync(`${file}.new`, `${JSON.stringify({ format: DIRECTORY_FORMAT, origin })}\n`);
      renameSync(`${file}.new`, file);
    }
  } catch (cause) {
    if (cause instanceof MeshtrailError) throw cause;
    throw new MeshtrailError('STORE_FAILED', `The directory ${dir} cannot be made: ${(cause as Error).message}.`, {
      cause,
    });
  }
  const { format, origin: stored } = readDirectory(dir);
  if (format !== DIRECTORY_FORMAT || stored !== origin) {
    throw new MeshtrailError(
      'STORE_FOREIGN',
      `${dir} holds the log ${JSON.stringify(stored)} (${JSON.stringify(format)}), and --origin is ${JSON.stringify(origin)}. Name the right directory, or the right --origin.`,
    );
  }
}

function readDirectory(dir: string): { readonly format: unknown; readonly origin: unknown } {
  const file = join(dir, 'meshtrail.json');
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { format: unknown; origin: unknown };
  } catch (cause) {
    throw new MeshtrailError(
      'STORE_FOREIGN',
      `${file} cannot be read: ${(cause as Error).message}. Is ${dir} the directory of a collector?`,
      { cause },
    );
  }
}

/** The origin that a directory was made for, or the one configured when it is new and none was chosen by hand. */
export function originOf(config: Config): string {
  const { dir, origin } = config.values;
  if (config.sources.origin !== 'default' || !existsSync(join(dir, 'meshtrail.json'))) return origin;
  const stored = readDirectory(dir).origin;
  return typeof stored === 'string' ? stored : origin;
}

/** Reads the log's key, or makes one in a directory that has never had a log. */
function openSigner(config: Config, origin: string): Signer {
  const { dir, key_file, key } = config.values;
  const file = key_file === '' ? join(dir, 'keys', 'log.key') : key_file;
  if (key !== '') return signerOf(key, origin, 'the option "key"');
  if (!existsSync(file)) {
    if (key_file !== '' || existsSync(join(dir, 'segments')))
      throw new MeshtrailError(
        'KEY_MISSING',
        `The log's key ${file} is missing. Put it back; a log cannot go on under another key.`,
      );
    mkdirSync(join(dir, 'keys'), { recursive: true, mode: 0o700 });
    // On disk before anything is signed with it: a log whose key is lost cannot go on.
    writeFileSync(file, `${formatPrivateKey(origin, randomBytes(32))}\n`, { mode: 0o600, flag: 'wx', flush: true });
  }
  if (process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0)
    throw new MeshtrailError('KEY_INVALID', `The key ${file} can be read by others; run: chmod 600 ${file}`);
  return signerOf(readFileSync(file, 'utf8'), origin, file);
}

/** Puts the verifier key where an auditor looks for it. */
function showVkey(dir: string, vkey: string): void {
  mkdirSync(join(dir, 'keys'), { recursive: true, mode: 0o700 });
  writeWhole(join(dir, 'keys', 'log.vkey'), `${vkey}\n`);
}

function signerOf(text: string, origin: string, place: string): Signer {
  const { name, seed } = parsePrivateKey(text.trim());
  if (name !== origin)
    throw new MeshtrailError(
      'KEY_INVALID',
      `The key in ${place} is of the log ${JSON.stringify(name)}, not of ${JSON.stringify(origin)}.`,
    );
  return ed25519Signer(name, seed);
}

const CLOCK: LogClock = {
  nowMs: () => Date.now(),
  after(delayMs, work) {
    const timer = setTimeout(work, delayMs);
    return () => clearTimeout(timer);
  },
};

interface Closable {
  close(): Promise<void>;
}

/** Closes what was opened before something failed; the failure is what counts. */
async function closeAll(open: readonly Closable[]): Promise<void> {
  for (const one of [...open].reverse()) await one.close().catch(() => undefined);
}

async function openStores(dir: string, lastSignedDir: string, segmentEntriesMin: number) {
  const open: Closable[] = [];
  const opened = <T extends Closable>(store: T): T => {
    open.push(store);
    return store;
  };
  try {
    return {
      segments: opened(await openLevelSegments(join(dir, 'segments'), segmentEntriesMin)),
      tiles: opened(await openLevelTiles(join(dir, 'tree'))),
      lock: opened(await openLevelLock(lastSignedDir === '' ? join(dir, 'last-signed') : lastSignedDir)),
    };
  } catch (error) {
    await closeAll(open);
    throw error;
  }
}

async function openEvidence({ config, logger, onFatal }: CollectorInput, origin: string): Promise<EvidenceLog> {
  const { dir, last_signed_dir, segment_entries_min, queue_bytes_max, publish_interval_ms, heartbeat_interval_ms } =
    config.values;
  const signer = openSigner(config, origin);
  const stores = await openStores(dir, last_signed_dir, segment_entries_min);
  try {
    const log = await openLog({
      ...stores,
      signer,
      clock: CLOCK,
      events: logEvents(logger, onFatal),
      queueBytesMax: queue_bytes_max,
      publishIntervalMs: publish_interval_ms,
      heartbeatIntervalMs: heartbeat_interval_ms,
    });
    showVkey(dir, signer.vkey);
    return log;
  } catch (error) {
    await closeAll(Object.values(stores));
    throw error;
  }
}

async function openIndex({ config, logger }: CollectorInput, log: EvidenceLog): Promise<FlowIndex> {
  const { dir, query_rows_max, query_time_ms_max, heartbeat_interval_ms } = config.values;
  const store = await openIndexStore(join(dir, 'index'), logger);
  try {
    return await openZoneIndex({
      log,
      store,
      rowsMax: query_rows_max,
      timeMsMax: query_time_ms_max,
      now: () => performance.now(),
      failed: (error) => indexFailed(logger, error),
      // With two heartbeats less than there would be, no collector ran.
      streams: { deafAfterMs: 2 * heartbeat_interval_ms },
    });
  } catch (error) {
    await closeAll([store]);
    throw error;
  }
}

/** Opens the index's store; a damaged one is thrown away, since the log has everything that it held. */
async function openIndexStore(dir: string, logger: FastifyBaseLogger): Promise<ZoneStore> {
  try {
    return await openLevelZones(dir);
  } catch (error) {
    if (!(error instanceof MeshtrailError) || error.code === 'STORE_LOCKED') throw error;
    logger.warn({ err: error }, 'the index is damaged and is built anew from the log');
    rmSync(dir, { recursive: true, force: true });
    return await openLevelZones(dir);
  }
}

/** Counts the requests of a listener that are under way. */
function requestsOf(app: FastifyInstance): () => number {
  let count = 0;
  app.addHook('onRequest', async (_request, reply) => {
    count++;
    reply.raw.once('close', () => count--);
  });
  return () => count;
}

/** Closes a listener: what is under way is answered, and who does not come to an end is cut off. */
async function closeListener(app: FastifyInstance, requests: () => number): Promise<void> {
  const closed = app.close();
  const until = performance.now() + CLOSE_GRACE_MS;
  while (requests() > 0 && performance.now() < until) await new Promise((done) => setTimeout(done, CLOSE_CHECK_MS));
  // Connections that never sent a request are not idle to Node, and would keep the listener open.
  app.server.closeAllConnections();
  await closed;
}

async function listen(
  app: FastifyInstance,
  name: string,
  text: string,
): Promise<{ readonly host: string; readonly port: number }> {
  const { host, port } = addressOf(name, text);
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint =
      code === 'EADDRINUSE'
        ? 'something else listens there; name another port, or 0 for a free one'
        : (cause as Error).message;
    throw new MeshtrailError('CONFIG_INVALID', `--${name} ${text}: ${hint}.`, { cause });
  }
  return { host, port: (app.server.address() as AddressInfo).port };
}

/** Opens a directory and starts both listeners. Throws the refusals of the log, CONFIG_INVALID, KEY_*, STORE_*. */
export async function startCollector(input: CollectorInput): Promise<Collector> {
  const { config, logger, version, serveMetrics } = input;
  const origin = originOf(config);
  prepareDirectory(config.values.dir, origin);
  useRootsKernel(loadRootsKernel());
  // Closed in the opposite order: first nothing comes in any more, then the log writes and publishes what is waiting.
  const open: Closable[] = [];
  try {
    const log = await openEvidence(input, origin);
    open.push(log);
    const index = await openIndex(input, log);
    open.push(index);
    const stopObserving = observeConditions(() => index.conditions(CLOCK.nowMs()));
    open.push({ close: async () => stopObserving() });
    const ingest = ingestApp({ log, identityOf: trustNetwork, logger, events: ingestEvents });
    const api = await apiApp({
      log,
      index,
      version,
      nowMs: CLOCK.nowMs,
      logger,
      events: apiEvents,
      ...(serveMetrics === undefined ? {} : { serveMetrics }),
    });
    const listeners = [ingest, api].map((app) => ({ app, requests: requestsOf(app) }));
    open.push({
      close: async () => void (await Promise.all(listeners.map(({ app, requests }) => closeListener(app, requests)))),
    });
    const at = {
      api: await listen(api, 'api', config.values.api),
      ingest: await listen(ingest, 'ingest', config.values.ingest),
    };
    // When proxies can be heard, and not before.
    index.watchSilence(CLOCK, proxyEvents(logger));
    return {
      ...at,
      origin,
      vkey: log.vkey,
      async close() {
        for (const one of open.reverse()) await one.close();
      },
    };
  } catch (error) {
    await closeAll(open);
    throw error;
  }
}

/** Writes a file in one piece: a reader sees all of it or none. */
export function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.${process.pid}.new`, text);
  renameSync(`${file}.${process.pid}.new`, file);
}

/** Removes a file that may be there. */
export function removeFile(file: string): void {
  rmSync(file, { force: true });
}

/** Checks the databases on a snapshot of them, so that nothing in the directory changes. */
async function fsckSnapshot(
  dir: string,
  databases: readonly DatabasePlace[],
  input: Pick<FsckInput, 'verifier' | 'progress'>,
): Promise<FsckReport> {
  const snapshot = await LevelSnapshot.beside(dir);
  // Who reads is not to run the check that is running, nor to look for a snapshot that is gone.
  const said = (text: string): string =>
    snapshot
      .original(text)
      .replace(/ Run `meshtrail fsck`, and restore/, ' Restore')
      .replace(/ Run `meshtrail fsck`\./, '');
  try {
    for (const database of databases) if (database.name === 'tree') await snapshot.refuseOpen(database);
    const damaged = await damagedFiles(dir, databases);
    if (damaged.length > 0) return { findings: damaged, checked: 'files-only', entries: 0, records: 0, published: 0 };
    for (const database of databases) await snapshot.add(database);
    const { segments, tiles, lock } = await openStores(snapshot.directory, '', SEGMENT_ENTRIES_MIN);
    const hasLastSigned = databases.some(({ name }) => name === 'last-signed');
    try {
      const report = await fsck({ ...input, segments, tiles, lock: hasLastSigned ? lock : undefined });
      return { ...report, findings: report.findings.map((one) => ({ ...one, message: said(one.message) })) };
    } finally {
      await closeAll([segments, tiles, lock]);
    }
  } catch (error) {
    if (!(error instanceof MeshtrailError)) throw error;
    throw new MeshtrailError(error.code, said(error.message), { cause: error });
  } finally {
    snapshot.remove();
  }
}

/**
 * Checks a collector's directory while no collector runs on it, and changes nothing in it. `lastSignedDir`: '' for the usual
 * place, undefined for a copy that has none. Throws STORE_LOCKED, STORE_FOREIGN, KEY_MISSING, PREREQUISITE_MISSING.
 */
export async function fsckDirectory(
  dir: string,
  lastSignedDir: string | undefined,
  vkey: string | undefined,
  progress: (done: number, all: number) => void,
): Promise<FsckReport> {
  if (!existsSync(dir))
    throw new MeshtrailError('PREREQUISITE_MISSING', `There is no directory ${dir}: nothing was checked.`);
  const { format, origin } = readDirectory(dir);
  const verifier: Verifier = parseVkey(vkey ?? readVkey(dir));
  if (format !== DIRECTORY_FORMAT || origin !== verifier.name)
    throw new MeshtrailError(
      'STORE_FOREIGN',
      `${join(dir, 'meshtrail.json')} names the log ${JSON.stringify(origin)} (${JSON.stringify(format)}), and the key is of ${JSON.stringify(verifier.name)}.`,
    );
  const missing = ['segments', 'tree'].map((part) => join(dir, part)).find((part) => !existsSync(part));
  if (missing !== undefined)
    throw new MeshtrailError('STORE_CORRUPT', `${missing} is missing: the directory is not whole.`);
  const lastSigned = lastSignedDir === '' ? join(dir, 'last-signed') : lastSignedDir;
  if (lastSigned !== undefined && !existsSync(lastSigned))
    throw new MeshtrailError(
      'LAST_SIGNED_MISSING',
      `${lastSigned} is missing: only the last-signed record tells an old copy from the newest. Name its place with --last-signed-dir DIR; for a backup, which has none, check the rest with --last-signed-dir none.`,
    );
  return await fsckSnapshot(dir, await databasesOf(dir, lastSigned), { verifier, progress });
}

function readVkey(dir: string): string {
  const file = join(dir, 'keys', 'log.vkey');
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new MeshtrailError('KEY_MISSING', `${file} cannot be read; give the log's verifier key with --vkey.`, {
      cause,
    });
  }
}
