// The listener for people and programs: records, proofs, the log itself, health, metrics and the API's own description.

import type { IncomingMessage, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { toBase64 } from '../core/bytes.ts';
import { ERROR_CODES, MeshtrailError } from '../core/error.ts';
import { parseTilePath } from '../core/tlog/tile.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { problemOf } from '../problem.ts';
import { listFlows, oneFlow, proofOfFlow } from './flows.ts';
import {
  FlowSchema,
  FlowsQuerySchema,
  FlowsSchema,
  HealthSchema,
  LogSchema,
  ProblemSchema,
  ProofSchema,
} from './schemas.ts';

const URL_BYTES_MAX = 16_384;
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 1024;

export interface ApiInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly version: string;
  readonly nowMs: () => number;
  /** Answers a request with all metrics; handed in, so that telemetry stays outside. */
  readonly serveMetrics?: (request: IncomingMessage, response: ServerResponse) => void;
  readonly logger?: FastifyBaseLogger;
}

function codedError(error: FastifyError | MeshtrailError): MeshtrailError {
  if (error instanceof MeshtrailError) return error;
  const [first] = error.validation ?? [];
  if (first !== undefined) {
    const unknown = (first.params as { additionalProperty?: string; additionalProperties?: readonly string[] }) ?? {};
    const extra = unknown.additionalProperty ?? unknown.additionalProperties?.[0];
    const name = extra ?? first.instancePath.slice(1);
    return new MeshtrailError(
      'PARAMETER_INVALID',
      extra === undefined
        ? `The parameter ${name} ${first.message}.`
        : `There is no parameter ${JSON.stringify(name)} here; /openapi.json lists them.`,
      { cause: error },
    );
  }
  if ((error.statusCode ?? 500) < 500)
    return new MeshtrailError('PARAMETER_INVALID', `The request is not accepted: ${error.message}.`, { cause: error });
  return new MeshtrailError('INTERNAL', "Something unexpected happened; the collector's log says what.", {
    cause: error,
  });
}

function refuse(reply: FastifyReply, error: MeshtrailError): FastifyReply {
  return reply
    .code(ERROR_CODES[error.code].http)
    .type('application/problem+json')
    .send(JSON.stringify(problemOf(error)));
}

/** Makes the API application. It listens nowhere yet. */
export async function apiApp(input: ApiInput): Promise<FastifyInstance> {
  const { logger } = input;
  const app = Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    disableRequestLogging: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { maxHeaderSize: URL_BYTES_MAX },
    forceCloseConnections: true,
    // Fastify would drop what a schema does not name; a misspelt parameter must not widen a search silently.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, allErrors: false } },
    routerOptions: { maxParamLength: 1024 },
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeAllContentTypeParsers();
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const coded = codedError(error);
    if (coded.code === 'INTERNAL') request.log.error({ err: error }, 'a request failed');
    return refuse(reply, coded);
  });
  app.setNotFoundHandler((request, reply) =>
    refuse(
      reply,
      new MeshtrailError(
        'ROUTE_NOT_FOUND',
        `There is nothing at ${request.method} ${request.url.slice(0, 200)}; /openapi.json lists what there is.`,
      ),
    ),
  );
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Meshtrail',
        version: input.version,
        description: 'The flight recorder of a service mesh: query, proof, log.',
      },
    },
  });
  flowRoutes(app, input);
  logRoutes(app, input);
  operationRoutes(app, input);
  return app;
}

const problems = { '4xx': ProblemSchema, '5xx': ProblemSchema };

function flowRoutes(app: FastifyInstance, { log, index, nowMs }: ApiInput): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>();
  typed.get(
    '/v1/flows',
    {
      schema: {
        summary: 'Records by filter and time',
        querystring: FlowsQuerySchema,
        response: { 200: FlowsSchema, ...problems },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => (await listFlows(log, index, nowMs(), request.query)) as never,
  );
  // An id across logs holds its origin, and an origin may hold slashes: the id is whatever stands before "/proof".
  const idSchema = {
    params: Type.Object({ '*': Type.String({ description: 'a record id, with /proof behind it for its proof' }) }),
    response: { 200: Type.Union([FlowSchema, ProofSchema]), ...problems },
  };
  typed.get(
    '/v1/flows/*',
    { schema: { summary: 'One record, or its proof', ...idSchema }, serializerCompiler: () => JSON.stringify },
    async (request) => {
      const path = request.params['*'];
      const isProof = path.endsWith('/proof');
      return (
        isProof ? await proofOfFlow(log, index, path.slice(0, -'/proof'.length)) : await oneFlow(log, index, path)
      ) as never;
    },
  );
}

function logRoutes(app: FastifyInstance, { log }: ApiInput): void {
  app.get(
    '/v1/log',
    { schema: { summary: "The log's name, key and newest checkpoint", response: { 200: LogSchema } } },
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
    { schema: { summary: 'C2SP tlog-tiles: the newest checkpoint' } },
    async (_request, reply) =>
      reply.type('text/plain; charset=utf-8').header('cache-control', 'no-cache').send(log.published().note),
  );
  app.get(
    '/log/tile/*',
    { schema: { summary: 'C2SP tlog-tiles: hash tiles and entry tiles' } },
    async (request, reply) => {
      const path = request.url.split('?')[0]?.slice('/log/'.length) ?? '';
      const tile = parseTilePath(path);
      const bytes = tile === undefined ? undefined : await tileBytes(log, tile);
      if (bytes === undefined)
        throw new MeshtrailError(
          'TILE_MISSING',
          `There is no ${path.slice(0, 200)} in the published tree of size ${log.published().size}.`,
        );
      return reply
        .type('application/octet-stream')
        .header('cache-control', 'public, max-age=31536000, immutable')
        .send(Buffer.from(bytes));
    },
  );
}

async function tileBytes(
  log: EvidenceLog,
  { level, index, width }: { readonly level: number | 'entries'; readonly index: number; readonly width: number },
): Promise<Uint8Array | undefined> {
  if (level === 'entries') return await log.entryTile(index, width);
  // The tree may be integrated further than it is published; what no checkpoint covers is not served.
  return index * 256 + width <= Math.floor(log.published().size / 256 ** level)
    ? await log.tiles.tile(level, index, width)
    : undefined;
}

function operationRoutes(app: FastifyInstance, { log, serveMetrics }: ApiInput): void {
  app.get('/health/live', { schema: { response: { 200: HealthSchema } } }, async () => ({ status: 'live' }));
  app.get(
    '/health/ready',
    { schema: { response: { 200: HealthSchema, 503: HealthSchema } } },
    async (_request, reply) => {
      const failure = log.failure();
      return failure === undefined
        ? { status: 'ready' }
        : reply.code(503).send({ status: 'failed', reason: failure.message });
    },
  );
  if (serveMetrics !== undefined) {
    app.get('/metrics', { schema: { summary: 'Prometheus metrics' } }, (request, reply) => {
      reply.hijack();
      serveMetrics(request.raw, reply.raw);
    });
  }
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}
