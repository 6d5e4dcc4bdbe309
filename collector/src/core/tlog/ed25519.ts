// Ed25519 (RFC 8032) over the runtime's cryptography, with the refusal of keys on which verifiers disagree.

import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { concatBytes, fromHex, toHex } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';

// DER prefixes of PKCS #8 and SPKI for Ed25519 (RFC 8410): the 32 raw bytes follow.
const PKCS8 = fromHex('302e020100300506032b657004220420');
const SPKI = fromHex('302a300506032b6570032100');
const FIELD = 2n ** 255n - 19n;

/** y coordinates of the eight points of low order, as canonical little-endian hex without the sign bit. */
const LOW_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

/** Refuses public keys of low order or with a non-canonical coordinate: libraries disagree on their signatures. Throws VKEY_MALFORMED. */
export function checkPublicKey(key: Uint8Array): void {
  if (key.length !== 32)
    throw new MeshtrailError('VKEY_MALFORMED', `An Ed25519 key has 32 bytes, this one ${key.length}.`);
  const y = Uint8Array.from(key);
  y[31] = (y[31] ?? 0) & 0x7f;
  const value = BigInt(`0x${toHex(Uint8Array.from(y).reverse())}`);
  if (value >= FIELD) throw new MeshtrailError('VKEY_MALFORMED', 'The key is not a canonical Ed25519 point.');
  if (LOW_ORDER.has(toHex(y))) throw new MeshtrailError('VKEY_MALFORMED', 'The key is an Ed25519 point of low order.');
}

/** Public key of a 32-byte seed. */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  const key = createPublicKey(
    createPrivateKey({ key: Buffer.from(concatBytes(PKCS8, seed)), format: 'der', type: 'pkcs8' }),
  );
  return new Uint8Array(key.export({ format: 'der', type: 'spki' })).subarray(SPKI.length);
}

/** Returns a function that signs with a seed's key; deterministic by RFC 8032. */
export function signerOf(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const key = createPrivateKey({ key: Buffer.from(concatBytes(PKCS8, seed)), format: 'der', type: 'pkcs8' });
  return (message) => new Uint8Array(sign(null, message, key));
}

/** Returns a function that verifies a 64-byte signature of a public key. */
export function verifierOf(publicKey: Uint8Array): (message: Uint8Array, signature: Uint8Array) => boolean {
  const key = createPublicKey({ key: Buffer.from(concatBytes(SPKI, publicKey)), format: 'der', type: 'spki' });
  return (message, signature) => signature.length === 64 && verify(null, message, key, signature);
}
