import { createParser } from 'eventsource-parser';
import { ApiError, askApi, errorOf, type ApiTarget } from '../api-client.ts';
import { liveReadingsSchema, type LiveReadings } from '@muster/contract';

/** The stream says `: alive` every 15 s; after three times that nobody is there any more. */
const SILENCE_LIMIT_MS = 45_000;
/** An event is a batch of at most 1,000 readings. */
const MAX_EVENT_CHARACTERS = 4 * 1024 * 1024;

/** What the stream tells. */
export interface LiveStreamHandlers {
  readonly onOpen: () => void;
  readonly onReadings: (batch: LiveReadings) => void;
}

/** Only these devices and metrics, by their exact names; all where there are none. */
export interface LiveStreamFilter {
  readonly devices: readonly string[];
  readonly metrics: readonly string[];
}

/**
 * Reads live values (`GET /api/v1/live`, server-sent events) until the connection ends or is aborted.
 * @throws ApiError with the status where the stream was refused; without one where it could not be reached, went
 * silent, or does not keep to its format
 */
export async function readLiveStream(
  target: ApiTarget,
  filter: LiveStreamFilter,
  handlers: LiveStreamHandlers,
  signal: AbortSignal,
): Promise<void> {
  const query = new URLSearchParams([
    ...filter.devices.map((device): [string, string] => ['device', device]),
    ...filter.metrics.map((metric): [string, string] => ['metric', metric]),
  ]).toString();
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), SILENCE_LIMIT_MS);
  try {
    const answer = await askApi(target, `/live${query === '' ? '' : `?${query}`}`, {
      method: 'GET',
      accept: 'text/event-stream',
      signal: AbortSignal.any([signal, silence.signal]),
    });
    // What a refusal says more than its status is of use only where it is a problem document.
    if (!answer.ok) throw errorOf(answer, await answer.json().catch(() => undefined));
    const type = answer.headers.get('content-type') ?? 'nothing';
    if (answer.body === null || !type.startsWith('text/event-stream'))
      throw new ApiError(`${target.url} sends ${type} where live values should be`, answer.status);
    handlers.onOpen();
    let fault: ApiError | undefined;
    const parser = createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent: ({ event, data }) => {
        // Other kinds may be added.
        if (event === 'readings') handlers.onReadings(readingsOf(data));
      },
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
    throw new ApiError('the API ended the stream of live values');
  } catch (error) {
    if (signal.aborted) return;
    if (silence.signal.aborted)
      throw new ApiError(`nothing came for ${SILENCE_LIMIT_MS / 1000} s`, undefined, { cause: error });
    throw error instanceof ApiError ? error : new ApiError(lostBecause(error), undefined, { cause: error });
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

function readingsOf(data: string): LiveReadings {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (error) {
    throw new ApiError('a live event is no JSON', undefined, { cause: error });
  }
  const parsed = liveReadingsSchema.safeParse(value);
  if (!parsed.success) throw new ApiError('live values are not as this version expects them');
  return parsed.data;
}

function lostBecause(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
  return `the stream of live values broke: ${cause}`;
}
