// The listener for people and programs: records, proofs, the log itself, health, metrics and the API's own description.

import type { IncomingMessage, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, LogController } from 'fastify';
import { MeshtrailError } from '../core/error.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import { LiveLog } from '../index/live-log.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { connectionError, refuse, refuseConnection, requireHost } from '../problem.ts';
import { countRoutes } from './count-routes.ts';
import { coverageRoutes } from './coverage-routes.ts';
import { flowRoutes } from './flow-routes.ts';
import { Followers, type FollowersLimits } from './followers.ts';
import { logRoutes } from './log-routes.ts';
import { operationRoutes } from './operation-routes.ts';
import { replayRoutes } from './replay-routes.ts';
import { tailRoutes } from './tail-routes.ts';

const HEADER_BYTES_MAX = 16_384;
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 1024;
const METHODS = ['GET', 'HEAD'];

/** How the API reports what happens; telemetry stays outside. */
export interface ApiEvents {
  /** A request was answered; `route` is one of the API's own patterns. */
  answered(event: { readonly route: string; readonly status: number; readonly durationMs: number }): void;
}

export interface ApiInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly version: string;
  readonly nowMs: () => number;
  /** Answers a request with all metrics; handed in, so that telemetry stays outside. */
  readonly serveMetrics?: (request: IncomingMessage, response: ServerResponse) => void;
  readonly logger?: FastifyBaseLogger;
  readonly events?: ApiEvents;
  /** Limits of answers that stay open, where they are not the usual ones. */
  readonly open?: Partial<FollowersLimits> & { readonly lagMsMax?: number };
}

/** What Fastify's own errors mean here. */
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
    return new MeshtrailError('REQUEST_MALFORMED', `The request is not accepted: ${error.message}.`, { cause: error });
  return new MeshtrailError('INTERNAL', "Something unexpected happened; the collector's log says what.", {
    cause: error,
  });
}

/** Makes the API application. It listens nowhere yet. */
export async function apiApp(input: ApiInput): Promise<FastifyInstance> {
  const { logger } = input;
  const app = Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { maxHeaderSize: HEADER_BYTES_MAX, requireHostHeader: false },
    forceCloseConnections: 'idle',
    // Fastify would drop what a schema does not name; a misspelt parameter must not widen a search silently.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, allErrors: false } },
    routerOptions: { maxParamLength: 1024 },
    clientErrorHandler: (cause, socket) => refuseConnection(socket, connectionError(cause)),
    frameworkErrors: (error, _request, reply) => void refuse(reply, codedError(error)),
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeAllContentTypeParsers();
  handleErrors(app);
  app.addHook('onResponse', async (request, reply) => {
    input.events?.answered({
      route: request.routeOptions.url ?? 'none',
      status: reply.statusCode,
      durationMs: reply.elapsedTime,
    });
  });
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
  coverageRoutes(app, input);
  countRoutes(app, input);
  const { lagMsMax, ...limits } = input.open ?? {};
  const live = new LiveLog({ ...input, now: () => performance.now() });
  const follow = { live, followers: new Followers(app, limits), nowMs: input.nowMs };
  replayRoutes(app, { ...input, ...follow });
  tailRoutes(app, { ...follow, ...(lagMsMax === undefined ? {} : { lagMsMax }) });
  logRoutes(app, input.log);
  operationRoutes(app, input);
  return app;
}

function handleErrors(app: FastifyInstance): void {
  app.addHook('onRequest', requireHost);
  app.addHook('onRequest', async (request, reply) => {
    if (METHODS.includes(request.method)) return;
    reply.header('allow', METHODS.join(', '));
    throw new MeshtrailError('METHOD_NOT_ALLOWED', `${request.method} is not accepted here: the API only reads.`);
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const coded = request.signal.aborted
      ? new MeshtrailError('REQUEST_TIMEOUT', 'Nobody waits for the answer any more.', { cause: error })
      : codedError(error);
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
}
