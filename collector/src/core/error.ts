// Every error that Meshtrail gives to somebody else: a closed list of codes, each with its HTTP status and exit code.
// docs/errors.md explains them one by one; a test checks that the two agree.

/** HTTP status and exit code of each error code. Exit codes: 1 not verified or incomplete, 2 usage, 3 could not check. */
export const ERROR_CODES = {
  BATCH_CHECKSUM_MISMATCH: { http: 400, exit: 1, title: 'The batch does not match its hash.' },
  BATCH_CONFLICT: { http: 409, exit: 1, title: 'Other bytes are stored under this batch number.' },
  BATCH_MALFORMED: { http: 400, exit: 1, title: 'The batch breaks a rule of its format.' },
  BATCH_TOO_LARGE: { http: 413, exit: 1, title: 'The batch is longer than allowed.' },
  BATCH_TRUNCATED: { http: 400, exit: 1, title: 'The batch is shorter than it says.' },
  BATCH_VERSION_UNSUPPORTED: { http: 400, exit: 1, title: 'The batch has a version that this collector cannot read.' },
  CHECKPOINT_MALFORMED: { http: 400, exit: 1, title: 'The checkpoint breaks a rule of its format.' },
  COLLECTOR_UNREACHABLE: { http: 503, exit: 3, title: 'The collector did not answer.' },
  CONFIG_INVALID: { http: 500, exit: 2, title: 'The configuration is invalid.' },
  CURSOR_INVALID: { http: 400, exit: 2, title: 'The cursor is not one of this query.' },
  ENCODING_INVALID: { http: 400, exit: 1, title: 'A text encoding has another spelling than the accepted one.' },
  ENTRY_MALFORMED: { http: 400, exit: 1, title: 'The log entry breaks a rule of its format.' },
  FILTER_INVALID: { http: 400, exit: 2, title: 'The filter expression is invalid.' },
  HEADERS_TOO_LARGE: { http: 431, exit: 2, title: 'The headers of the request are longer than allowed.' },
  INGEST_OVERLOADED: { http: 503, exit: 3, title: 'Too many batches wait to be written.' },
  INTERNAL: { http: 500, exit: 3, title: 'Something unexpected happened.' },
  KEY_INVALID: { http: 500, exit: 2, title: 'The key is invalid.' },
  KEY_MISSING: { http: 500, exit: 3, title: 'The key cannot be read.' },
  LAST_SIGNED_MISSING: { http: 500, exit: 1, title: 'The last-signed record is missing.' },
  LAST_SIGNED_MOVED: { http: 500, exit: 1, title: 'Something else moved the last-signed record.' },
  MEDIA_TYPE_UNSUPPORTED: { http: 415, exit: 2, title: 'The media type is not accepted here.' },
  METHOD_NOT_ALLOWED: { http: 405, exit: 2, title: 'The method is not accepted here.' },
  NOTE_MALFORMED: { http: 400, exit: 1, title: 'The signed note breaks a rule of its format.' },
  NOTE_NOT_VERIFIED: { http: 400, exit: 1, title: 'The signed note does not verify.' },
  NOT_PUBLISHED_YET: { http: 409, exit: 3, title: 'No published checkpoint covers this yet.' },
  PARAMETER_INVALID: { http: 400, exit: 2, title: 'A parameter is invalid.' },
  PREREQUISITE_MISSING: { http: 500, exit: 3, title: 'Something that is needed is missing.' },
  PROOF_MALFORMED: { http: 400, exit: 1, title: 'The proof breaks a rule of its format.' },
  PROOF_NOT_VERIFIED: { http: 400, exit: 1, title: 'The proof does not verify.' },
  QUERY_OVERLOADED: { http: 503, exit: 3, title: 'Too many queries wait to be answered.' },
  RECORD_ID_INVALID: { http: 400, exit: 2, title: 'The record id is invalid.' },
  RECORD_NOT_FOUND: { http: 404, exit: 1, title: 'There is no such record.' },
  REQUEST_MALFORMED: { http: 400, exit: 2, title: 'The request breaks a rule of HTTP.' },
  REQUEST_TIMEOUT: { http: 408, exit: 3, title: 'The request did not arrive in time.' },
  ROUTE_NOT_FOUND: { http: 404, exit: 2, title: 'There is nothing at this path.' },
  STORE_CORRUPT: { http: 500, exit: 1, title: 'What is stored does not match its hash.' },
  STORE_DIVERGED: { http: 500, exit: 1, title: 'The stored tree is not the one that was signed.' },
  STORE_FAILED: { http: 503, exit: 3, title: 'The store failed.' },
  STORE_FOREIGN: { http: 500, exit: 1, title: 'The directory belongs to another log.' },
  STORE_LOCKED: { http: 500, exit: 3, title: 'Another process has the directory open.' },
  STREAM_GAP: { http: 404, exit: 1, title: 'Records that a proxy numbered never arrived.' },
  TAIL_OVERLOADED: { http: 503, exit: 3, title: 'Too many clients follow the log or replay it.' },
  TILE_MALFORMED: { http: 400, exit: 1, title: 'The tile breaks a rule of its format.' },
  TILE_MISSING: { http: 404, exit: 1, title: 'A tile that the tree needs is missing.' },
  TIME_INVALID: { http: 400, exit: 2, title: 'The time is invalid.' },
  TREE_SHRANK: { http: 500, exit: 1, title: 'The stored tree is shorter than the one that was signed.' },
  TREE_SIZE_UNSUPPORTED: { http: 400, exit: 1, title: 'The size or index is larger than supported.' },
  USAGE: { http: 400, exit: 2, title: 'The command was called in a way that it does not understand.' },
  VKEY_MALFORMED: { http: 400, exit: 2, title: 'The verifier key is malformed.' },
} as const satisfies Record<string, { readonly http: number; readonly exit: 0 | 1 | 2 | 3; readonly title: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Where in a text an error stands: offsets in UTF-16 units, end exclusive. */
export interface ErrorPosition {
  readonly start: number;
  readonly end: number;
}

/** An error with a code; its message says what happened, which value, and what to do. */
export class MeshtrailError extends Error {
  override readonly name = 'MeshtrailError';
  readonly code: ErrorCode;
  readonly position?: ErrorPosition;
  /** The accepted name nearest to an unknown one. */
  readonly nearest?: string;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; position?: ErrorPosition; nearest?: string | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.position !== undefined) this.position = options.position;
    if (options.nearest !== undefined) this.nearest = options.nearest;
  }
}

/** The message of an error as a part of another message: without its full stop. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}
