// Routes of what is counted over records: stats, the service graph, what changed in it, where something appears, who somebody is.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static, TSchema } from 'typebox';
import { answer, type Counted, type CountInput, isClosed, questionOf } from './answer.ts';
import {
  DiffQuerySchema,
  DiffSchema,
  EdgesQuerySchema,
  EdgesSchema,
  IdentityQuerySchema,
  IdentitySchema,
  NeighborsQuerySchema,
  NeighborsSchema,
  ScopeQuerySchema,
  ScopeSchema,
  StatsQuerySchema,
  StatsSchema,
} from './count-schemas.ts';
import { diff, windowsOf } from './diff.ts';
import { edges, graphQuestionOf } from './edges.ts';
import { identity } from './identity.ts';
import { neighbors } from './neighbors.ts';
import { PROBLEMS } from './schemas.ts';
import { scope } from './scope.ts';
import { stats, statsQuestionOf } from './stats.ts';

/** An understood question, ready to be counted at a size of the log. */
interface Asked {
  /** It is about a closed window, in times that do not move. */
  readonly isFixed: boolean;
  readonly count: (size: number, signal: AbortSignal) => Promise<Counted>;
}

interface Route<Q extends TSchema> {
  readonly path: string;
  readonly summary: string;
  readonly querystring: Q;
  readonly response: TSchema;
  /** Reads the parameters; what is wrong in them is told before anything is counted. */
  readonly ask: (parameters: Static<Q>, nowMs: number) => Asked;
}

function add<Q extends TSchema>(app: FastifyInstance, input: CountInput, route: Route<Q>): void {
  const { path, summary, querystring, response, ask } = route;
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    path,
    {
      schema: { summary, querystring, response: { 200: response, ...PROBLEMS } },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const { isFixed, count } = ask(request.query as Static<Q>, input.nowMs());
      return (await answer(input, request as FastifyRequest, reply as FastifyReply, isFixed, count)) as never;
    },
  );
}

export function countRoutes(app: FastifyInstance, input: CountInput): void {
  graphRoutes(app, input);
  const { index } = input;
  add(app, input, {
    path: '/v1/stats',
    summary: 'Groups of records and their metrics',
    querystring: StatsQuerySchema,
    response: StatsSchema,
    ask: (parameters, nowMs) => {
      const question = questionOf(parameters, nowMs);
      const what = statsQuestionOf(parameters);
      return {
        isFixed: isClosed(parameters, question, nowMs),
        count: (size, signal) => stats(index, question, what, size, signal),
      };
    },
  });
  add(app, input, {
    path: '/v1/scope',
    summary: 'Where an address, principal, path, certificate, user agent, workload, host or id appears',
    querystring: ScopeQuerySchema,
    response: ScopeSchema,
    ask: (parameters, nowMs) => {
      const question = questionOf(parameters, nowMs);
      return {
        isFixed: isClosed(parameters, question, nowMs),
        count: (size, signal) => scope(index, question, parameters, nowMs, size, signal),
      };
    },
  });
  add(app, input, {
    path: '/v1/identity',
    summary: 'What one principal did, and from where',
    querystring: IdentityQuerySchema,
    response: IdentitySchema,
    ask: (parameters, nowMs) => {
      const question = questionOf(parameters, nowMs);
      return {
        isFixed: isClosed(parameters, question, nowMs),
        count: (size, signal) => identity(index, question, parameters, size, signal),
      };
    },
  });
}

function graphRoutes(app: FastifyInstance, input: CountInput): void {
  const { index } = input;
  add(app, input, {
    path: '/v1/edges',
    summary: 'The service graph: who called whom, and how it went',
    querystring: EdgesQuerySchema,
    response: EdgesSchema,
    ask: (parameters, nowMs) => {
      const question = graphQuestionOf(parameters, nowMs);
      const { at } = parameters;
      const window = at === undefined ? parameters : { until: at };
      return {
        isFixed: isClosed(window, question, nowMs),
        count: (size, signal) => edges(index, question, parameters, nowMs, size, signal),
      };
    },
  });
  add(app, input, {
    path: '/v1/diff',
    summary: 'New, gone and changed edges between two windows',
    querystring: DiffQuerySchema,
    response: DiffSchema,
    ask: (parameters, nowMs) => {
      const windows = windowsOf(parameters, nowMs);
      return {
        isFixed: windows.isClosed,
        count: (size, signal) => diff(index, windows, parameters, nowMs, size, signal),
      };
    },
  });
  add(app, input, {
    path: '/v1/neighbors',
    summary: 'Who called a node, and whom it called',
    querystring: NeighborsQuerySchema,
    response: NeighborsSchema,
    ask: (parameters, nowMs) => {
      const question = questionOf(parameters, nowMs);
      return {
        isFixed: isClosed(parameters, question, nowMs),
        count: (size, signal) => neighbors(index, question, parameters, nowMs, size, signal),
      };
    },
  });
}
