// Makes the golden files of format version 1: `node test/golden/make.ts` writes them to test/golden/v1. Everything in them is
// fixed: key, clock, secrets. Once a version is released its files are never made again, only read.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromUtf8, toBase64, toHex, utf8 } from '../../collector/src/core/bytes.ts';
import { encodeAck } from '../../collector/src/core/codec/ack.ts';
import { decodeBatch } from '../../collector/src/core/codec/batch.ts';
import { encodeBatch, type RowFacts, sealBatch } from '../../collector/src/core/codec/encode.ts';
import { headerOf, type PeerIdentity, parseEntry } from '../../collector/src/core/codec/entry.ts';
import { BIT, HEADER } from '../../collector/src/core/codec/layout.ts';
import { recordOf, sourceOf } from '../../collector/src/core/codec/record.ts';
import { makeRecordProof } from '../../collector/src/core/codec/record-proof.ts';
import { sha256 } from '../../collector/src/core/hash.ts';
import { ed25519Signer } from '../../collector/src/core/tlog/note.ts';
import { entryTilePath, inclusionProof, tilePath, tilesOf } from '../../collector/src/core/tlog/tile.ts';
import { formatTlogProof } from '../../collector/src/core/tlog/tlog-proof.ts';
import { openZoneIndex } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { openLog } from '../../collector/src/log/open-log.ts';
import { openLevel } from '../../collector/src/store/level.ts';
import { openLevelZones } from '../../collector/src/store/level-zones.ts';
import { levelStores, ManualClock, MemoryDisk, quiet } from '../support/logs.ts';

export const GOLDEN = fileURLToPath(new URL('v1/', import.meta.url));
/** Entries of the exported log: a full tile and a partial one. */
const LOG_ENTRIES = 260;
export const signer = ed25519Signer('golden.test/log', new Uint8Array(32).fill(42));
const START_NS = 1_795_521_600_000_000_000n;
const stream = Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i);
const bytes = (length: number, first: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + i) & 255);
const peer: PeerIdentity = {
  spiffeId: 'spiffe://demo.mesh/ns/shop/sa/orders',
  certificateSha256: sha256(utf8('certificate of orders')),
};

/** A row with every field that a row can have. */
const FULL: RowFacts = {
  verdict: 'denied',
  startNs: START_NS + 123_456_789n,
  durationUs: 4512,
  path: '/api/orders/17?card=4111',
  userAgent: 'curl/8.0',
  subject: 'alice@example.com',
  headers: 'x-tenant: blue\nx-tenant: green\n',
  traceText: '00-not-a-traceparent',
  requestBytes: 345,
  responseBytes: 19,
  attempts: 2,
  requestId: bytes(16, 1),
  trace: { id: bytes(16, 32), span: bytes(8, 64), flags: 1 },
  flags: BIT.priority,
  connection: {
    id: 7,
    direction: 1,
    mtls: true,
    tlsVersion: 'TLSv1.3',
    sourceAddress: '10.0.0.7:40312',
    destinationAddress: '10.0.0.9:8443',
    peerPrincipal: 'spiffe://demo.mesh/ns/backend/sa/inventory',
    localPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    requestedServerName: 'orders.shop',
    filterChain: 'inbound-8443',
    peerSubject: 'CN=inventory',
    peerCertificateSha256: sha256(utf8('certificate of inventory')),
  },
  outcome: {
    code: 403,
    protocol: 'HTTP/2',
    grpcStatus: 7,
    responseFlags: 0x1000,
    policyResult: 2,
    shadowResult: 1,
    method: 'POST',
    authority: 'orders.shop:8443',
    route: 'default',
    upstreamCluster: 'inbound|8443||',
    upstreamAddress: '127.0.0.1:8080',
    upstreamPrincipal: 'spiffe://demo.mesh/ns/shop/sa/app',
    upstreamLocalPrincipal: 'spiffe://demo.mesh/ns/shop/sa/orders',
    codeDetails: 'rbac_access_denied_matched_policy[deny-inventory]',
    policy: 'deny-inventory',
    shadowPolicy: 'allow-shop',
    tokenIssuer: 'https://issuer.example.com',
    requestContentType: 'application/grpc',
    responseContentType: 'application/grpc+proto',
    upstreamFailure: 'connection refused',
  },
};

/** The other spellings: a request id that is text, bytes that are not UTF-8, and next to nothing at all. */
const OTHERS: readonly RowFacts[] = [
  {
    ...FULL,
    verdict: 'allowed',
    startNs: START_NS + 200_000_000n,
    path: Uint8Array.of(0x2f, 0xff, 0xc3, 0xa9, 0x25),
    requestId: 'not-a-uuid',
    flags: 0,
    connection: { direction: 2, mtls: true, peerPrincipal: 'spiffe://a/ns/b/sa/c', transportFailure: 'TLS_error' },
    outcome: { code: 200, method: 'GET', protocol: 'HTTP/1.1' },
  },
  { verdict: 'invalid', startNs: START_NS + 300_000_000n, connection: {}, outcome: {} },
];

