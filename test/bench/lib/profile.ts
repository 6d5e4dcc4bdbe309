// A CPU profile of the collector's main thread, summed up by the steps that a batch goes through.
// V8 samples by the clock: on one core the time of other threads (LevelDB, garbage collection) falls into whatever waited for it.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A step takes a sample when any frame of its stack matches; the first that matches has it. */
const STEPS: readonly (readonly [step: string, frame: RegExp])[] = [
  ['garbage collection', /^\(garbage collector\)/],
  ['index: read, unpack and scan what was published', /collector\/src\/index\//],
  ['integrate, sign and publish', /collector\/src\/log\/(?:integrate|open-log)\.ts|signCheckpoint/],
  ['record root', /^recordRoot /],
  ['dictionary root', /^dictionaryRoot /],
  ['decode and check', /^decodeBatch /],
  ['read back: unpack and hash again', /^(?:unpackBody|isBody) /],
  ['pack: transpose and zstd', /^packBody /],
  ['log entry as text', /^(?:formatEntry|parseEntry) /],
  ['LevelDB calls', /classic-level|abstract-level/],
  [
    'HTTP: sockets, parser, Fastify',
    /fastify|find-my-way|node:_http|node:net|node:internal\/stream|node:internal\/js_stream/,
  ],
];
const REST = 'everything else';

interface ProfileNode {
  readonly id: number;
  readonly children?: readonly number[];
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

interface Share {
  readonly place: string;
  readonly share: number;
}

export interface ProfileShares {
  /** Shares of the busy time by step; together 1. */
  readonly steps: readonly Share[];
  /** Functions by the share spent in themselves. */
  readonly functions: readonly Share[];
}

function placeOf({ functionName, url, lineNumber }: ProfileNode['callFrame']): string {
  const file = url.replace(/^.*\/(?=collector\/src\/|node_modules\/)/, '').replace(/^node_modules\//, '');
  return `${functionName === '' ? '(anonymous)' : functionName}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`;
}

function sharesOf(times: ReadonlyMap<string, number>, all: number): Share[] {
  return [...times].sort(([, a], [, b]) => b - a).map(([place, time]) => ({ place, share: time / all }));
}

/** Sums up the profile in a directory. */
export function profileShares(profileDir: string): ProfileShares {
  const file = readdirSync(profileDir).find((name) => name.endsWith('.cpuprofile'));
  if (file === undefined) throw new Error(`the collector left no profile in ${profileDir}`);
  const profile = JSON.parse(readFileSync(join(profileDir, file), 'utf8')) as {
    nodes: ProfileNode[];
    samples: number[];
    timeDeltas: number[];
  };
  const parents = new Map(profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const stepOf = (id: number): string => {
    const stack: string[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) stack.push(places.get(at) ?? '');
    return STEPS.find(([, frame]) => stack.some((place) => frame.test(place)))?.[0] ?? REST;
  };
  const stepsOfNodes = new Map(profile.nodes.map(({ id }) => [id, stepOf(id)]));
  const steps = new Map<string, number>();
  const functions = new Map<string, number>();
  let all = 0;
  for (const [i, id] of profile.samples.entries()) {
    const place = places.get(id) ?? '';
    const time = profile.timeDeltas[i] ?? 0;
    if (place === '(idle)') continue;
    all += time;
    functions.set(place, (functions.get(place) ?? 0) + time);
    const step = stepsOfNodes.get(id) ?? REST;
    steps.set(step, (steps.get(step) ?? 0) + time);
  }
  return { steps: sharesOf(steps, all), functions: sharesOf(functions, all) };
}
