// The demo's certificates are what SPIFFE and mTLS ask for, judged by node:crypto.

import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeAuthority } from '../../collector/src/demo/certificates.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshtrail certificates '));
after(() => rmSync(dir, { recursive: true, force: true }));

const HOUR_MS = 3_600_000;

test('a workload certificate carries one SPIFFE id, is signed by the authority, and matches its key', async () => {
  const authority = await makeAuthority(dir, 'demo.mesh');
  const identity = await authority.issue('shop', 'orders');
  const ca = new X509Certificate(readFileSync(authority.caFile));
  const certificate = new X509Certificate(readFileSync(identity.certificateFile));
  assert.equal(identity.spiffeId, 'spiffe://demo.mesh/ns/shop/sa/orders');
  assert.equal(certificate.subjectAltName, 'URI:spiffe://demo.mesh/ns/shop/sa/orders');
  assert.equal(certificate.ca, false);
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(identity.keyFile))));
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const lifeMs = certificate.validToDate.getTime() - Date.now();
  assert.ok(lifeMs > 23 * HOUR_MS && lifeMs <= 24 * HOUR_MS);
  assert.ok(certificate.validFromDate.getTime() < Date.now());
});

test('the authority certifies itself and nobody below it', async () => {
  const { caFile } = await makeAuthority(join(dir, 'other'), 'demo.mesh');
  const ca = new X509Certificate(readFileSync(caFile));
  assert.equal(ca.ca, true);
  assert.equal(ca.subjectAltName, 'URI:spiffe://demo.mesh');
  assert.ok(ca.checkIssued(ca) && ca.verify(ca.publicKey));
});

test('a certificate of another authority of the same name does not verify', async () => {
  const [one, two] = [
    await makeAuthority(join(dir, 'one'), 'demo.mesh'),
    await makeAuthority(join(dir, 'two'), 'demo.mesh'),
  ];
  const stranger = new X509Certificate(readFileSync((await one.issue('shop', 'orders')).certificateFile));
  assert.equal(stranger.verify(new X509Certificate(readFileSync(two.caFile)).publicKey), false);
});

test('keys can be read by their owner alone', { skip: process.platform === 'win32' }, async () => {
  const { keyFile } = await (await makeAuthority(join(dir, 'modes'), 'demo.mesh')).issue('backend', 'payments');
  assert.equal(statSync(keyFile).mode & 0o777, 0o600);
});
