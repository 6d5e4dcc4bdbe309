// Goal: the API's description of itself is one that a program can use, and its answers are what it says.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/schema';
import { ERROR_CODES } from '../../collector/src/core/error.ts';
import { StreamMaker } from '../support/facts.ts';
import { admitted } from '../support/logs.ts';
import { setup } from './harness.ts';

const TYPES = ['object', 'array', 'string', 'integer', 'number', 'boolean', 'null'];

/** A JSON Schema as this API writes them: every part has a known type, alternatives, or says that anything goes. */
function assertSchema(schema: Readonly<Record<string, unknown>>): void {
  const { type, anyOf, properties = {}, items, required = [], patternProperties = {} } = schema;
  if (anyOf === undefined) assert.ok(TYPES.includes(String(type)), JSON.stringify(schema));
  for (const name of required as string[]) assert.ok(name in (properties as object), `${name} is described`);
  const inner = [...Object.values(properties as object), ...Object.values(patternProperties as object)];
  for (const part of [...inner, ...((anyOf as object[] | undefined) ?? []), ...(items === undefined ? [] : [items])])
    assertSchema(part as Record<string, unknown>);
}

function assertValid(schema: object | undefined, value: unknown, what: string): void {
  assert.ok(schema !== undefined, `${what} has a schema`);
  const [isValid, errors] = Compile(schema).Errors(value);
  assert.ok(isValid, `${what}: ${JSON.stringify(errors)}`);
}

interface Operation {
  readonly summary?: string;
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly required?: boolean;
    readonly schema: Readonly<Record<string, unknown>>;
  }[];
  readonly responses: Readonly<
    Record<
      string,
      {
        readonly description: string;
        readonly content?: Readonly<Record<string, { readonly schema?: Readonly<Record<string, unknown>> }>>;
      }
    >
  >;
}

test('/openapi.json is a whole OpenAPI 3.1 description, and the answers are what it says', async (t) => {
  const s = await setup(t);
  await s.log.append(admitted(new StreamMaker(5).batch(5)));
  await s.log.publishNow();
  const api = (await s.json('/openapi.json')) as unknown as {
    openapi: string;
    info: Record<string, string>;
    paths: Record<string, Record<string, Operation>>;
  };
  assert.deepEqual([api.openapi, api.info['title'], api.info['version']], ['3.1.0', 'Meshtrail', '1.2.3']);
  for (const [path, item] of Object.entries(api.paths)) {
    assert.match(path, /^\//);
    assert.deepEqual(Object.keys(item), ['get'], path);
    const { summary, parameters = [], responses } = item['get'] as Operation;
    assert.ok((summary ?? '').length > 5, `${path} has a summary`);
    const inPath = parameters.filter((parameter) => parameter.in === 'path');
    assert.deepEqual(
      inPath.map(({ name }) => name),
      [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name),
      path,
    );
    assert.ok(
      inPath.every(({ required }) => required === true),
      path,
    );
    for (const { schema } of parameters) assertSchema(schema);
    assert.ok('200' in responses, path);
    for (const [status, { description, content = {} }] of Object.entries(responses)) {
      assert.match(status, /^(?:[1-5]\d\d|[1-5]XX)$/);
      assert.ok(description.length > 0);
      for (const { schema = {} } of Object.values(content)) assertSchema(schema);
    }
  }
  for (const [path, template] of [
    ['/v1/flows?limit=2', '/v1/flows'],
    ['/v1/flows/0.1', '/v1/flows/{id}'],
    ['/v1/flows/0.1/proof', '/v1/flows/{id}/proof'],
    ['/v1/stats?by=verdict,policy&metrics=count,p99,min(time)&bucket=1m&twins=join', '/v1/stats'],
    ['/v1/edges', '/v1/edges'],
    ['/v1/diff?a=-10m/-1m&b=-2m/now', '/v1/diff'],
    ['/v1/scope?indicator=127.0.0.1', '/v1/scope'],
    ['/v1/neighbors?node=orders.shop', '/v1/neighbors'],
    ['/v1/identity?principal=spiffe://demo.mesh/ns/shop/sa/orders', '/v1/identity'],
    ['/v1/log', '/v1/log'],
    ['/health/ready', '/health/ready'],
    ['/errors', '/errors'],
  ] as const) {
    const schema = api.paths[template]?.['get']?.responses['200']?.content?.['application/json']?.schema;
    assertValid(schema, await s.json(path), path);
  }
  const refused = api.paths['/v1/flows']?.['get']?.responses['4XX']?.content?.['application/problem+json']?.schema;
  assertValid(refused, await s.json('/v1/flows?filter=x'), 'a problem');
  for (const path of ['/log/checkpoint', '/metrics', '/health/live']) assert.ok(path in api.paths, path);
  assert.deepEqual(Object.keys(await s.json('/errors')), Object.keys(ERROR_CODES));
});
