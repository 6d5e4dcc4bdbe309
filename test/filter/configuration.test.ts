// Configurations that are refused, with a message that names the key; and what the accepted ones do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy } from '../host/envoy.ts';
import { Refused } from '../host/module.ts';
import { ordinary, withHeaders } from './exchange.ts';
import { CLUSTER, CONFIGURATION, FILTER, Recorder } from './recorder.ts';

/** What the module says when it refuses. */
function refusalOf(configuration: string | Uint8Array): string {
  const envoy = new Envoy();
  assert.throws(() => envoy.load({ code: FILTER, configuration }), Refused, `accepted: ${String(configuration)}`);
  return envoy.world.logs.map(({ level, text }) => `${level}: ${text}`).join('\n');
}

const withKey = (key: string, value: unknown): string => JSON.stringify({ ...CONFIGURATION, [key]: value });

const REFUSED: [named: string, configuration: string | Uint8Array][] = [
  ['collector_cluster', '{}'],
  ['collector_cluster', '{"role":"sidecar"}'],
  ['collector_cluster', withKey('collector_cluster', '')],
  ['collector_cluster', withKey('collector_cluster', 1)],
  ['collector_cluster', withKey('collector_cluster', null)],
  ['collector_cluster', withKey('collector_cluster', 'x'.repeat(256))],
  ['collector_cluster', withKey('collector_cluster', 'a"b')],
  ['collector_cluster', '{"collector_cluster":"a","collector_cluster":"b"}'],
  ['collector_authority', withKey('collector_authority', ['x'])],
  ['collector_authority', withKey('collector_authority', 'a\nb')],
  ['flush_interval_ms', withKey('flush_interval_ms', 49)],
  ['flush_interval_ms', withKey('flush_interval_ms', 60_001)],
  ['flush_interval_ms', withKey('flush_interval_ms', -1)],
  ['flush_interval_ms', withKey('flush_interval_ms', 99.5)],
  ['flush_interval_ms', withKey('flush_interval_ms', 1e21)],
  ['flush_interval_ms', withKey('flush_interval_ms', '1000')],
  ['flush_interval_ms', '{"collector_cluster":"a","flush_interval_ms":01000}'],
  ['flush_interval_ms', '{"collector_cluster":"a","flush_interval_ms":4294967346}'],
  ['role', withKey('role', 'Sidecar')],
  ['role', withKey('role', '')],
  ['role', withKey('role', 1)],
  ['cluster', withKey('cluster', '')],
  ['buffers_max', withKey('buffers_max', 1)],
  ['buffers_max', withKey('buffers_max', 33)],
  ['request_headers', withKey('request_headers', 'x-a,')],
  ['request_headers', withKey('request_headers', 'X-A')],
  ['request_headers', withKey('request_headers', 'x-a,x-a')],
  ['request_headers', withKey('request_headers', 'x'.repeat(64))],
  ['request_headers', withKey('request_headers', Array.from({ length: 17 }, (_, i) => `x-${i}`).join(','))],
  ['request_headers', withKey('request_headers', 'x-a,authorization')],
  ['request_headers', withKey('request_headers', 'cookie')],
  ['request_headers', withKey('request_headers', ['x-a'])],
  ['layer', withKey('layer', 'tcp')],
  ['layer', withKey('layer', '')],
  ['layer', withKey('layer', 1)],
  ['layer', '{"collector_cluster":"a","layer":"http","layer":"http"}'],
  ['open_after_ms', withKey('open_after_ms', 3_600_001)],
  ['open_after_ms', withKey('open_after_ms', -1)],
  ['open_after_ms', withKey('open_after_ms', '0')],
  ['interval_ms', withKey('interval_ms', 999)],
  ['interval_ms', withKey('interval_ms', 3_600_001)],
  ['interval_ms', withKey('interval_ms', true)],
  ['alive_interval_ms', withKey('alive_interval_ms', 999)],
  ['alive_interval_ms', withKey('alive_interval_ms', 600_001)],
  ['detail', withKey('detail', 'Full')],
  ['detail', withKey('detail', true)],
  ['peer_metadata', withKey('peer_metadata', 'linkerd')],
  ['peer_metadata', withKey('peer_metadata', null)],
  ['flush_interval', withKey('flush_interval', 1000)],
  ['Role', withKey('Role', 'sidecar')],
];

for (const [named, configuration] of REFUSED) {
  test(`refused, naming ${named}: ${String(configuration).slice(0, 120)}`, () => {
    assert.match(refusalOf(configuration), new RegExp(`^error: .*"${named}"`, 'm'));
  });
}

const SECRET_NAMES = [
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'apikey',
  'x-auth-token',
  'x-csrf-token',
  'x-xsrf',
  'x-forwarded-client-cert',
  'x-amz-security-token',
  'x-vault-token',
  'x-session-id',
  'jwt',
  'x-goog-iap-jwt-assertion',
  'x-hub-signature-256',
  'x-password',
  'db-passwd',
  'client_secret',
  'aws-credential',
];

test('a header that carries secrets can never be listed, whatever else its name says', () => {
  for (const name of SECRET_NAMES) {
    const refusal = refusalOf(withKey('request_headers', `x-a,${name},x-b`));
    assert.match(refusal, /^error: .*"request_headers" names a header that carries secrets/m, name);
  }
  for (const name of ['x-request-start', 'accept', 'x-tenant', 'sec-ch-ua', 'key', 'auth', 'x-api', 'x-forwarded-for'])
    new Recorder({ configuration: { ...CONFIGURATION, request_headers: name } });
});

