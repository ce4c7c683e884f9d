import { Controller, Get, Inject, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { liveQuerySchema, type LiveQuery } from '@muster/contract';
import { ApiProblem } from '@muster/service/rest';
import type { Request, Response } from 'express';
import { LiveReadingFeed } from './live-readings.ts';

const ALIVE_INTERVAL_MS = 15_000;
/** Whoever reads so much slower than readings come is let go, and connects again when it can. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;

/** Readings as they come. */
@Controller('api/v1')
@ApiTags('devices')
export class LiveController {
  constructor(@Inject(LiveReadingFeed) private readonly feed: LiveReadingFeed) {}

  @Get('live')
  @ApiOperation({
    summary: 'Readings as they come, as server-sent events',
    description:
      'Events `readings` with the broker and its readings (device, metric, value, unit, at in ms since 1970, qos, late). Nothing is resumed after a lost connection: read the devices again.',
  })
  @ApiResponse({ status: 200, description: 'A stream that does not end', content: { 'text/event-stream': {} } })
  @ApiProblem(401, 422)
  live(@Query({ schema: liveQuerySchema }) query: LiveQuery, @Req() request: Request, @Res() response: Response): void {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      // nginx would gather the events.
      'x-accel-buffering': 'no',
    });
    response.write(': open\n\n');
    const stop = this.feed.listen({ devices: new Set(query.device), metrics: new Set(query.metric) }, (readings) => {
      if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
      else response.write(`event: readings\ndata: ${JSON.stringify(readings)}\n\n`);
    });
    const alive = setInterval(() => response.write(': alive\n\n'), ALIVE_INTERVAL_MS);
    response.on('close', () => {
      clearInterval(alive);
      stop();
    });
    request.on('error', () => response.destroy());
  }
}
