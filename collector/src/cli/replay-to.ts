// Replay to something: sends what was recorded of requests (method, path, chosen headers, timing; there are no bodies) to a test
// target that was named, and compares the answers. Nothing is sent without --yes.

import { type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import { textOption, type VerbInput } from './args.ts';
import { LiveTable } from './live-table.ts';
import { type Column, json, note, print, visible } from './output.ts';

const RATE_DEFAULT = 5;
const RATE_MAX = 1000;
const UNDER_WAY_MAX = 16;
const ANSWER_MS_MAX = 10_000;
const ANSWER_BYTES_MAX = 1_048_576;
/** Records that are remembered until their other side comes: both sides of an exchange record it, and it is sent once. */
const SIDES_MAX = 100_000;
const METHODS_DEFAULT = 'GET,HEAD,OPTIONS';
/** Says who sends it: the id of the record. */
const MARK = 'x-meshtrail-replay';
const SECRET =
  /token|secret|passw|credential|api-?_?key|session|cookie|auth|jwt|csrf|xsrf|signature|x-forwarded-client-cert/i;
const OF_THE_CONNECTION =
  /^(?:host|content-length|transfer-encoding|connection|upgrade|te|trailer|expect|keep-alive|proxy-.*|:.*)$/i;
const HEADER_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
const PATH = /^\/[\x21-\x22\x24-\x7e]*$/;

interface Wanted {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly recorded: number | undefined;
}

interface Outcome extends Wanted {
  readonly replayed?: number;
  readonly error?: string;
}

const COLUMNS: readonly Column<Outcome>[] = [
  { title: 'ID', of: ({ id }) => id },
  { title: 'METHOD', of: ({ method }) => method },
  { title: 'PATH', of: ({ path }) => path, isElastic: true },
  { title: 'RECORDED', of: ({ recorded }) => recorded?.toString(), alignsRight: true },
  { title: 'REPLAYED', of: ({ replayed }) => replayed?.toString(), alignsRight: true },
  {
    title: 'RESULT',
    of: (one) => one.error ?? (one.replayed === undefined ? 'not sent' : isSame(one) ? 'same' : 'different'),
  },
];

const isSame = ({ recorded, replayed }: Outcome): boolean => replayed !== undefined && recorded === replayed;

/** The test target. Throws USAGE for one that must not be it. */
function targetOf(text: string, api: URL): URL {
  const refuse = (why: string): MeshtrailError =>
    new MeshtrailError(
      'USAGE',
      `--to is ${JSON.stringify(text)}; ${why}. Name a test target, such as http://127.0.0.1:8080.`,
    );
  if (!URL.canParse(text)) throw refuse('it is no URL');
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw refuse('it must be http or https');
  if (url.username !== '' || url.password !== '') throw refuse('it holds credentials');
  if (url.search !== '' || url.hash !== '') throw refuse('it has a query');
  if (url.host === api.host) throw refuse('this is the collector itself');
  return url;
}

function namesOf(input: VerbInput, option: string, initial: string): readonly string[] {
  return (textOption(input, option) ?? initial)
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/** Recorded headers that may be sent. Throws USAGE for one that can carry credentials or belongs to a connection. */
function headersOf(input: VerbInput): readonly string[] {
  const names = namesOf(input, 'headers', '').map((name) => name.toLowerCase());
  for (const name of names)
    if (!HEADER_NAME.test(name) || SECRET.test(name) || OF_THE_CONNECTION.test(name) || name === MARK)
      throw new MeshtrailError(
        'USAGE',
        `--headers has ${JSON.stringify(name)}; headers that can carry credentials, or that belong to a connection, are not replayed.`,
      );
  return names;
}

function rateOf(input: VerbInput): number {
  const text = textOption(input, 'rate') ?? String(RATE_DEFAULT);
  const rate = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (rate < 1 || rate > RATE_MAX)
    throw new MeshtrailError(
      'USAGE',
      `--rate is ${JSON.stringify(text)}; it must be 1 to ${RATE_MAX} requests a second.`,
    );
  return rate;
}

/** Takes records of a replay, and sends what may be sent. */
export class Resender {
  readonly isDry: boolean;
  readonly #target: URL;
  readonly #rate: number;
  readonly #headers: readonly string[];
  readonly #methods: readonly string[];
  readonly #signal: AbortSignal;
  readonly #show: (outcome: Outcome) => void;
  /** Exchanges of which one side was taken, by their key and that side. */
  readonly #sides = new Map<string, number>();
  readonly #skipped = new Map<string, number>();
  readonly #pairs = new Map<string, number>();
  readonly #underWay = new Set<Promise<void>>();
  #slotMs = 0;
  #taken = 0;
  #same = 0;
  #failed = 0;

  /** Throws USAGE. */
  constructor(input: VerbInput, to: string, api: URL, signal: AbortSignal) {
    this.#target = targetOf(to, api);
    if (input.options['yes'] === true && input.options['dry-run'] === true)
      throw new MeshtrailError('USAGE', '--yes sends requests, and --dry-run sends none.');
    this.isDry = input.options['yes'] !== true;
    this.#rate = rateOf(input);
    this.#headers = headersOf(input);
    this.#methods = namesOf(input, 'methods', METHODS_DEFAULT).map((name) => name.toUpperCase());
    this.#signal = signal;
    const table = new LiveTable(COLUMNS, { METHOD: 7, ID: 9 });
    const isTable = (textOption(input, 'output') ?? 'table') === 'table';
    this.#show = isTable ? (one) => table.row(one) : (one) => print(json(one));
  }

  /** Sends one, when its turn comes. */
  async take(flow: FlowRecord): Promise<void> {
    const wanted = this.#wanted(flow);
    if (typeof wanted === 'string') {
      this.#skipped.set(wanted, (this.#skipped.get(wanted) ?? 0) + 1);
      return;
    }
    this.#taken++;
    if (this.isDry) {
      this.#show(wanted);
      return;
    }
    await this.#turn();
    if (this.#signal.aborted) return;
    while (this.#underWay.size >= UNDER_WAY_MAX) await Promise.race(this.#underWay);
    const sending = this.#send(wanted).then((outcome) => {
      this.#underWay.delete(sending);
      this.#note(outcome);
    });
    this.#underWay.add(sending);
  }

  /** What to send of a record, or why not. */
  #wanted(flow: FlowRecord): Wanted | string {
    const { record, request, response } = flow;
    if (record.kind !== 'http') return 'no exchange';
    if (record.phase !== 'end') return 'of what goes on';
    if (record.repeat === true) return 'counted by another record';
    const { method, path } = request;
    if (method === undefined || path === undefined) return 'without method or path';
    if (!this.#methods.includes(method)) return `method ${this.#methods.join(', ')} only`;
    if (record.truncated?.includes('request.path') === true || record.not_utf8?.includes('request.path') === true)
      return 'path not whole';
    if (!PATH.test(path)) return 'path that is none';
    if (hasSecret(path)) return 'credentials in the query';
    if (this.#isOtherSide(flow)) return 'other side of the same exchange';
    const headers: Record<string, string> = {};
    for (const name of this.#headers) {
      const value = name === 'user-agent' ? request.useragent : request.headers?.[name];
      if (value !== undefined && /^[\t\x20-\x7e]*$/.test(value)) headers[name] = value;
    }
    headers[MARK] = flow.id;
    return { id: flow.id, method, path, headers, recorded: response.code };
  }

  /**
   * Whether the record of the other side was taken. A request id goes along from call to call, so alone it says little; and each
   * record has one other side at most.
   */
  #isOtherSide({ reporter, request: { id, method, path } }: FlowRecord): boolean {
    if (id === undefined || (reporter !== 'source' && reporter !== 'destination')) return false;
    const keyOf = (side: string): string => JSON.stringify([side, id, method, path]);
    const other = keyOf(reporter === 'source' ? 'destination' : 'source');
    const waiting = this.#sides.get(other) ?? 0;
    if (waiting > 1) this.#sides.set(other, waiting - 1);
    else this.#sides.delete(other);
    if (waiting > 0) return true;
    const own = keyOf(reporter);
    this.#sides.set(own, (this.#sides.get(own) ?? 0) + 1);
    const [oldest] = this.#sides.keys();
    if (this.#sides.size > SIDES_MAX && oldest !== undefined) this.#sides.delete(oldest);
    return false;
  }

  /** Waits for a place in the rate: evenly spread, no bursts. */
  async #turn(): Promise<void> {
    const waitMs = this.#slotMs - performance.now();
    this.#slotMs = Math.max(this.#slotMs, performance.now()) + 1000 / this.#rate;
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => undefined);
  }

  async #send(wanted: Wanted): Promise<Outcome> {
    const { protocol, hostname, port, pathname } = this.#target;
    const options: RequestOptions = {
      ...{ protocol, method: wanted.method, path: `${pathname.replace(/\/$/, '')}${wanted.path}` },
      hostname: hostname.replace(/^\[|\]$/g, ''),
      ...(port === '' ? {} : { port }),
      headers: {
        ...wanted.headers,
        ...(['GET', 'HEAD', 'OPTIONS'].includes(wanted.method) ? {} : { 'content-length': 0 }),
      },
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    };
    return await new Promise((resolve) => {
      const failed = (error: Error): void => resolve({ ...wanted, error: error.message });
      const request = (protocol === 'https:' ? requestHttps : requestHttp)(options, (response) => {
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          bytes += part.length;
          if (bytes > ANSWER_BYTES_MAX) response.destroy();
        });
        response.on('error', () => undefined);
        response.on('close', () => resolve({ ...wanted, replayed: response.statusCode ?? 0 }));
      });
      request.on('error', failed).end();
    });
  }

  #note(outcome: Outcome): void {
    this.#show(outcome);
    if (outcome.error !== undefined) this.#failed++;
    if (isSame(outcome)) this.#same++;
    else {
      const pair = `${outcome.recorded ?? 'none'} -> ${outcome.error === undefined ? outcome.replayed : 'no answer'}`;
      this.#pairs.set(pair, (this.#pairs.get(pair) ?? 0) + 1);
    }
  }

  /** Waits for what is under way, and sums up; the number is the exit code: 1 when something was not as recorded. */
  async end(): Promise<number> {
    await Promise.all(this.#underWay);
    for (const [reason, count] of this.#skipped) note(`left out: ${count} (${visible(reason)})`);
    const target = visible(this.#target.href);
    if (this.isDry) {
      note(`dry run: ${this.#taken} requests would go to ${target} at up to ${this.#rate} a second; --yes sends them`);
      return 0;
    }
    for (const [pair, count] of this.#pairs) note(`recorded -> replayed: ${pair}: ${count}`);
    const done = this.#same + [...this.#pairs.values()].reduce((sum, count) => sum + count, 0);
    note(
      `${done} requests to ${target}: ${this.#same} as recorded, ${done - this.#same - this.#failed} with another status, ${this.#failed} without an answer`,
    );
    return this.#same === done ? 0 : 1;
  }
}

function hasSecret(path: string): boolean {
  const query = path.split('?').slice(1).join('?');
  return [...new URLSearchParams(query).keys()].some((name) => SECRET.test(name));
}
