import { readFileSync } from 'node:fs';
import { problemSchema } from '@muster/contract';
import type { RequestInit as UndiciRequest } from 'undici';
import type { z } from 'zod';
import { UsageError } from './up/settings.ts';

/** Where the API is, and how it is asked. */
export interface ApiTarget {
  readonly url: string;
  readonly token: string | undefined;
  /** The certificates, as PEM, of the authorities that may vouch for it; those of Node otherwise. */
  readonly ca?: string | undefined;
  /** How long one answer may take; {@link ANSWER_LIMIT_MS} otherwise. */
  readonly timeoutMs?: number | undefined;
}

/** The API did not do what it was asked for. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code = 'api';

  constructor(
    message: string,
    /** The status of the answer; undefined where none came. */
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Decommissioning waits for brokers, and answers when they are done. */
export const ANSWER_LIMIT_MS = 60_000;

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A body that is sent as it is. */
export class FileBody {
  constructor(
    readonly type: string,
    readonly bytes: Uint8Array<ArrayBuffer>,
  ) {}
}

/** What a request is made of, beside its address. */
export interface ApiRequest {
  readonly method: Method;
  readonly accept: 'application/json' | 'text/event-stream' | 'text/csv';
  /** Sent as JSON, unless it is a {@link FileBody}. */
  readonly body?: unknown;
  /** Beside those that every request has. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/**
 * The answer of the API, whatever its status.
 * @throws ApiError without a status, with what to do, when nothing answers
 */
export async function askApi(target: ApiTarget, path: string, request: ApiRequest): Promise<Response> {
  const { method, accept, body, headers, signal } = request;
  try {
    const fetchFrom = await fetchWith(target.ca);
    return await fetchFrom(new URL(`/api/v1${path}`, target.url), {
      method,
      headers: {
        ...headers,
        accept,
        ...(body === undefined ? {} : { 'content-type': body instanceof FileBody ? body.type : 'application/json' }),
        ...(target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }),
      },
      ...(body === undefined ? {} : { body: body instanceof FileBody ? body.bytes : JSON.stringify(body) }),
      signal,
    });
  } catch (error) {
    throw unreachable(target, error);
  }
}

function unreachable({ url, timeoutMs = ANSWER_LIMIT_MS }: ApiTarget, error: unknown): ApiError {
  if (error instanceof Error && error.name === 'TimeoutError')
    return new ApiError(`${url} did not answer within ${timeoutMs / 1000} s; --timeout gives it longer`, undefined, {
      cause: error,
    });
  const cause = error instanceof Error && error.cause instanceof Error ? causeOf(error.cause) : String(error);
  return new ApiError(
    `no API at ${url} (${cause}); start one with "npm start", or name it with --url, MUSTER_URL or a profile`,
    undefined,
    { cause: error },
  );
}

/** A name with several addresses fails with an error for each, and no message of its own. */
function causeOf(cause: Error): string {
  if (cause.message !== '' || !(cause instanceof AggregateError)) return cause.message;
  return cause.errors.map((one) => (one instanceof Error ? one.message : String(one))).join(', ');
}

/** One for each authority: an agent keeps connections. */
const fetchers = new Map<string, typeof fetch>();

/** Node's own fetch takes no authority, and an agent only of the very version of undici that it has inside. */
async function fetchWith(ca: string | undefined): Promise<typeof fetch> {
  if (ca === undefined) return fetch;
  const known = fetchers.get(ca);
  if (known !== undefined) return known;
  const undici = await import('undici');
  const dispatcher = new undici.Agent({ connect: { ca } });
  const fetcher = ((input: URL, init: RequestInit) =>
    undici.fetch(input, { ...(init as UndiciRequest), dispatcher })) as unknown as typeof fetch;
  fetchers.set(ca, fetcher);
  return fetcher;
}

/** The error that an answer stands for, with every fault of the request; `source` is the file that its body was read from. */
export function errorOf(answer: Response, answered: unknown, source?: string): ApiError {
  const problem = problemSchema.safeParse(answered);
  if (!problem.success) return new ApiError(`${answer.status} ${answer.statusText}`, answer.status);
  const { status, detail, title, errors = [] } = problem.data;
  const hint =
    answer.status === 401 ? ' (MUSTER_TOKEN, a profile, or run it where the state folder of npm start is)' : '';
  const faults = errors.map(
    ({ path, message, line, column }) =>
      `\n  ${source === undefined ? '' : `${source}:`}${line === undefined ? '' : `${line}:${column ?? 1} `}${path === '' ? '' : `${path}: `}${message}`,
  );
  return new ApiError(`${status}: ${detail ?? title}${hint}${faults.join('')}`, answer.status);
}

/**
 * The text of a file that an option names, or of standard input for `-`.
 * @throws UsageError
 */
export function sourceText(option: string, file: string): string {
  return sourceBytes(option, file).toString('utf8');
}

/**
 * The same as it is.
 * @throws UsageError
 */
export function sourceBytes(option: string, file: string): Buffer<ArrayBuffer> {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${option} ${file} cannot be read: ${reason}`, { cause: error });
  }
}

/**
 * An answer of the API, checked against its schema; `source` is the file that the body was read from, for errors.
 * @throws ApiError with the problem's detail, or with what to do when nothing answers
 */
export async function callApi<Schema extends z.ZodType>(
  target: ApiTarget,
  method: Method,
  path: string,
  schema: Schema,
  body?: unknown,
  source?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<z.infer<Schema>> {
  const signal = AbortSignal.timeout(target.timeoutMs ?? ANSWER_LIMIT_MS);
  const answer = await askApi(target, path, { method, accept: 'application/json', body, headers, signal });
  const answered: unknown = await answer.json().catch((error: unknown) => {
    // An answer that is no JSON is told by its status alone.
    if (error instanceof SyntaxError) return undefined;
    throw unreachable(target, error);
  });
  if (!answer.ok) throw errorOf(answer, answered, source);
  const parsed = schema.safeParse(answered);
  if (!parsed.success)
    throw new ApiError(
      `${target.url} answered something else than this version expects; is it Muster of another version?`,
      answer.status,
    );
  return parsed.data;
}
