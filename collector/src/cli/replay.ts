// `meshtrail replay`: the past as if it were live, on the terminal, step by step, or to a test target.

import { MeshtrailError } from '../core/error.ts';
import type { FlowRecord } from '../core/record.ts';
import { parseRfc3339 } from '../core/time.ts';
import { API_OPTION, OUTPUT_OPTION, textOption, type Verb, type VerbInput } from './args.ts';
import { apiOf } from './client.ts';
import { FLOW_COLUMNS } from './flow-table.ts';
import { notePlace } from './flows.ts';
import { follow, type ServerEvent, untilSignal } from './follow.ts';
import { LiveTable } from './live-table.ts';
import { json, note, print, visible } from './output.ts';
import { type Command, KEYS_HELP, Keys } from './replay-keys.ts';
import { Resender } from './replay-to.ts';
import { FLOW_WIDTHS } from './tail.ts';

const SPEED_MAX = 1000;
const SEEK_MS = 10_000;
const FRAMES_DEFAULT = '10s,exchange';

interface Hello {
  readonly asOf: { readonly origin: string; readonly size: number };
  readonly since: string;
  readonly until: string;
  readonly clocks_corrected: number;
}

interface EdgesFrame {
  readonly since: string;
  readonly until: string;
  readonly records: number;
  readonly edges: readonly { readonly denied: number; readonly failed: number }[];
}

/** What is shown of each event. */
type Show = (event: ServerEvent) => void | Promise<void>;

class Session {
  readonly #input: VerbInput;
  readonly #api: URL;
  readonly #signal: AbortSignal;
  readonly #show: Show;
  readonly #keys: Keys;
  #window: { readonly since: string | undefined; readonly until: string | undefined };
  #from: string | undefined;
  #after: string | undefined;
  #at = '';
  #speed: number;
  #isPaused = false;
  #isDone = false;
  #isWhole = true;

  constructor(input: VerbInput, signal: AbortSignal, show: Show, speed: number, keys: Keys) {
    this.#input = input;
    this.#api = apiOf(input);
    this.#signal = signal;
    this.#show = show;
    this.#keys = keys;
    this.#speed = speed;
    this.#from = textOption(input, 'from');
    this.#window = { since: textOption(input, 'since'), until: textOption(input, 'until') };
  }

  /** 1 when something could not be shown. */
  async run(step: string | undefined, frames: string): Promise<number> {
    while (!this.#isDone && !this.#signal.aborted) {
      if (step !== undefined || this.#isPaused) {
        const command = await this.#keys.next(this.#signal);
        if (command === 'step') await this.#step(step ?? '1s', frames);
        else this.#obey(command);
      } else {
        await this.#play({ speed: String(this.#speed), frames });
        for (let command = this.#keys.poll(); command !== undefined; command = this.#keys.poll()) this.#obey(command);
      }
    }
    return this.#isWhole ? 0 : 1;
  }

  /** A step shows its own end, whatever else is shown of it. */
  async #step(step: string, frames: string): Promise<void> {
    await this.#play({ step, frames: frames.split(',').includes(step) ? frames : `${step},${frames}` });
  }

