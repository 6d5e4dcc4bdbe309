// Goal: a log and record proofs made by the collector convince a checker in another language that shares no code with it, and damage does not.
// Method: the Go program beside this file, on golang.org/x/mod/sumdb; a log served by a real collector, then its files served by us, bent.

import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openCheckpoint } from '../../collector/src/core/tlog/checkpoint.ts';
import { parseVkey } from '../../collector/src/core/tlog/note.ts';
import { entryTilePath, tilePath, tilesOf } from '../../collector/src/core/tlog/tile.ts';
import { type Ready, Served } from '../log/served.ts';
import { StreamMaker } from '../support/facts.ts';

const SOURCE = fileURLToPath(new URL('.', import.meta.url));
const BATCHES = 700;
const GO_MISSING = 'Go is not installed: the independent checker was not built';

const go: SpawnSyncReturns<string> = spawnSync('go', ['version'], { encoding: 'utf8' });
const skip = go.status === 0 || process.env['CI'] !== undefined ? false : GO_MISSING;

let dir: string;
let checker: string;
let served: Served | undefined;
let ready: Ready;
const files = new Map<string, Uint8Array>();
const olds: string[] = [];
const proofs: string[] = [];
let site: Server;

/** Runs the checker; resolves with its exit code and what it said. */
async function check(args: readonly string[]): Promise<{ readonly code: number | null; readonly said: string }> {
  const child = spawn(checker, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

const fetchBytes = async (url: string): Promise<Uint8Array> => {
  const response = await fetch(url);
  assert.equal(response.status, 200, url);
  return new Uint8Array(await response.arrayBuffer());
};

async function send(maker: StreamMaker, batches: number): Promise<void> {
  for (let i = 0; i < batches; i++) {
    const response = await fetch(`http://${ready.ingest}/v1/batches`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.meshtrail.batch' },
      body: Buffer.from(maker.batch(2)),
    });
    assert.equal(response.status, 200);
    await response.arrayBuffer();
    if (i % 97 === 0) await keepCheckpoint();
  }
}

async function keepCheckpoint(): Promise<void> {
  const file = join(dir, `checkpoint-${olds.length}`);
  await writeFile(file, await fetchBytes(`${ready.api}/log/checkpoint`));
  olds.push(file);
}

/** Waits until everything is published, and takes the log's files. */
async function takeFiles(): Promise<void> {
  const vkey = parseVkey(ready.vkey);
  for (let size = 0; size < BATCHES; await setTimeout(30)) {
    const note = await fetchBytes(`${ready.api}/log/checkpoint`);
    files.set('checkpoint', note);
    ({ size } = openCheckpoint(note, vkey));
  }
  for (const at of tilesOf(BATCHES)) {
    const paths = [tilePath(at), ...(at.level === 0 ? [entryTilePath(at.index, at.width)] : [])];
    for (const path of paths) files.set(path, await fetchBytes(`${ready.api}/log/${path}`));
  }
}

async function takeProofs(): Promise<void> {
  for (const id of ['0.0', '255.1', '256.0', `${BATCHES - 1}.1`]) {
    const file = join(dir, `${id}.proof.json`);
    await writeFile(file, await fetchBytes(`${ready.api}/v1/flows/${id}/proof`));
    proofs.push(file);
  }
}

before(async () => {
  if (skip !== false) return;
  dir = await mkdtemp(join(tmpdir(), 'meshtrail interop '));
  checker = join(dir, 'interop');
  const built = spawnSync('go', ['build', '-mod=readonly', '-trimpath', '-o', checker, '.'], {
    cwd: SOURCE,
    encoding: 'utf8',
  });
  assert.equal(built.status, 0, `go build: ${built.error?.message ?? built.stderr}`);
  served = new Served(dir, ['--publish-interval-ms', '50', '--log-level', 'warn']);
  ready = await served.ready();
  await send(new StreamMaker(61), BATCHES);
  await takeFiles();
  await takeProofs();
  site = createServer((request, response) => {
    const bytes = files.get((request.url ?? '').slice(1));
    response.writeHead(bytes === undefined ? 404 : 200).end(bytes);
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
});
after(async () => {
  if (skip !== false) return;
  site?.close();
  await served?.end('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

const siteUrl = (): string => `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
const each = (flag: string, values: readonly string[]): string[] => values.flatMap((value) => [flag, value]);

test('the log of a running collector, its older checkpoints and its record proofs verify', { skip }, async () => {
  const args = ['-vkey', ready.vkey, ...each('-old', olds), ...each('-proof', proofs), `${ready.api}/log`];
  const { code, said } = await check(args);
  assert.equal(code, 0, said);
  assert.match(said, new RegExp(`verified ${ready.origin} size ${BATCHES}`));
  assert.ok(olds.length >= 7);
});

test('the files alone verify; with one bit flipped, or one file missing, they do not', { skip }, async () => {
  const whole = ['-vkey', ready.vkey, siteUrl()];
  assert.equal((await check(whole)).code, 0);
  for (const [path, bytes] of [...files]) {
    for (const bit of [3, bytes.length * 4, bytes.length * 8 - 1]) {
      const bent = Uint8Array.from(bytes);
      bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
      files.set(path, bent);
      const { code, said } = await check(whole);
      assert.equal(code, 1, `${path} bit ${bit}: ${said}`);
    }
    files.delete(path);
    // Without a checkpoint there is nothing to judge.
    assert.equal((await check(whole)).code, path === 'checkpoint' ? 3 : 1, `${path} missing`);
    files.set(path, bytes);
  }
});

test('a bent proof, another key and a log that was rolled back do not verify', { skip }, async () => {
  const proof = await fetchBytes(`${ready.api}/v1/flows/3.1/proof`);
  const bentFile = join(dir, 'bent.json');
  for (let i = 0; i < 200; i++) {
    const bit = Math.floor((i * proof.length * 8) / 200) + 1;
    const bent = Uint8Array.from(proof);
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
    await writeFile(bentFile, bent);
    const { code, said } = await check(['-vkey', ready.vkey, '-proof', bentFile]);
    assert.equal(code, 1, `bit ${bit}: ${said}`);
  }
  const other = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
  assert.equal((await check(['-vkey', other, siteUrl()])).code, 1);

  const newest = files.get('checkpoint') as Uint8Array;
  const newestFile = join(dir, 'newest');
  await writeFile(newestFile, newest);
  files.set('checkpoint', new Uint8Array(await readFile(olds[2] as string)));
  const { code, said } = await check(['-vkey', ready.vkey, '-old', newestFile, siteUrl()]);
  files.set('checkpoint', newest);
  assert.equal(code, 1, said);
});
