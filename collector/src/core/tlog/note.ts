// C2SP signed-note (https://c2sp.org/signed-note): parsing with one accepted spelling, verification, signing, and key texts.

import { concatBytes, equalBytes, fromBase64, fromHex, fromUtf8, toBase64, toHex, utf8 } from '../bytes.ts';
import { MeshtrailError, reasonOf } from '../error.ts';
import { sha256 } from '../hash.ts';
import { cosignatureMessage, parseCosignature } from './cosignature.ts';
import { checkPublicKey, publicKeyOf, signerOf, verifierOf } from './ed25519.ts';

export const ALGORITHM_ED25519 = 1;
export const ALGORITHM_COSIGNATURE = 4;
const SIGNATURES_MAX = 100;
const NOTE_BYTES_MAX = 1_000_000;
const NAMED_MAX = 4;

/** One signature line: who, and what stands behind the key id. */
export interface NoteSignature {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/** A signed note whose form is right; nothing is verified yet. */
export interface Note {
  /** Ends with a line feed; this is what signatures cover. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A public key that a reader trusts. */
export interface Verifier {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly algorithm: number;
  /** Whether the bytes behind the key id sign the text. */
  verify(text: string, signature: Uint8Array): boolean;
}

/** Something that signs notes; the key may live elsewhere. */
export interface Signer {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly vkey: string;
  sign(text: string): Uint8Array | Promise<Uint8Array>;
}

const malformed = (why: string): MeshtrailError =>
  new MeshtrailError('NOTE_MALFORMED', `The note is malformed: ${why}.`);

/** A key name: not empty, no white space, no "+", and UTF-8 can say it. */
export function isKeyName(name: string): boolean {
  return name !== '' && name.length <= 255 && name.isWellFormed() && !/[\s+\p{Z}\p{Cc}]/u.test(name);
}

function keyIdOf(name: string, algorithm: number, key: Uint8Array): Uint8Array {
  return sha256(concatBytes(utf8(name), Uint8Array.of(0x0a, algorithm), key)).subarray(0, 4);
}

function parseSignature(line: string): NoteSignature {
  const match = /^\u2014 ([^ ]+) ([^ ]+)$/u.exec(line);
  if (match === null) throw malformed(`${JSON.stringify(line.slice(0, 80))} is no signature line`);
  const [, name = '', base64 = ''] = match;
  if (!isKeyName(name)) throw malformed(`${JSON.stringify(name)} is no key name`);
  let bytes: Uint8Array;
  try {
    bytes = fromBase64(base64);
  } catch (cause) {
    throw new MeshtrailError('NOTE_MALFORMED', `The note is malformed: ${(cause as Error).message}`, { cause });
  }
  if (bytes.length < 5) throw malformed(`the signature of ${name} is too short`);
  return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

function checkCharacters(text: string): void {
  // Surrogate halves cannot come from UTF-8, but can from a JavaScript string.
  if (!text.isWellFormed()) throw malformed('it is not UTF-8');
  for (let i = 0; i < text.length; i++)
    if (text.charCodeAt(i) < 0x20 && text[i] !== '\n') throw malformed('it has a control character');
}

/** Parses a signed note; one spelling is accepted, and no key signs twice. Throws NOTE_MALFORMED. */
export function parseNote(input: string | Uint8Array): Note {
  // Before decoding: a string's UTF-8 is never shorter than its UTF-16 units.
  if (input.length > NOTE_BYTES_MAX) throw malformed(`it is longer than ${NOTE_BYTES_MAX} bytes`);
  const whole = typeof input === 'string' ? input : fromUtf8(input);
  if (whole === undefined) throw malformed('it is not UTF-8');
  checkCharacters(whole);
  const split = whole.lastIndexOf('\n\n');
  if (split < 0 || !whole.endsWith('\n')) throw malformed('text and signatures are not separated by an empty line');
  const text = whole.slice(0, split + 1);
  const lines = whole.slice(split + 2, -1).split('\n');
  if (whole.length === split + 2) throw malformed('it has no signature');
  if (lines.length > SIGNATURES_MAX) throw malformed(`it has more than ${SIGNATURES_MAX} signatures`);
  const signatures = lines.map(parseSignature);
  const keys = new Set(signatures.map(({ name, keyId }) => `${name}+${toHex(keyId)}`));
  if (keys.size !== signatures.length) throw malformed('two lines are signed by one key');
  return { text, signatures };
}

/** Keys as people compare them: name and key id; a note may carry a hundred. */
function namesOf(keys: readonly { readonly name: string; readonly keyId: Uint8Array }[]): string {
  const names = keys.slice(0, NAMED_MAX).map(({ name, keyId }) => `${name}+${toHex(keyId)}`);
  return names.join(', ') + (keys.length > NAMED_MAX ? ` and ${keys.length - NAMED_MAX} more` : '');
}

/** Verifies a parsed note: unknown keys are ignored, a known key whose signature fails rejects the note, and at least one must verify. `what` the note is, for messages. Throws NOTE_NOT_VERIFIED. */
export function verifyNote(note: Note, verifiers: readonly Verifier[], what = 'note'): readonly Verifier[] {
  const verified: Verifier[] = [];
  for (const { name, keyId, signature } of note.signatures) {
    const verifier = verifiers.find((v) => v.name === name && equalBytes(v.keyId, keyId));
    if (verifier === undefined) continue;
    if (!verifier.verify(note.text, signature))
      throw new MeshtrailError(
        'NOTE_NOT_VERIFIED',
        `The signature of ${name}+${toHex(keyId)} does not verify: the ${what} or its signature was changed.`,
      );
    verified.push(verifier);
  }
  if (verified.length === 0)
    throw new MeshtrailError(
      'NOTE_NOT_VERIFIED',
      `The ${what} is signed by ${namesOf(note.signatures)}, and not by the key that was given, ${namesOf(verifiers)}.`,
    );
  return verified;
}

/** Parses the verifier key of a log or of a witness, `<name>+<key id>+<base64>`; the key id is recomputed, and unsafe points are refused. Throws VKEY_MALFORMED. */
export function parseVkey(vkey: string, kind: 'log' | 'witness' = 'log'): Verifier {
  const bad = (why: string, cause?: unknown): MeshtrailError =>
    new MeshtrailError('VKEY_MALFORMED', `${JSON.stringify(vkey.slice(0, 200))} is no verifier key: ${why}.`, {
      cause,
    });
  const first = vkey.indexOf('+');
  const second = vkey.indexOf('+', first + 1);
  if (first < 0 || second < 0) throw bad('it is not name+id+key');
  const name = vkey.slice(0, first);
  const id = vkey.slice(first + 1, second);
  if (!isKeyName(name) || !/^[0-9a-f]{8}$/.test(id)) throw bad('its name or key id is malformed');
  let key: Uint8Array;
  try {
    key = fromBase64(vkey.slice(second + 1));
  } catch (cause) {
    throw bad(reasonOf(cause), cause);
  }
  const algorithm = key[0] ?? 0;
  if (algorithm !== (kind === 'log' ? ALGORITHM_ED25519 : ALGORITHM_COSIGNATURE))
    throw bad(`algorithm ${algorithm} is not that of a ${kind}`);
  const publicKey = key.subarray(1);
  checkPublicKey(publicKey);
  const keyId = keyIdOf(name, algorithm, publicKey);
  if (toHex(keyId) !== id) throw bad(`its key id should be ${toHex(keyId)}`);
  const check = verifierOf(publicKey);
  return algorithm === ALGORITHM_ED25519
    ? { name, keyId, algorithm, verify: (text, signature) => check(utf8(text), signature) }
    : {
        name,
        keyId,
        algorithm,
        verify: (text, bytes) => {
          const cosignature = parseCosignature(bytes);
          return (
            cosignature !== undefined && check(cosignatureMessage(text, cosignature.timestamp), cosignature.signature)
          );
        },
      };
}

/** An Ed25519 signer over a 32-byte seed. Throws KEY_INVALID. */
export function ed25519Signer(name: string, seed: Uint8Array): Signer {
  if (!isKeyName(name))
    throw new MeshtrailError(
      'KEY_INVALID',
      `${JSON.stringify(name)} is no key name: it must not be empty and have no space and no "+".`,
    );
  if (seed.length !== 32)
    throw new MeshtrailError('KEY_INVALID', `The seed of an Ed25519 key has 32 bytes, this one ${seed.length}.`);
  const publicKey = publicKeyOf(seed);
  const keyId = keyIdOf(name, ALGORITHM_ED25519, publicKey);
  const vkey = `${name}+${toHex(keyId)}+${toBase64(concatBytes(Uint8Array.of(ALGORITHM_ED25519), publicKey))}`;
  const sign = signerOf(seed);
  return { name, keyId, vkey, sign: (text) => sign(utf8(text)) };
}

/** Signs a text, which must end with a line feed, and returns the whole note. Throws NOTE_MALFORMED, before any key is used, for what no reader accepts. */
export async function signNote(text: string, signers: readonly Signer[]): Promise<string> {
  if (!text.endsWith('\n')) throw malformed('its text does not end with a line feed');
  checkCharacters(text);
  if (signers.length === 0 || signers.length > SIGNATURES_MAX)
    throw malformed(`it would have ${signers.length} signatures`);
  let note = `${text}\n`;
  for (const signer of signers)
    note += `\u2014 ${signer.name} ${toBase64(concatBytes(signer.keyId, await signer.sign(text)))}\n`;
  // A signer may live elsewhere: what it gave back is read before anybody else reads it.
  parseNote(note);
  return note;
}

/** Private key text as Go's note package writes it: `PRIVATE+KEY+<name>+<key id>+<base64>`. */
export function formatPrivateKey(name: string, seed: Uint8Array): string {
  return `PRIVATE+KEY+${name}+${toHex(keyIdOf(name, ALGORITHM_ED25519, publicKeyOf(seed)))}+${toBase64(concatBytes(Uint8Array.of(ALGORITHM_ED25519), seed))}`;
}

/** Parses a private key text. Throws KEY_INVALID; the message never holds the key. */
export function parsePrivateKey(text: string): { readonly name: string; readonly seed: Uint8Array } {
  const match = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text);
  const bad = (why: string): MeshtrailError =>
    new MeshtrailError('KEY_INVALID', `The private key is invalid: ${why}. \`meshtrail keys new\` makes one.`);
  if (match === null) throw bad('it is not PRIVATE+KEY+name+id+key');
  const [, name = '', id = '', base64 = ''] = match;
  let bytes: Uint8Array;
  try {
    bytes = fromBase64(base64);
  } catch {
    throw bad('its last part is not base64');
  }
  const seed = bytes.subarray(1);
  if (bytes[0] !== ALGORITHM_ED25519 || seed.length !== 32) throw bad('it is not an Ed25519 key');
  if (!equalBytes(keyIdOf(name, ALGORITHM_ED25519, publicKeyOf(seed)), fromHex(id)))
    throw bad('its key id does not belong to it');
  return { name, seed };
}
