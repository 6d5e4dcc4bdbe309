// Who may call whom in the demo's mesh: the RBAC policies that the sidecars enforce, and one that is only tried (a dry run).
// One of them is the mistake that the incident lives on: orders lets inventory call more than it needs.

/** Trust domain of the demo's mesh. */
export const TRUST_DOMAIN = 'demo.mesh';

/** One RBAC policy: it matches when the path and the caller match. */
export interface Policy {
  /** Shown in the record of every exchange that the policy decided. */
  readonly name: string;
  /** Path prefixes; absent: every path. */
  readonly paths?: readonly string[];
  /** SPIFFE ids of callers; absent together with `exceptCallers`: everybody. */
  readonly callers?: readonly string[];
  /** Everybody but these. */
  readonly exceptCallers?: readonly string[];
}

/** Policies of one workload, in the order in which its sidecar asks them: deny, then allow. */
export interface WorkloadPolicies {
  readonly deny: readonly Policy[];
  readonly allow: readonly Policy[];
  /** Deny policies that are evaluated and reported, and not enforced. */
  readonly dryRunDeny: readonly Policy[];
}

/** SPIFFE id of a workload of the demo. */
export function spiffeIdOf(namespace: string, name: string): string {
  return `spiffe://${TRUST_DOMAIN}/ns/${namespace}/sa/${name}`;
}

export const INGRESS = { name: 'ingress', namespace: 'edge' } as const;
/** The services of the demo; each has one sidecar. */
export const SERVICES = [
  { name: 'frontend', namespace: 'shop' },
  { name: 'orders', namespace: 'shop' },
  { name: 'payments', namespace: 'backend' },
  { name: 'inventory', namespace: 'backend' },
] as const;
export type ServiceName = (typeof SERVICES)[number]['name'];

const [frontend, orders, inventory, ingress] = [
  spiffeIdOf('shop', 'frontend'),
  spiffeIdOf('shop', 'orders'),
  spiffeIdOf('backend', 'inventory'),
  spiffeIdOf(INGRESS.namespace, INGRESS.name),
];

export const POLICIES: Readonly<Record<ServiceName, WorkloadPolicies>> = {
  frontend: {
    deny: [{ name: 'frontend-only-from-ingress', exceptCallers: [ingress] }],
    allow: [{ name: 'frontend-allow-ingress', callers: [ingress] }],
    dryRunDeny: [],
  },
  orders: {
    deny: [{ name: 'orders-no-admin-over-mesh', paths: ['/admin'] }],
    allow: [
      { name: 'orders-allow-frontend', callers: [frontend] },
      // Inventory needs /orders/open and nothing else; nobody narrowed the path.
      { name: 'orders-allow-inventory', callers: [inventory] },
    ],
    dryRunDeny: [{ name: 'orders-internal-only-from-frontend', paths: ['/internal'], exceptCallers: [frontend] }],
  },
  payments: {
    deny: [{ name: 'payments-only-from-orders', exceptCallers: [orders] }],
    allow: [{ name: 'payments-allow-orders', callers: [orders] }],
    dryRunDeny: [],
  },
  inventory: {
    deny: [{ name: 'inventory-only-from-shop', exceptCallers: [frontend, orders] }],
    allow: [{ name: 'inventory-allow-shop', callers: [frontend, orders] }],
    dryRunDeny: [],
  },
};
