// The demo's application: a small shop of four services, and the world outside the mesh.

import type { ServiceName } from './policies.ts';
import { type Arrival, Receiver, type Reply, Sender, type Service } from './service.ts';
import type { Ledger } from './truth.ts';

/** Stock numbers from here on do not exist. */
export const UNKNOWN_ITEM_MIN = 900;
/** Refunds that exist: 1000 to 2999. */
const REFUND_MIN = 1000;
const REFUND_MAX = 2999;
/** A service that the mesh knows and that has no instance. */
export const ABSENT_SERVICE = { name: 'recommendations', namespace: 'shop' } as const;
export const SUPPLIER_HOST = 'suppliers.example';

/** The parties of the demo, before they are joined by a mesh. */
export interface Parties {
  readonly services: Readonly<Record<ServiceName, Service>>;
  /** Stands for every host outside the mesh. */
  readonly outside: Receiver;
  /** Somebody with a browser, in front of the ingress. */
  readonly visitor: Sender;
  close(): Promise<void>;
}

const notFound: Reply = { status: 404, json: { error: 'not found' } };
const ok = (json: unknown): Reply => ({ status: 200, json });
const numberAfter = (prefix: string, path: string): number =>
  path.startsWith(prefix) && /^\d{1,6}$/.test(path.slice(prefix.length))
    ? Number(path.slice(prefix.length))
    : Number.NaN;

/** Passes another service's answer on; what is not its to explain becomes a 502. */
const passOn = (status: number | null, body: string): Reply =>
  status === 200 || status === 404
    ? { status, json: JSON.parse(body) }
    : { status: 502, json: { error: 'unavailable' } };

function frontend(out: Sender): (arrival: Arrival) => Promise<Reply> {
  return async (arrival) => {
    const { method, path } = arrival;
    const ask = (to: string, target: string) => out.call({ to, method: 'GET', path: target, parent: arrival });
    if (method === 'POST' && path === '/checkout') {
      const { status } = await out.call({
        to: 'orders.shop',
        method,
        path: '/orders',
        body: arrival.body,
        parent: arrival,
      });
      return { status: status === 201 ? 201 : 502, json: { placed: status === 201 } };
    }
    if (path === '/') {
      // The start page does without what is not there.
      const { status } = await ask('recommendations.shop', '/for-you');
      return ok({ recommendations: status === 200 });
    }
    if (path === '/products') return passOnAnswer(await ask('inventory.backend', '/stock'));
    if (path === '/products/feed') {
      // Only the head of the feed is wanted: the rest is not waited for.
      const call = { to: 'inventory.backend', method: 'GET', path: '/stock/feed', parent: arrival } as const;
      const { body } = await out.call({ ...call, cut: 'first-piece' });
      return ok({ head: body });
    }
    if (path.startsWith('/products/')) return passOnAnswer(await ask('inventory.backend', `/stock/${path.slice(10)}`));
    if (path.startsWith('/account/refunds/'))
      return passOnAnswer(await ask('orders.shop', `/internal/refunds/${path.slice(17)}`));
    if (path.startsWith('/reports/')) return { silence: true };
    return notFound;
  };
}

const passOnAnswer = ({ status, body }: { readonly status: number | null; readonly body: string }): Reply =>
  passOn(status, body);

function orders(out: Sender): (arrival: Arrival) => Promise<Reply> {
  return async (arrival) => {
    const { method, path } = arrival;
    if (method === 'POST' && path === '/orders') {
      const { item } = JSON.parse(arrival.body) as { item: number };
      const reserve = `/stock/${item}/reserve`;
      const reserved = await out.call({
        to: 'inventory.backend',
        method,
        path: reserve,
        body: '{"count":1}',
        parent: arrival,
      });
      const charge = { to: 'payments.backend', method, path: '/charges', body: '{"cents":1999}', parent: arrival };
      const charged = reserved.status === 200 ? await out.call(charge) : reserved;
      return { status: charged.status === 201 ? 201 : 502, json: { item } };
    }
    if (path === '/orders/open') return ok({ open: [17, 18, 23] });
    if (path.startsWith('/internal/refunds/')) {
      const target = `/refunds/${path.slice(18)}`;
      return passOnAnswer(await out.call({ to: 'payments.backend', method: 'GET', path: target, parent: arrival }));
    }
    return notFound;
  };
}

function payments({ method, path }: Arrival): Reply {
  if (method === 'POST' && path === '/charges') return { status: 201, json: { charged: true } };
  const refund = numberAfter('/refunds/', path);
  if (refund >= REFUND_MIN && refund <= REFUND_MAX)
    return ok({ refund, cents: 1999, card: `4000 0000 0000 ${refund}`, holder: `Customer ${refund}` });
  return notFound;
}

function inventory({ method, path }: Arrival): Reply {
  if (path === '/stock') return ok({ items: Array.from({ length: 40 }, (_, i) => ({ item: i + 1, count: 7 })) });
  if (path === '/stock/feed') return { beginning: 'item,count\n1,7\n2,7\n' };
  const item = numberAfter('/stock/', path.replace(/\/reserve$/, ''));
  if (item < UNKNOWN_ITEM_MIN) return ok({ item, count: method === 'POST' ? 6 : 7 });
  return notFound;
}

/** Makes all parties; none listens or sends yet. */
export function makeParties(ledger: Ledger): Parties {
  const senders = {
    frontend: new Sender('frontend', ledger),
    orders: new Sender('orders', ledger),
    payments: new Sender('payments', ledger),
    inventory: new Sender('inventory', ledger),
  };
  const service = (name: ServiceName, handle: (arrival: Arrival) => Reply | Promise<Reply>): Service => ({
    sender: senders[name],
    receiver: new Receiver(name, ledger, handle),
  });
  const services = {
    frontend: service('frontend', frontend(senders.frontend)),
    orders: service('orders', orders(senders.orders)),
    payments: service('payments', payments),
    inventory: service('inventory', inventory),
  };
  const outside = new Receiver('world', ledger, () => ok({ received: true }));
  const visitor = new Sender('visitor', ledger);
  return {
    services,
    outside,
    visitor,
    async close() {
      for (const sender of [visitor, ...Object.values(senders)]) sender.close();
      await Promise.all(
        [outside, ...Object.values(services).map(({ receiver }) => receiver)].map((one) => one.close()),
      );
    },
  };
}
