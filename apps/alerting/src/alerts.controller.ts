import { Body, Controller, Get, HttpCode, Inject, Param, Post, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  acknowledgementSchema,
  alertCommentSchema,
  alertDetailSchema,
  alertPageSchema,
  alertQuerySchema,
  type Acknowledgement,
  type AlertComment,
  type AlertDetail,
  type AlertPage,
  type AlertQuery,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { z } from 'zod';
import { AlertBookError } from './alert-book.ts';
import { AlertStore } from './alert-store.ts';
import { Engine } from './engine.ts';
import { Journal } from './journal.ts';

const idSchema = z.uuid();

/** The REST resources of alerts. */
@Controller('api/v1/alerts')
@ApiTags('alerts')
export class AlertsController {
  constructor(
    @Inject(AlertStore) private readonly store: AlertStore,
    @Inject(Engine) private readonly engine: Engine,
    @Inject(Journal) private readonly journal: Journal,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Alerts, the newest first, a page at a time; open ones unless asked otherwise' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: alertPageSchema })
  @ApiProblem(401, 422)
  async listAlerts(@Query({ schema: alertQuerySchema }) query: AlertQuery): Promise<AlertPage> {
    return this.store.page(query);
  }

  @Get(':id')
  @ApiOperation({ summary: 'One alert with its history' })
  @ApiResponse({ status: 200, description: 'The alert', standardSchema: alertDetailSchema })
  @ApiProblem(401, 404, 422)
  async findAlert(@Param('id', { schema: idSchema }) id: string): Promise<AlertDetail> {
    return this.store.find(id);
  }

  @Post(':id/acknowledge')
  @HttpCode(200)
  @RequireScope('operator')
  @ApiOperation({ summary: 'Say that somebody looks after it; who has not been told yet will not be' })
  @ApiResponse({ status: 200, description: 'The alert', standardSchema: alertDetailSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async acknowledgeAlert(
    @Param('id', { schema: idSchema }) id: string,
    @Body({ schema: acknowledgementSchema }) { comment }: Acknowledgement,
    @Req() request: SignedInRequest,
  ): Promise<AlertDetail> {
    await this.store.find(id);
    try {
      this.engine.run((nowMs) => this.engine.book.acknowledge(id, actorOf(request), comment, nowMs));
    } catch (error) {
      if (error instanceof AlertBookError) throw new ProblemError(409, error.message);
      throw error;
    }
    await this.journal.committed();
    return this.store.find(id);
  }

  @Post(':id/comments')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Say something about an alert, also about one that is over' })
  @ApiResponse({ status: 201, description: 'The alert', standardSchema: alertDetailSchema })
  @ApiProblem(401, 403, 404, 422)
  async commentAlert(
    @Param('id', { schema: idSchema }) id: string,
    @Body({ schema: alertCommentSchema }) { text }: AlertComment,
    @Req() request: SignedInRequest,
  ): Promise<AlertDetail> {
    await this.store.find(id);
    this.journal.event({ alert: id, atMs: Date.now(), kind: 'comment', actor: actorOf(request), text });
    await this.journal.committed();
    return this.store.find(id);
  }
}
