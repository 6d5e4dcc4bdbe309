// Whom the caller names in `x-forwarded-client-cert`: kept as a claim, of the last element alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Text } from '../host/abi.ts';
import { type Exchange, ordinary, withHeaders } from './exchange.ts';
import { assertRecorded, recorded } from './recorded.ts';

const CALLER = 'spiffe://demo.mesh/ns/shop/sa/frontend';
const withCertificate = (value: Text): Exchange => withHeaders(ordinary(), { 'x-forwarded-client-cert': value });

function claimIn(value: Text): string | number | bigint | undefined {
  const exchange = withCertificate(value);
  assertRecorded([exchange]);
  return recorded([exchange])[0]?.['claimed_principal'];
}

const CLAIMS: [value: string, claim: string | undefined][] = [
  [`URI=${CALLER}`, CALLER],
  [`By=spiffe://demo.mesh/ns/shop/sa/orders;Hash=00ff;Subject="";URI=${CALLER}`, CALLER],
  [`By=a;URI=${CALLER};DNS=frontend.shop;DNS=frontend`, CALLER],
  [`By=a;uri=${CALLER}`, CALLER],
  [`URI=${CALLER};URI=spiffe://demo.mesh/second`, CALLER],
  [`URI=spiffe://attacker,By=a;URI=${CALLER}`, CALLER],
  [`URI=spiffe://attacker, By=a; URI=${CALLER}`, CALLER],
  [`URI=spiffe://attacker,By=a;Hash=b`, undefined],
  [`URI=spiffe://attacker,`, undefined],
  [`Subject="CN=x,OU=y;URI=spiffe://attacker";URI=${CALLER}`, CALLER],
  [`Subject="a \\" ,URI=spiffe://attacker";URI=${CALLER}`, CALLER],
  [`Subject="a \\\\";URI=${CALLER}`, CALLER],
  [`URI="${CALLER};a,b"`, `${CALLER};a,b`],
  [`URI="a\\"b"`, 'a\\"b'],
  [`URI="${CALLER}`, undefined],
  [`Subject="never closed;URI=${CALLER}`, undefined],
  [`Subject="never closed\\`, undefined],
  [`URI="${CALLER}"trailing`, undefined],
  ['URI=', undefined],
  ['URI=""', undefined],
  ['URI="', undefined],
  ['URI', undefined],
  ['URI=a', 'a'],
  ['XURI=a', undefined],
  [';,;,=', undefined],
  [' URI=a', 'a'],
  [`URI=${'p'.repeat(512)}`, 'p'.repeat(512)],
  [`URI=${'p'.repeat(513)}`, 'p'.repeat(512)],
]; // prettier-ignore

for (const [value, claim] of CLAIMS)
  test(`claimed by ${value.slice(0, 80)}`, () => {
    assert.equal(claimIn(value), claim);
  });

test('certificates that come again, in any order, name their own caller', () => {
  const sameLength = [
    `By=aaaa;URI=${CALLER}`,
    `By=bbbb;URI=${CALLER}`,
    `URI=aaaa;By=${CALLER}`,
    `Hash=aa;By=${CALLER}`,
  ];
  const long = `By=${'l'.repeat(600)};URI=${CALLER}`;
  const values = [...sameLength, ...CLAIMS.map(([value]) => value), long, 'URI=x', 'x'];
  assertRecorded([...values, ...values, ...values.toReversed(), ...values].map(withCertificate));
});

test('a claim never stands where an observed identity does', () => {
  const [record] = recorded([{ ...withCertificate(`URI=${CALLER}/claimed`), mtls: undefined, tlsVersion: undefined }]);
  assert.equal(record?.['claimed_principal'], `${CALLER}/claimed`);
  assert.equal(record?.['peer_principal'], undefined);
});

test('random certificates name whom the grammar names, and never trap', () => {
  const piece = fc.constantFrom(
    'URI=',
    'uri=',
    'By=',
    '"',
    '\\',
    ',',
    ';',
    '=',
    ' ',
    'a',
    'spiffe://b',
    'Subject="',
    '\\"',
  );
  const value = fc.oneof(
    fc.array(piece, { minLength: 1, maxLength: 16 }).map((pieces) => pieces.join('')),
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
  );
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 40 }), (values) =>
      assertRecorded(values.map(withCertificate)),
    ),
    { numRuns: 100, seed: 20_261_125 },
  );
});
