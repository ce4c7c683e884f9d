import { Body, Controller, Get, HttpCode, Inject, Post, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  deadLetterPageSchema,
  deadLetterQuerySchema,
  deadLetterReplayRequestSchema,
  deadLetterReplaySchema,
  type DeadLetterPage,
  type DeadLetterQuery,
  type DeadLetterReplayAnswer,
  type DeadLetterReplayRequest,
} from '@muster/contract';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { DeadLetters } from './dead-letters.ts';

/** The REST resources of telemetry that could not be used. */
@Controller('api/v1')
@ApiTags('dead letters')
export class DeadLettersController {
  constructor(@Inject(DeadLetters) private readonly letters: DeadLetters) {}

  @Get('dead-letters')
  @ApiOperation({ summary: 'Telemetry that could not be used, by device and reason, the newest first' })
  @ApiResponse({
    status: 200,
    description: 'A page, and how far the last replay is',
    standardSchema: deadLetterPageSchema,
  })
  @ApiProblem(401, 403, 422)
  async deadLetters(@Query({ schema: deadLetterQuerySchema }) query: DeadLetterQuery): Promise<DeadLetterPage> {
    return this.letters.page(query);
  }

  @Post('dead-letters/replay')
  @RequireScope('operator')
  @HttpCode(202)
  @ApiOperation({
    summary:
      'Have ingestion read dead letters again by the topic map of now; GET /api/v1/dead-letters tells how far it is',
  })
  @ApiResponse({ status: 202, description: 'What is going to be read', standardSchema: deadLetterReplaySchema })
  @ApiProblem(401, 403, 422)
  async replayDeadLetters(
    @Body({ schema: deadLetterReplayRequestSchema }) request: DeadLetterReplayRequest,
    @Req() incoming: SignedInRequest,
  ): Promise<DeadLetterReplayAnswer> {
    return this.letters.replay(request, actorOf(incoming));
  }
}
