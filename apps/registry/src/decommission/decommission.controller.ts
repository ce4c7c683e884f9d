import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiProduces, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  decommissionPreviewSchema,
  decommissionQuerySchema,
  decommissionReportSchema,
  decommissionRequestSchema,
  deviceIdSchema,
  deviceSchema,
  purgeQuerySchema,
  purgeResultSchema,
  reportQuerySchema,
  signingKeySchema,
  type DecommissionPreview,
  type DecommissionQuery,
  type DecommissionReport,
  type DecommissionRequest,
  type Device,
  type DeviceId,
  type PurgeQuery,
  type PurgeResult,
  type ReportQuery,
  type SigningKey,
} from '@muster/contract';
import { ReportSigner } from '@muster/security';
import { ApiProblem, RequireScope } from '@muster/service/rest';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { Decommissioning } from './decommissioning.ts';
import { DeviceLife } from './device-life.ts';
import { REPORT_PAGE_POLICY, reportPage } from './report-page.ts';

/** The REST resources of the end of a device's service, and of the way back. */
@Controller('api/v1')
@ApiTags('decommissioning')
export class DecommissionController {
  constructor(
    @Inject(Decommissioning) private readonly decommissioning: Decommissioning,
    @Inject(DeviceLife) private readonly life: DeviceLife,
    @Inject(ReportSigner) private readonly signer: ReportSigner,
  ) {}

  @Post('devices/:id/decommission')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Take a device out of service for good and prove that no retained message of it is left' })
  @ApiResponse({
    status: 200,
    description: 'Verified: nothing is left on any broker. With dryRun what would be cleared',
    standardSchema: z.union([decommissionReportSchema, decommissionPreviewSchema]),
  })
  @ApiResponse({
    status: 202,
    description: 'Not yet verified everywhere; it goes on by itself, and Location has the report',
    standardSchema: decommissionReportSchema,
  })
  @ApiProblem(401, 403, 404, 422)
  async decommission(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: decommissionQuerySchema }) { wait, dryRun }: DecommissionQuery,
    @Body({ schema: decommissionRequestSchema }) _request: DecommissionRequest,
    @Res({ passthrough: true }) response: Response,
  ): Promise<DecommissionReport | DecommissionPreview> {
    if (dryRun === 'true') return this.decommissioning.preview(id);
    const report = await this.decommissioning.decommission(id, Number.parseInt(wait, 10) * 1_000);
    if (report.state === 'incomplete') response.status(202).location(`/api/v1/devices/${id}/decommission`);
    return report;
  }

  @Get('devices/:id/decommission')
  @ApiOperation({ summary: 'The report of a decommissioning, as JSON or as a page for people' })
  @ApiProduces('application/json', 'text/html')
  @ApiResponse({ status: 200, description: 'The report', standardSchema: decommissionReportSchema })
  @ApiProblem(401, 403, 404, 422)
  async report(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: reportQuerySchema }) { download }: ReportQuery,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<DecommissionReport | string> {
    const report = await this.decommissioning.report(id);
    const isPage = request.accepts(['json', 'html']) === 'html';
    response.vary('accept');
    if (download !== 'false') response.attachment(`decommission-${id}.${isPage ? 'html' : 'json'}`);
    if (!isPage) {
      response.type('json');
      return report;
    }
    response.type('html').set({ 'content-security-policy': REPORT_PAGE_POLICY, 'x-content-type-options': 'nosniff' });
    return reportPage(report);
  }

  @Get('signing-key')
  @ApiOperation({ summary: 'The public key with which the signatures of reports can be checked' })
  @ApiResponse({ status: 200, description: 'The key', standardSchema: signingKeySchema })
  @ApiProblem(401, 403)
  signingKey(): SigningKey {
    const { keyId, publicKey } = this.signer;
    return { algorithm: 'Ed25519', keyId, publicKey };
  }

  @Post('devices/:id/archive')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Put a device away: it is in no list, count or alert until it is restored' })
  @ApiResponse({ status: 200, description: 'The device', standardSchema: deviceSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async archive(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<Device> {
    return this.life.archive(id);
  }

  @Post('devices/:id/restore')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Bring an archived device back, or undo a decommissioning; it has no account after that' })
  @ApiResponse({ status: 200, description: 'The device', standardSchema: deviceSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async restore(@Param('id', { schema: deviceIdSchema }) id: DeviceId): Promise<Device> {
    return this.life.restore(id);
  }

  @Delete('devices/:id')
  @RequireScope('admin')
  @ApiOperation({ summary: 'Delete the history of a decommissioned device for good; tombstone and report stay' })
  @ApiResponse({ status: 200, description: 'What was deleted', standardSchema: purgeResultSchema })
  @ApiProblem(401, 403, 404, 409, 422, 503)
  async purge(
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
    @Query({ schema: purgeQuerySchema }) { purgeHistory }: PurgeQuery,
  ): Promise<PurgeResult> {
    return this.life.purge(id, purgeHistory === 'true');
  }
}
