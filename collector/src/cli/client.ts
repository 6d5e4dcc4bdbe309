// The command's side of the HTTP API: one request, its answer or a coded error.

import { ERROR_CODES, type ErrorCode, MeshtrailError } from '../core/error.ts';
import { textOption, type VerbInput } from './args.ts';

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;

/** The API's address: `--api`, `MESHTRAIL_API`, else the default. Throws USAGE on something that is not an http URL. */
export function apiOf(input: VerbInput): URL {
  const given = textOption(input, 'api') ?? process.env['MESHTRAIL_API'] ?? 'http://127.0.0.1:4600';
  if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol)) {
    throw new MeshtrailError(
      'USAGE',
      `The API address is ${JSON.stringify(given)}; it must be a URL such as http://127.0.0.1:4600.`,
    );
  }
  return new URL(given);
}

interface Problem {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly title?: unknown;
  readonly position?: { readonly start?: unknown };
  readonly nearest?: unknown;
}

function errorOf(status: number, text: string, url: URL): MeshtrailError {
  let problem: Problem = {};
  try {
    problem = JSON.parse(text) as Problem;
  } catch {
    return new MeshtrailError(
      'COLLECTOR_UNREACHABLE',
      `${url.origin} answered ${status} with something that is not from a Meshtrail collector.`,
    );
  }
  const code =
    typeof problem.code === 'string' && Object.hasOwn(ERROR_CODES, problem.code)
      ? (problem.code as ErrorCode)
      : 'INTERNAL';
  return new MeshtrailError(code, String(problem.detail ?? problem.title ?? `The collector answered ${status}.`));
}

/** Asks the API and returns the text of a 2xx answer. Throws the API's own code, or COLLECTOR_UNREACHABLE. */
export async function ask(
  api: URL,
  path: string,
  parameters: Readonly<Record<string, string | undefined>> = {},
): Promise<string> {
  const url = new URL(path, api);
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    text = await textOf(response);
  } catch (cause) {
    const reason =
      cause instanceof Error ? ((cause.cause as Error | undefined)?.message ?? cause.message) : String(cause);
    throw new MeshtrailError(
      'COLLECTOR_UNREACHABLE',
      `No answer from ${api.origin} (${reason}). Is the collector running? \`meshtrail serve --dir DIR\` starts one; --api or MESHTRAIL_API names another.`,
      { cause },
    );
  }
  if (!response.ok) throw errorOf(response.status, text, url);
  return text;
}

async function textOf(response: Response): Promise<string> {
  if (Number(response.headers.get('content-length') ?? 0) > ANSWER_BYTES_MAX)
    throw new Error(`the answer is over ${ANSWER_BYTES_MAX} bytes`);
  return await response.text();
}

/** Asks the API for JSON. */
export async function askJson<T>(
  api: URL,
  path: string,
  parameters: Readonly<Record<string, string | undefined>> = {},
): Promise<T> {
  const text = await ask(api, path, parameters);
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new MeshtrailError('COLLECTOR_UNREACHABLE', `${api.origin}${path} did not answer with JSON.`, { cause });
  }
}
