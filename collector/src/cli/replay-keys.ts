// Keys of a replay on a terminal, and lines in place of keys where there is none.

import type { ReadStream } from 'node:tty';

export type Command = 'pause' | 'step' | 'faster' | 'slower' | 'back' | 'forth' | 'quit';

const ESCAPE = '\u001b[';
const KEYS: Readonly<Record<string, Command>> = {
  ' ': 'pause',
  n: 'step',
  '\r': 'step',
  '\u001b[C': 'step',
  '+': 'faster',
  '=': 'faster',
  '-': 'slower',
  b: 'back',
  f: 'forth',
  q: 'quit',
  '\u0003': 'quit',
  '\u0004': 'quit',
};

export const KEYS_HELP = 'space pauses, n steps, + and - change the speed, b and f go 10 s back and forth, q ends';

export class Keys {
  readonly isTerminal: boolean;
  readonly #input: ReadStream = process.stdin;
  readonly #commands: Command[] = [];
  #wake: (() => void) | undefined;
  /** Told of each command as it comes. */
  onCommand: () => void = () => undefined;

  /** Listens until `close`. Without a terminal each line is a step, and the end of them is the end. */
  constructor(readsLines: boolean) {
    this.isTerminal = this.#input.isTTY === true;
    if (!this.isTerminal && !readsLines) return;
    if (this.isTerminal) this.#input.setRawMode(true);
    this.#input.setEncoding('utf8').on('data', this.#take).on('end', this.#end).resume();
  }

  readonly #take = (data: string | Buffer): void => {
    const text = String(data);
    if (!this.isTerminal) for (const _ of text.matchAll(/\n/g)) this.#push('step');
    else
      for (let at = 0; at < text.length; ) {
        // An arrow is three characters.
        const key = text.startsWith(ESCAPE, at) ? text.slice(at, at + 3) : text.slice(at, at + 1);
        this.#push(KEYS[key]);
        at += key.length;
      }
  };

  readonly #end = (): void => this.#push('quit');

  #push(command: Command | undefined): void {
    if (command === undefined) return;
    this.#commands.push(command);
    this.onCommand();
    this.#wake?.();
  }

  /** The next command, if there is one already. */
  poll(): Command | undefined {
    return this.#commands.shift();
  }

  /** The next command; undefined when the signal says that none is wanted any more. */
  async next(signal: AbortSignal): Promise<Command | undefined> {
    if (this.#commands.length === 0 && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = () => resolve();
      signal.addEventListener('abort', this.#wake);
      await promise;
      signal.removeEventListener('abort', this.#wake);
    }
    return this.poll();
  }

  close(): void {
    if (this.isTerminal) this.#input.setRawMode(false);
    this.#input.removeListener('data', this.#take).removeListener('end', this.#end).pause();
  }
}
