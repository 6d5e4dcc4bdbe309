// One row of the matrix: how to cause an event, what Envoy's logs then say of it, and which place sees it.

import type { FlowRecord, Verdict } from '../../../collector/src/core/record.ts';
import type { Line, Value } from './access-logs.ts';
import type { Caller } from './caller.ts';
import type { Place } from './places.ts';

/** What a place does with an event: records it, records it as counted elsewhere, does not see it; or it cannot stand where this happens. */
export type Sight = 'recorded' | 'repeat' | 'not visible' | 'elsewhere';
export type Sights = Readonly<Record<Place, Sight>>;

/** What is to be read of an exchange or a connection, in Envoy's log and in the record. */
export interface Seen {
  readonly verdict: Verdict;
  /** Members of Envoy's line: they prove that the event happened. */
  readonly line?: Readonly<Record<string, Value | RegExp>>;
  /** What the record must say beyond the comparison with the line. */
  readonly record?: (record: FlowRecord, line: Line) => void;
}

export interface RoleEvent {
  readonly name: string;
  readonly sights: Sights;
  play(caller: Caller): Promise<unknown>;
  /** Exchanges in the order of their beginning; none: no request was made. */
  readonly exchanges: readonly Seen[];
  /** Each connection of the event. */
  readonly connection: Seen;
}

/** Exchanges of HTTP: the connection is a record too, and its exchanges are what counts. */
export const EXCHANGE: Sights = {
  http_filter: 'recorded',
  network_filter: 'repeat',
  manager_logger: 'recorded',
  listener_logger: 'repeat',
  tcp_proxy_logger: 'elsewhere',
};
/** A connection of HTTP on which no request began. */
export const NO_REQUEST: Sights = {
  http_filter: 'not visible',
  network_filter: 'recorded',
  manager_logger: 'not visible',
  listener_logger: 'recorded',
  tcp_proxy_logger: 'elsewhere',
};
export const TCP: Sights = {
  http_filter: 'elsewhere',
  network_filter: 'recorded',
  manager_logger: 'elsewhere',
  listener_logger: 'recorded',
  tcp_proxy_logger: 'recorded',
};
/** Refused before any filter chain was chosen. */
export const NO_CHAIN: Sights = {
  http_filter: 'elsewhere',
  network_filter: 'not visible',
  manager_logger: 'elsewhere',
  listener_logger: 'recorded',
  tcp_proxy_logger: 'not visible',
};

/** The same on a listener of HTTP. */
export const BEFORE_CHAIN: Sights = {
  http_filter: 'not visible',
  network_filter: 'not visible',
  manager_logger: 'not visible',
  listener_logger: 'recorded',
  tcp_proxy_logger: 'elsewhere',
};

const ALLOWED: Seen = { verdict: 'allowed' };

/** An event of HTTP: what it makes of each exchange. */
export function http(
  name: string,
  play: RoleEvent['play'],
  exchanges: Seen | readonly Seen[],
  more: Partial<RoleEvent> = {},
): RoleEvent {
  const all = Array.isArray(exchanges) ? exchanges : [exchanges];
  return { name, play, exchanges: all, sights: EXCHANGE, connection: ALLOWED, ...more };
}

/** An event of a connection without HTTP. */
export function connection(name: string, play: RoleEvent['play'], seen: Seen, sights: Sights): RoleEvent {
  return { name, play, exchanges: [], sights, connection: seen };
}

/** An exchange that ended as given: code, Envoy's response flags, details. */
export function ended(
  verdict: Verdict,
  code: number,
  flags: string,
  details: string | RegExp,
  more: Omit<Seen, 'verdict'> = {},
): Seen {
  return { verdict, ...more, line: { code, flags, details, ...more.line } };
}

/** The upstream answered, and that is all. */
export const answered = (code = 200, more: Omit<Seen, 'verdict'> = {}): Seen =>
  ended('allowed', code, '-', 'via_upstream', more);
