import { Controller, Get, Inject, Query, Req, Res } from '@nestjs/common';
import { ApiHeader, ApiOperation, ApiProduces, ApiResponse, ApiTags } from '@nestjs/swagger';
import { eventQuerySchema, eventSchema, type EventQuery, type EventReset } from '@muster/contract';
import type { EventFilter, EventPosition } from '@muster/database';
import { LOGGER, ProblemError, type Logger } from '@muster/service';
import { ApiProblem } from '@muster/service/rest';
import type { Request, Response } from 'express';
import { cursorOf, EventFeed, positionOf } from './event-feed.ts';
import { OpenStreams, type OpenStream } from './open-streams.ts';

/** Where a stream begins, and what its reader is told of it. */
interface Beginning {
  readonly position: EventPosition;
  readonly reset: EventReset | undefined;
}

/** What happens in the fleet, as it happens. */
@Controller('api/v1')
@ApiTags('events')
export class EventsController {
  constructor(
    @Inject(EventFeed) private readonly feed: EventFeed,
    @Inject(OpenStreams) private readonly streams: OpenStreams,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  @Get('events')
  @ApiOperation({
    summary: 'What happens in the fleet, as server-sent events that can be resumed',
    description:
      'An event has the name of its kind, and an Event as its data. With the id of the last event that is known, in Last-Event-ID or `after`, the stream goes on behind it: for 24 h nothing is missing and nothing comes twice. `reset` says that this is not possible: read everything anew. `position` says that up to its id nothing happened that was asked for.',
  })
  @ApiHeader({ name: 'Last-Event-ID', required: false, description: 'The id of the last event that is known' })
  @ApiProduces('text/event-stream')
  @ApiResponse({
    status: 200,
    description: 'A stream that ends when its token does; the data of each event',
    standardSchema: eventSchema,
  })
  @ApiProblem(401, 422)
  async events(
    @Query({ schema: eventQuerySchema }) { kind, device, after }: EventQuery,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const known = request.get('last-event-id') ?? '';
    const beginning = await this.#beginning(known === '' ? after : known);
    const stream = this.streams.open(request, response);
    const filter = { kinds: new Set<string>(kind), devices: new Set<string>(device) };
    // The answer has begun: what goes wrong from here on ends the stream, and its reader comes back and resumes.
    this.#run(stream, beginning, filter).catch((error: unknown) => {
      this.logger.warn({ err: error }, 'a stream of events ended: what is behind its place could not be read');
      response.destroy();
    });
  }

  async #beginning(known: string | undefined): Promise<Beginning> {
    const { head } = this.feed;
    if (head === undefined) throw new ProblemError(503, 'events are not read yet: the registry is starting; try again');
    if (known === undefined) return { position: head, reset: undefined };
    const position = positionOf(known);
    if (position !== undefined && (await this.feed.isResumable(position))) return { position, reset: undefined };
    const reason = `what happened since ${JSON.stringify(known.slice(0, 40))} is not on record: events are kept for 24 h; read everything anew`;
    return { position: head, reset: { reason } };
  }

  async #run(stream: OpenStream, { position: first, reset }: Beginning, filter: EventFilter): Promise<void> {
    let position = first;
    let told = position;
    const place = (): string => {
      told = position;
      return `id: ${cursorOf(position)}\nevent: position\ndata: {}\n\n`;
    };
    stream.onAlive = () => (told === position ? '' : place());
    if (reset === undefined) await stream.send(place());
    else await stream.send(`id: ${cursorOf(position)}\nevent: reset\ndata: ${JSON.stringify(reset)}\n\n`);
    while (!stream.ended.aborted) {
      const { events, upTo } = await this.feed.behind(position, filter);
      const last = events.at(-1);
      if (last !== undefined) {
        await stream.send(events.map(({ text }) => text).join(''));
        told = last.position;
      }
      position = upTo;
      await this.feed.news(position, stream.ended);
    }
  }
}
