// The load generator of the filter benchmark, a process of its own: prepared HTTP/1.1 requests, one at a time on each kept-alive connection.

import { randomBytes, randomUUID } from 'node:crypto';
import { random } from '../../support/facts.ts';
import { percentile } from '../lib/figures.ts';
import { serveParent } from '../lib/processes.ts';
import { type ClientTls, RawConnection } from '../lib/raw-http.ts';
import { AUTHORITY, MISSING_PREFIX } from './config.ts';

/** Requests differ in path, agent, ids and body; after so many they repeat. */
const DIFFERENT_REQUESTS = 16_384;
const MISSING_SHARE = 0.03;
const POST_SHARE = 0.2;
const PATHS = 60;

export interface LoadRequest {
  readonly port: number;
  readonly requests: number;
  readonly connections: number;
  readonly tls?: ClientTls | undefined;
}

export interface LoadReply {
  readonly elapsedMs: number;
  readonly answered: number;
  readonly notFound: number;
  readonly latencyMsP50: number;
  readonly latencyMsP99: number;
}

const USER_AGENTS = [
  'Go-http-client/1.1',
  'python-requests/2.32.3',
  'okhttp/4.12.0',
  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
];

function makeRequest(next: () => number, i: number): Buffer {
  const path = `/api/v1/orders/${Math.floor(next() * PATHS)}`;
  const isPost = next() < POST_SHARE;
  const body = isPost ? JSON.stringify({ item: i, note: 'x'.repeat(120) }) : '';
  return Buffer.from(
    [
      `${isPost ? 'POST' : 'GET'} ${next() < MISSING_SHARE ? MISSING_PREFIX : ''}${path} HTTP/1.1`,
      `host: ${AUTHORITY}`,
      `user-agent: ${USER_AGENTS[Math.floor(next() * USER_AGENTS.length)]}`,
      'accept: application/json',
      'accept-encoding: gzip, br',
      `x-request-id: ${randomUUID()}`,
      `traceparent: 00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
      ...(isPost ? ['content-type: application/json', `content-length: ${body.length}`] : []),
      '',
      body,
    ].join('\r\n'),
  );
}

const seeded = random(23);
const requests = Array.from({ length: DIFFERENT_REQUESTS }, (_, i) => makeRequest(seeded, i));
const open = new Map<string, RawConnection>();
let sent = 0;

async function connection({ port, tls }: LoadRequest, number: number): Promise<RawConnection> {
  const key = `${port}/${number}`;
  const known = open.get(key);
  if (known !== undefined) return known;
  const fresh = await RawConnection.open(port, tls);
  open.set(key, fresh);
  return fresh;
}

async function run(request: LoadRequest): Promise<LoadReply> {
  const sockets = await Promise.all(Array.from({ length: request.connections }, (_, i) => connection(request, i)));
  const latencyMs: number[] = [];
  let left = request.requests;
  let answered = 0;
  let notFound = 0;
  const started = performance.now();
  await Promise.all(
    sockets.map(async (socket) => {
      while (left > 0) {
        left--;
        const sentAt = performance.now();
        const { status } = await socket.exchange(requests[sent++ % DIFFERENT_REQUESTS] as Buffer);
        if (status === 200 || status === 404) answered++;
        if (status === 404) notFound++;
        latencyMs.push(performance.now() - sentAt);
      }
    }),
  );
  return {
    elapsedMs: performance.now() - started,
    answered,
    notFound,
    latencyMsP50: percentile(latencyMs, 0.5),
    latencyMsP99: percentile(latencyMs, 0.99),
  };
}

serveParent(run);
