import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ApiHeader, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { DeviceMessageContext, OnTopicRole } from '@muster/broker';
import {
  commandPageQuerySchema,
  commandPageSchema,
  commandQuerySchema,
  commandRequestSchema,
  commandSchema,
  ContractError,
  decodeAck,
  deviceIdSchema,
  idempotencyKeySchema,
  type Command,
  type CommandPage,
  type CommandPageQuery,
  type CommandQuery,
  type CommandRequest,
  type DeviceId,
} from '@muster/contract';
import { LOGGER, ProblemError, type Logger } from '@muster/service';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import type { Response } from 'express';
import { z } from 'zod';
import { Commands } from './commands.ts';

const commandIdSchema = z.uuid('expected the id of a command, a UUID');

/** @throws ProblemError 422 */
function keyOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const parsed = idempotencyKeySchema.safeParse(header);
  if (!parsed.success) throw new ProblemError(422, `Idempotency-Key: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** The REST resources of commands. */
@Controller('api/v1')
@ApiTags('commands')
export class CommandsController {
  constructor(@Inject(Commands) private readonly commands: Commands) {}

  @Post('devices/:id/commands')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Give a device a command; it is kept until the device answers, or until it expires' })
  @ApiHeader({
    name: 'Idempotency-Key',
    required: false,
    description: 'The same key and body within 24 hours are the same command: it is given once',
  })
  @ApiResponse({ status: 201, description: 'The command, as it stands', standardSchema: commandSchema })
  @ApiResponse({ status: 200, description: 'The command of this key, given before', standardSchema: commandSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async giveCommand(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: commandQuerySchema }) { wait }: CommandQuery,
    @Body({ schema: commandRequestSchema }) body: CommandRequest,
    @Headers('idempotency-key') header: string | undefined,
    @Req() request: SignedInRequest,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Command> {
    const giver = { by: actorOf(request), key: keyOf(header) };
    const { command, isNew } = await this.commands.give(id, body, giver);
    response.status(isNew ? 201 : 200).location(`/api/v1/commands/${command.id}`);
    const waitMs = Number.parseInt(wait, 10) * 1_000;
    return waitMs === 0 ? command : this.commands.whenEnded(command.id, waitMs);
  }

  @Get('devices/:id/commands')
  @ApiOperation({ summary: 'The commands of a device, the newest first, a page at a time' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: commandPageSchema })
  @ApiProblem(401, 403, 404, 422)
  async listCommands(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: commandPageQuerySchema }) query: CommandPageQuery,
  ): Promise<CommandPage> {
    return this.commands.page(id, query);
  }

  @Get('commands/:command')
  @ApiOperation({ summary: 'A command and what became of it' })
  @ApiResponse({ status: 200, description: 'The command', standardSchema: commandSchema })
  @ApiProblem(401, 403, 404, 422)
  async findCommand(@Param('command', { schema: commandIdSchema }) id: string): Promise<Command> {
    return this.commands.find(id);
  }

  @Delete('commands/:command')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Cancel a command that is not answered; one that a broker has taken may still be done' })
  @ApiResponse({ status: 200, description: 'The cancelled command', standardSchema: commandSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async cancelCommand(
    @Param('command', { schema: commandIdSchema }) id: string,
    @Req() request: SignedInRequest,
  ): Promise<Command> {
    return this.commands.cancel(id, actorOf(request));
  }
}

/** Takes what devices answer to commands. */
@Controller()
export class AcknowledgementsController {
  constructor(
    @Inject(Commands) private readonly commands: Commands,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Settles the command of an acknowledgement; acknowledged itself when that is committed. */
  @OnTopicRole('ack')
  async acknowledge(@Payload() payload: Uint8Array, @Ctx() context: DeviceMessageContext): Promise<void> {
    // An empty payload is a retained message being cleared.
    if (payload.length === 0) return;
    try {
      await this.commands.acknowledge(context.device, decodeAck(payload));
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.commands.refused(error.code);
      const sample = Buffer.from(payload.subarray(0, 200)).toString('utf8');
      this.logger.warn(
        { device: context.device, code: error.code, sample, bytes: payload.length },
        'not an acknowledgement; it changes nothing',
      );
    }
  }
}
