import { Body, Controller, Get, HttpCode, Inject, Param, Post, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  deviceGhostsSchema,
  deviceIdSchema,
  driftSchema,
  ghostPageSchema,
  ghostQuerySchema,
  orphanPageSchema,
  orphanQuerySchema,
  retainedPageSchema,
  retainedQuerySchema,
  sweepReportSchema,
  sweepRequestSchema,
  type DeviceGhosts,
  type DeviceId,
  type Drift,
  type GhostPage,
  type GhostQuery,
  type OrphanPage,
  type OrphanQuery,
  type RetainedPage,
  type RetainedQuery,
  type SweepReport,
  type SweepRequest,
} from '@muster/contract';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { LedgerWatch } from './ledger-watch.ts';
import { OrphanSweep } from './orphan-sweep.ts';
import { RetainedStore } from './retained-store.ts';
import { TombstoneWatch } from './tombstone-watch.ts';

/** The REST resources of what brokers retain. */
@Controller('api/v1')
@ApiTags('retained messages')
export class RetainedController {
  constructor(
    @Inject(RetainedStore) private readonly store: RetainedStore,
    @Inject(LedgerWatch) private readonly ledger: LedgerWatch,
    @Inject(OrphanSweep) private readonly sweeper: OrphanSweep,
    @Inject(TombstoneWatch) private readonly watch: TombstoneWatch,
  ) {}

  @Get('retained')
  @ApiOperation({ summary: 'What is retained where, in the order of topics, a page at a time' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: retainedPageSchema })
  @ApiProblem(401, 403, 422)
  async retained(@Query({ schema: retainedQuerySchema }) query: RetainedQuery): Promise<RetainedPage> {
    await this.ledger.settle();
    return this.store.page(query);
  }

  @Get('retained/orphans')
  @ApiOperation({ summary: 'Retained topics that no device in service has, in the order of topics' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: orphanPageSchema })
  @ApiProblem(401, 403, 422)
  async orphans(@Query({ schema: orphanQuerySchema }) { broker, ...page }: OrphanQuery): Promise<OrphanPage> {
    await this.ledger.settle();
    return this.store.orphans(broker === undefined ? {} : { broker }, page);
  }

  @Get('retained/drift')
  @ApiOperation({ summary: 'The ledger against what each broker counts' })
  @ApiResponse({ status: 200, description: 'The difference, by broker', standardSchema: driftSchema })
  @ApiProblem(401, 403)
  async drift(): Promise<Drift> {
    return this.ledger.drift();
  }

  @Post('retained/sweep')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Clear orphans that a list of topic filters allows, and look again; at first only a preview',
  })
  @ApiResponse({ status: 200, description: 'What became of each topic', standardSchema: sweepReportSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async sweep(
    @Body({ schema: sweepRequestSchema }) request: SweepRequest,
    @Req() incoming: SignedInRequest,
  ): Promise<SweepReport> {
    return this.sweeper.sweep(request, actorOf(incoming));
  }

  @Get('ghosts')
  @ApiOperation({ summary: 'What appeared again under decommissioned devices, the newest first' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: ghostPageSchema })
  @ApiProblem(401, 403, 422)
  async ghosts(@Query({ schema: ghostQuerySchema }) query: GhostQuery): Promise<GhostPage> {
    return this.store.ghosts(undefined, query);
  }

  @Get('devices/:id/ghosts')
  @ApiOperation({ summary: 'What appeared again under one decommissioned device' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: deviceGhostsSchema })
  @ApiProblem(401, 403, 404, 422)
  async ghostsOf(
    @Param('id', { schema: deviceIdSchema }) device: DeviceId,
    @Query({ schema: ghostQuerySchema }) query: GhostQuery,
  ): Promise<DeviceGhosts> {
    await this.store.mustKnow(device);
    return { device, ...this.watch.statusOf(device), ...(await this.store.ghosts(device, query)) };
  }
}
