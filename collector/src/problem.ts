// Problem details (RFC 9457): how every refusal looks over HTTP.

import { ERROR_CODES, type ErrorCode, type ErrorPosition, type MeshtrailError } from './core/error.ts';

export interface Problem {
  /** A reference to docs/errors.md. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly position?: ErrorPosition;
  readonly nearest?: string;
}

/** The problem document of an error. */
export function problemOf(error: MeshtrailError): Problem {
  const { http, title } = ERROR_CODES[error.code];
  return {
    type: `/errors#${error.code.toLowerCase()}`,
    title,
    status: http,
    detail: error.message,
    code: error.code,
    ...(error.position === undefined ? {} : { position: error.position }),
    ...(error.nearest === undefined ? {} : { nearest: error.nearest }),
  };
}
