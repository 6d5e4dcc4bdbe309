// The route of coverage: which proxies were recorded over which time, and what is missing.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { toBase64 } from '../core/bytes.ts';
import { rootFromTiles } from '../core/tlog/tile.ts';
import type { Coverage } from '../index/coverage.ts';
import type { FlowIndex, Gap } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { boundsOf } from './flows.ts';
import { CoverageQuerySchema, CoverageSchema, PROBLEMS } from './schemas.ts';

interface CoverageRoutesInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly nowMs: () => number;
}

interface CoverageAnswer extends Coverage {
  readonly asOf: { readonly origin: string; readonly size: number; readonly root: string };
  readonly complete: boolean;
}

export function coverageRoutes(app: FastifyInstance, { log, index, nowMs }: CoverageRoutesInput): void {
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    '/v1/coverage',
    {
      schema: {
        summary: 'Proxies and their streams: over which time they were recorded, and what is missing',
        querystring: CoverageQuerySchema,
        response: { 200: CoverageSchema, ...PROBLEMS },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => (await coverage(log, index, nowMs(), request.query)) as never,
  );
}

/** Answers `GET /v1/coverage`. Throws TIME_INVALID. */
async function coverage(
  log: EvidenceLog,
  index: FlowIndex,
  nowMs: number,
  parameters: { readonly since?: string; readonly until?: string },
): Promise<CoverageAnswer> {
  const bounds = boundsOf(parameters, nowMs);
  const head = log.published();
  await index.idle();
  // What is listed and what it stands on are taken at the same moment.
  const { size } = index;
  const { proxies, gaps: found } = index.coverage({ ...bounds, nowMs });
  const gaps: Gap[] = [...found];
  if (size < head.size)
    gaps.push({ kind: 'partial', reason: `the index is ${head.size - size} entries behind the log` });
  const root = size === head.size ? head.root : await rootFromTiles(log.tiles, size);
  return { proxies, asOf: { origin: log.origin, size, root: toBase64(root) }, complete: gaps.length === 0, gaps };
}
