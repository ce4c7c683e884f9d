import { liveReadingsSchema, type LiveReadings } from '@muster/contract';
import { ApiError, type ApiTarget } from '../api-client.ts';
import { eventData, readEventStream } from '../event-stream.ts';

const WHAT = 'live values';

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
  { onOpen, onReadings }: LiveStreamHandlers,
  signal: AbortSignal,
): Promise<void> {
  const query = new URLSearchParams([
    ...filter.devices.map((device): [string, string] => ['device', device]),
    ...filter.metrics.map((metric): [string, string] => ['metric', metric]),
  ]).toString();
  await readEventStream({
    ...{ target, signal, onOpen, what: WHAT, path: `/live${query === '' ? '' : `?${query}`}` },
    onEvent: ({ event, data }) => {
      // Other kinds may be added.
      if (event === 'readings') onReadings(readingsOf(data));
    },
  });
}

function readingsOf(data: string): LiveReadings {
  const parsed = liveReadingsSchema.safeParse(eventData(WHAT, data));
  if (!parsed.success) throw new ApiError('live values are not as this version expects them');
  return parsed.data;
}
