// A reader of server-sent events that shares no code with the product, and an API with its own limits to read from.

import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { type ApiInput, apiApp } from '../../collector/src/api/app.ts';
import { openZoneIndex } from '../../collector/src/index/zone-index.ts';
import type { EvidenceLog } from '../../collector/src/log/evidence-log.ts';
import { memoryZones } from '../../collector/src/store/memory.ts';
import { START_NS } from '../support/facts.ts';
import { MemoryDisk, openMemoryLog, realClock } from '../support/logs.ts';

export interface Event {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: never;
}

export interface Reader {
  readonly status: number;
  readonly headers: Headers;
  /** The next event, or undefined at the end of the answer. */
  next(): Promise<Event | undefined>;
  /** Comments so far. */
  readonly comments: () => number;
  close(): void;
}

/** Reads an answer event by event. */
export async function read(url: string, headers: Record<string, string> = {}): Promise<Reader> {
  const stop = new AbortController();
  const response = await fetch(url, { headers, signal: stop.signal });
  const parts = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let [text, comments] = ['', 0];
  const next = async (): Promise<Event | undefined> => {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end >= 0) {
        const block = text.slice(0, end).split('\n');
        text = text.slice(end + 2);
        if (block[0]?.startsWith(':')) comments++;
        const value = (name: string): string | undefined =>
          block.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const [event, data] = [value('event'), value('data')];
        if (event !== undefined && data !== undefined)
          return { event, id: value('id'), data: JSON.parse(data) as never };
        continue;
      }
      const part = await parts?.read().catch(() => undefined);
      if (part?.value === undefined) return undefined;
      text += part.value;
    }
  };
  return {
    status: response.status,
    headers: response.headers,
    next,
    comments: () => comments,
    close: () => stop.abort(),
  };
}

export interface Api {
  readonly log: EvidenceLog;
  readonly disk: MemoryDisk;
  readonly app: FastifyInstance;
  readonly url: string;
}

/** An API that listens, over a log in memory that publishes every 20 ms. It is a minute after the records that tests make. */
export async function openApi(t: TestContext, open: ApiInput['open'] = {}, publishIntervalMs = 20): Promise<Api> {
  const disk = new MemoryDisk();
  const nowMs = (): number => Number(START_NS / 1_000_000n) + 60_000;
  const log = await openMemoryLog(disk, { publishIntervalMs, clock: { ...realClock, nowMs } });
  const index = await openZoneIndex({
    log,
    store: memoryZones(),
    rowsMax: 1_000_000,
    timeMsMax: 10_000,
    now: () => performance.now(),
    failed: (error) => assert.fail(error),
  });
  const app = await apiApp({ log, index, version: '1', nowMs, open });
  await app.listen({ host: '127.0.0.1', port: 0 });
  t.after(async () => {
    const closing = app.close();
    app.server.closeAllConnections();
    await closing;
    await index.close();
    await log.close();
  });
  return { log, disk, app, url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}` };
}
