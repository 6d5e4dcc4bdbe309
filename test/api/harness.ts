// An API over a log in memory, on a port of its own.

import assert from 'node:assert/strict';
import { type AddressInfo, connect } from 'node:net';
import type { TestContext } from 'node:test';
import { apiApp } from '../../collector/src/api/app.ts';
import { openZoneIndex, type ZoneIndexInput } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { memoryZones } from '../../collector/src/store/memory.ts';
import { START_NS } from '../support/facts.ts';
import { openMemoryLog } from '../support/logs.ts';

/** An API that listens, over a log in memory. */
export interface Setup {
  readonly log: EvidenceLog;
  readonly port: number;
  readonly answered: { readonly route: string; readonly status: number }[];
  get(path: string, init?: RequestInit): Promise<Response>;
  json(path: string): Promise<Record<string, unknown>>;
  /** Without a connection, so that no client tidies the URL up first. */
  inject(path: string): Promise<{ readonly status: number; readonly text: string }>;
  raw(text: string): Promise<string>;
}

/** What time it is for the API: a minute after the records that tests make. */
const NOW_MS = Number(START_NS / 1_000_000n) + 60_000;

/** Starts one; it ends with the test. */
export async function setup(t: TestContext, more: Partial<ZoneIndexInput> = {}): Promise<Setup> {
  const log = await openMemoryLog();
  const index = await openZoneIndex({
    log,
    store: memoryZones(),
    rowsMax: 1_000_000,
    timeMsMax: 10_000,
    now: () => performance.now(),
    failed: (error) => assert.fail(error),
    ...more,
  });
  const answered: Setup['answered'][number][] = [];
  const app = await apiApp({
    ...{ log, index, version: '1.2.3', nowMs: () => NOW_MS },
    events: { answered: ({ route, status }) => answered.push({ route, status }) },
    serveMetrics: (_request, response) => void response.end('up 1\n'),
  });
  t.after(async () => {
    const closing = app.close();
    // Connections that never sent a request are not idle to Node, and end only with the client's patience.
    app.server.closeAllConnections();
    await closing;
    await index.close();
    await log.close();
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const get = async (path: string, init?: RequestInit): Promise<Response> =>
    await fetch(`http://127.0.0.1:${port}${path}`, init);
  return {
    ...{ log, port, answered, get },
    json: async (path) => (await (await get(path)).json()) as Record<string, unknown>,
    async inject(url) {
      const { statusCode, payload } = await app.inject({ method: 'GET', url });
      return { status: statusCode, text: payload };
    },
    raw: async (text) =>
      await new Promise((resolve) => {
        let answer = '';
        const socket = connect(port, '127.0.0.1', () => socket.write(text));
        socket.setEncoding('latin1').on('data', (part: string) => (answer += part));
        socket.on('close', () => resolve(answer));
      }),
  };
}
