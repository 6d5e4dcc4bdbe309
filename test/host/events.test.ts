// Each event is told to the places that hear of it, once each, with what they can read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Envoy, type Use } from './envoy.ts';
import { EVENTS } from './events.ts';
import { compileGuest } from './guest.ts';
import { type Chain, Listener } from './listener.ts';

const READ = `
let network: i32 = -1;
export function proxy_on_new_connection(id: i32): i32 { network = id; return 0; }
export function proxy_on_log(id: i32): void {
  word(id < 6 ? 'root' : id == network ? 'network' : 'http'); number(id); say();
  readProperty('request.time'); readProperty('request.duration'); readProperty('response.code');
}`;
const PLACES = ['listenerLoggers', 'network', 'httpLoggers', 'http', 'tcpLoggers'] as const;

/** Places by what a log said first; roots are numbered as they were loaded. */
const placeOf = (kind: string, id: number): string => (kind === 'root' ? (PLACES[id - 1] ?? '') : kind);

for (const [i, event] of EVENTS.entries()) {
  test(`${event.name}: told to ${event.told.join(', ')}`, async () => {
    const envoy = new Envoy();
    const code = await compileGuest(READ);
    const uses = new Map(PLACES.map((rootId) => [rootId, [envoy.load({ code, rootId })]] as const));
    const places = event.chain === 'tcp' ? ['listenerLoggers', 'network', 'tcpLoggers'] : PLACES.slice(0, 4);
    const chain: Record<string, readonly Use[]> = {};
    for (const place of PLACES) if (places.includes(place)) chain[place] = uses.get(place) ?? [];
    event.run(new Listener(envoy, chain as Chain), BigInt(i), 7n);
    const told = new Map<string, string[]>();
    let place = '';
    for (const { text } of envoy.world.logs) {
      const [first = '', second = ''] = text.split(' ');
      if (first.includes('.')) {
        if (second === '0') told.get(place)?.push(first);
        continue;
      }
      place = placeOf(first, Number(second));
      assert.ok(!told.has(place), `${place} is told twice`);
      told.set(place, []);
    }
    assert.deepEqual([...told.keys()].sort(), [...event.told].sort());
    for (const [who, read] of told) {
      assert.ok(read.includes('request.time'), 'its start is known everywhere');
      assert.equal(read.includes('request.duration'), who !== 'network');
      assert.ok(!read.includes('response.code') || who === 'http' || who === 'httpLoggers');
    }
    assert.equal(envoy.machine((uses.get('http') ?? [])[0] as Use).contexts.size, PLACES.length);
  });
}
