// The event table: everything that a proxy can meet, with what each place must show of it. docs/filter.md has it as a matrix.

import type { RoleEvent } from './event.ts';
import { FAILED_TLS, SECURED, TCP_EVENTS, UNSPOKEN } from './events-connection.ts';
import { INVALID } from './events-invalid.ts';
import { BODIES, IDENTIFIERS, PROTOCOLS } from './events-ordinary.ts';
import { FAILURES, GIVEN_UP, POLICIES, RETRIES, ROUTING } from './events-outcomes.ts';

export interface Theme {
  readonly title: string;
  readonly events: readonly RoleEvent[];
}

export const THEMES: readonly Theme[] = [
  { title: 'protocols', events: PROTOCOLS },
  { title: 'bodies', events: BODIES },
  { title: 'what clients say', events: IDENTIFIERS },
  { title: 'identities', events: SECURED },
  { title: 'policies', events: POLICIES },
  { title: 'routes', events: ROUTING },
  { title: 'retries', events: RETRIES },
  { title: 'failures behind the proxy', events: FAILURES },
  { title: 'given up by the client', events: GIVEN_UP },
  { title: 'no HTTP, or half of it', events: INVALID },
  { title: 'TCP', events: TCP_EVENTS },
  { title: 'failed handshakes', events: FAILED_TLS },
  { title: 'before a filter chain', events: UNSPOKEN },
];

export const EVENTS: readonly RoleEvent[] = THEMES.flatMap(({ events }) => events);
