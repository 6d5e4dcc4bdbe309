// C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint): origin, size and root as a signed note.

import { equalBytes, fromBase64, parseDecimal, toBase64 } from '../bytes.ts';
import { MeshtrailError } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { EMPTY_ROOT } from './merkle.ts';
import { parseNote, type Signer, signNote, type Verifier, verifyNote } from './note.ts';

/** A tree head under the name of its log. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  /** Extension lines behind the root; ours never has any. */
  readonly extensions: readonly string[];
}

/** The text that a log signs. */
export function formatCheckpoint({
  origin,
  size,
  root,
}: {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}): string {
  return `${origin}\n${size}\n${toBase64(root)}\n`;
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
    throw bad((cause as Error).message, cause);
  }
  if (root.length !== HASH_BYTES) throw bad(`its root has ${root.length} bytes, not ${HASH_BYTES}`);
  if (size === 0 && !equalBytes(root, EMPTY_ROOT))
    throw bad('its size is 0 and its root is not that of the empty tree');
  return { origin, size, root, extensions };
}

/** Signs a tree head. */
export async function signCheckpoint(
  head: { readonly origin: string; readonly size: number; readonly root: Uint8Array },
  signer: Signer,
): Promise<string> {
  return await signNote(formatCheckpoint(head), [signer]);
}

/** Verifies a signed checkpoint with the log's key, whose name is the origin. Throws NOTE_MALFORMED, NOTE_NOT_VERIFIED or CHECKPOINT_MALFORMED. */
export function openCheckpoint(note: string | Uint8Array, log: Verifier, origin = log.name): Checkpoint {
  const parsed = parseNote(note);
  verifyNote(parsed, [log]);
  const checkpoint = parseCheckpoint(parsed.text);
  if (checkpoint.origin !== origin)
    throw new MeshtrailError(
      'NOTE_NOT_VERIFIED',
      `The checkpoint is of ${JSON.stringify(checkpoint.origin)}, not of ${JSON.stringify(origin)}.`,
    );
  return checkpoint;
}
