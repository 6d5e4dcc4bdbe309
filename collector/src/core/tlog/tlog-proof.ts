// C2SP tlog-proof (https://c2sp.org/tlog-proof): an inclusion proof and its checkpoint in one text.

import { fromBase64, parseDecimal, toBase64 } from '../bytes.ts';
import { MeshtrailError, reasonOf } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint.ts';
import { leafHash, verifyInclusion } from './merkle.ts';
import type { Verifier } from './note.ts';

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';

export interface TlogProof {
  /** Unauthenticated data of the application. */
  readonly extra?: Uint8Array;
  readonly index: number;
  readonly path: readonly Uint8Array[];
  /** The signed checkpoint, verbatim. */
  readonly note: string;
}

/** The text of a proof. */
export function formatTlogProof({ extra, index, path, note }: TlogProof): string {
  const lines = [
    FIRST_LINE,
    ...(extra === undefined ? [] : [`extra ${toBase64(extra)}`]),
    `index ${index}`,
    ...path.map(toBase64),
  ];
  return `${lines.join('\n')}\n\n${note}`;
}

/** Parses a proof; one spelling is accepted. Throws PROOF_MALFORMED, or TREE_SIZE_UNSUPPORTED for an index over 2^53 - 1. */
export function parseTlogProof(text: string): TlogProof {
  const bad = (why: string, cause?: unknown): MeshtrailError =>
    new MeshtrailError('PROOF_MALFORMED', `The proof is malformed: ${why}.`, { cause });
  const split = text.indexOf('\n\n');
  if (split < 0) throw bad('no empty line stands before the checkpoint');
  const lines = text.slice(0, split).split('\n');
  if (lines.shift() !== FIRST_LINE) throw bad(`its first line is not ${FIRST_LINE}`);
  let extra: Uint8Array | undefined;
  try {
    if (lines[0]?.startsWith('extra ')) extra = fromBase64((lines.shift() ?? '').slice(6));
    const indexLine = lines.shift() ?? '';
    const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice(6)) : undefined;
    if (index === undefined) throw bad(`${JSON.stringify(indexLine.slice(0, 80))} is no index line`);
    if (lines.length > 64) throw bad(`it has ${lines.length} hashes`);
    const path = lines.map(fromBase64);
    if (path.some((hash) => hash.length !== HASH_BYTES)) throw bad(`a hash has not ${HASH_BYTES} bytes`);
    return { ...(extra === undefined ? {} : { extra }), index, path, note: text.slice(split + 2) };
  } catch (error) {
    if (error instanceof MeshtrailError && error.code === 'ENCODING_INVALID') throw bad(reasonOf(error), error);
    throw error;
  }
}

/** Verifies that an entry is in the log that the key signs for. Throws PROOF_NOT_VERIFIED and the codes of note and checkpoint. */
export function verifyTlogProof(proof: TlogProof, entry: Uint8Array, log: Verifier, origin?: string): Checkpoint {
  const checkpoint = openCheckpoint(proof.note, log, origin);
  verifyInclusion(leafHash(entry), proof.index, checkpoint.size, proof.path, checkpoint.root);
  return checkpoint;
}
