// Shapes of the API's answers and parameters: one schema is type, validation and OpenAPI.

import { Type } from 'typebox';

const text = (description: string) => Type.Optional(Type.String({ description }));
const open = { additionalProperties: true } as const;

const peer = Type.Object(
  {
    address: text('private'),
    principal: text('SPIFFE id'),
    namespace: text('from the SPIFFE id'),
    service_account: text('from the SPIFFE id'),
    workload: text('where its own proxy reports'),
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
    record: Type.Object({}, open),
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
