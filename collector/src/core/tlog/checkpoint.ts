// C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint): origin, size and root as a signed note.

import { equalBytes, fromBase64, parseDecimal, toBase64 } from '../bytes.ts';
import { MeshtrailError, reasonOf } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { parseCosignature } from './cosignature.ts';
import { checkSize, EMPTY_ROOT } from './merkle.ts';
import { isKeyName, parseNote, type Signer, signNote, type Verifier, verifyNote } from './note.ts';

/** A tree head under the name of its log. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  /** Extension lines behind the root; ours never has any. */
  readonly extensions: readonly string[];
}

/** A tree head that is about to be signed. */
interface NamedTreeHead {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/** The text that a log signs. Throws CHECKPOINT_MALFORMED or TREE_SIZE_UNSUPPORTED for a head that no reader would read back as it is. */
export function formatCheckpoint({ origin, size, root }: NamedTreeHead): string {
  const text = `${origin}\n${size}\n${toBase64(root)}\n`;
  checkSize('The tree size', size);
  // What is signed cannot be taken back, so it is read first: a line feed in the origin would forge the lines after it.
  const read = parseCheckpoint(text);
  if (read.origin !== origin || read.size !== size || read.extensions.length > 0 || !isKeyName(origin))
    throw new MeshtrailError('CHECKPOINT_MALFORMED', `${JSON.stringify(origin.slice(0, 200))} is no origin of a log.`);
  return text;
}

/** Parses a checkpoint text. Throws CHECKPOINT_MALFORMED, or TREE_SIZE_UNSUPPORTED for a size over 2^53 - 1. */
export function parseCheckpoint(text: string): Checkpoint {
  const bad = (why: string, cause?: unknown): MeshtrailError =>
    new MeshtrailError('CHECKPOINT_MALFORMED', `The checkpoint is malformed: ${why}.`, { cause });
  if (!text.endsWith('\n')) throw bad('it does not end with a line feed');
  const [origin = '', sizeText = '', rootText, ...extensions] = text.slice(0, -1).split('\n');
  if (origin === '' || rootText === undefined) throw bad('it needs origin, size and root, a line each');
  if (extensions.some((line) => line === '')) throw bad('it has an empty line');
  const size = parseDecimal(sizeText);
  if (size === undefined) throw bad(`${JSON.stringify(sizeText.slice(0, 40))} is no tree size`);
  let root: Uint8Array;
  try {
    root = fromBase64(rootText);
  } catch (cause) {
    throw bad(reasonOf(cause), cause);
  }
  if (root.length !== HASH_BYTES) throw bad(`its root has ${root.length} bytes, not ${HASH_BYTES}`);
  if (size === 0 && !equalBytes(root, EMPTY_ROOT))
    throw bad('its size is 0 and its root is not that of the empty tree');
  return { origin, size, root, extensions };
}

/** Signs a tree head. Throws what `formatCheckpoint` throws, before the key is used. */
export async function signCheckpoint(head: NamedTreeHead, signer: Signer): Promise<string> {
  return await signNote(formatCheckpoint(head), [signer]);
}

/** A witness that has seen a checkpoint, and when it says so. */
export interface Cosignature {
  readonly witness: Verifier;
  /** Unix time in seconds; may pass 2^53. */
  readonly timestamp: bigint;
}

/** Verifies a signed checkpoint with the log's key, whose name is the origin. Throws NOTE_MALFORMED, NOTE_NOT_VERIFIED or CHECKPOINT_MALFORMED. */
export function openCheckpoint(note: string | Uint8Array, log: Verifier, origin = log.name): Checkpoint {
  return openCosignedCheckpoint(note, log, [], origin).checkpoint;
}

/**
 * Verifies a signed checkpoint and the cosignatures of known witnesses. Lines of unknown keys are ignored; a known
 * witness whose line does not verify rejects the checkpoint. How many witnesses are enough is the caller's to decide.
 * Throws what `openCheckpoint` throws.
 */
export function openCosignedCheckpoint(
  note: string | Uint8Array,
  log: Verifier,
  witnesses: readonly Verifier[],
  origin = log.name,
): { readonly checkpoint: Checkpoint; readonly cosignatures: readonly Cosignature[] } {
  const parsed = parseNote(note);
  const verified = verifyNote(parsed, [log, ...witnesses], 'checkpoint');
  if (!verified.includes(log))
    throw new MeshtrailError('NOTE_NOT_VERIFIED', `The checkpoint carries no signature of its log, ${log.name}.`);
  const checkpoint = parseCheckpoint(parsed.text);
  if (checkpoint.origin !== origin)
    throw new MeshtrailError(
      'NOTE_NOT_VERIFIED',
      `The checkpoint is of ${JSON.stringify(checkpoint.origin)}, not of ${JSON.stringify(origin)}.`,
    );
  const cosignatures = parsed.signatures.flatMap(({ name, keyId, signature }) => {
    const witness = verified.find((v) => v !== log && v.name === name && equalBytes(v.keyId, keyId));
    const timestamp = witness && parseCosignature(signature)?.timestamp;
    return witness === undefined || timestamp === undefined ? [] : [{ witness, timestamp }];
  });
  return { checkpoint, cosignatures };
}
