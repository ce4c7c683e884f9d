import { Controller, Get, Inject, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { liveQuerySchema, type LiveQuery } from '@muster/contract';
import { ApiProblem } from '@muster/service/rest';
import type { Request, Response } from 'express';
import { LiveReadingFeed } from './live-readings.ts';
import { OpenStreams } from './open-streams.ts';

/** Readings as they come. */
@Controller('api/v1')
@ApiTags('devices')
export class LiveController {
  constructor(
    @Inject(LiveReadingFeed) private readonly feed: LiveReadingFeed,
    @Inject(OpenStreams) private readonly streams: OpenStreams,
  ) {}

  @Get('live')
  @ApiOperation({
    summary: 'Readings as they come, as server-sent events',
    description:
      'Events `readings` with the broker and its readings (device, metric, value, unit, at in ms since 1970, qos, late). Nothing is resumed after a lost connection: read the devices again.',
  })
  @ApiResponse({
    status: 200,
    description: 'A stream that ends when its token does',
    content: { 'text/event-stream': {} },
  })
  @ApiProblem(401, 422)
  live(@Query({ schema: liveQuerySchema }) query: LiveQuery, @Req() request: Request, @Res() response: Response): void {
    const stream = this.streams.open(request, response);
    const stop = this.feed.listen({ devices: new Set(query.device), metrics: new Set(query.metric) }, (readings) =>
      stream.offer(`event: readings\ndata: ${JSON.stringify(readings)}\n\n`),
    );
    stream.ended.addEventListener('abort', stop, { once: true });
  }
}