  async #play(how: Readonly<Record<string, string>>): Promise<void> {
    const segment = new AbortController();
    const isStep = how['step'] !== undefined;
    this.#keys.onCommand = isStep ? () => undefined : () => segment.abort();
    const filter = textOption(this.#input, 'filter');
    this.#after = await follow({
      api: this.#api,
      path: '/v1/replay',
      parameters: () => ({ ...this.#window, ...how, filter, from: this.#from }),
      after: this.#after,
      signal: AbortSignal.any([this.#signal, segment.signal]),
      take: async (event) => await this.#take(event),
    });
    this.#keys.onCommand = () => undefined;
  }

  async #take(event: ServerEvent): Promise<boolean> {
    if (event.event === 'hello') this.#hello(event.data as Hello);
    else if (event.event === 'damaged') {
      this.#isWhole = false;
      note(`meshtrail: damaged: ${json(event.data)}`);
    } else if (event.event === 'end') {
      const { reason } = event.data as { readonly reason: string };
      if (reason !== 'done' && reason !== 'step') note(`meshtrail: ${visible(reason)}`);
      this.#isDone = reason === 'done';
      return reason === 'done' || reason === 'step';
    } else {
      const { at, until } = event.data as { readonly at?: string; readonly until?: string };
      this.#at = at ?? until ?? this.#at;
      await this.#show(event);
    }
    return false;
  }

  #hello({ asOf, since, until, clocks_corrected: clocks }: Hello): void {
    if (this.#at !== '') return;
    // Times relative to now stay where they were, whatever comes between.
    this.#window = { since, until };
    this.#at = since;
    note(`replaying ${visible(since)} to ${visible(until)} of ${visible(asOf.origin)}, as of size ${asOf.size}`);
    if (clocks > 0) note(`clocks that were ahead and are set right: ${clocks}`);
    if (this.#keys.isTerminal) note(KEYS_HELP);
  }

  #obey(command: Command | undefined): void {
    if (command === 'pause') {
      this.#isPaused = !this.#isPaused;
      note(this.#isPaused ? `paused at ${visible(this.#at)}` : 'going on');
    } else if (command === 'step') this.#isPaused = true;
    else if (command === 'faster' || command === 'slower') {
      this.#speed = Math.max(
        1,
        Math.min(SPEED_MAX, command === 'faster' ? 2 * this.#speed : Math.floor(this.#speed / 2)),
      );
      note(`speed ${this.#speed}`);
    } else if (command === 'back' || command === 'forth') this.#seek(command === 'back' ? -SEEK_MS : SEEK_MS);
    else if (command === 'quit') this.#isDone = true;
  }

  #seek(ms: number): void {
    if (parseRfc3339(this.#at) === undefined) return;
    this.#at = new Date(Date.parse(this.#at) + ms).toISOString();
    this.#from = this.#at;
    this.#after = undefined;
    note(`at ${this.#at}`);
  }
}

/** Shows events as lines: records as a table, frames between them. */
function shown(isTable: boolean): Show {
  const table = new LiveTable(FLOW_COLUMNS, FLOW_WIDTHS);
  return ({ event, data }) => {
    if (!isTable) print(json({ event, ...(data as object) }));
    else if (event === 'flow') table.row((data as { readonly flow: FlowRecord }).flow);
    else if (event === 'edges') {
      const { since, until, records, edges } = data as EdgesFrame;
      const sum = (of: 'denied' | 'failed'): number => edges.reduce((total, edge) => total + edge[of], 0);
      const span = `${visible(since.slice(11, 19))} to ${visible(until.slice(11, 19))}`;
      print(`-- ${span}: ${records} records, ${edges.length} edges, ${sum('denied')} denied, ${sum('failed')} failed`);
    }
  };
}

function speedOf(input: VerbInput): number {
  const text = textOption(input, 'speed') ?? '1';
  const speed = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (speed < 1 || speed > SPEED_MAX)
    throw new MeshtrailError('USAGE', `--speed is ${JSON.stringify(text)}; it must be 1 to ${SPEED_MAX}.`);
  return speed;
}

async function run(input: VerbInput): Promise<number> {
  if (textOption(input, 'since') === undefined)
    throw new MeshtrailError('USAGE', 'A replay needs --since TIME. See `meshtrail replay --help`.');
  const [to, step] = [textOption(input, 'to'), textOption(input, 'step')];
  const speed = speedOf(input);
  const { signal, release } = untilSignal();
  const keys = new Keys(step !== undefined);
  try {
    if (to !== undefined) return await resend(input, to, speed, signal, keys);
    const sending = ['yes', 'dry-run', 'rate', 'methods', 'headers'].find((name) => input.options[name] !== undefined);
    if (sending !== undefined)
      throw new MeshtrailError('USAGE', `--${sending} needs a target: nothing is sent without --to URL.`);
    const show = shown((textOption(input, 'output') ?? 'table') === 'table');
    return await new Session(input, signal, show, speed, keys).run(step, textOption(input, 'frames') ?? FRAMES_DEFAULT);
  } catch (error) {
    notePlace(textOption(input, 'filter'), error);
    throw error;
  } finally {
    keys.close();
    release();
  }
}

async function resend(input: VerbInput, to: string, speed: number, signal: AbortSignal, keys: Keys): Promise<number> {
  const resender = new Resender(input, to, apiOf(input), signal);
  const show: Show = async ({ data }) => await resender.take((data as { readonly flow: FlowRecord }).flow);
  // Nothing is sent in a dry run, so there is nothing to wait for.
  const session = new Session(input, signal, show, resender.isDry ? SPEED_MAX : speed, keys);
  const code = await session.run(undefined, 'exchange');
  return Math.max(code, await resender.end());
}

export const replay: Verb = {
  summary: 'Plays the past as if it were live, in the order in which it happened.',
  positionals: '',
  positionalsMin: 0,
  positionalsMax: 0,
  options: {
    since: { type: 'string', value: 'TIME', help: 'Where it begins: RFC 3339 with zone, or relative such as -15m.' },
    until: { type: 'string', value: 'TIME', help: 'Where it ends, likewise.', default: 'now' },
    from: { type: 'string', value: 'TIME', help: 'Go to this time of it at first.' },
    speed: { type: 'string', value: 'N', help: 'Times as fast as it was, 1 to 1000.', default: '1' },
    step: {
      type: 'string',
      value: 'STEP',
      help: '1s, 10s or exchange: one for each key n, or line of input.',
      choices: ['1s', '10s', 'exchange'],
    },
    frames: { type: 'string', value: 'LIST', help: 'What to show: 1s, 10s, exchange.', default: FRAMES_DEFAULT },
    filter: { type: 'string', short: 'f', value: 'CEL', help: 'Which records; names are in docs/query.md.' },
    to: { type: 'string', value: 'URL', help: 'Send what was recorded of requests to this test target.' },
    'dry-run': { type: 'boolean', help: 'With --to: show what would be sent. So it is without --yes.' },
    yes: { type: 'boolean', help: 'With --to: send it.' },
    rate: { type: 'string', value: 'N', help: 'With --to: requests a second at most.', default: '5' },
    methods: { type: 'string', value: 'LIST', help: 'With --to: methods to send.', default: 'GET,HEAD,OPTIONS' },
    headers: { type: 'string', value: 'LIST', help: 'With --to: recorded headers to send. None by default.' },
    output: { ...OUTPUT_OPTION, help: 'table or ndjson.', choices: ['table', 'ndjson'] },
    api: API_OPTION,
  },
  examples: [
    'meshtrail replay --since -15m --speed 60',
    'meshtrail replay --since 2026-11-24T12:00:00Z --until 2026-11-24T12:05:00Z --step 1s',
    'meshtrail replay --since -15m --until -5m --to http://127.0.0.1:8080 -f \'reporter == "destination"\'',
  ],
  run,
};
