// Routes of the log itself: its name and key, and the tlog-tiles files that any C2SP client reads.

import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { toBase64 } from '../core/bytes.ts';
import { MeshtrailError } from '../core/error.ts';
import { parseTilePath, TILE_WIDTH } from '../core/tlog/tile.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { LogSchema, PROBLEMS } from './schemas.ts';

/** What a tile holds never changes, partial ones included. */
const FOR_EVER = 'public, max-age=31536000, immutable';

export function logRoutes(app: FastifyInstance, log: EvidenceLog): void {
  app.get(
    '/v1/log',
    { schema: { summary: "The log's name, key and newest checkpoint", response: { 200: LogSchema, ...PROBLEMS } } },
    async () => {
      const { size, root } = log.published();
      return {
        origin: log.origin,
        vkey: log.vkey,
        size,
        root: toBase64(root),
        witnesses: [],
        policy: `log ${log.vkey}\nquorum none\n`,
      };
    },
  );
  app.get(
    '/log/checkpoint',
    {
      schema: {
        summary: 'C2SP tlog-tiles: the newest checkpoint, a signed note',
        produces: ['text/plain'],
        response: { 200: Type.String(), ...PROBLEMS },
      },
    },
    async (_request, reply) =>
      reply.type('text/plain; charset=utf-8').header('cache-control', 'no-cache').send(log.published().note),
  );
  app.get(
    '/log/tile/*',
    {
      schema: {
        summary: 'C2SP tlog-tiles: hash tiles `<L>/<N>[.p/<W>]` and entry tiles `entries/<N>[.p/<W>]`',
        params: Type.Object({ '*': Type.String({ description: 'tile path behind `tile/`' }) }),
        produces: ['application/octet-stream'],
        response: { 200: Type.String({ format: 'binary' }), ...PROBLEMS },
      },
    },
    async (request, reply) => {
      const path = request.url.split('?')[0]?.slice('/log/'.length) ?? '';
      const tile = parseTilePath(path);
      const bytes = tile === undefined ? undefined : await tileBytes(log, tile);
      if (bytes === undefined)
        throw new MeshtrailError(
          'TILE_MISSING',
          `There is no ${path.slice(0, 200)} in the published tree of size ${log.published().size}.`,
        );
      return reply.type('application/octet-stream').header('cache-control', FOR_EVER).send(Buffer.from(bytes));
    },
  );
}

async function tileBytes(
  log: EvidenceLog,
  { level, index, width }: { readonly level: number | 'entries'; readonly index: number; readonly width: number },
): Promise<Uint8Array | undefined> {
  if (level === 'entries') return await log.entryTile(index, width);
  // The tree may be integrated further than it is published; what no checkpoint covers is not served.
  return index * TILE_WIDTH + width <= Math.floor(log.published().size / TILE_WIDTH ** level)
    ? await log.tiles.tile(level, index, width)
    : undefined;
}
