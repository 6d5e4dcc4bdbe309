// Shapes of the API's answers and parameters: one schema is type, validation and OpenAPI.

import { Type } from 'typebox';

const text = (description: string) => Type.Optional(Type.String({ description }));
const open = { additionalProperties: true } as const;

const peer = Type.Object(
  {
    address: text('private'),
    principal: text('SPIFFE id'),
    principal_from: text('mtls or filter_state'),
    claimed_principal: text('what x-forwarded-client-cert says'),
    namespace: text('from the SPIFFE id; without one what the peer claims'),
    service_account: text('from the SPIFFE id'),
    workload: text('where its own proxy reports; else what the peer claims'),
    cluster: text('what the peer claims'),
  },
  open,
);

/** A flow record; docs/query.md has every field. */
export const FlowSchema = Type.Object(
  {
    id: Type.String({ description: '<leaf index>.<record index>' }),
    time: Type.String({ description: 'RFC 3339, UTC, nanoseconds' }),
    duration: text('decimal seconds, such as 0.004512s'),
    verdict: Type.String(),
    reporter: Type.String(),
    policy: text('the enforced RBAC policy that decided'),
    source: peer,
    destination: peer,
    request: Type.Object({}, open),
    response: Type.Object({}, open),
    connection: Type.Object({}, open),
    upstream: Type.Object({}, open),
    rbac: Type.Object({}, open),
    token: Type.Object({}, open),
    trace: Type.Object({}, open),
    node: Type.Object({}, open),
    record: Type.Object(
      {
        kind: Type.String({ description: 'http or connection' }),
        phase: Type.String({ description: 'end, open or interval' }),
        sensor: Type.String(),
        repeat: Type.Optional(Type.Boolean({ description: 'it is counted by another record' })),
      },
      open,
    ),
  },
  open,
);

export const AsOfSchema = Type.Object({
  origin: Type.String(),
  size: Type.Integer(),
  root: Type.String({ description: 'base64' }),
});

export const FlowsSchema = Type.Object({
  flows: Type.Array(FlowSchema),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
  asOf: AsOfSchema,
  complete: Type.Boolean({ description: 'false when gaps holds anything' }),
  gaps: Type.Array(Type.Object({ kind: Type.String() }, open)),
});

export const FlowsQuerySchema = Type.Object(
  {
    filter: Type.Optional(Type.String({ description: 'CEL; see docs/query.md' })),
    since: Type.Optional(Type.String({ description: 'RFC 3339 with zone, or relative such as -15m; inclusive' })),
    until: Type.Optional(Type.String({ description: 'likewise; exclusive' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
    cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
    order: Type.Optional(
      Type.Union([Type.Literal('asc'), Type.Literal('desc')], { description: 'by time; default desc' }),
    ),
  },
  { additionalProperties: false },
);

const count = Type.Integer({ minimum: 0 });
const StateSchema = Type.Union(
  ['open', 'ended', 'ended unknown', 'silent'].map((state) => Type.Literal(state)),
  { description: 'docs/query.md says what each means' },
);

const StreamCoverageSchema = Type.Object(
  {
    stream: Type.String({ description: 'hex' }),
    state: StateSchema,
    first: text("when its first batch was opened, by the proxy's clock"),
    last: text('when its newest batch was sealed, likewise'),
    received: text("when a batch last came, by the collector's clock"),
    batches: count,
    records: count,
    interim: count,
    missing: Type.Object({ batches: count, records: count }, open),
    dropped: Type.Object({ buffers_full: count, unreadable: count, no_random: count }, open),
    unwatched: count,
    truncated: count,
    send_failures: count,
    rollbacks_seen: count,
    silent_since: text('when another VM of its proxy named it as dead'),
    lost: Type.Optional(
      Type.Object({ records_max: count, seconds_max: count, from: Type.String(), until: Type.String() }, open),
    ),
  },
  open,
);

const ProxyCoverageSchema = Type.Object(
  {
    node: text("Envoy's node id"),
    node_cluster: text("Envoy's node cluster"),
    cluster: text('the mesh cluster'),
    role: text('sidecar, gateway or waypoint'),
    filter_version: text('of its newest batch'),
    proxy_since: text('its first sign of life'),
    alive_interval_ms: Type.Optional(count),
    vms_known: Type.Optional(count),
    vms_alive: Type.Optional(count),
    state: StateSchema,
    first: text('of its streams'),
    last: text('of its streams'),
    received: text('of its streams'),
    records: count,
    streams: Type.Array(StreamCoverageSchema),
  },
  open,
);

export const CoverageSchema = Type.Object({
  proxies: Type.Array(ProxyCoverageSchema),
  asOf: AsOfSchema,
  complete: Type.Boolean({ description: 'false when gaps holds anything' }),
  gaps: Type.Array(Type.Object({ kind: Type.String() }, open)),
});

export const CoverageQuerySchema = Type.Object(
  {
    since: Type.Optional(Type.String({ description: 'RFC 3339 with zone, or relative such as -15m; inclusive' })),
    until: Type.Optional(Type.String({ description: 'likewise; exclusive' })),
  },
  { additionalProperties: false },
);

export const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String(),
    position: Type.Optional(Type.Object({ start: Type.Integer(), end: Type.Integer() })),
    nearest: Type.Optional(Type.String({ description: 'the known name or value nearest to an unknown one' })),
  },
  { description: 'RFC 9457; codes are explained in docs/errors.md' },
);

/** Answers that every route can give. */
export const PROBLEMS = {
  '4xx': { description: 'Refused', content: { 'application/problem+json': { schema: ProblemSchema } } },
  '5xx': { description: 'Failed', content: { 'application/problem+json': { schema: ProblemSchema } } },
} as const;

export const LogSchema = Type.Object({
  origin: Type.String(),
  vkey: Type.String(),
  size: Type.Integer(),
  root: Type.String({ description: 'base64' }),
  witnesses: Type.Array(Type.String()),
  policy: Type.String({ description: 'a tlog-policy that trusts this log' }),
});

export const ProofSchema = Type.Object({
  format: Type.String(),
  id: Type.String(),
  origin: Type.String(),
  record: Type.Object({}, open),
  dictionary: Type.Array(Type.Object({}, open)),
  header: Type.String(),
  proof: Type.String(),
});

export const HealthSchema = Type.Object({ status: Type.String(), reason: Type.Optional(Type.String()) });
