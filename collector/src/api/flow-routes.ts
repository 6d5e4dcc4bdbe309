// Routes of records: the list, one record, its proof.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { FlowIndex } from '../index/flow-index.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { listFlows, oneFlow, proofOfFlow } from './flows.ts';
import { FlowSchema, FlowsQuerySchema, FlowsSchema, PROBLEMS, ProofSchema } from './schemas.ts';

interface FlowRoutesInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly nowMs: () => number;
}

// Records are open objects: a serializer made from a schema would cost time and could drop a field.
const serializerCompiler = () => JSON.stringify;
const NO_PARAMETERS = Type.Object({}, { additionalProperties: false });
const IdSchema = Type.Object({
  id: Type.String({ description: 'a record id, `<leaf index>.<record index>`, or with `<origin>/` in front' }),
});
const PROOF = '/proof';

export function flowRoutes(app: FastifyInstance, { log, index, nowMs }: FlowRoutesInput): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>();
  typed.get(
    '/v1/flows',
    {
      schema: {
        summary: 'Records by filter and time',
        querystring: FlowsQuerySchema,
        response: { 200: FlowsSchema, ...PROBLEMS },
      },
      serializerCompiler,
    },
    async (request) => (await listFlows(log, index, nowMs(), request.query, request.signal)) as never,
  );
  const one = { params: IdSchema, querystring: NO_PARAMETERS };
  typed.get(
    '/v1/flows/:id',
    { schema: { summary: 'One record', ...one, response: { 200: FlowSchema, ...PROBLEMS } }, serializerCompiler },
    async (request) => (await oneFlow(log, index, request.params.id)) as never,
  );
  typed.get(
    `/v1/flows/:id${PROOF}`,
    {
      schema: { summary: 'The proof of one record', ...one, response: { 200: ProofSchema, ...PROBLEMS } },
      serializerCompiler,
    },
    async (request) => (await proofOfFlow(log, index, request.params.id)) as never,
  );
  // An id across logs holds its origin, and an origin may hold slashes: the id is whatever stands before "/proof".
  typed.get(
    '/v1/flows/*',
    {
      schema: { hide: true, params: Type.Object({ '*': Type.String() }), querystring: NO_PARAMETERS },
      serializerCompiler,
    },
    async (request) => {
      const path = request.params['*'];
      return (
        path.endsWith(PROOF)
          ? await proofOfFlow(log, index, path.slice(0, -PROOF.length))
          : await oneFlow(log, index, path)
      ) as never;
    },
  );
}
