// Server-sent events on one connection (HTML, section 9.2), with a bound on what waits: who reads slowly is waited for.

import type { ServerResponse } from 'node:http';

/** What is gathered before it is written. */
const CHUNK_CHARACTERS = 32_768;

export interface EventStreamLimits {
  /** After so long without anything else, a comment says that the connection lives. */
  readonly heartbeatMs: number;
  /** A reader that takes nothing for so long is cut off; it can resume. */
  readonly stallMs: number;
  /** What a client is told to wait before it connects again. */
  readonly retryMs: number;
}

export const EVENT_STREAM_LIMITS: EventStreamLimits = { heartbeatMs: 15_000, stallMs: 60_000, retryMs: 1000 };

export class EventStream {
  readonly #response: ServerResponse;
  readonly #limits: EventStreamLimits;
  readonly #gone = new AbortController();
  readonly #heartbeat: NodeJS.Timeout;
  #text = '';
  #isQuiet = false;

  /** Writes the head of the answer. */
  constructor(response: ServerResponse, limits: EventStreamLimits) {
    this.#response = response;
    this.#limits = limits;
    response.on('error', () => undefined);
    response.once('close', () => this.#gone.abort());
    if (response.destroyed) this.#gone.abort();
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // A proxy that gathers answers would make a live one late.
      'x-accel-buffering': 'no',
    });
    response.write(`retry: ${limits.retryMs}\n\n`);
    this.#heartbeat = setInterval(() => this.#beat(), limits.heartbeatMs);
  }

  /** Aborted when nobody reads any more, or when the stream was ended. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  #beat(): void {
    if (this.#isQuiet && !this.#response.writableNeedDrain && !this.signal.aborted) this.#response.write(':\n\n');
    this.#isQuiet = true;
  }

  /** Adds an event; `data` is JSON, and so one line. It is written by `flush`. */
  add(event: string, data: string, id?: string): void {
    this.#text += `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`;
  }

  /** So much is gathered that it should be written before more is added. */
  get isFull(): boolean {
    return this.#text.length >= CHUNK_CHARACTERS;
  }

  /** Writes what was added, and waits until the reader has taken what was written before. */
  async flush(): Promise<void> {
    const text = this.#text;
    this.#text = '';
    if (text === '' || this.signal.aborted) return;
    this.#isQuiet = false;
    if (this.#response.write(text)) return;
    await this.#drained();
  }

  async #drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { signal } = this;
    const wake = (): void => resolve();
    const stalled = setTimeout(() => this.#response.destroy(), this.#limits.stallMs);
    this.#response.on('drain', wake);
    signal.addEventListener('abort', wake);
    await promise;
    clearTimeout(stalled);
    this.#response.removeListener('drain', wake);
    signal.removeEventListener('abort', wake);
  }

  /** Writes a last event and ends the answer. */
  end(event: string, data: string, id?: string): void {
    if (this.#response.writableEnded) return;
    clearInterval(this.#heartbeat);
    // To a reader that takes nothing nothing can be said.
    if (this.#response.writableNeedDrain || this.signal.aborted) this.#response.destroy();
    else {
      this.add(event, data, id);
      this.#response.end(this.#text);
    }
    this.#text = '';
    this.#gone.abort();
  }

  /** Lets go of the connection, whatever its state. */
  release(): void {
    clearInterval(this.#heartbeat);
    if (!this.#response.writableEnded) this.#response.end();
  }
}
