// A short report of a test run: a line per file, every failure and every skip with its reason, and at the very end the totals
// in the words of Node's own TAP summary. What a test file printed is shown only when something in it failed.

import { relative, resolve } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** The totals, in the order and by the names of Node's TAP summary. */
const TOTALS = [
  ['tests', 'tests'],
  ['suites', 'suites'],
  ['pass', 'passed'],
  ['fail', 'failed'],
  ['cancelled', 'cancelled'],
  ['skipped', 'skipped'],
  ['todo', 'todo'],
] as const;

type Count = (typeof TOTALS)[number][1];
type FailEvent = Extract<TestEvent, { type: 'test:fail' }>['data'];
type PassEvent = Extract<TestEvent, { type: 'test:pass' }>['data'];
type SummaryEvent = Extract<TestEvent, { type: 'test:summary' }>['data'];

/** Collects the events of one or more runs; `end` tells whether everything passed. */
export class TestReport {
  readonly #root: string;
  readonly #write: (text: string) => void;
  readonly #startedAt = performance.now();
  readonly #totals = new Map<Count, number>();
  readonly #output = new Map<string, string[]>();
  readonly #notes = new Map<string, string[]>();
  #isAllPassed = true;

  constructor(root: string, write: (text: string) => void) {
    this.#root = root;
    this.#write = write;
  }

  add(event: TestEvent): void {
    if (event.type === 'test:stdout' || event.type === 'test:stderr') {
      append(this.#output, this.#keyOf(event.data.file), event.data.message);
    } else if (event.type === 'test:fail') this.#fail(event.data);
    else if (event.type === 'test:pass') this.#pass(event.data);
    else if (event.type === 'test:summary') this.#summary(event.data);
  }

  /** Writes what is left and the totals; true when nothing failed and something ran. */
  end(): boolean {
    // A file that crashed has no summary of its own.
    for (const file of this.#notes.keys()) this.#writeDetails(file, true);
    const lines = TOTALS.map(([word, count]) => `# ${word} ${this.#totals.get(count) ?? 0}`);
    lines.push(`# duration_ms ${Math.round(performance.now() - this.#startedAt)}`);
    this.#write(`${lines.join('\n')}\n`);
    return this.#isAllPassed && (this.#totals.get('tests') ?? 0) > 0;
  }

  #pass(data: PassEvent): void {
    if (data.skip === undefined || data.skip === false) return;
    const reason = typeof data.skip === 'string' ? data.skip : 'no reason given';
    append(this.#notes, this.#keyOf(data.file), `  skipped: ${data.name} (${reason})\n`);
  }

  #fail(data: FailEvent): void {
    if (data.todo !== undefined && data.todo !== false) return;
    this.#isAllPassed = false;
    const error: Error & { failureType?: string } = data.details.error;
    if (error.failureType === 'subtestsFailed') return;
    const place = data.file === undefined ? '' : ` (${this.#keyOf(data.file)}:${data.line ?? 1})`;
    const text = inspect(error.cause ?? error, { depth: 4, colors: false }).replaceAll('\n', '\n    ');
    append(this.#notes, this.#keyOf(data.file), `  FAILED: ${data.name}${place}\n    ${text}\n`);
  }

  #summary({ file, counts, duration_ms: durationMs, success }: SummaryEvent): void {
    if (!success) this.#isAllPassed = false;
    if (file === undefined) {
      for (const [, count] of TOTALS) {
        const more = (counts as unknown as Partial<Record<Count, number>>)[count] ?? 0;
        this.#totals.set(count, (this.#totals.get(count) ?? 0) + more);
      }
      return;
    }
    const verdict = success ? 'ok    ' : 'FAILED';
    const key = this.#keyOf(file);
    this.#write(`${verdict} ${key}: ${counts.passed} of ${counts.tests} passed, ${(durationMs / 1000).toFixed(1)} s\n`);
    this.#writeDetails(key, !success);
  }

  #writeDetails(key: string, withOutput: boolean): void {
    if (withOutput) this.#write((this.#output.get(key) ?? []).join(''));
    this.#write((this.#notes.get(key) ?? []).join(''));
    this.#output.delete(key);
    this.#notes.delete(key);
  }

  /** Some events name a file in full, others as it was given. */
  #keyOf(file: string | undefined): string {
    return file === undefined ? '' : relative(this.#root, resolve(this.#root, file));
  }
}

function append(map: Map<string, string[]>, key: string, text: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [text]);
  else list.push(text);
}
