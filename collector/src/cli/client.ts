// The command's side of the HTTP API: one request, its answer or a coded error.

import { ERROR_CODES, type ErrorCode, MeshtrailError } from '../core/error.ts';
import { textOption, type VerbInput } from './args.ts';

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;

const HOST_AND_PORT = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/;

/** The API's address: `--api`, `MESHTRAIL_API`, else the default. HOST:PORT, as `serve` takes it, is understood too. Throws USAGE. */
export function apiOf(input: VerbInput): URL {
  const given = textOption(input, 'api') ?? process.env['MESHTRAIL_API'] ?? 'http://127.0.0.1:4600';
  const text = HOST_AND_PORT.test(given) ? `http://${given}` : given;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new MeshtrailError(
      'USAGE',
      `The API address is ${JSON.stringify(given)}; it must be a URL such as http://127.0.0.1:4600.`,
    );
  }
  return new URL(text);
}

interface Problem {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly title?: unknown;
  readonly position?: { readonly start?: unknown; readonly end?: unknown };
}

function errorOf(status: number, text: string, url: URL): MeshtrailError {
  const { code, detail, position } = problemIn(text);
  if (typeof code !== 'string' || !Object.hasOwn(ERROR_CODES, code)) return notACollector(url, `status ${status}`);
  const { start, end } = position ?? {};
  return new MeshtrailError(
    code as ErrorCode,
    String(detail),
    typeof start === 'number' && typeof end === 'number' ? { position: { start, end } } : {},
  );
}

function problemIn(text: string): Problem {
  try {
    return (JSON.parse(text) as Problem | null) ?? {};
  } catch {
    return {};
  }
}

/** Something answered, and it is no Meshtrail collector, or one that this command does not understand. */
export function notACollector(url: URL, what: string): MeshtrailError {
  return new MeshtrailError(
    'COLLECTOR_UNREACHABLE',
    `${url.origin} answered, but not as a Meshtrail collector does (${what}). Is --api the API, and not the ingest listener?`,
  );
}

function urlOf(api: URL, path: string, parameters: Readonly<Record<string, string | undefined>>): URL {
  // The API may stand behind a path of a proxy.
  const url = new URL(`${api.pathname.replace(/\/$/, '')}${path}`, api);
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return url;
}

function unreachable(api: URL, cause: unknown): MeshtrailError {
  const reason =
    cause instanceof Error ? ((cause.cause as Error | undefined)?.message ?? cause.message) : String(cause);
  return new MeshtrailError(
    'COLLECTOR_UNREACHABLE',
    `No answer from ${api.origin} (${reason}). Is the collector running? \`meshtrail serve --dir DIR\` starts one; --api or MESHTRAIL_API names another.`,
    { cause },
  );
}

/** Asks the API for an answer that stays open. Throws the API's own code, or COLLECTOR_UNREACHABLE. */
export async function askOpen(
  api: URL,
  path: string,
  parameters: Readonly<Record<string, string | undefined>>,
  { headers, signal }: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
): Promise<AsyncIterable<Uint8Array>> {
  const url = urlOf(api, path, parameters);
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept: 'text/event-stream', ...headers }, signal });
  } catch (cause) {
    throw unreachable(api, cause);
  }
  if (!response.ok) throw errorOf(response.status, await textOf(response), url);
  if (response.body === null || response.headers.get('content-type') !== 'text/event-stream')
    throw notACollector(url, 'no events');
  return response.body;
}

/** Asks the API and returns the text of a 2xx answer. Throws the API's own code, or COLLECTOR_UNREACHABLE. */
export async function ask(
  api: URL,
  path: string,
  parameters: Readonly<Record<string, string | undefined>> = {},
): Promise<string> {
  const url = urlOf(api, path, parameters);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    text = await textOf(response);
  } catch (cause) {
    throw unreachable(api, cause);
  }
  if (!response.ok) throw errorOf(response.status, text, url);
  return text;
}

async function textOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is over ${ANSWER_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Asks the API for a JSON object that has the named members. */
export async function askJson<T extends object>(
  api: URL,
  path: string,
  members: readonly (keyof T & string)[],
  parameters: Readonly<Record<string, string | undefined>> = {},
): Promise<T> {
  const text = await ask(api, path, parameters);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw notACollector(api, 'no JSON');
  }
  const isObject = typeof answer === 'object' && answer !== null;
  const missing = members.find((name) => !isObject || !Object.hasOwn(answer as object, name));
  if (!isObject || missing !== undefined) throw notACollector(api, `no ${missing ?? 'object'} in its answer`);
  return answer as T;
}
