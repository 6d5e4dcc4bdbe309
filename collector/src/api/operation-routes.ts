// Routes for who operates the collector: health, metrics, error codes and the API's own description.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { ERROR_CODES } from '../core/error.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { HealthSchema } from './schemas.ts';

interface OperationRoutesInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly serveMetrics?: (request: IncomingMessage, response: ServerResponse) => void;
}

export function operationRoutes(app: FastifyInstance, { log, index, serveMetrics }: OperationRoutesInput): void {
  app.get(
    '/health/live',
    { schema: { summary: 'The process answers', response: { 200: HealthSchema } } },
    async (_request, reply) => reply.header('cache-control', 'no-store').send({ status: 'live' }),
  );
  app.get(
    '/health/ready',
    {
      schema: {
        summary: 'The log takes batches and signs, and the index follows it',
        response: { 200: HealthSchema, 503: HealthSchema },
      },
    },
    async (_request, reply) => {
      const failure = log.failure() ?? index.failure();
      reply.header('cache-control', 'no-store');
      return failure === undefined
        ? { status: 'ready' }
        : reply.code(503).send({ status: 'failed', reason: failure.message });
    },
  );
  if (serveMetrics !== undefined) {
    app.get(
      '/metrics',
      { schema: { summary: 'Prometheus metrics', produces: ['text/plain'], response: { 200: Type.String() } } },
      (request, reply) => {
        reply.hijack();
        serveMetrics(request.raw, reply.raw);
      },
    );
  }
  app.get(
    '/errors',
    {
      schema: {
        summary: 'Every error code; `type` of a problem document refers to it',
        response: { 200: Type.Record(Type.String(), Type.Object({ status: Type.Integer(), title: Type.String() })) },
      },
    },
    async () =>
      Object.fromEntries(Object.entries(ERROR_CODES).map(([code, { http, title }]) => [code, { status: http, title }])),
  );
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}
