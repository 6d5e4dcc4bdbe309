// Shapes of the counted answers and their parameters: one schema is type, validation and OpenAPI.

import { Type } from 'typebox';
import { AsOfSchema } from './schemas.ts';
import { INDICATOR_CHARACTERS_MAX, INDICATOR_KINDS } from './scope.ts';

const open = { additionalProperties: true } as const;
const closed = { additionalProperties: false } as const;
const LIMIT_MAX = 10_000;
const NAME_CHARACTERS_MAX = 1000;

const text = (description: string) => Type.Optional(Type.String({ description }));
const count = Type.Integer({ minimum: 0 });
const share = Type.Number({ minimum: 0, maximum: 1 });
const choice = (values: readonly string[], description: string) =>
  Type.Union(
    values.map((value) => Type.Literal(value)),
    { description },
  );

const filter = text('CEL; see docs/query.md');
const since = text('RFC 3339 with zone, or relative such as -15m; inclusive');
const until = text('likewise; exclusive');
const repeats = Type.Optional(
  Type.Boolean({
    description: 'count what another record counts; without it so where the filter names record.repeat or record.phase',
  }),
);
const twins = (initial: string) =>
  Type.Optional(
    Type.Union([Type.Literal('join'), Type.Literal('separate')], {
      description: `whether both records of one exchange are counted once; default ${initial}`,
    }),
  );
const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: LIMIT_MAX, default: 1000 }));
const by = Type.Optional(
  Type.Union([Type.Literal('workload'), Type.Literal('principal'), Type.Literal('pod')], {
    description: 'what a node is; default workload',
  }),
);
const window = { filter, since, until, repeats };

export const StatsQuerySchema = Type.Object(
  {
    by: text('up to 4 fields, separated by commas'),
    metrics: text(
      'count, sum(x), min(x), max(x), p50(x), p90(x), p95(x), p99(x), distinct(x), separated by commas; default count',
    ),
    bucket: text('width of buckets of time, such as 1m'),
    twins: twins('separate'),
    limit,
    ...window,
  },
  closed,
);
export const EdgesQuerySchema = Type.Object(
  {
    by,
    at: text('the end of a window, instead of since and until'),
    window: text('its length; default 1m'),
    twins: twins('join'),
    limit,
    ...window,
  },
  closed,
);
export const DiffQuerySchema = Type.Object(
  {
    a: Type.String({ description: 'SINCE/UNTIL, the window before' }),
    b: Type.String({ description: 'SINCE/UNTIL, the window after' }),
    ...{ by, limit, filter, repeats },
  },
  closed,
);
export const ScopeQuerySchema = Type.Object(
  {
    indicator: Type.String({ minLength: 1, maxLength: INDICATOR_CHARACTERS_MAX, description: 'what to look for' }),
    kind: Type.Optional(
      Type.Union(
        INDICATOR_KINDS.map((kind) => Type.Literal(kind)),
        { description: 'what it is; without it, what it looks like' },
      ),
    ),
    by,
    ...window,
  },
  closed,
);
export const NeighborsQuerySchema = Type.Object(
  {
    node: Type.String({ minLength: 1, maxLength: NAME_CHARACTERS_MAX, description: 'a name, as edges have it' }),
    direction: Type.Optional(Type.Union([Type.Literal('in'), Type.Literal('out')], { description: 'default both' })),
    ...{ by, limit },
    ...window,
  },
  closed,
);
export const IdentityQuerySchema = Type.Object(
  {
    principal: Type.String({ minLength: 1, maxLength: NAME_CHARACTERS_MAX, description: 'a SPIFFE id' }),
    ...window,
  },
  closed,
);

const envelope = {
  asOf: AsOfSchema,
  complete: Type.Boolean({ description: 'false when gaps holds anything' }),
  gaps: Type.Array(Type.Object({ kind: Type.String() }, open)),
};
const groups = Type.Integer({ minimum: 0, description: 'how many there are, listed or not' });
const leftOut = Type.Optional(Type.Integer({ description: 'records of groups beyond the limit' }));
const approximate = Type.Array(Type.String(), { description: 'what is within 1 % of a recorded value' });

