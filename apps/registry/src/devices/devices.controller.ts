import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  credentialsListSchema,
  credentialsRequestSchema,
  credentialsSchema,
  deviceIdSchema,
  devicePageSchema,
  devicePatchSchema,
  deviceQuerySchema,
  deviceSchema,
  fleetSummarySchema,
  presenceHistorySchema,
  presenceQuerySchema,
  publishAdviceQuerySchema,
  publishAdviceSchema,
  revocationSchema,
  type CredentialsList,
  type CredentialsRequest,
  type Credentials as DeviceCredentials,
  type Device,
  type DeviceId,
  type DevicePage,
  type DevicePatch,
  type DeviceQuery,
  type FleetSummary,
  type PresenceHistory,
  type PresenceQuery,
  type PublishAdviceAnswer,
  type PublishAdviceQuery,
  type Revocation,
} from '@muster/contract';
import { ApiProblem, RequireScope } from '@muster/service/rest';
import { Credentials } from '../access/credentials.ts';
import { Devices } from './devices.ts';
import { PublishAdvisor } from './publish-advisor.ts';

/** The REST resources of devices. */
@Controller('api/v1')
@ApiTags('devices')
export class DevicesController {
  constructor(
    @Inject(Devices) private readonly devices: Devices,
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(PublishAdvisor) private readonly advisor: PublishAdvisor,
  ) {}

  @Get('devices')
  @ApiOperation({ summary: 'Devices in the order of their ids, a page at a time' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: devicePageSchema })
  @ApiProblem(401, 422)
  async list(@Query({ schema: deviceQuerySchema }) query: DeviceQuery): Promise<DevicePage> {
    return this.devices.page(query);
  }

  @Get('presence/summary')
  @ApiOperation({ summary: 'How many devices are in each presence state' })
  @ApiResponse({ status: 200, description: 'Counts', standardSchema: fleetSummarySchema })
  async summary(): Promise<FleetSummary> {
    return this.devices.summary();
  }

  @Get('devices/:id')
  @ApiOperation({ summary: 'One device: last readings, presence and why' })
  @ApiResponse({ status: 200, description: 'The device', standardSchema: deviceSchema })
  @ApiProblem(401, 403, 404, 422)
  async find(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<Device> {
    return this.devices.find(id);
  }

  @Get('devices/:id/presence')
  @ApiOperation({ summary: 'The presence of a device, its evidence, and every change of it, the newest first' })
  @ApiResponse({
    status: 200,
    description: 'Presence and a page of its history',
    standardSchema: presenceHistorySchema,
  })
  @ApiProblem(401, 403, 404, 422)
  async presence(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: presenceQuerySchema }) query: PresenceQuery,
  ): Promise<PresenceHistory> {
    return this.devices.presence(id, query);
  }

  @Get('devices/:id/publish-advice')
  @ApiOperation({
    summary: 'What publishing on change with a heartbeat would have saved, and the error that it would have made',
  })
  @ApiResponse({ status: 200, description: 'From what is stored', standardSchema: publishAdviceSchema })
  @ApiProblem(401, 403, 404, 409, 422, 503)
  async publishAdvice(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: publishAdviceQuerySchema }) query: PublishAdviceQuery,
  ): Promise<PublishAdviceAnswer> {
    return this.advisor.advice(id, query);
  }

  @Patch('devices/:id')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Change name or description; a discovered device becomes a registered one' })
  @ApiResponse({ status: 200, description: 'The device', standardSchema: deviceSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async patch(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Body({ schema: devicePatchSchema }) patch: DevicePatch,
  ): Promise<Device> {
    return this.devices.patch(id, patch);
  }

  @Post('devices/:id/credentials')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Give a device its account at the brokers; the password is shown this once' })
  @ApiResponse({ status: 201, description: 'The account', standardSchema: credentialsSchema })
  @ApiProblem(401, 403, 409, 422)
  async issueCredentials(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<DeviceCredentials> {
    return this.credentials.issue(id, { rotate: false });
  }

  @Post('credentials')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Give up to 1,000 devices their accounts at once; the passwords are shown this once' })
  @ApiResponse({
    status: 201,
    description: 'The accounts, in the order of the request',
    standardSchema: credentialsListSchema,
  })
  @ApiProblem(401, 403, 409, 422)
  async issueAllCredentials(
    @Body({ schema: credentialsRequestSchema }) { devices, rotate }: CredentialsRequest,
  ): Promise<CredentialsList> {
    return this.credentials.issueAll(devices, { rotate });
  }

  @Post('devices/:id/credentials/rotate')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Give a device a new password; the old one is refused from then on' })
  @ApiResponse({ status: 200, description: 'The account', standardSchema: credentialsSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async rotateCredentials(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<DeviceCredentials> {
    return this.credentials.issue(id, { rotate: true });
  }

  @Delete('devices/:id/credentials')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Take the account of a device away; it is disconnected and not let in again' })
  @ApiResponse({ status: 200, description: 'What became of it', standardSchema: revocationSchema })
  @ApiProblem(401, 403, 409, 422)
  async revokeCredentials(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<Revocation> {
    return this.credentials.revoke(id);
  }
}
