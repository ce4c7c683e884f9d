import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  alertNameSchema,
  maintenanceListSchema,
  maintenanceRequestSchema,
  maintenanceWindowSchema,
  silenceListSchema,
  silenceRequestSchema,
  silenceSchema,
  type MaintenanceList,
  type MaintenanceRequest,
  type MaintenanceWindow,
  type Silence,
  type SilenceList,
  type SilenceRequest,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { z } from 'zod';
import { Engine } from './engine.ts';
import { Journal } from './journal.ts';
import {
  checkSchedule,
  isActive,
  positionOf,
  ScheduleError,
  type MaintenanceEntry,
  type SilenceEntry,
} from './mutes.ts';

const idSchema = z.uuid();
const MAX_SILENCES = 10_000;
const MAX_WINDOWS = 1_000;

function silenceOf(entry: SilenceEntry, nowMs: number): Silence {
  const { fromMs, untilMs, createdMs, ...rest } = entry;
  return {
    ...rest,
    from: new Date(fromMs).toISOString(),
    until: new Date(untilMs).toISOString(),
    createdAt: new Date(createdMs).toISOString(),
    active: isActive(entry, nowMs),
  };
}

function windowOf({ createdMs, ...rest }: MaintenanceEntry, nowMs: number): MaintenanceWindow {
  const { isOpen, opensMs } = positionOf(rest.schedule, nowMs);
  return {
    ...rest,
    createdAt: new Date(createdMs).toISOString(),
    active: isOpen,
    next: opensMs === undefined ? null : new Date(opensMs).toISOString(),
  };
}

/** The REST resources of silences and maintenance windows. */
@Controller('api/v1')
@ApiTags('alerts')
export class MutesController {
  constructor(
    @Inject(Engine) private readonly engine: Engine,
    @Inject(Journal) private readonly journal: Journal,
  ) {}

  @Get('silences')
  @ApiOperation({ summary: 'Silences that have not ended, the newest first' })
  @ApiResponse({ status: 200, description: 'Silences', standardSchema: silenceListSchema })
  @ApiProblem(401)
  listSilences(): SilenceList {
    const nowMs = Date.now();
    const silences = [...this.engine.mutes.silences.values()].filter(({ untilMs }) => untilMs > nowMs);
    return { items: silences.reverse().map((silence) => silenceOf(silence, nowMs)) };
  }

