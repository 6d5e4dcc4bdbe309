// Certificates of the demo's mesh, made on the spot: one authority, and a short-lived X.509 SVID with a SPIFFE id for each workload
// (SPIFFE X509-SVID, sections 2 to 4).

import './reflect-metadata.ts';
import { randomBytes, webcrypto } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const LIFE_MS = 24 * 60 * 60 * 1000;
/** Proxies and authority share one clock here; the margin is for a clock that is set back while the demo runs. */
const CLOCK_MARGIN_MS = 5 * 60 * 1000;

/** Files of a workload's identity, PEM; the key has mode 0600. */
export interface WorkloadIdentity {
  readonly spiffeId: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** An authority that lives as long as this object: its key is never written. */
export interface CertificateAuthority {
  readonly trustDomain: string;
  /** PEM of the authority's certificate. */
  readonly caFile: string;
  /** Makes key and certificate of `spiffe://<trust domain>/ns/<namespace>/sa/<account>` in a directory of its own. */
  issue(namespace: string, account: string): Promise<WorkloadIdentity>;
}

function validity(): { readonly notBefore: Date; readonly notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - CLOCK_MARGIN_MS), notAfter: new Date(now + LIFE_MS) };
}

/** A positive serial number of 127 random bits, hex: RFC 5280 wants at most 20 octets and no sign bit. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes.toString('hex');
}

/** Makes an authority and writes its certificate to `<dir>/ca.crt`. */
export async function makeAuthority(dir: string, trustDomain: string): Promise<CertificateAuthority> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const name = `O=${trustDomain}, CN=demo authority`;
  const root = await X509CertificateGenerator.createSelfSigned({
    name,
    serialNumber: serialNumber(),
    ...validity(),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
    ],
  });
  const caFile = join(dir, 'ca.crt');
  writeFileSync(caFile, `${root.toString('pem')}\n`);

  async function issue(namespace: string, account: string): Promise<WorkloadIdentity> {
    const spiffeId = `spiffe://${trustDomain}/ns/${namespace}/sa/${account}`;
    const own = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.create({
      subject: `O=${trustDomain}, CN=${account}.${namespace}`,
      issuer: name,
      serialNumber: serialNumber(),
      ...validity(),
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        new SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }]),
      ],
    });
    const place = join(dir, `${account}.${namespace}`);
    mkdirSync(place, { recursive: true, mode: 0o700 });
    const identity = { spiffeId, certificateFile: join(place, 'tls.crt'), keyFile: join(place, 'tls.key') };
    writeFileSync(identity.certificateFile, `${certificate.toString('pem')}\n`);
    const key = await webcrypto.subtle.exportKey('pkcs8', own.privateKey);
    writeFileSync(identity.keyFile, `${PemConverter.encode(key, 'PRIVATE KEY')}\n`, { mode: 0o600 });
    return identity;
  }

  return { trustDomain, caFile, issue };
}
