// Configurations that are refused, with a message that names the key; and what the accepted ones do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy } from '../host/envoy.ts';
import { Refused } from '../host/module.ts';
import { ordinary } from './exchange.ts';
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
  ['flush_interval', withKey('flush_interval', 1000)],
  ['Role', withKey('Role', 'sidecar')],
];

for (const [named, configuration] of REFUSED) {
  test(`refused, naming ${named}: ${String(configuration).slice(0, 120)}`, () => {
    assert.match(refusalOf(configuration), new RegExp(`^error: .*"${named}"`, 'm'));
  });
}

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
  const whole = JSON.stringify({ ...CONFIGURATION, request_headers: 'x-a,x-b', buffers_max: 8, cluster: 'c' });
  for (let length = 0; length < whole.length; length++) refusalOf(whole.slice(0, length));
  new Recorder({ plugin: { configuration: whole } });
});

test('a configuration with a byte changed is refused or taken, and never a trap', () => {
  const whole = Buffer.from(JSON.stringify({ ...CONFIGURATION, request_headers: 'x-a', buffers_max: 8 }));
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

test('a configuration that is refused later leaves the recorder as it was', () => {
  const recorder = new Recorder();
  assert.throws(() => recorder.envoy.update(recorder.use, '{}'), Refused);
  recorder.record(ordinary());
  recorder.flush();
  assert.equal(recorder.batches().length, 1);
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
