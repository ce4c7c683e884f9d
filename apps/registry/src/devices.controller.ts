import { Body, Controller, Get, HttpCode, Inject, Param, Patch, Post, Query, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  decommissionReportSchema,
  decommissionRequestSchema,
  deviceIdSchema,
  devicePageSchema,
  devicePatchSchema,
  deviceQuerySchema,
  deviceSchema,
  fleetSummarySchema,
  type DecommissionReport,
  type DecommissionRequest,
  type Device,
  type DeviceId,
  type DevicePage,
  type DevicePatch,
  type DeviceQuery,
  type FleetSummary,
} from '@muster/contract';
import type { Response } from 'express';
import { ApiProblem } from './api-documentation.ts';
import { Decommissioning } from './decommissioning.ts';
import { Devices } from './devices.ts';

/** The REST resources of devices. */
@Controller('api/v1')
@ApiTags('devices')
export class DevicesController {
  constructor(
    @Inject(Devices) private readonly devices: Devices,
    @Inject(Decommissioning) private readonly decommissioning: Decommissioning,
  ) {}

  @Get('devices')
  @ApiOperation({ summary: 'Devices in the order of their ids, a page at a time' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: devicePageSchema })
  @ApiProblem(422)
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
  @ApiProblem(404, 422)
  async find(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<Device> {
    return this.devices.find(id);
  }

  @Patch('devices/:id')
  @ApiOperation({ summary: 'Change name or description; a discovered device becomes a registered one' })
  @ApiResponse({ status: 200, description: 'The device', standardSchema: deviceSchema })
  @ApiProblem(404, 409, 422)
  async patch(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Body({ schema: devicePatchSchema }) patch: DevicePatch,
  ): Promise<Device> {
    return this.devices.patch(id, patch);
  }

  @Post('devices/:id/decommission')
  @HttpCode(200)
  @ApiOperation({ summary: 'Take a device out of service for good and prove that no retained message of it is left' })
  @ApiResponse({
    status: 200,
    description: 'Verified: nothing is left on any broker',
    standardSchema: decommissionReportSchema,
  })
  @ApiResponse({
    status: 202,
    description: 'Not yet verified everywhere; call again to go on',
    standardSchema: decommissionReportSchema,
  })
  @ApiProblem(404, 422)
  async decommission(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Body({ schema: decommissionRequestSchema }) _request: DecommissionRequest,
    @Res({ passthrough: true }) response: Response,
  ): Promise<DecommissionReport> {
    const report = await this.decommissioning.decommission(id);
    if (report.state !== 'verified') response.status(202);
    return report;
  }

  @Get('devices/:id/decommission')
  @ApiOperation({ summary: 'The report of a decommissioning' })
  @ApiResponse({ status: 200, description: 'The report', standardSchema: decommissionReportSchema })
  @ApiProblem(404, 422)
  async report(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<DecommissionReport> {
    return this.decommissioning.report(id);
  }
}