const NodeSchema = Type.Object(
  {
    name: text('absent where nothing is known'),
    field: text('the field that the name is of'),
    claimed: Type.Optional(Type.Boolean({ description: 'nobody checked it' })),
  },
  open,
);
const bytes = Type.Union([Type.Integer(), Type.String({ description: 'beyond 2^53 - 1' })]);
const figures = {
  requests: count,
  connections: count,
  denied: count,
  errors: count,
  requestBytes: bytes,
  responseBytes: bytes,
  latency: Type.Object({ p50: text('decimal seconds'), p99: text('decimal seconds') }, open),
  firstSeen: Type.String(),
  lastSeen: Type.String(),
  mtlsShare: Type.Optional(share),
  reported: Type.Object({ source: count, destination: count, gateway: count, waypoint: count }, open),
};
const ends = { source: NodeSchema, destination: NodeSchema };
const cel = Type.String({ description: 'CEL that finds the records' });
const EdgeSchema = Type.Object({ ...ends, ...figures, filter: cel }, open);
const seen = { count, denied: count, firstSeen: text('RFC 3339'), lastSeen: text('RFC 3339') };
const SeenSchema = Type.Object(seen, open);

export const StatsSchema = Type.Object({
  stats: Type.Array(
    Type.Object(
      {
        bucket: text('its begin'),
        group: Type.Object({}, open),
        metrics: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()])),
      },
      open,
    ),
  ),
  groups,
  records: Type.Integer({ minimum: 0, description: 'records, or exchanges where twins are joined' }),
  twins: Type.Optional(
    Type.Integer({ minimum: 0, description: 'exchanges among them of which both records are known' }),
  ),
  leftOut,
  approximate,
  ...envelope,
});
export const EdgesSchema = Type.Object({ edges: Type.Array(EdgeSchema), groups, leftOut, approximate, ...envelope });
export const DiffSchema = Type.Object({
  diff: Type.Array(
    Type.Object(
      {
        change: choice(['new', 'gone', 'changed'], 'docs/query.md has the rules'),
        ...ends,
        changes: Type.Array(Type.Object({ what: Type.String(), a: Type.Number(), b: Type.Number() }, open)),
        a: Type.Optional(Type.Object(figures, open)),
        b: Type.Optional(Type.Object(figures, open)),
        filter: cel,
      },
      open,
    ),
  ),
  groups,
  edges: Type.Object({ a: count, b: count }, open),
  ...envelope,
});
export const ScopeSchema = Type.Object({
  scope: Type.Object(
    {
      indicator: Type.String(),
      kinds: Type.Array(Type.String()),
      filter: cel,
      ...seen,
      roles: Type.Array(Type.Object({ field: Type.String(), class: Type.String(), ...seen }, open)),
      edges: Type.Array(EdgeSchema),
      groups,
    },
    open,
  ),
  ...envelope,
});
export const NeighborsSchema = Type.Object({
  neighbors: Type.Array(
    Type.Object(
      {
        direction: choice(['in', 'out'], 'in: it calls the node'),
        peer: NodeSchema,
        node: NodeSchema,
        share,
        ...figures,
        filter: cel,
      },
      open,
    ),
  ),
  groups,
  ...envelope,
});
export const IdentitySchema = Type.Object({
  identity: Type.Object(
    {
      principal: Type.String(),
      filter: cel,
      asSource: SeenSchema,
      asDestination: SeenSchema,
      asClaim: SeenSchema,
      asRejected: SeenSchema,
      addresses: Type.Array(Type.Object({ address: text('without a port'), ...seen }, open)),
      certificates: Type.Array(
        Type.Object({ certificate: text('SHA-256'), address: text('of its holder'), ...seen }, open),
      ),
      workloads: Type.Array(Type.Object({ workload: text('its own'), node: text('node id'), ...seen }, open)),
      callees: Type.Array(EdgeSchema),
      callers: Type.Array(EdgeSchema),
      denials: Type.Array(
        Type.Object(
          { destination: Type.Optional(NodeSchema), policy: text('it decided'), method: text('HTTP'), ...seen },
          open,
        ),
      ),
    },
    open,
  ),
  ...envelope,
});
