import { Body, Controller, Delete, Get, Inject, Param, Put, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  configQuerySchema,
  configRequestSchema,
  deviceConfigSchema,
  deviceIdSchema,
  type ConfigQuery,
  type ConfigRequest,
  type DeviceConfig,
  type DeviceId,
} from '@muster/contract';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { Configs } from './configs.ts';

const FIRST_PAGE = configQuerySchema.parse({});

/** The REST resources of the settings that devices are to have. */
@Controller('api/v1')
@ApiTags('devices')
export class ConfigsController {
  constructor(@Inject(Configs) private readonly configs: Configs) {}

  @Get('devices/:id/config')
  @ApiOperation({ summary: 'The settings that a device is to have, those it goes by, and every version of them' })
  @ApiResponse({ status: 200, description: 'The configuration', standardSchema: deviceConfigSchema })
  @ApiProblem(401, 403, 404, 422)
  async findConfig(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: configQuerySchema }) query: ConfigQuery,
  ): Promise<DeviceConfig> {
    return this.configs.view(id, query);
  }

  @Put('devices/:id/config')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Let a device have other settings: a new version, retained on every broker' })
  @ApiResponse({ status: 200, description: 'The configuration', standardSchema: deviceConfigSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async putConfig(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Body({ schema: configRequestSchema }) body: ConfigRequest,
    @Req() request: SignedInRequest,
  ): Promise<DeviceConfig> {
    await this.configs.put(id, body, actorOf(request));
    return this.configs.view(id, FIRST_PAGE);
  }

  @Delete('devices/:id/config')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Clear the settings on every broker; the device keeps those that it goes by' })
  @ApiResponse({ status: 200, description: 'The configuration', standardSchema: deviceConfigSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async clearConfig(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Req() request: SignedInRequest,
  ): Promise<DeviceConfig> {
    await this.configs.put(id, { settings: null }, actorOf(request));
    return this.configs.view(id, FIRST_PAGE);
  }
}
