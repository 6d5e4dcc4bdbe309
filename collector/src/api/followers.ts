// Who holds an answer open: the live tail and replays. Their number is limited, and none outlives the listener.

import type { FastifyInstance, FastifyReply } from 'fastify';
import { MeshtrailError } from '../core/error.ts';
import { EVENT_STREAM_LIMITS, EventStream, type EventStreamLimits } from './event-stream.ts';

/** Answers that are open at once. */
export const FOLLOWERS_MAX = 64;

export interface FollowersLimits extends EventStreamLimits {
  readonly followersMax: number;
}

export class Followers {
  readonly #limits: FollowersLimits;
  readonly #streams = new Set<EventStream>();
  #isClosing = false;

  /** Ends every answer when the listener closes. */
  constructor(app: FastifyInstance, limits: Partial<FollowersLimits> = {}) {
    this.#limits = { ...EVENT_STREAM_LIMITS, followersMax: FOLLOWERS_MAX, ...limits };
    app.addHook('preClose', async () => this.#close());
  }

  get count(): number {
    return this.#streams.size;
  }

  /** Refuses one more than there is room for. Throws TAIL_OVERLOADED. */
  admit(): void {
    if (this.#isClosing) throw new MeshtrailError('TAIL_OVERLOADED', 'The collector is stopping; connect again later.');
    if (this.#streams.size >= this.#limits.followersMax)
      throw new MeshtrailError(
        'TAIL_OVERLOADED',
        `${this.#streams.size} clients follow the log or replay it already, the limit; connect again later.`,
      );
  }

  /** Takes the answer over and hands it to `work`, which runs until it is done or nobody reads any more. */
  async serve(reply: FastifyReply, work: (out: EventStream) => Promise<void>): Promise<void> {
    this.admit();
    reply.hijack();
    const out = new EventStream(reply.raw, this.#limits);
    this.#streams.add(out);
    try {
      await work(out);
    } catch (error) {
      reply.log.error({ err: error }, 'an open answer ended');
      out.end('end', JSON.stringify({ reason: 'something unexpected happened', code: 'INTERNAL' }));
    } finally {
      this.#streams.delete(out);
      out.release();
    }
  }

  #close(): void {
    this.#isClosing = true;
    for (const stream of this.#streams) stream.end('end', JSON.stringify({ reason: 'the collector stops' }));
  }
}