  @Get('silences/:id')
  @ApiOperation({ summary: 'One silence' })
  @ApiResponse({ status: 200, description: 'The silence', standardSchema: silenceSchema })
  @ApiProblem(401, 404, 422)
  findSilence(@Param('id', { schema: idSchema }) id: string): Silence {
    return silenceOf(this.#silence(id), Date.now());
  }

  @Post('silences')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Tell nobody of alerts with these labels for a time' })
  @ApiResponse({ status: 201, description: 'The silence', standardSchema: silenceSchema })
  @ApiProblem(401, 403, 409, 422)
  async createSilence(
    @Body({ schema: silenceRequestSchema }) body: SilenceRequest,
    @Req() request: SignedInRequest,
  ): Promise<Silence> {
    if (this.engine.mutes.silences.size >= MAX_SILENCES)
      throw new ProblemError(409, `there are ${MAX_SILENCES} silences; end some first`);
    return this.#silences(randomUUID(), body, actorOf(request));
  }

  @Put('silences/:id')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Change a silence' })
  @ApiResponse({ status: 200, description: 'The silence', standardSchema: silenceSchema })
  @ApiProblem(401, 403, 404, 422)
  async replaceSilence(
    @Param('id', { schema: idSchema }) id: string,
    @Body({ schema: silenceRequestSchema }) body: SilenceRequest,
    @Req() request: SignedInRequest,
  ): Promise<Silence> {
    this.#silence(id);
    return this.#silences(id, body, actorOf(request));
  }

  @Delete('silences/:id')
  @RequireScope('operator')
  @ApiOperation({ summary: 'End a silence now' })
  @ApiResponse({ status: 200, description: 'The silence', standardSchema: silenceSchema })
  @ApiProblem(401, 403, 404, 422)
  async endSilence(@Param('id', { schema: idSchema }) id: string): Promise<Silence> {
    const nowMs = Date.now();
    const silence = this.#silence(id);
    const ended = { ...silence, fromMs: Math.min(silence.fromMs, nowMs), untilMs: nowMs };
    this.engine.mutes.silences.delete(id);
    this.journal.silence(ended);
    this.engine.run((atMs) => this.engine.book.mutesChanged(atMs));
    await this.journal.committed();
    return silenceOf(ended, nowMs);
  }

  @Get('maintenance-windows')
  @ApiOperation({ summary: 'Maintenance windows, in the order of their names' })
  @ApiResponse({ status: 200, description: 'Windows', standardSchema: maintenanceListSchema })
  @ApiProblem(401)
  listMaintenanceWindows(): MaintenanceList {
    const nowMs = Date.now();
    const windows = [...this.engine.mutes.windows.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    return { items: windows.map((window) => windowOf(window, nowMs)) };
  }

  @Post('maintenance-windows')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Tell nobody of alerts with these labels while a window is open, once or again and again' })
  @ApiResponse({ status: 201, description: 'The window', standardSchema: maintenanceWindowSchema })
  @ApiProblem(401, 403, 409, 422)
  async createMaintenanceWindow(
    @Body({ schema: maintenanceRequestSchema }) body: MaintenanceRequest,
    @Req() request: SignedInRequest,
  ): Promise<MaintenanceWindow> {
    const { windows } = this.engine.mutes;
    if (windows.has(body.name)) throw new ProblemError(409, `there is a maintenance window ${body.name} already`);
    if (windows.size >= MAX_WINDOWS) throw new ProblemError(409, `there are ${MAX_WINDOWS} windows; delete some first`);
    return this.#window(body, actorOf(request));
  }

  @Put('maintenance-windows/:name')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Change a maintenance window' })
  @ApiResponse({ status: 200, description: 'The window', standardSchema: maintenanceWindowSchema })
  @ApiProblem(401, 403, 404, 422)
  async replaceMaintenanceWindow(
    @Param('name', { schema: alertNameSchema }) name: string,
    @Body({ schema: maintenanceRequestSchema }) body: MaintenanceRequest,
    @Req() request: SignedInRequest,
  ): Promise<MaintenanceWindow> {
    if (body.name !== name) throw new ProblemError(422, `the path says ${name}, and the body ${body.name}`);
    if (!this.engine.mutes.windows.has(name)) throw new ProblemError(404, `there is no maintenance window ${name}`);
    return this.#window(body, actorOf(request));
  }

  @Delete('maintenance-windows/:name')
  @HttpCode(204)
  @RequireScope('operator')
  @ApiOperation({ summary: 'Delete a maintenance window' })
  @ApiResponse({ status: 204, description: 'Deleted' })
  @ApiProblem(401, 403, 404, 422)
  async deleteMaintenanceWindow(@Param('name', { schema: alertNameSchema }) name: string): Promise<void> {
    if (!this.engine.mutes.removeWindow(name)) throw new ProblemError(404, `there is no maintenance window ${name}`);
    this.journal.window(name, undefined);
    this.engine.run((nowMs) => this.engine.book.mutesChanged(nowMs));
    await this.journal.committed();
  }

  #silence(id: string): SilenceEntry {
    const silence = this.engine.mutes.silences.get(id);
    if (silence === undefined) throw new ProblemError(404, `there is no silence ${id}`);
    return silence;
  }

  async #silences(id: string, { matchers, from, until, why }: SilenceRequest, who: string): Promise<Silence> {
    const nowMs = Date.now();
    const fromMs = from === undefined ? nowMs : Date.parse(from);
    const untilMs = Date.parse(until);
    if (untilMs <= nowMs) throw new ProblemError(422, 'until: expected a time to come');
    const silence = { ...{ id, matchers, fromMs, untilMs, why, who }, createdMs: nowMs };
    this.engine.mutes.silences.set(id, silence);
    this.journal.silence(silence);
    this.engine.run((atMs) => this.engine.book.mutesChanged(atMs));
    await this.journal.committed();
    return silenceOf(silence, nowMs);
  }

  async #window(request: MaintenanceRequest, who: string): Promise<MaintenanceWindow> {
    const nowMs = Date.now();
    try {
      checkSchedule(request.schedule, nowMs);
    } catch (error) {
      if (error instanceof ScheduleError) throw new ProblemError(422, error.message);
      throw error;
    }
    const window = { ...request, who, createdMs: nowMs };
    this.engine.mutes.setWindow(window);
    this.journal.window(window.name, window);
    this.engine.run((atMs) => this.engine.book.mutesChanged(atMs));
    await this.journal.committed();
    return windowOf(window, nowMs);
  }
}