function batches(): { readonly first: Uint8Array; readonly second: Uint8Array; readonly forged: Uint8Array } {
  const node = { nodeId: 'sidecar~10.0.0.9~orders-0.shop~shop', nodeCluster: 'orders.shop', meshCluster: 'cluster-1' };
  const first = encodeBatch({
    version: 1,
    ...node,
    stream,
    batchNumber: 0,
    firstRecord: 0,
    rows: [FULL, ...OTHERS],
    secret: bytes(32, 100),
    role: 'sidecar',
    clock: [START_NS, START_NS + 900_000_000n, 5_000_000n, 905_000_000n],
  });
  const second = encodeBatch({
    version: 1,
    ...node,
    stream,
    batchNumber: 1,
    firstRecord: 3,
    rows: [FULL],
    secret: bytes(32, 150),
    previous: first.slice(-32),
    checkpoint: { size: 1, root: sha256(utf8('an older root')) },
    isFin: true,
    isRollbackSeen: true,
    role: 'gateway',
    counters: {
      seen: 11,
      recorded: 4,
      droppedBuffersFull: 3,
      droppedUnreadable: 2,
      truncated: 1,
      sendFailures: 5,
      rollbacksSeen: 1,
    },
    clock: [START_NS + 1_000_000_000n, START_NS + 1_900_000_000n, 1_005_000_000n, 1_905_000_000n],
  });
  const forged = Uint8Array.from(first);
  forged[HEADER.sealedMonoNs] = (forged[HEADER.sealedMonoNs] as number) ^ 1;
  return { first, second, forged: sealBatch(forged) };
}

type Stores = Awaited<ReturnType<typeof levelStores>>;

/** Opens a log and gives it its life: a batch, a conflict, a batch, heartbeats until it has so many entries. */
async function logOf(stores: Stores, entries: number): Promise<EvidenceLog> {
  const clock = new ManualClock();
  const log = await openLog({
    ...stores,
    signer,
    clock,
    events: quiet,
    queueBytesMax: 1_048_576,
    publishIntervalMs: 1_000_000,
    heartbeatIntervalMs: 60_000,
  });
  const { first, second, forged } = batches();
  const admit = (wire: Uint8Array) => ({ wire, header: headerOf(decodeBatch(wire), peer) });
  const stored = async (index: number): Promise<void> => {
    while ((await log.entry(index)) === undefined) await new Promise((done) => setImmediate(done));
    await log.publishNow();
  };
  await log.append(admit(first));
  await clock.advance(500);
  await log.append(admit(forged)).catch(() => undefined);
  await stored(1);
  await log.append(admit(second));
  await log.publishNow();
  for (let index = 3; index < entries; index++) {
    await clock.advance(1_000_000);
    await stored(index);
  }
  return log;
}

/** Every key and value of a directory's databases. */
async function dump(directory: string): Promise<Record<string, Record<string, string>>> {
  const all: Record<string, Record<string, string>> = {};
  for (const name of ['segments/0000000000000000', 'tree', 'last-signed', 'index']) {
    const database = await openLevel(join(directory, name), 65_536);
    const values: Record<string, string> = {};
    for await (const [key, value] of database.iterator()) values[toHex(key)] = toBase64(value);
    await database.close();
    all[name] = values;
  }
  return all;
}

async function storeOf(entries: number): Promise<Record<string, Record<string, string>>> {
  const directory = mkdtempSync(join(tmpdir(), 'meshtrail golden '));
  try {
    const log = await logOf(await levelStores(directory), entries);
    const index = await openZoneIndex({
      log,
      store: await openLevelZones(join(directory, 'index')),
      rowsMax: 1000,
      timeMsMax: 1000,
      now: () => 0,
      failed: (error) => {
        throw error;
      },
    });
    await index.close();
    await log.close();
    return await dump(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Every golden file: path below `v1/` and bytes. */
export async function goldenFiles(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const add = (name: string, content: Uint8Array | string): void =>
    void files.set(name, typeof content === 'string' ? utf8(content) : content);
  const { first, second } = batches();
  const log = await logOf(new MemoryDisk().stores() as Stores, LOG_ENTRIES);
  const { size, root, note } = log.published();
  add('log.vkey', `${signer.vkey}\n`);
  add('batch-0.bin', first);
  add('batch-1.bin', second);
  add('ack.bin', encodeAck({ stream, batchNumber: 1, index: 2, checkpointSize: size, checkpointRoot: root }));
  for (const index of [0, 1, 2, 3]) {
    const entry = (await log.entry(index)) as Uint8Array;
    add(`entry-${index}-${parseEntry(entry).kind}.txt`, entry);
  }
  const path = await inclusionProof(log.tiles, 0, size);
  const header = fromUtf8((await log.entry(0)) as Uint8Array) as string;
  for (const row of [0, 1, 2]) {
    const proof = makeRecordProof(
      decodeBatch(first),
      row,
      0,
      header,
      formatTlogProof({ index: 0, path, note }),
      log.origin,
    );
    add(`record-0.${row}.proof.json`, `${JSON.stringify(proof, null, 2)}\n`);
    add(`record-0.${row}.json`, `${JSON.stringify(recordOf(sourceOf(decodeBatch(first), 0, row)), null, 2)}\n`);
  }
  add('log/checkpoint', note);
  for (const { level, index, width } of tilesOf(size)) {
    add(`log/${tilePath({ level, index, width })}`, (await log.tiles.tile(level, index, width)) as Uint8Array);
    if (level === 0) add(`log/${entryTilePath(index, width)}`, (await log.entryTile(index, width)) as Uint8Array);
  }
  await log.close();
  add('store.json', `${JSON.stringify(await storeOf(4), null, 1)}\n`);
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(GOLDEN, { recursive: true, force: true });
  for (const [name, content] of await goldenFiles()) {
    mkdirSync(dirname(join(GOLDEN, name)), { recursive: true });
    writeFileSync(join(GOLDEN, name), content);
  }
}
