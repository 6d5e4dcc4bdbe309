// The listener for proxies: one route that takes batches, checks them, has them made durable, and acknowledges them.

import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, LogController } from 'fastify';
import { encodeAck } from '../core/codec/ack.ts';
import { decodeBatch } from '../core/codec/batch.ts';
import { headerOf } from '../core/codec/entry.ts';
import { ERROR_CODES, type ErrorCode, MeshtrailError } from '../core/error.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { connectionError, refuse, refuseConnection, requireHost } from '../problem.ts';
import type { IdentityOf } from './identity.ts';
import {
  ACK_MEDIA_TYPE,
  BODY_BYTES_MAX,
  CONNECTIONS_MAX,
  HEADER_BYTES_MAX,
  type IngestPatience,
  KEEP_ALIVE_TIMEOUT_MS,
  MEDIA_TYPE,
  PATIENCE,
} from './limits.ts';

/** How ingest reports what happens; telemetry stays outside. */
export interface IngestEvents {
  /** A batch, or what came in place of one, was refused. */
  refused(code: ErrorCode): void;
  /** More or fewer batches wait for their acknowledgement. */
  waiting(batches: number, bytes: number): void;
}

export interface IngestInput {
  readonly log: EvidenceLog;
  readonly identityOf: IdentityOf;
  readonly logger?: FastifyBaseLogger;
  readonly events?: IngestEvents;
  readonly patience?: IngestPatience;
}

const UNHEARD: IngestEvents = { refused() {}, waiting() {} };

/** What Fastify's own errors mean here. */
function codedError(error: FastifyError | MeshtrailError): MeshtrailError {
  if (error instanceof MeshtrailError) return error;
  const { code, statusCode = 500 } = error;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new MeshtrailError('BATCH_TOO_LARGE', `The body is longer than ${BODY_BYTES_MAX} bytes.`, { cause: error });
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new MeshtrailError('MEDIA_TYPE_UNSUPPORTED', `Only ${MEDIA_TYPE} is accepted here.`, { cause: error });
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH')
    return new MeshtrailError('BATCH_TRUNCATED', 'The body is shorter than its content-length.', { cause: error });
  if (statusCode < 500)
    return new MeshtrailError('REQUEST_MALFORMED', `The request is not accepted: ${error.message}`, { cause: error });
  return new MeshtrailError('INTERNAL', 'The collector could not take the batch. Send it again later.', {
    cause: error,
  });
}

/** Makes the ingest application. It listens nowhere yet. */
export function ingestApp(input: IngestInput): FastifyInstance {
  const { logger, events = UNHEARD, patience = PATIENCE } = input;
  // A connection that was refused and cut makes its request fail too; that is one refusal, not two.
  const cut = new WeakSet<object>();
  const app = Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES_MAX,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    requestTimeout: patience.requestMs,
    http: {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: patience.headersMs,
      connectionsCheckingInterval: patience.checkMs,
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: 100 },
    forceCloseConnections: 'idle',
    clientErrorHandler: (cause, socket) => {
      const error = connectionError(cause);
      if (error !== undefined) events.refused(error.code);
      cut.add(socket);
      refuseConnection(socket, error);
    },
    frameworkErrors: (error, _request, reply) => void refuse(reply, codedError(error)),
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  // The default parsers would take JSON and text; one media type is all that this listener knows.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(MEDIA_TYPE, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const coded = codedError(error);
    if (!cut.has(request.raw.socket)) events.refused(coded.code);
    if (ERROR_CODES[coded.code].http === 500) request.log.error({ err: error }, 'a batch could not be taken');
    return refuse(reply, coded);
  });
  app.addHook('onRequest', requireHost);
  app.setNotFoundHandler((request, reply) => {
    const isKnownPath = request.url.split('?')[0] === '/v1/batches';
    const error = isKnownPath
      ? new MeshtrailError(
          'METHOD_NOT_ALLOWED',
          `${request.method} is not accepted at /v1/batches; batches come by POST.`,
        )
      : new MeshtrailError(
          'ROUTE_NOT_FOUND',
          'This listener takes batches at /v1/batches. Queries go to the API listener.',
        );
    return refuse(isKnownPath ? reply.header('allow', 'POST') : reply, error);
  });
  batchRoute(app, input, events);
  healthRoutes(app, input.log);
  return app;
}

function batchRoute(app: FastifyInstance, { log, identityOf }: IngestInput, events: IngestEvents): void {
  app.post('/v1/batches', async (request, reply) => {
    if (!(request.body instanceof Uint8Array))
      throw new MeshtrailError('MEDIA_TYPE_UNSUPPORTED', `A batch with the media type ${MEDIA_TYPE} is needed.`);
    const batch = decodeBatch(request.body);
    events.waiting(1, batch.wire.length);
    try {
      const { index, checkpoint } = await log.append({
        wire: batch.wire,
        header: headerOf(batch, identityOf(request)),
      });
      const ack = encodeAck({
        stream: batch.stream,
        batchNumber: batch.batchNumber,
        index,
        checkpointSize: checkpoint.size,
        checkpointRoot: checkpoint.root,
      });
      return await reply.type(ACK_MEDIA_TYPE).send(Buffer.from(ack.buffer));
    } finally {
      events.waiting(-1, -batch.wire.length);
    }
  });
}

function healthRoutes(app: FastifyInstance, log: EvidenceLog): void {
  app.get('/health/live', async () => ({ status: 'live' }));
  app.get('/health/ready', async (_request, reply) => {
    const failure = log.failure();
    return failure === undefined
      ? { status: 'ready' }
      : reply.code(503).send({ status: 'failed', reason: failure.message });
  });
}
