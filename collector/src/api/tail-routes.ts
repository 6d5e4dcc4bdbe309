// The route of the live tail, an answer that does not end.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { parseFilter } from '../core/query/filter.ts';
import { parseTime } from '../core/time.ts';
import type { LiveLog } from '../index/live-log.ts';
import type { Followers } from './followers.ts';
import { PROBLEMS } from './schemas.ts';
import { LAG_MS_MAX, Tail } from './tail.ts';
import { parseTailPlace, type TailPlace } from './tail-place.ts';

export interface TailRoutesInput {
  readonly live: LiveLog;
  readonly followers: Followers;
  readonly nowMs: () => number;
  readonly lagMsMax?: number;
}

const TailQuerySchema = Type.Object(
  {
    filter: Type.Optional(Type.String({ description: 'CEL; see docs/query.md' })),
    since: Type.Optional(
      Type.String({ description: 'records that started from this time on, history first; without it, what comes' }),
    ),
    after: Type.Optional(
      Type.String({ description: 'id of the last event that was seen; the header Last-Event-ID has precedence' }),
    ),
  },
  { additionalProperties: false },
);

export function tailRoutes(app: FastifyInstance, { live, followers, nowMs, lagMsMax }: TailRoutesInput): void {
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    '/v1/tail',
    {
      exposeHeadRoute: false,
      schema: {
        summary: 'Records as they are published, as server-sent events',
        querystring: TailQuerySchema,
        produces: ['text/event-stream'],
        response: { 200: Type.String(), ...PROBLEMS },
      },
    },
    async (request, reply) => {
      const { filter: text, since, after } = request.query;
      const filter = text === undefined ? undefined : parseFilter(text);
      const header = request.headers['last-event-id'];
      const last = (Array.isArray(header) ? header[0] : header) || after;
      const size = live.log.published().size;
      const from = last === undefined ? startOf(since, nowMs(), live.size) : parseTailPlace(last, size);
      const now = (): number => performance.now();
      await followers.serve(reply, async (out) => {
        const leave = live.enter();
        try {
          await new Tail({ live, out, from, filter, now, lagMsMax: lagMsMax ?? LAG_MS_MAX }).run();
        } finally {
          leave();
        }
      });
      return reply;
    },
  );
}

/** Where a tail begins that goes on from nowhere. Throws TIME_INVALID. */
function startOf(since: string | undefined, nowMs: number, size: number): TailPlace {
  return since === undefined ? { index: size, row: 0 } : { index: 0, row: 0, sinceNs: parseTime(since, nowMs) };
}
