// The command's side of an answer that stays open: its events, across as many connections as it takes.

import { setTimeout as sleep } from 'node:timers/promises';
import { MeshtrailError } from '../core/error.ts';
import { askOpen, notACollector } from './client.ts';
import { isUnread, note, visible } from './output.ts';

/** One event of a server. `data` is JSON, read. */
export interface ServerEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: unknown;
}

const EVENT_CHARACTERS_MAX = 16 * 1024 * 1024;
/** A collector says every 15 s that it lives. */
const SILENCE_MS_MAX = 45_000;
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 10_000;
/** What passes, so that asking again makes sense. */
const PASSING = ['COLLECTOR_UNREACHABLE', 'TAIL_OVERLOADED', 'QUERY_OVERLOADED', 'STORE_FAILED'];

export interface FollowInput {
  readonly api: URL;
  readonly path: string;
  /** Asked for each connection: they may change between two. */
  readonly parameters: () => Readonly<Record<string, string | undefined>>;
  /** Event to go on behind. */
  readonly after?: string | undefined;
  readonly signal: AbortSignal;
  /** Takes an event; true says that it was the last one wanted. */
  readonly take: (event: ServerEvent) => boolean | undefined | Promise<boolean | undefined>;
}

/** Hands over event after event, and connects again with growing pauses where a connection ends. Returns the id of the last event. */
export async function follow(input: FollowInput): Promise<string | undefined> {
  const { api, signal, take } = input;
  let [after, pauseMs, hasConnected] = [input.after, PAUSE_MS_MIN, false];
  while (!signal.aborted) {
    let reason = 'the connection ended';
    try {
      for await (const event of eventsOf(input, after)) {
        [pauseMs, hasConnected] = [PAUSE_MS_MIN, true];
        const isLast = (await take(event)) === true;
        after = event.id ?? after;
        if (isLast || isUnread()) return after;
      }
    } catch (error) {
      if (signal.aborted) break;
      // What never worked is told at once, as every verb does.
      if (!hasConnected || (error instanceof MeshtrailError && !PASSING.includes(error.code))) throw error;
      reason = (error as Error).message;
    }
    if (signal.aborted) break;
    note(`meshtrail: ${visible(reason.replace(/\.$/, ''))}; connecting to ${api.origin} again`);
    await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
  }
  return after;
}

/** The events of one connection. */
async function* eventsOf(input: FollowInput, after: string | undefined): AsyncGenerator<ServerEvent> {
  const { api, path, parameters } = input;
  const silence = new AbortController();
  const signal = AbortSignal.any([input.signal, silence.signal]);
  let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  try {
    const headers: Record<string, string> = after === undefined ? {} : { 'last-event-id': after };
    const body = await askOpen(api, path, parameters(), { headers, signal });
    const decoder = new TextDecoder();
    let text = '';
    for await (const part of body) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
      text += decoder.decode(part, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      if (text.length > EVENT_CHARACTERS_MAX) throw notACollector(api, 'an event without an end');
      for (const block of blocks) {
        const event = eventOf(block, api);
        if (event !== undefined) yield event;
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

function eventOf(block: string, api: URL): ServerEvent | undefined {
  const fields: Record<string, string> = {};
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, '');
  }
  const { event, id, data } = fields;
  // A comment, or the pause that a browser would keep.
  if (event === undefined || data === undefined) return undefined;
  try {
    return { event, id, data: JSON.parse(data) as unknown };
  } catch {
    throw notACollector(api, 'an event that is no JSON');
  }
}

/** A signal that is aborted by Ctrl-C and its like, and when nobody reads answers any more, until `release`. */
export function untilSignal(): { readonly signal: AbortSignal; readonly release: () => void } {
  const stop = new AbortController();
  const end = (): void => stop.abort();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, end);
  process.stdout.on('error', end);
  return {
    signal: stop.signal,
    release: () => {
      process.stdout.removeListener('error', end);
      for (const name of names) process.removeListener(name, end);
    },
  };
}
