import type { Tokens } from '../access/tokens.ts';
import type { ApiParts, RunningParts, RegistryContext } from '../registry-context.ts';
import { EventFeed } from './event-feed.ts';
import { EventsController } from './events.controller.ts';
import { LiveController } from './live.controller.ts';
import { LiveReadingFeed } from './live-readings.ts';
import { OpenStreams } from './open-streams.ts';

/** Streams of what happens, and of readings. */
export const EVENTS_API: ApiParts = {
  controllers: [LiveController, EventsController],
  injected: [LiveReadingFeed, EventFeed, OpenStreams],
};

/** What is streamed; each is started by itself. */
export interface EventsParts extends RunningParts {
  readonly readings: LiveReadingFeed;
  readonly feed: EventFeed;
}

/** Makes {@link EventsParts}. */
export function eventsParts(context: RegistryContext, tokens: Tokens): EventsParts {
  const { database, postgresUrl, brokers, logger, metrics } = context;
  const readings = new LiveReadingFeed(brokers, logger, metrics);
  const feed = new EventFeed(database, postgresUrl, logger);
  return {
    ...{ readings, feed },
    providers: [
      { provide: OpenStreams, useValue: new OpenStreams(tokens, logger, metrics) },
      { provide: EventFeed, useValue: feed },
      { provide: LiveReadingFeed, useValue: readings },
    ],
    stop: [() => readings.close(), () => feed.close()],
  };
}
