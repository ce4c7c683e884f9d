import { Body, Controller, Get, Inject, Param, Post, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  deviceIdSchema,
  replacementListSchema,
  replacementRequestSchema,
  replacementSchema,
  type DeviceId,
  type Replacement,
  type ReplacementList,
  type ReplacementRequest,
} from '@muster/contract';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { Replacements } from './replacements.ts';

/** The REST resources of hardware that takes the place of other hardware. */
@Controller('api/v1')
@ApiTags('devices')
export class ReplacementsController {
  constructor(@Inject(Replacements) private readonly replacements: Replacements) {}

  @Post('devices/:id/replace')
  @RequireScope('operator')
  @ApiOperation({
    summary: 'Let new hardware take over id, history and configuration; its password is shown this once',
  })
  @ApiResponse({
    status: 201,
    description: 'The account of the new hardware, and what was done on each broker',
    standardSchema: replacementSchema,
  })
  @ApiProblem(401, 403, 404, 409, 422)
  async replaceDevice(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Body({ schema: replacementRequestSchema }) _request: ReplacementRequest,
    @Req() request: SignedInRequest,
  ): Promise<Replacement> {
    return this.replacements.replace(id, actorOf(request));
  }

  @Get('devices/:id/replacements')
  @ApiOperation({ summary: 'How often the hardware of a device was replaced, the newest time first' })
  @ApiResponse({ status: 200, description: 'Replacements', standardSchema: replacementListSchema })
  @ApiProblem(401, 403, 404, 422)
  async listReplacements(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<ReplacementList> {
    return this.replacements.list(id);
  }
}
