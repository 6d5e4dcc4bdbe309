// The route of replays.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { MeshtrailError } from '../core/error.ts';
import { parseFilter } from '../core/query/filter.ts';
import { parseTime } from '../core/time.ts';
import { BatchCache } from '../index/batch-cache.ts';
import type { FlowIndex } from '../index/flow-index.ts';
import type { LiveLog } from '../index/live-log.ts';
import { planReplay, type ReplayPlan, type ReplayWindow } from '../index/replay-plan.ts';
import type { EvidenceLog } from '../log/evidence-log.ts';
import { boundsOf } from './flows.ts';
import type { Followers } from './followers.ts';
import { parseReplayPlace, placeBefore, Replay, type ReplayPlace, STEPS, type Step } from './replay.ts';
import { PROBLEMS } from './schemas.ts';

export interface ReplayRoutesInput {
  readonly log: EvidenceLog;
  readonly index: FlowIndex;
  readonly live: LiveLog;
  readonly followers: Followers;
  readonly nowMs: () => number;
}

/** Plans that are kept: step by step, or after a pause, the same one is needed again. */
const PLANS_MAX = 4;
const SPEED_MAX = 1000;

const ReplayQuerySchema = Type.Object(
  {
    since: Type.String({ description: 'RFC 3339 with zone, or relative such as -15m; inclusive' }),
    until: Type.Optional(Type.String({ description: 'likewise; exclusive; default now' })),
    speed: Type.Optional(Type.Integer({ minimum: 1, maximum: SPEED_MAX, default: 1 })),
    step: Type.Optional(
      Type.Union(
        STEPS.map((step) => Type.Literal(step)),
        { description: 'one step at once, and no more' },
      ),
    ),
    filter: Type.Optional(Type.String({ description: 'CEL; see docs/query.md' })),
    from: Type.Optional(
      Type.String({
        description: 'a time to begin at, or the id of the last event seen; Last-Event-ID has precedence',
      }),
    ),
    frames: Type.Optional(Type.String({ description: 'which of 1s, 10s and exchange, with commas; default all' })),
  },
  { additionalProperties: false },
);

export function replayRoutes(app: FastifyInstance, { log, index, live, followers, nowMs }: ReplayRoutesInput): void {
  const cache = new BatchCache(log);
  const plans = new Plans((window) => planReplay({ log, index }, window));
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    '/v1/replay',
    {
      exposeHeadRoute: false,
      schema: {
        summary: 'The past as if it were live, as server-sent events',
        querystring: ReplayQuerySchema,
        produces: ['text/event-stream'],
        response: { 200: Type.String(), ...PROBLEMS },
      },
    },
    async (request, reply) => {
      const { since, until = 'now', speed = 1, step, filter: text, from: given, frames } = request.query;
      const filter = text === undefined ? undefined : parseFilter(text);
      const kinds = framesOf(frames);
      const { sinceNs = 0n, untilNs = 0n } = boundsOf({ since, until }, nowMs());
      const header = request.headers['last-event-id'];
      const place = placeOf((Array.isArray(header) ? header[0] : header) || given, log.published().size, nowMs());
      const from = place === undefined || place.atNs < sinceNs ? placeBefore(sinceNs) : place;
      followers.admit();
      await index.idle();
      const size = place?.size ?? Math.min(index.size, log.published().size);
      const plan = await plans.get({ sinceNs, untilNs, size });
      await followers.serve(reply, async (out) => {
        const rest = async (usedMs: number): Promise<void> => await live.rest(usedMs);
        await new Replay({ log, cache, plan, out, from, filter, speed, step, frames: kinds, rest }).run();
      });
      return reply;
    },
  );
}

/** Throws PARAMETER_INVALID. */
function framesOf(text: string | undefined): readonly Step[] {
  const names = text?.split(',') ?? STEPS;
  const unknown = names.find((name) => !(STEPS as readonly string[]).includes(name));
  if (unknown === undefined) return names as readonly Step[];
  const shown = JSON.stringify(unknown.slice(0, 80));
  throw new MeshtrailError('PARAMETER_INVALID', `frames has ${shown}; there are ${STEPS.join(', ')}.`);
}

/** Throws CURSOR_INVALID, TIME_INVALID. */
function placeOf(text: string | undefined, size: number, nowMs: number): ReplayPlace | undefined {
  if (text === undefined) return undefined;
  return parseReplayPlace(text, size) ?? placeBefore(parseTime(text, nowMs));
}

class Plans {
  readonly #make: (window: ReplayWindow) => Promise<ReplayPlan>;
  /** Least recently used first. */
  readonly #plans = new Map<string, Promise<ReplayPlan>>();

  constructor(make: (window: ReplayWindow) => Promise<ReplayPlan>) {
    this.#make = make;
  }

  async get(window: ReplayWindow): Promise<ReplayPlan> {
    const key = `${window.sinceNs} ${window.untilNs} ${window.size}`;
    const plan = this.#plans.get(key) ?? this.#make(window);
    this.#plans.delete(key);
    this.#plans.set(key, plan);
    for (const oldest of this.#plans.keys()) {
      if (this.#plans.size <= PLANS_MAX) break;
      this.#plans.delete(oldest);
    }
    try {
      return await plan;
    } catch (error) {
      this.#plans.delete(key);
      throw error;
    }
  }
}
