import { problemSchema } from '@muster/contract';
import type { z } from 'zod';

/** Where the API is, and with which token. */
export interface ApiTarget {
  readonly url: string;
  readonly token: string | undefined;
}

/** The API did not do what it was asked for. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code = 'api';
}

/**
 * An answer of the API, checked against its schema.
 * @throws ApiError with the problem's detail, or with what to do when nothing answers
 */
export async function callApi<Schema extends z.ZodType>(
  target: ApiTarget,
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  schema: Schema,
  body?: unknown,
  /** What the body was read from, for errors that name a place in it. */
  source?: string,
): Promise<z.infer<Schema>> {
  let answer: Response;
  try {
    answer = await fetch(new URL(`/api/v1${path}`, target.url), {
      method,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new ApiError(
      `no API at ${target.url} (${cause}); start one with "npm start", or name it with --url or MUSTER_URL`,
      { cause: error },
    );
  }
  const answered: unknown = await answer.json().catch(() => undefined);
  if (!answer.ok) {
    const problem = problemSchema.safeParse(answered);
    const places = (problem.data?.errors ?? []).map(
      ({ path: place, message }) => `\n  ${source === undefined ? '' : `${source}:`}${place}: ${message}`,
    );
    throw new ApiError(
      problem.success
        ? `${problem.data.status}: ${problem.data.detail ?? problem.data.title}${answer.status === 401 ? ' (MUSTER_TOKEN, or run it where the state folder of npm start is)' : ''}${places.join('')}`
        : `${answer.status} ${answer.statusText}`,
    );
  }
  const parsed = schema.safeParse(answered);
  if (!parsed.success)
    throw new ApiError(
      `${target.url} answered something else than this version expects; is it Muster of another version?`,
    );
  return parsed.data;
}
