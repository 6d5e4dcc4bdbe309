// What is no HTTP, or not enough of it: codec errors, half requests, connections on which nothing is asked.

import { setTimeout as sleep } from 'node:timers/promises';
import { askHttp2, type Caller, closed } from './caller.ts';
import { connection, EXCHANGE, ended, http, NO_REQUEST, type RoleEvent, type Seen, type Sights } from './event.ts';

const invalid = (code: number, details: string | RegExp): Seen => ended('invalid', code, 'DPE', details);
/** The connection has the error too, and Envoy has not even noted its protocol. */
const BROKEN: Partial<RoleEvent> = {
  connection: { verdict: 'invalid', line: { flags: 'DPE', protocol: null } },
  // So a recorder that sees no exchanges cannot know that there was one.
  sights: { ...EXCHANGE, network_filter: 'recorded', listener_logger: 'recorded' },
};
/** The manager logs it, and made no filters for it. */
const UNFILTERED: Sights = { ...EXCHANGE, http_filter: 'not visible' };
const sent =
  (bytes: string): ((caller: Caller) => Promise<unknown>) =>
  (caller) =>
    caller.raw('web', bytes);

/** Sends something, or nothing, and goes. */
async function left(caller: Caller, bytes: string): Promise<void> {
  const socket = await caller.open('web');
  if (bytes !== '') socket.write(bytes);
  await sleep(50);
  socket.end();
  await closed(socket);
}

export const INVALID: readonly RoleEvent[] = [
  http(
    '431, headers too large',
    sent(`GET /app/ok HTTP/1.1\r\nhost: a\r\nx-long: ${'a'.repeat(9000)}\r\n\r\n`),
    invalid(431, /^http1\.headers_too_large$/),
    BROKEN,
  ),
  http(
    'headers too large over HTTP/2',
    (caller) =>
      caller.http2((session) => {
        const long = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`x-${n}`, 'a'.repeat(4000)]));
        return askHttp2(session, { ':path': '/app/ok', ...long });
      }),
    // Reset before there is a stream that filters could see.
    ended('invalid', 0, 'DR', 'http2.header_list_size_too_large'),
    { sights: UNFILTERED },
  ),
  http('400, no HTTP', sent('GARBAGE\r\n\r\n'), invalid(400, /^http1\./), BROKEN),
  http('400, no HTTP but bytes', sent('\x01\x02\xff\r\n\r\n'), invalid(400, /^http1\./), BROKEN),
  http(
    '400, a header without a colon',
    sent('GET /app/ok HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n'),
    invalid(400, /^http1\./),
    BROKEN,
  ),
  http('400, no host', sent('GET /app/ok HTTP/1.1\r\n\r\n'), ended('invalid', 400, '-', 'missing_host_header')),
  http(
    '501, unknown transfer encoding',
    sent('GET /app/ok HTTP/1.1\r\nhost: a\r\ntransfer-encoding: bogus\r\n\r\n'),
    invalid(501, /^http1\./),
    BROKEN,
  ),
  http(
    'half a request, then closed',
    (caller) => left(caller, 'GET /app/ok HTTP/1.1\r\nhost: a\r\n'),
    ended('reset', 0, 'DC', /./),
    { sights: UNFILTERED },
  ),
  connection(
    'a bad HTTP/2 preface',
    sent(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'X'.repeat(20)}`),
    { verdict: 'invalid', line: { flags: 'DPE' } },
    NO_REQUEST,
  ),
  connection(
    'a connection without a request',
    (caller) => left(caller, ''),
    { verdict: 'allowed', line: { flags: '-', received: 0 } },
    NO_REQUEST,
  ),
];
