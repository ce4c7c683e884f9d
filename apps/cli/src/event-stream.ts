import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { ApiError, askApi, errorOf, type ApiTarget } from './api-client.ts';

/** A stream says `: alive` every 15 s; after three times that nobody is there any more. */
const SILENCE_LIMIT_MS = 45_000;
/** An event is a batch of at most 1,000 readings. */
const MAX_EVENT_CHARACTERS = 4 * 1024 * 1024;

/** A stream of server-sent events, and who hears it. */
export interface EventStreamOptions {
  readonly target: ApiTarget;
  /** Below /api/v1, with its query. */
  readonly path: string;
  /** What it carries, for errors: `live values`. */
  readonly what: string;
  readonly onOpen: () => void;
  /** May throw an ApiError, which ends it. */
  readonly onEvent: (event: EventSourceMessage) => void;
  readonly signal: AbortSignal;
}

/**
 * Reads server-sent events (HTML, section 9.2) until the connection ends or is aborted.
 * @throws ApiError with the status where the stream was refused; without one where it could not be reached, went
 * silent, or does not keep to its format
 */
export async function readEventStream(options: EventStreamOptions): Promise<void> {
  const { target, path, what, onOpen, onEvent, signal } = options;
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), SILENCE_LIMIT_MS);
  try {
    const answer = await askApi(target, path, {
      method: 'GET',
      accept: 'text/event-stream',
      signal: AbortSignal.any([signal, silence.signal]),
    });
    // What a refusal says more than its status is of use only where it is a problem document.
    if (!answer.ok) throw errorOf(answer, await answer.json().catch(() => undefined));
    const type = answer.headers.get('content-type') ?? 'nothing';
    if (answer.body === null || !type.startsWith('text/event-stream'))
      throw new ApiError(`${target.url} sends ${type} where ${what} should be`, answer.status);
    onOpen();
    let fault: ApiError | undefined;
    const parser = createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent,
      onError: ({ type: kind, message }) => {
        // Fields that are not known are no fault (HTML, section 9.2.6).
        if (kind === 'max-buffer-size-exceeded') fault = new ApiError(message);
      },
    });
    const decoder = new TextDecoder();
    for await (const chunk of answer.body) {
      timer.refresh();
      parser.feed(decoder.decode(chunk as Uint8Array, { stream: true }));
      if (fault !== undefined) throw fault;
    }
    throw new ApiError(`the API ended the stream of ${what}`);
  } catch (error) {
    if (signal.aborted) return;
    if (silence.signal.aborted)
      throw new ApiError(`nothing came for ${SILENCE_LIMIT_MS / 1000} s`, undefined, { cause: error });
    throw error instanceof ApiError ? error : new ApiError(lostBecause(what, error), undefined, { cause: error });
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

/**
 * The data of an event as JSON.
 * @throws ApiError
 */
export function eventData(what: string, data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (error) {
    throw new ApiError(`${what}: an event is no JSON`, undefined, { cause: error });
  }
}

function lostBecause(what: string, error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
  return `the stream of ${what} broke: ${cause}`;
}
