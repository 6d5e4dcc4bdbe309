// Rival collectors of the ingest benchmark, each a process: `node rival.ts naive|append DIR PORT-FILE`.
// naive: what one would write first: JSON bodies, a SHA-256 and a LevelDB key for each record, one synced write for each body.
// append: a floor, not a product: takes wire batches, checks their hash, appends them to a file, one fdatasync for all that wait.

import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { Level } from 'level';

const BODY_BYTES_MAX = 4 * 1024 * 1024;
const HASH_BYTES = 32;

async function naive(dir: string): Promise<FastifyInstance> {
  const database = new Level<string, string>(join(dir, 'records'));
  await database.open();
  let count = 0;
  const app = Fastify({ bodyLimit: BODY_BYTES_MAX });
  app.post('/records', async (request) => {
    const operations = (request.body as Record<string, unknown>[]).map((record) => {
      const text = JSON.stringify(record);
      const value = `${hash('sha256', text, 'hex')} ${text}`;
      return { type: 'put' as const, key: String(count++).padStart(16, '0'), value };
    });
    await database.batch(operations, { sync: true });
    return { stored: operations.length };
  });
  app.addHook('onClose', () => database.close());
  return app;
}

async function append(dir: string): Promise<FastifyInstance> {
  const file = await open(join(dir, 'batches'), 'a');
  let waiting: { readonly body: Buffer; readonly stored: () => void }[] = [];
  let isWriting = false;
  async function write(): Promise<void> {
    isWriting = true;
    while (waiting.length > 0) {
      const group = waiting;
      waiting = [];
      await file.writev(group.map(({ body }) => body));
      await file.datasync();
      for (const { stored } of group) stored();
    }
    isWriting = false;
  }
  const app = Fastify({ bodyLimit: BODY_BYTES_MAX });
  app.addContentTypeParser('application/vnd.meshtrail.batch', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.post('/v1/batches', async (request, reply) => {
    const body = request.body as Buffer;
    const digest = hash('sha256', body.subarray(0, -HASH_BYTES), 'buffer');
    if (!digest.equals(body.subarray(-HASH_BYTES))) return reply.code(400).send();
    await new Promise<void>((stored, failed) => {
      waiting.push({ body, stored });
      if (!isWriting) write().catch(failed);
    });
    // The shape of our acknowledgement: magic and reserved, stream and batch number, then what a log would say.
    return reply.send(Buffer.concat([Buffer.alloc(8), body.subarray(32, 56), Buffer.alloc(48)]));
  });
  app.addHook('onClose', () => file.close());
  return app;
}

const [kind, dir = '', portFile = ''] = process.argv.slice(2);
await mkdir(dir, { recursive: true });
const app = await (kind === 'naive' ? naive(dir) : append(dir));
await app.listen({ host: '127.0.0.1', port: 0 });
writeFileSync(portFile, String((app.server.address() as AddressInfo).port));
const stop = (): void => {
  app.close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
};
process.once('SIGTERM', stop);
process.once('disconnect', stop);