const WHOLE = {
  ...CONFIGURATION,
  request_headers: 'x-a,x-b',
  buffers_max: 8,
  cluster: 'c',
  layer: 'http',
  open_after_ms: 0,
  interval_ms: 3_600_000,
  alive_interval_ms: 600_000,
  detail: 'full',
  peer_metadata: 'istio',
};

test('every option at once, each end of each range, and no pair more', () => {
  new Recorder({ configuration: WHOLE });
  new Recorder({ configuration: { ...WHOLE, open_after_ms: 3_600_000, interval_ms: 1000, alive_interval_ms: 1000 } });
  new Recorder({ configuration: { ...WHOLE, layer: 'connection', detail: 'ordinary', peer_metadata: 'none' } });
  assert.match(refusalOf(JSON.stringify({ ...WHOLE, more: 1 })), /"more" is not an option/);
});

const NO_OBJECT: (string | Uint8Array)[] = [
  '',
  ' ',
  'null',
  '[]',
  '"x"',
  '{',
  '{"collector_cluster":"a"',
  '{"collector_cluster":"a",}',
  '{"collector_cluster" "a"}',
  '{collector_cluster:"a"}',
  '{"collector_cluster":"a"} x',
  '{"collector_cluster":"a"}{}',
  '\ufeff{"collector_cluster":"a"}',
  '{"collector_cluster":"a"}\0',
  "{'collector_cluster':'a'}",
  new Uint8Array(300).fill(0xff),
  '{'.repeat(100_000),
]; // prettier-ignore

test('what is no flat JSON object is refused', () => {
  for (const configuration of NO_OBJECT) assert.match(refusalOf(configuration), /^error: meshtrail: configuration/m);
});

test('every prefix of a configuration is refused', () => {
  const whole = JSON.stringify(WHOLE);
  for (let length = 0; length < whole.length; length++) refusalOf(whole.slice(0, length));
  new Recorder({ plugin: { configuration: whole } });
});

test('a configuration with a byte changed is refused or taken, and never a trap', () => {
  const whole = Buffer.from(JSON.stringify(WHOLE));
  let refused = 0;
  for (let at = 0; at < whole.length; at += 3) {
    for (const byte of [0, 34, 44, 92, 125, 255]) {
      const configuration = Buffer.from(whole);
      configuration[at] = byte;
      const envoy = new Envoy();
      try {
        envoy.load({ code: FILTER, configuration });
      } catch (error) {
        assert.ok(error instanceof Refused);
        assert.match(error.message, /on_configure returned 0/);
        refused++;
      }
    }
  }
  assert.ok(refused > 100);
});

test('a configuration that is refused later leaves the one that held, in every value', () => {
  const configuration = { ...CONFIGURATION, cluster: 'first', request_headers: 'x-a', role: 'gateway' };
  const recorder = new Recorder({ configuration });
  const other = {
    ...CONFIGURATION,
    collector_cluster: 'elsewhere',
    collector_authority: 'elsewhere',
    cluster: 'second',
  };
  const refused: unknown[] = [
    {},
    { ...other, role: 'waypoint', request_headers: 'x-b', buffers_max: 2, flush_interval_ms: 1 },
    { ...other, role: 'waypoint', request_headers: 'x-b,authorization' },
  ];
  for (const one of refused) assert.throws(() => recorder.envoy.update(recorder.use, JSON.stringify(one)), Refused);
  recorder.record(withHeaders(ordinary(), { 'x-a': 'kept', 'x-b': 'never' }));
  recorder.flush();
  const [batch] = recorder.batches();
  assert.equal(batch?.role, 'gateway');
  assert.equal(Buffer.from(batch?.dictionary.bytes(batch.meshCluster) ?? '').toString(), 'first');
  assert.equal(recorder.flat()[0]?.['headers'], 'x-a: kept\n');
  const [{ headers = [] } = {}] = recorder.sent;
  const authority = headers.find(([name]) => Buffer.from(name).toString() === ':authority');
  assert.equal(Buffer.from(authority?.[1] ?? '').toString(), CONFIGURATION.collector_authority);
});

test('defaults and limits', () => {
  const recorder = new Recorder({ plugin: { configuration: `\n{ "collector_cluster" : "${CLUSTER}" }\t` } });
  recorder.record(ordinary());
  recorder.flush();
  const [batch] = recorder.batches();
  assert.equal(batch?.role, 'sidecar');
  assert.equal(batch?.meshCluster, 0);
  const authority = recorder.sent[0]?.headers.find(([name]) => Buffer.from(name).toString() === ':authority');
  assert.equal(Buffer.from(authority?.[1] ?? '').toString(), CLUSTER);
  const cluster = 'c'.repeat(255);
  const other = new Recorder({
    configuration: { ...CONFIGURATION, cluster, flush_interval_ms: 60_000, role: 'waypoint' },
  });
  other.record(ordinary());
  other.envoy.advance(59_999);
  assert.equal(other.sent.length, 0);
  other.envoy.advance(1);
  const [late] = other.batches();
  assert.equal(late?.role, 'waypoint');
  assert.equal(Buffer.from(late?.dictionary.bytes(late.meshCluster) ?? '').toString(), cluster);
});
